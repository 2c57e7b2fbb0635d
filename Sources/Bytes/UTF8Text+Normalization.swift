@_spi(_Unicode) import Swift

extension UTF8Text {
    /// Text in Unicode Normalization Form C, which Net-Unicode asks for.     RFC 5198 §2
    ///
    /// What is not UTF-8 comes back as it is.
    public static func normalized(_ text: [UInt8]) -> [UInt8] {
        guard text.contains(where: { $0 >= 0x80 }), isValid(text.span) else { return text }
        var output: [UInt8] = []
        output.reserveCapacity(text.count)
        for scalar in String(decoding: text, as: UTF8.self)._nfc {
            if let bytes = Unicode.UTF8.encode(scalar) { output.append(contentsOf: bytes) }
        }
        return output
    }
}
