import Bytes
package import Posix

//  martlet-annotations: what clients noted about a mailbox                   RFC 5464
//
//      martlet-annotations 1
//      7 /private/comment                  octets of the value, name of the entry
//      My note
//      0 /shared/vendor/x/seen
//
//  In the mailbox's directory, so that RENAME takes it along and DELETE ends it; what is noted about
//  the server stands in the root, in `martlet-server-annotations`. Each value is followed by LF.
//  Written by this process alone (`martlet-lock`), replaced as a whole by way of a `.tmp` beside it: a
//  crash leaves the old file or the new one. Of a file that is damaged all is read up to the damage.

/// Entries and their values, in the order of their names.
package struct AnnotationFile: Equatable, Sendable {
    package private(set) var values: [[UInt8]: [UInt8]] = [:]
    /// Whether what follows could not be read.
    package private(set) var isDamaged = false

    package static let name = [UInt8]("martlet-annotations")
    package static let serverName = [UInt8]("martlet-server-annotations")

    private static let magic = [UInt8]("martlet-annotations 1")

    /// One value. (RFC 5464 §4.1 wants 1024 at least.)
    package static let valueBytesMax = 65_536
    /// Entries of a mailbox, or of the server. (At least 10.)
    package static let entryCountMax = 256
    /// The name of an entry.
    package static let nameBytesMax = 1_024
    /// All of a mailbox's: what one file may take, and is read to at most.
    package static let fileBytesMax = 1 << 20

    package init() {}

    package init(file: [UInt8]) {
        var cursor = ByteCursor(file.span)
        func line(_ cursor: inout ByteCursor) -> [UInt8]? {
            let text = Array(file[cursor.take { $0 != .lf }])
            return cursor.accept(.lf) ? text : nil
        }
        guard line(&cursor) == Self.magic else {
            isDamaged = !file.isEmpty
            return
        }
        while !cursor.isAtEnd {
            guard let count = cursor.decimal(max: UInt64(Self.valueBytesMax)),
                cursor.accept(.space), let name = line(&cursor), !name.isEmpty,
                name.count <= Self.nameBytesMax, values.count < Self.entryCountMax,
                file.count - cursor.offset > Int(count),
                file[cursor.offset + Int(count)] == .lf
            else {
                isDamaged = true
                return
            }
            values[name] = Array(file[cursor.offset..<(cursor.offset + Int(count))])
            cursor.offset += Int(count) + 1
        }
    }

    package var file: [UInt8] {
        var buffer = ByteBuffer(Self.magic)
        buffer.append(.lf)
        for name in values.keys.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            guard let value = values[name] else { continue }
            buffer.append(decimal: value.count)
            buffer.append(.space)
            buffer.append(name)
            buffer.append(.lf)
            buffer.append(value)
            buffer.append(.lf)
        }
        return buffer.bytes
    }

    package enum Refusal: Error, Equatable {
        case valueTooLong
        case tooMany
    }

    /// Sets entries, or removes those whose value is nil: all of them or none.
    ///
    /// - Returns: the names of those that changed.
    package mutating func set(
        _ entries: [(name: [UInt8], value: [UInt8]?)]
    ) throws(Refusal) -> [[UInt8]] {
        var changed = values
        for (name, value) in entries {
            if let value, value.count > Self.valueBytesMax { throw .valueTooLong }
            if value != nil, name.count > Self.nameBytesMax { throw .tooMany }
            changed[name] = value
        }
        let old = values
        let names = Set(entries.map(\.name)).filter { old[$0] != changed[$0] }
        let grows = names.contains { (changed[$0]?.count ?? 0) > (old[$0]?.count ?? -1) }
        values = changed
        if grows, changed.count > Self.entryCountMax || file.count > Self.fileBytesMax {
            values = old
            throw .tooMany
        }
        return names.sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// The empty file where there is none.
    package static func load(_ name: [UInt8], in directory: Directory) throws(MaildirError)
        -> AnnotationFile
    {
        let file = try ifThere { () throws(SystemError) in
            try directory.readFile(name, max: fileBytesMax)
        }
        return AnnotationFile(file: file ?? [])
    }

    package func store(_ name: [UInt8], in directory: Directory) throws(MaildirError) {
        try system { () throws(SystemError) in
            let permissions = MailboxPermissions(of: try directory.status())
            try directory.replaceFile(
                name,
                via: name + [UInt8](".tmp"),
                with: file,
                mode: permissions.fileMode
            )
        }
    }
}
