import Bytes
package import Posix

//  dovecot-acl: who may do what with a mailbox                               Dovecot's vfile ACL
//
//      owner lrwstipekxa
//      user=ben lr
//      -user=ben w                         a dash: these rights are taken away
//      "user=jo ann" lrs:named             quoted where there is a space; named rights behind a colon
//
//  In the mailbox's directory; the mailboxes below have files of their own, which CREATE copies from
//  the parent. Written by Dovecot and by us, under `dovecot-acl.lock`, which becomes the new file: a
//  crash leaves the old file or the new one. Without a file the owner has all rights and nobody else
//  has any. Lines that are not understood give nobody anything and stay as they are.
//
//  A Maildir has one user here, its owner. Who else may do what is for Dovecot beside us. For the
//  owner it is as there: he begins with all rights, what is said of `owner`, then of his name
//  replaces that, and what is taken away is taken at the end; but lookup and administer he always
//  keeps, so that he cannot lock himself out. `anyone`, `authenticated` and groups are not asked.

/// What one may do with a mailbox.                                           RFC 4314 §2.1
package struct MailboxRights: OptionSet, Hashable, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let lookup = MailboxRights(rawValue: 1)
    package static let read = MailboxRights(rawValue: 1 << 1)
    package static let seen = MailboxRights(rawValue: 1 << 2)
    package static let write = MailboxRights(rawValue: 1 << 3)
    package static let insert = MailboxRights(rawValue: 1 << 4)
    package static let post = MailboxRights(rawValue: 1 << 5)
    package static let createMailbox = MailboxRights(rawValue: 1 << 6)
    package static let deleteMailbox = MailboxRights(rawValue: 1 << 7)
    package static let deleteMessages = MailboxRights(rawValue: 1 << 8)
    package static let expunge = MailboxRights(rawValue: 1 << 9)
    package static let administer = MailboxRights(rawValue: 1 << 10)

    package static let all = MailboxRights(rawValue: (1 << 11) - 1)
    package static let none: MailboxRights = []
    /// What the owner always has.
    package static let ofOwner: MailboxRights = [.lookup, .administer]

    /// In the order of RFC 4314.
    package static let byLetter: [(letter: UInt8, right: MailboxRights)] = [
        (UInt8(ascii: "l"), .lookup), (UInt8(ascii: "r"), .read), (UInt8(ascii: "s"), .seen),
        (UInt8(ascii: "w"), .write), (UInt8(ascii: "i"), .insert), (UInt8(ascii: "p"), .post),
        (UInt8(ascii: "k"), .createMailbox), (UInt8(ascii: "x"), .deleteMailbox),
        (UInt8(ascii: "t"), .deleteMessages), (UInt8(ascii: "e"), .expunge),
        (UInt8(ascii: "a"), .administer),
    ]

    /// Nil where a letter is none of them.
    package init?(letters: some Sequence<UInt8>) {
        self = []
        for letter in letters {
            guard let entry = Self.byLetter.first(where: { $0.letter == letter }) else {
                return nil
            }
            insert(entry.right)
        }
    }

    package var letters: [UInt8] {
        Self.byLetter.filter { contains($0.right) }.map(\.letter)
    }
}

/// The lines of a `dovecot-acl`.
package struct ACLFile: Equatable, Sendable {
    /// Whom a line is about.
    package struct Identifier: Hashable, Sendable {
        /// As in the file: `anyone`, `owner`, `user=NAME`, …
        package let text: [UInt8]
        package let isNegative: Bool

        package init(_ text: [UInt8], isNegative: Bool = false) {
            self.text = text == [UInt8]("anonymous") ? [UInt8]("anyone") : text
            self.isNegative = isNegative
        }

        package static let owner = Identifier([UInt8]("owner"))
    }

    package struct Entry: Equatable, Sendable {
        package let identifier: Identifier
        package var rights: MailboxRights
        /// From the colon on.
        var named: [UInt8] = []
    }

    private enum Line: Equatable, Sendable {
        case entry(Entry)
        /// A comment, an empty line, or what is not understood.
        case other([UInt8])
    }

    private var lines: [Line] = []

    /// An identifier in the file. Dovecot takes 1024.
    package static let identifierBytesMax = 1_000

    package init() {}

    package init(file: [UInt8]) {
        var rest = file[...]
        while !rest.isEmpty {
            let end = rest.firstIndex(of: .lf) ?? rest.endIndex
            let line = Array(rest[..<end])
            rest = rest[min(end + 1, rest.endIndex)...]
            lines.append(Self.entry(line).map { .entry($0) } ?? .other(line))
        }
    }

    package var entries: [Entry] {
        lines.compactMap { if case .entry(let entry) = $0 { entry } else { nil } }
    }

    /// How many lines give nobody anything since they are not understood.
    package var unknownCount: Int {
        lines.count {
            if case .other(let line) = $0 {
                !line.isEmpty && line[0] != UInt8(ascii: "#")
            } else {
                false
            }
        }
    }

    package var file: [UInt8] {
        var buffer = ByteBuffer()
        for line in lines {
            switch line {
            case .other(let text): buffer.append(text)
            case .entry(let entry): Self.write(entry, to: &buffer)
            }
            buffer.append(.lf)
        }
        return buffer.bytes
    }

    // MARK: Rights

    /// What the owner, whose name this is, may do.
    package func ownerRights(_ name: [UInt8]) -> MailboxRights {
        let classes = [Identifier.owner, Identifier([UInt8]("user=") + name)]
        var rights = MailboxRights.all
        var taken = MailboxRights.none
        for entry in entries {
            guard let place = classes.firstIndex(where: { $0.text == entry.identifier.text })
            else { continue }
            if entry.identifier.isNegative {
                taken.formUnion(entry.rights)
            } else if place == 1 || !entries.contains(where: { $0.identifier == classes[1] }) {
                rights = entry.rights
            }
        }
        return rights.subtracting(taken).union(.ofOwner)
    }

    package enum Change: Sendable {
        case replace(MailboxRights)
        case add(MailboxRights)
        case remove(MailboxRights)
        case delete
    }

    /// - Parameter base: what an identifier that has no entry has, for `add` and `remove`.
    package mutating func change(
        _ identifier: Identifier,
        _ change: Change,
        base: MailboxRights = .none
    ) {
        let index = lines.firstIndex {
            if case .entry(let entry) = $0 { entry.identifier == identifier } else { false }
        }
        var entry = Entry(identifier: identifier, rights: base)
        if let index, case .entry(let old) = lines[index] { entry = old }
        switch change {
        case .replace(let rights):
            entry.rights = rights
            entry.named = []
        case .add(let rights): entry.rights.formUnion(rights)
        case .remove(let rights): entry.rights.subtract(rights)
        case .delete:
            lines.removeAll {
                if case .entry(let entry) = $0 { entry.identifier == identifier } else { false }
            }
            return
        }
        if let index { lines[index] = .entry(entry) } else { lines.append(.entry(entry)) }
    }

    // MARK: Lines

    //  [-]identifier [SP letters] [SP? ":" named-right *(("," / SP / TAB) named-right)]
    private static func entry(_ line: [UInt8]) -> Entry? {
        guard let first = line.first, first != UInt8(ascii: "#") else { return nil }
        guard let (word, rest) = word(line), !word.isEmpty else { return nil }
        var tail = Array(rest.drop { $0 == .space })
        var named: [UInt8] = []
        if let colon = tail.firstIndex(of: UInt8(ascii: ":")) {
            named = Array(tail[colon...])
            tail.removeSubrange(colon...)
        }
        while tail.last == .space { tail.removeLast() }
        guard let rights = MailboxRights(letters: tail) else { return nil }
        let isNegative = word[0] == UInt8(ascii: "-")
        let text = isNegative ? Array(word.dropFirst()) : word
        guard isIdentifier(text) else { return nil }
        return Entry(
            identifier: Identifier(text, isNegative: isNegative),
            rights: rights,
            named: named
        )
    }

    /// Up to a space; quoted, up to the closing quote.
    private static func word(_ line: [UInt8]) -> (word: [UInt8], rest: ArraySlice<UInt8>)? {
        guard line[0] == UInt8(ascii: "\"") else {
            let end = line.firstIndex(of: .space) ?? line.endIndex
            return (Array(line[..<end]), line[end...])
        }
        var word: [UInt8] = []
        var index = 1
        while index < line.count {
            switch line[index] {
            case UInt8(ascii: "\""): return (word, line[(index + 1)...])
            case UInt8(ascii: "\\") where index + 1 < line.count:
                index += 1
                word.append(line[index])
            default: word.append(line[index])
            }
            index += 1
        }
        return nil
    }

    /// Whether Dovecot takes an identifier: one that it does not makes it refuse the whole file.
    package static func isIdentifier(_ text: [UInt8]) -> Bool {
        guard text.count <= identifierBytesMax, UTF8Text.isValid(text.span),
            !text.contains(where: { $0.isControl })
        else { return false }
        let words = ["anyone", "anonymous", "authenticated", "owner"]
        if words.contains(where: { text == [UInt8]($0.utf8) }) { return true }
        return ["user=", "group=", "group-override="].contains { prefix in
            text.count > prefix.utf8.count && text.starts(with: prefix.utf8)
        }
    }

    private static func write(_ entry: Entry, to buffer: inout ByteBuffer) {
        let text = (entry.identifier.isNegative ? [UInt8(ascii: "-")] : []) + entry.identifier.text
        if text.contains(.space) || text.contains(UInt8(ascii: "\"")) {
            buffer.append(UInt8(ascii: "\""))
            for byte in text {
                if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
                    buffer.append(UInt8(ascii: "\\"))
                }
                buffer.append(byte)
            }
            buffer.append(UInt8(ascii: "\""))
        } else {
            buffer.append(text)
        }
        buffer.append(.space)
        buffer.append(entry.rights.letters)
        if !entry.named.isEmpty {
            if !entry.rights.isEmpty { buffer.append(.space) }
            buffer.append(entry.named)
        }
    }
}

extension ACLFile {
    package static let name = [UInt8]("dovecot-acl")
    /// Dovecot's list of mailboxes that others may see, made anew where it is missing.
    package static let cacheName = [UInt8]("dovecot-acl-list")

    /// Larger ones are not read: 10,000 entries of the usual 20 bytes.
    package static let fileBytesMax = 256 << 10

    /// Nil where there is none.
    package static func load(_ mailbox: Directory) throws(MaildirError) -> ACLFile? {
        try ifThere { () throws(SystemError) in
            try mailbox.readFile(name, max: fileBytesMax)
        }
        .map { ACLFile(file: $0) }
    }

    /// Replaces the file by way of the lock, which is given up. It must have been read under it.
    package func store(_ lock: DotLock, root: Directory) throws(MaildirError) {
        precondition(lock.name == Self.name, "the lock protects another file")
        let status = try system { () throws(SystemError) in try lock.directory.status() }
        try lock.replaceProtected(with: file, MailboxPermissions(of: status))
        try system { () throws(SystemError) in try root.unlinkIfThere(Self.cacheName) }
    }
}
