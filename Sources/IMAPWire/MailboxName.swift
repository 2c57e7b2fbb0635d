import Bytes

/// A mailbox name, or a LIST pattern, as the bytes the client sent.
///
/// What they mean depends on whether the session speaks UTF-8 (RFC 6855 §3, RFC 9051 §5.1) or
/// modified UTF-7 (RFC 3501 §5.1.3), so they are decoded where that is known.
package struct MailboxName: Hashable, Sendable {
    package let bytes: [UInt8]

    package init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The name in UTF-8, `INBOX` in capitals where it stands alone or, before `separator`, as
    /// the first of several levels. Nil where the bytes are not a name in this mode: broken
    /// UTF-8 or UTF-7, control characters, line separators.
    package func decoded(isUTF8: Bool, separator: UInt8) -> [UInt8]? {
        var name: [UInt8]
        if isUTF8 {
            name = bytes
            guard UTF8Text.isValid(name.span) else { return nil }
        } else {
            guard let decoded = ModifiedUTF7.decode(bytes) else { return nil }
            name = decoded
        }
        guard !Self.holdsControls(name) else { return nil }
        let inbox = [UInt8]("INBOX")
        if name.count >= 5, Array(name[..<5]).equalsIgnoringCase(inbox),
            name.count == 5 || name[5] == separator
        {
            name.replaceSubrange(..<5, with: inbox)
        }
        return name
    }

    /// C0 and C1 controls, DEL, U+2028 and U+2029, which RFC 9051 §5.1 keeps out of names.
    static func holdsControls(_ name: [UInt8]) -> Bool {
        for index in name.indices {
            let byte = name[index]
            if byte.isControl { return true }
            if byte == 0xC2, index + 1 < name.count, name[index + 1] < 0xA0 { return true }
            if byte == 0xE2, index + 2 < name.count, name[index + 1] == 0x80,
                name[index + 2] & 0xFE == 0xA8
            {
                return true
            }
        }
        return false
    }
}
