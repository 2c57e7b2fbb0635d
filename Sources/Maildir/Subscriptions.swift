import Bytes

//  Subscriptions
//
//  On disk, in the root of the Maildir, the file `subscriptions` in one of two versions:
//
//      v2   V <TAB> 2 <LF> <LF>, then one mailbox per line, components joined by TAB, with
//           0x01, TAB, CR, LF, NUL in a component written as 0x01 and one of 1 t r n 0
//      v1   no header, one mailbox per line, components joined by `.`
//
//  Names are those on disk, in either encoding, and INBOX. We keep the version that is there, write
//  v2 where there is none (as Dovecot does), add at the end, remove whole lines, and leave each
//  other line as it is, understood or not. Mailboxes need not exist.
//
//  Who writes: Dovecot and we, under `subscriptions.lock`, which holds the new content and is renamed
//  over the file. A crash leaves the old file and perhaps a lock, which is stale after 30 seconds.

/// The list of subscribed mailboxes.
package struct Subscriptions: Sendable, Equatable {
    private let version: Int
    private var lines: [[UInt8]]
    /// The mailbox of each line, nil for one that we do not understand.
    private var paths: [MailboxPath?]

    private static let header = [UInt8]("V\t2\n\n")

    /// The empty list of a Maildir without the file.
    package init() {
        version = 2
        lines = []
        paths = []
    }

    /// Reads a file. A last line without LF counts. Nil for a version that is not known here.
    package init?(file: [UInt8]) {
        if file.isEmpty {
            self.init()
            return
        }
        let isVersion2 = file.starts(with: Self.header)
        if !isVersion2, file.starts(with: [UInt8]("V\t")) { return nil }
        self.init(isVersion2 ? file[Self.header.count...] : file[...], isVersion2: isVersion2)
    }

    private init(_ text: ArraySlice<UInt8>, isVersion2: Bool) {
        version = isVersion2 ? 2 : 1
        // Such a line names no mailbox, and as the first one it would make the file another version's.
        let other = [UInt8]("V\t")
        lines = text.split(separator: .lf).map { Array($0) }
            .filter { isVersion2 || !$0.starts(with: other) }
        paths = lines.map { Self.path(of: $0, isVersion2: isVersion2) }
    }

    private static func path(of line: [UInt8], isVersion2: Bool) -> MailboxPath? {
        guard line.count <= Limits.mailboxNameBytesMax * 2 else { return nil }
        if line.equalsIgnoringCase("INBOX") { return .inbox }
        guard isVersion2 else { return MailboxPath(storageName: line) }
        var name: [UInt8] = []
        for component in line.split(separator: .tab, omittingEmptySubsequences: false) {
            guard let plain = unescaped(component), !plain.contains(UInt8(ascii: ".")) else {
                return nil
            }
            if !name.isEmpty { name.append(UInt8(ascii: ".")) }
            name += plain
        }
        return MailboxPath(storageName: name)
    }

    private static func unescaped(_ component: ArraySlice<UInt8>) -> [UInt8]? {
        guard !component.isEmpty else { return nil }
        var plain: [UInt8] = []
        var isEscape = false
        for byte in component {
            if isEscape {
                switch byte {
                case UInt8(ascii: "1"): plain.append(1)
                case UInt8(ascii: "t"): plain.append(.tab)
                case UInt8(ascii: "r"): plain.append(.cr)
                case UInt8(ascii: "n"): plain.append(.lf)
                case UInt8(ascii: "0"): plain.append(0)
                default: return nil
                }
                isEscape = false
            } else if byte == 1 {
                isEscape = true
            } else {
                plain.append(byte)
            }
        }
        return isEscape ? nil : plain
    }

    /// Subscribed mailboxes, in the order of the file, each once.
    package var mailboxes: [MailboxPath] {
        var seen: Set<MailboxPath> = []
        return paths.compactMap { $0 }.filter { seen.insert($0).inserted }
    }

    package func contains(_ path: MailboxPath) -> Bool { paths.contains(path) }

    /// Returns false where it is subscribed already, and nothing changes.
    ///
    /// `directoryName` is that of the mailbox on disk where it exists, so that a program that
    /// compares bytes sees the same name; otherwise the name is made in the encoding.
    package mutating func add(
        _ path: MailboxPath,
        directoryName: [UInt8]? = nil,
        encoding: NameEncoding
    ) throws(MailboxNameRefusal) -> Bool {
        if contains(path) { return false }
        lines.append(try line(path, directoryName, encoding))
        paths.append(path)
        return true
    }

    private func line(
        _ path: MailboxPath,
        _ directoryName: [UInt8]?,
        _ encoding: NameEncoding
    ) throws(MailboxNameRefusal) -> [UInt8] {
        if path.isInbox { return [UInt8]("INBOX") }
        let name: [UInt8]
        if let directoryName {
            name = Array(directoryName.dropFirst())
        } else {
            name = try path.storageName(encoding)
        }
        guard version == 2 else { return name }
        var line = ByteBuffer(capacity: name.count)
        for byte in name {
            switch byte {
            case UInt8(ascii: "."): line.append(.tab)
            case 1: line.append("\u{1}1")
            case .tab: line.append("\u{1}t")
            case .cr: line.append("\u{1}r")
            case .lf: line.append("\u{1}n")
            default: line.append(byte)
            }
        }
        return line.bytes
    }

    /// Returns false where it is not subscribed, and nothing changes.
    package mutating func remove(_ path: MailboxPath) -> Bool {
        guard contains(path) else { return false }
        let kept = paths.indices.filter { paths[$0] != path }
        lines = kept.map { lines[$0] }
        paths = kept.map { paths[$0] }
        return true
    }

    /// The content of the file.
    package var file: [UInt8] {
        var buffer = ByteBuffer()
        if version == 2 { buffer.append(Self.header) }
        for line in lines {
            buffer.append(line)
            buffer.append(.lf)
        }
        return buffer.bytes
    }
}
