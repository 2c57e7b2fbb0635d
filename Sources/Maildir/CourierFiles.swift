import Bytes

//  Courier's files, read once where a Maildir comes from Courier and has no file of Dovecot's yet
//
//      courierimapuiddb            each mailbox: a uidlist of version 1, read by `UIDList(file:)`
//      courierimapkeywords/:list   each mailbox: names, an empty line, `<base name>:<i> <j> …`
//      courierimapkeywords/<base>            a message's complete new set, one name per line
//      courierimapkeywords/.<N>.<base>       the same, older; the highest N wins, plain beats all
//      courierimapsubscribed       root: `INBOX`, `INBOX.Work.2024`, one per line
//
//  Courier replaces each of them by rename, without a lock, so a read sees a whole file. We never
//  write them: after the first open the truth is in Dovecot's files and the file names, and Courier,
//  if it ever comes back, takes up what its files said.

/// Readers of what Courier left behind. All of them salvage what they can.
package enum CourierFiles {
    package static let uidList = [UInt8]("courierimapuiddb")
    package static let keywords = [UInt8]("courierimapkeywords")
    package static let keywordList = [UInt8](":list")
    package static let subscriptions = [UInt8]("courierimapsubscribed")

    /// Keyword names of each message, by base name. Messages without keywords are absent.
    package typealias MessageKeywords = [[UInt8]: [[UInt8]]]

    /// Reads `:list`.
    package static func keywordList(_ file: [UInt8]) -> MessageKeywords {
        var lines = file.split(separator: .lf, omittingEmptySubsequences: false)[...]
        var names: [[UInt8]] = []
        while let line = lines.popFirst(), !line.isEmpty { names.append(keyword(line)) }
        var messages: MessageKeywords = [:]
        for line in lines {
            guard let colon = line.lastIndex(of: UInt8(ascii: ":")), colon > line.startIndex else {
                continue
            }
            var set: [[UInt8]] = []
            for token in line[(colon + 1)...].split(separator: .space) {
                let digits = Array(token)
                var cursor = ByteCursor(digits.span)
                guard let index = cursor.decimal(max: UInt64(names.count)), cursor.isAtEnd,
                    index < names.count
                else { continue }
                add(names[Int(index)], to: &set)
            }
            if !set.isEmpty { messages[Array(line[..<colon])] = set }
        }
        return messages
    }

    /// Puts the update files over what `:list` says. Names that are no update are passed over.
    package static func apply(
        updates: [(name: [UInt8], content: [UInt8])],
        to messages: inout MessageKeywords
    ) {
        var newest: [[UInt8]: UInt64] = [:]
        for (name, content) in updates {
            guard let (baseName, age) = update(name) else { continue }
            if let known = newest[baseName], known > age { continue }
            newest[baseName] = age
            var set: [[UInt8]] = []
            for line in content.split(separator: .lf) { add(keyword(line), to: &set) }
            messages[baseName] = set.isEmpty ? nil : set
        }
    }

    static func isUpdate(_ name: [UInt8]) -> Bool { update(name) != nil }

    /// The message of an update file and how new it is; nil for `:list` and scratch files.
    private static func update(_ name: [UInt8]) -> (baseName: [UInt8], age: UInt64)? {
        guard let first = name.first, first != UInt8(ascii: ":") else { return nil }
        if first != UInt8(ascii: ".") { return (name, .max) }
        var cursor = ByteCursor(name.span, at: 1)
        guard let age = cursor.decimal(max: .max - 1), cursor.accept(UInt8(ascii: ".")),
            !cursor.isAtEnd
        else { return nil }
        return (Array(name[cursor.offset...]), age)
    }

    private static func add(_ keyword: [UInt8], to set: inout [[UInt8]]) {
        guard Keywords.isValid(keyword), !set.contains(where: { $0.equalsIgnoringCase(keyword) })
        else { return }
        set.append(keyword)
    }

    /// As Courier shows it: what an atom cannot hold is an underscore.
    private static func keyword(_ name: ArraySlice<UInt8>) -> [UInt8] {
        name.map { byte in
            switch byte {
            case .space, UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "{"),
                UInt8(ascii: "%"), UInt8(ascii: "*"), UInt8(ascii: "]"), .quote, .backslash:
                UInt8(ascii: "_")
            default: byte
            }
        }
    }

    /// Subscribed mailboxes of this Maildir, in the order of the file. Shared folders are left out.
    package static func subscriptions(_ file: [UInt8]) -> [MailboxPath] {
        var seen: Set<MailboxPath> = []
        return file.split(separator: .lf).compactMap { line -> MailboxPath? in
            guard line.count <= Limits.mailboxNameBytesMax + 6, line.count >= 5,
                Array(line.prefix(5)).equalsIgnoringCase("INBOX")
            else { return nil }
            let rest = line.dropFirst(5)
            if rest.isEmpty { return .inbox }
            guard rest.first == UInt8(ascii: ".") else { return nil }
            return MailboxPath(storageName: rest.dropFirst())
        }
        .filter { seen.insert($0).inserted }
    }
}
