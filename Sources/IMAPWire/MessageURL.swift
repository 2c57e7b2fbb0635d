import Bytes

//  The URLs of CATENATE                                                      RFC 4469 §3, RFC 5092
//
//      /Drafts;UIDVALIDITY=385759045/;UID=20/;SECTION=1.MIME
//      ;UID=20/;SECTION=1              in the selected mailbox
//
//  Only relative ones, which name a message or a part of one in the user's own mailboxes. A scheme
//  and a server, URLAUTH, and lists of messages are not among them. Names and values are
//  percent-encoded; no value may hold a bare `;`, so that splits them.

/// A message, or a part of one, named by a URL.
package struct MessageURL: Hashable, Sendable {
    /// The mailbox's name in UTF-8; nil for the selected one.
    package let mailbox: [UInt8]?
    package let uidValidity: UInt32?
    package let uid: UInt32
    package let section: SectionSpecifier
    /// With no count, all from the offset on.
    package let partial: OctetRange?

    /// Nil where it is not such a URL, or relative to a mailbox that is not there.
    ///
    /// - Parameter base: the name of the selected mailbox in UTF-8.
    package init?(_ url: [UInt8], base: [UInt8]?) {
        let pieces = url.split(separator: UInt8(ascii: ";"), omittingEmptySubsequences: false)
        guard var name = pieces.first else { return nil }
        if name.last == Self.slash, name.count > 1 { name.removeLast() }
        if name.isEmpty || name.elementsEqual([Self.slash]) {
            guard base != nil else { return nil }
            mailbox = nil
        } else {
            guard let mailbox = Self.resolved(name, base) else { return nil }
            self.mailbox = mailbox
        }
        var parameters = Parameters()
        for piece in pieces.dropFirst() {
            guard parameters.take(piece) else { return nil }
        }
        guard let uid = parameters.uid else { return nil }
        self.uid = uid
        uidValidity = parameters.uidValidity
        section = parameters.section ?? SectionSpecifier()
        partial = parameters.partial
    }

    private static let slash = UInt8(ascii: "/")

    /// A name with a slash before it is whole; another takes the place of the last level of the
    /// base.                                                                 RFC 3986 §5.2.3
    private static func resolved(_ name: ArraySlice<UInt8>, _ base: [UInt8]?) -> [UInt8]? {
        guard let decoded = percentDecoded(name) else { return nil }
        if name.first == slash { return Array(decoded.dropFirst()) }
        guard let base, let last = base.lastIndex(of: slash) else { return decoded }
        return base[...last] + decoded
    }

    private struct Parameters {
        var uidValidity: UInt32?
        var uid: UInt32?
        var section: SectionSpecifier?
        var partial: OctetRange?

        /// Each once, and in this order.
        mutating func take(_ piece: ArraySlice<UInt8>) -> Bool {
            guard let equals = piece.firstIndex(of: UInt8(ascii: "=")) else { return false }
            var value = piece[(equals + 1)...]
            if value.last == MessageURL.slash { value.removeLast() }
            guard let value = MessageURL.percentDecoded(value) else { return false }
            let name = Array(piece[..<equals])
            if name.equalsIgnoringCase("UIDVALIDITY"), uidValidity == nil, uid == nil {
                uidValidity = MessageURL.nonZeroNumber(value)
                return uidValidity != nil
            }
            if name.equalsIgnoringCase("UID"), uid == nil {
                uid = MessageURL.nonZeroNumber(value)
                return uid != nil
            }
            if name.equalsIgnoringCase("SECTION"), uid != nil, section == nil, partial == nil {
                section = Grammar.sectionOfURL(value)
                return section != nil
            }
            if name.equalsIgnoringCase("PARTIAL"), uid != nil, partial == nil {
                partial = MessageURL.range(value)
                return partial != nil
            }
            return false
        }
    }

    private static func nonZeroNumber(_ text: [UInt8]) -> UInt32? {
        var cursor = ByteCursor(text.span)
        guard let number = cursor.decimal(max: UInt64(UInt32.max)), number > 0, cursor.isAtEnd
        else { return nil }
        return UInt32(number)
    }

    //  partial-range = number ["." nz-number]                                RFC 5092 §11
    private static func range(_ text: [UInt8]) -> OctetRange? {
        var cursor = ByteCursor(text.span)
        guard let offset = cursor.decimal() else { return nil }
        guard cursor.accept(UInt8(ascii: ".")) else {
            return cursor.isAtEnd ? OctetRange(offset: offset, count: .max) : nil
        }
        guard let count = cursor.decimal(), count > 0, cursor.isAtEnd else { return nil }
        return OctetRange(offset: offset, count: count)
    }

    private static func percentDecoded(_ text: ArraySlice<UInt8>) -> [UInt8]? {
        var decoded: [UInt8] = []
        decoded.reserveCapacity(text.count)
        var index = text.startIndex
        while index < text.endIndex {
            guard text[index] == UInt8(ascii: "%") else {
                decoded.append(text[index])
                index += 1
                continue
            }
            guard index + 2 < text.endIndex, let high = text[index + 1].hexValue,
                let low = text[index + 2].hexValue
            else { return nil }
            decoded.append(high << 4 | low)
            index += 3
        }
        return decoded
    }
}
