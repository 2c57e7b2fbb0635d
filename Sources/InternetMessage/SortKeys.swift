import Bytes

/// What SORT compares of addresses.
package struct AddressSortKey: Sendable, Equatable {
    /// The local part of the first address, or the name of the group that comes first. For FROM,
    /// TO and CC.                                                            RFC 5256 §3
    package let mailbox: [UInt8]
    /// Its display name, decoded, or `mailbox@host`. For DISPLAYFROM and DISPLAYTO.  RFC 5957 §3
    package let display: [UInt8]

    /// Both are empty where the field has no address. Compare them folded.
    package init(_ bytes: Span<UInt8>, field: Range<Int>?, decoder: HeaderDecoder) {
        guard let field else {
            (mailbox, display) = ([], [])
            return
        }
        var scanner = AddressScanner(field)
        let item = scanner.next(in: bytes)
        guard let item, item != .groupEnd else {
            (mailbox, display) = ([], [])
            return
        }
        var name: [UInt8] = []
        if item == .address {
            let written = scanner.name
            decoder.decode(written.span, to: &name)
        }
        mailbox = scanner.mailbox
        if !name.isEmpty {
            display = name
        } else if item == .groupStart {
            display = scanner.mailbox
        } else {
            display = scanner.mailbox + [UInt8(ascii: "@")] + scanner.host
        }
    }
}

extension CaseFold {
    /// The folded form of UTF-8 text: two texts are equal under i;unicode-casemap if these are, and
    /// come in the order of these bytes. So ASCII letters are upper case, before `[` and `_`.
    package func folded(_ text: [UInt8]) -> [UInt8] {
        var output: [UInt8] = []
        let span = text.span
        append(span, in: 0..<span.count, to: &output)
        for index in output.indices {
            let byte = output[index]
            if byte >= UInt8(ascii: "a"), byte <= UInt8(ascii: "z") { output[index] = byte - 32 }
        }
        return output
    }
}
