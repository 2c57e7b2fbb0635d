import Bytes

//  Which mailbox a directory is
//
//  Maildir++ has all mailboxes directly below the root: `Work` → `2024` is the directory
//  `.Work.2024`. Other programs make such directories too, in their own encoding: Dovecot and older
//  Couriers in modified UTF-7, Courier from version 5 on in UTF-8. We read both, for each component
//  by itself: bytes from 0x80 on that are UTF-8 are that, otherwise what is canonical modified UTF-7
//  is that, otherwise the bytes are taken as they are, with U+FFFD for what no text holds.
//
//  Text is in Unicode's Form C: a directory that another program named in another form is the mailbox of
//  the normalized name, for clients that name it either way (RFC 9051 §5.1).
//
//  The last kind cannot be turned back into bytes, and two directories may come out the same. So a
//  mailbox's directory is always looked up in what is there (`MailboxTree`), and only a new one is
//  named by encoding.

/// The place of a mailbox in the hierarchy: its components in UTF-8. None for INBOX, the root.
package struct MailboxPath: Hashable, Sendable {
    package let components: [[UInt8]]

    package init(_ components: [[UInt8]]) { self.components = components }

    package static let inbox = MailboxPath([])

    package var isInbox: Bool { components.isEmpty }

    /// Whether this lies below the other, at any depth. INBOX has nothing below it here: its
    /// children begin with a component `INBOX`.
    package func isBelow(_ other: MailboxPath) -> Bool {
        !other.isInbox && components.count > other.components.count
            && components.starts(with: other.components)
    }

    /// The same place below `new` that this has below `old`, or `new` itself for `old`.
    package func moved(from old: MailboxPath, to new: MailboxPath) -> MailboxPath {
        MailboxPath(new.components + components.dropFirst(old.components.count))
    }
}

/// How names that are not ASCII are written on disk.
package enum NameEncoding: Sendable {
    /// Dovecot's default, and Courier's before version 5.
    case modifiedUTF7
    case utf8
}

/// Why a name cannot be a mailbox's.
package enum MailboxNameRefusal: Error, Equatable {
    case emptyComponent
    /// A dot inside a component, which would be two components on disk.
    case dot
    case slash
    case controlCharacter
    case notUTF8
    case tooLong
    /// Not INBOX and not below the namespace's prefix.
    case outsidePrefix
}

// MARK: Storage names

extension MailboxPath {
    /// From a name as it stands on disk: components joined by `.`, without the leading one. Nil where
    /// a component is empty.
    package init?(storageName: some Collection<UInt8>) {
        let parts = storageName.split(
            separator: UInt8(ascii: "."),
            omittingEmptySubsequences: false
        )
        guard parts.allSatisfy({ !$0.isEmpty }) else { return nil }
        components = parts.map { Self.decoded(Array($0)) }
    }

    /// The name on disk of a mailbox that has none yet.
    package func storageName(_ encoding: NameEncoding) throws(MailboxNameRefusal) -> [UInt8] {
        var name: [UInt8] = []
        for component in components {
            if !name.isEmpty { name.append(UInt8(ascii: ".")) }
            name += try Self.encoded(component, encoding)
        }
        // The directory has one dot more.
        guard name.count < Limits.mailboxNameBytesMax else { throw .tooLong }
        return name
    }

    /// One component of a name on disk as text.
    static func decoded(_ component: [UInt8]) -> [UInt8] {
        if component.contains(where: { $0 >= 0x80 || $0.isControl }) {
            return UTF8Text.normalized(repaired(component))
        }
        guard let text = ModifiedUTF7.decode(component), refusal(text) == nil else {
            return component
        }
        return UTF8Text.normalized(text)
    }

    /// A component of a name on disk in another encoding; as it is where it is not clean in either.
    static func reencoded(_ component: [UInt8], _ encoding: NameEncoding) -> [UInt8] {
        let text = decoded(component)
        guard let utf7 = try? encoded(text, .modifiedUTF7), let utf8 = try? encoded(text, .utf8),
            component == utf7 || component == utf8
        else { return component }
        return encoding == .utf8 ? utf8 : utf7
    }

    /// U+FFFD for each byte that is not part of UTF-8 or is a control character.
    private static func repaired(_ component: [UInt8]) -> [UInt8] {
        let text = component.span
        var output: [UInt8] = []
        var index = 0
        while index < text.count {
            if let (value, length) = UTF8Text.scalar(text, at: index), !isControl(value) {
                output += component[index..<index + length]
                index += length
            } else {
                output += [0xEF, 0xBF, 0xBD]
                index += 1
            }
        }
        return output
    }

    private static func encoded(
        _ component: [UInt8],
        _ encoding: NameEncoding
    ) throws(MailboxNameRefusal) -> [UInt8] {
        if let refusal = refusal(component) { throw refusal }
        switch encoding {
        case .utf8:
            // ASCII with an `&` reads as modified UTF-7 where it is that, so it is written so.
            guard component.allSatisfy({ $0 < 0x80 }) else { return component }
            fallthrough
        case .modifiedUTF7:
            guard let name = ModifiedUTF7.encode(component) else { throw .notUTF8 }
            return name
        }
    }

    private static func refusal(_ component: [UInt8]) -> MailboxNameRefusal? {
        if component.isEmpty { return .emptyComponent }
        let text = component.span
        var index = 0
        while index < text.count {
            guard let (value, length) = UTF8Text.scalar(text, at: index) else { return .notUTF8 }
            if value == 0x2E { return .dot }
            if value == 0x2F { return .slash }
            if isControl(value) { return .controlCharacter }
            index += length
        }
        return nil
    }

    /// C0, DEL and C1, and the line and paragraph separators.
    private static func isControl(_ scalar: UInt32) -> Bool {
        scalar < 0x20 || (0x7F...0x9F).contains(scalar) || scalar == 0x2028 || scalar == 0x2029
    }
}

// MARK: Names in IMAP

/// How mailbox paths are named to clients: the namespace's prefix and separator.
package struct MailboxNaming: Hashable, Sendable {
    package let separator: UInt8
    /// Empty, or ending in the separator, as `INBOX.`.
    package let prefix: [UInt8]

    package init(separator: UInt8, prefix: [UInt8] = []) {
        precondition(prefix.isEmpty || prefix.last == separator, "a prefix ends in the separator")
        self.separator = separator
        self.prefix = prefix
    }

    private static let inbox = [UInt8]("INBOX")

    /// The mailbox that a client's name (in UTF-8) means, whether or not it exists. The name need not
    /// be normalized.
    ///
    /// Without a prefix the children of `inbox`, in any case, are those of `INBOX`.
    package func path(of name: [UInt8]) throws(MailboxNameRefusal) -> MailboxPath {
        if name.equalsIgnoringCase(Self.inbox) { return .inbox }
        let name = UTF8Text.normalized(name)
        guard let rest = withoutPrefix(name) else { throw .outsidePrefix }
        var components = rest.split(separator: separator, omittingEmptySubsequences: false)
            .map { Array($0) }
        if prefix.isEmpty, components[0].equalsIgnoringCase(Self.inbox) {
            components[0] = Self.inbox
        }
        let path = MailboxPath(components)
        _ = try path.storageName(.utf8)
        return path
    }

    /// A prefix that begins with INBOX does so in any case.
    private func withoutPrefix(_ name: [UInt8]) -> ArraySlice<UInt8>? {
        guard name.count >= prefix.count else { return nil }
        let start = name[..<prefix.count]
        if start.elementsEqual(prefix) { return name[prefix.count...] }
        guard prefix.count > 5, Array(prefix[..<5]).equalsIgnoringCase(Self.inbox),
            Array(start[..<5]).equalsIgnoringCase(Self.inbox),
            start[5...].elementsEqual(prefix[5...])
        else { return nil }
        return name[prefix.count...]
    }

    /// The name that clients see, in UTF-8.
    package func name(of path: MailboxPath) -> [UInt8] {
        if path.isInbox { return Self.inbox }
        return prefix + Array(path.components.joined(separator: [separator]))
    }

    /// Whether clients can reach the mailbox by the name that they see. Not so for a directory
    /// `.INBOX`, which is not the INBOX, and for a component with the separator in it.
    package func isReachable(_ path: MailboxPath) -> Bool {
        let name = name(of: path)
        if path.components.contains(where: { $0.contains(separator) }) { return false }
        if name.equalsIgnoringCase(Self.inbox) { return path.isInbox }
        guard prefix.isEmpty, let first = path.components.first else { return true }
        return first == Self.inbox || !first.equalsIgnoringCase(Self.inbox)
    }
}
