import Bytes

//  Parameters of Content-Type and Content-Disposition
//
//  Continuations are joined, as RFC 2231 §6 asks of IMAP servers: `name*0`, `name*1` become
//  `name`; if any section is in the extended form, they become `name*` in the extended form, its
//  charset and percent signs left for the client, as Dovecot does it. Sections that do not begin
//  with 0 stay as they were written; after a gap the rest is dropped. Encoded words are left alone.

/// One parameter, with its continuations joined.
package struct MediaParameter: Equatable, Sendable {
    /// As written; ends in `*` if the value is in the extended form of RFC 2231 §4.
    package var name: [UInt8]
    /// Without quoting.
    package var value: [UInt8]
}

package enum MediaParameters {
    /// The parameters in the range, which begins at or before the first semicolon.
    ///
    ///     parameter := attribute "=" value                               RFC 2045 §5.1
    ///
    /// A value that is not quoted goes up to the next semicolon or comment, with what it should
    /// not have (`filename=my file.pdf`). What has no `=` is no parameter.
    package static func parse(_ bytes: Span<UInt8>, in range: Range<Int>) -> [MediaParameter] {
        var parameters: [MediaParameter] = []
        var offset = range.lowerBound
        let end = range.upperBound
        var hasSections = false
        skipToSemicolon(in: bytes, &offset, end: end)
        while offset < end {
            offset &+= 1
            bytes.skipCommentsAndSpace(&offset, end: end)
            let nameStart = offset
            while offset < end, !bytes[offset].endsToken { offset &+= 1 }
            let name = nameStart..<offset
            bytes.skipCommentsAndSpace(&offset, end: end)
            if !name.isEmpty, offset < end, bytes[offset] == UInt8(ascii: "=") {
                offset &+= 1
                bytes.skipCommentsAndSpace(&offset, end: end)
                let value = readValue(in: bytes, &offset, end: end)
                if !hasSections, bytes.offset(of: UInt8(ascii: "*"), in: name) != nil {
                    hasSections = true
                }
                parameters.append(
                    MediaParameter(name: bytes.extracting(name).array, value: value)
                )
            }
            skipToSemicolon(in: bytes, &offset, end: end)
        }
        return hasSections ? joinSections(parameters) : parameters
    }

    private static func skipToSemicolon(
        in bytes: Span<UInt8>,
        _ offset: inout Int,
        end: Int
    ) {
        while offset < end, bytes[offset] != UInt8(ascii: ";") {
            if bytes[offset] == UInt8(ascii: "(") {
                bytes.skipComment(&offset, end: end)
            } else if bytes[offset] == .quote {
                bytes.skipQuoted(&offset, end: end)
            } else {
                offset &+= 1
            }
        }
    }

    private static func readValue(
        in bytes: Span<UInt8>,
        _ offset: inout Int,
        end: Int
    ) -> [UInt8] {
        if offset < end, bytes[offset] == .quote {
            var value: [UInt8] = []
            bytes.readQuoted(&offset, end: end, into: &value)
            return value
        }
        let start = offset
        while offset < end, bytes[offset] != UInt8(ascii: ";") {
            if bytes[offset] == UInt8(ascii: "("), offset > start,
                bytes[offset &- 1].isFoldingSpace
            {
                break
            }
            offset &+= 1
        }
        return bytes.unfolded(start..<offset)
    }

    /// A section of a parameter that is written in several.
    private struct Section {
        let number: Int
        let isExtended: Bool
        /// Index of the parameter as written.
        let index: Int
    }

    private static func joinSections(_ written: [MediaParameter]) -> [MediaParameter] {
        var groups: [[UInt8]: Int] = [:]
        var sections: [[Section]] = []
        for (index, parameter) in written.enumerated() {
            guard let (base, number, isExtended) = sectionName(parameter.name) else { continue }
            let section = Section(number: number, isExtended: isExtended, index: index)
            if let group = groups[base.lowercased] {
                sections[group].append(section)
            } else {
                groups[base.lowercased] = sections.count
                sections.append([section])
            }
        }
        // What becomes of each parameter as written: itself, nothing, or the joined one.
        var results: [MediaParameter?] = written
        for group in sections {
            let ordered = group.sorted { ($0.number, $0.index) < ($1.number, $1.index) }
            guard ordered[0].number == 0 else { continue }
            var joined: [Section] = []
            for section in ordered where section.number == joined.count { joined.append(section) }
            for section in ordered { results[section.index] = nil }
            guard let first = group.first else { continue }
            results[first.index] = join(joined, of: written)
        }
        return results.compactMap { $0 }
    }

    private static func join(_ sections: [Section], of written: [MediaParameter]) -> MediaParameter
    {
        let first = written[sections[0].index]
        var name = first.name
        name.removeSubrange((name.firstIndex(of: UInt8(ascii: "*")) ?? name.count)...)
        var value: [UInt8] = []
        guard sections.contains(where: \.isExtended) else {
            for section in sections { value += written[section.index].value }
            return MediaParameter(name: name, value: value)
        }
        name.append(UInt8(ascii: "*"))
        // Without a charset in the first section there is none: both quotes, nothing before.
        if !sections[0].isExtended { value += [UInt8]("''") }
        for section in sections {
            let text = written[section.index].value
            guard !section.isExtended else {
                value += text
                continue
            }
            for byte in text {
                if byte.endsToken || byte >= 0x80 || byte == UInt8(ascii: "%")
                    || byte == UInt8(ascii: "'") || byte == UInt8(ascii: "*")
                {
                    value.append(UInt8(ascii: "%"))
                    value.append(hexDigit(byte >> 4).uppercased)
                    value.append(hexDigit(byte & 15).uppercased)
                } else {
                    value.append(byte)
                }
            }
        }
        return MediaParameter(name: name, value: value)
    }

    /// The parts of `name*3` or `name*3*`; nil for any other name.
    private static func sectionName(
        _ name: [UInt8]
    ) -> (base: [UInt8], number: Int, isExtended: Bool)? {
        guard let star = name.firstIndex(of: UInt8(ascii: "*")), star > 0 else { return nil }
        let span = name.span
        var cursor = ByteCursor(span, at: star + 1)
        guard let number = cursor.decimal(max: UInt64(Limits.parameterSectionMax) - 1) else {
            return nil
        }
        let isExtended = cursor.accept(UInt8(ascii: "*"))
        guard cursor.isAtEnd else { return nil }
        return (Array(name[..<star]), Int(number), isExtended)
    }
}

extension Array where Element == MediaParameter {
    /// The value of the parameter as bytes in the charset it was written in, with percent signs
    /// decoded, and that charset (empty if not told); nil if there is none of this name.
    package func value(of name: StaticString) -> (value: [UInt8], charset: [UInt8])? {
        for parameter in self {
            if parameter.name.equalsIgnoringCase(name) { return (parameter.value, []) }
            guard parameter.name.last == UInt8(ascii: "*"),
                Array<UInt8>(parameter.name.dropLast()).equalsIgnoringCase(name)
            else { continue }
            return parameter.decodedExtended
        }
        return nil
    }
}

extension MediaParameter {
    /// The value of the extended form, `charset'language'percent-encoded`, without percent signs.
    package var decodedExtended: (value: [UInt8], charset: [UInt8]) {
        var charset: [UInt8] = []
        var text = value[...]
        if let first = value.firstIndex(of: 0x27),
            let second = value[(first + 1)...].firstIndex(of: 0x27)
        {
            charset = Array(value[..<first])
            text = value[(second + 1)...]
        }
        var decoded: [UInt8] = []
        decoded.reserveCapacity(text.count)
        var index = text.startIndex
        while index < text.endIndex {
            if text[index] == UInt8(ascii: "%"), text.endIndex - index > 2,
                let high = text[index + 1].hexValue, let low = text[index + 2].hexValue
            {
                decoded.append(high << 4 | low)
                index += 3
            } else {
                decoded.append(text[index])
                index += 1
            }
        }
        return (decoded, charset)
    }
}
