import Bytes

/// Finds the parts of a message in one pass over it.
struct StructureParser {
    private(set) var parts: [Part] = []

    /// A multipart or message whose end has not been seen.
    private struct OpenPart {
        let part: Int
        /// Compared with lines; empty for a message, and after the closing boundary.
        var boundary: [UInt8]
        /// The first eight bytes of the boundary, and which of them count.
        var prefix: UInt64 = 0
        var prefixMask: UInt64 = 0
        let isDigest: Bool
        var lastChild: Int?
        /// What had been counted where the body begins.
        let linesBefore: Int
        let bareBefore: Int
    }

    /// LFs without a CR, in all that was parsed.
    var bareLineFeeds: Int { bare }

    private var open: [OpenPart] = []
    private var hasBoundaries = false
    /// LFs, and those without a CR, in the bytes before `counted`.
    private var lines = 0
    private var bare = 0
    private var counted = 0

    /// A line that is a boundary of an open part.
    private struct BoundaryLine {
        let start: Int
        let next: Int
        let open: Int
        let isClosing: Bool
    }

    mutating func parse(_ bytes: Span<UInt8>) {
        var offset = 0
        while true {
            // One entity: its header, then what its body is.
            let leaf = readEntity(in: bytes, &offset)
            var found = nextBoundary(in: bytes, from: offset)
            closeParts(in: bytes, leaf: leaf, at: found)
            while let line = found, line.isClosing {
                // The epilogue: up to a boundary of a part further out.
                open[line.open].boundary = []
                open[line.open].prefixMask = 0
                hasBoundaries = open.contains { !$0.boundary.isEmpty }
                found = nextBoundary(in: bytes, from: line.next)
                closeParts(in: bytes, leaf: nil, at: found)
            }
            guard let line = found else { return count(to: bytes.count, in: bytes) }
            offset = line.next
        }
    }

    /// What has been counted at the start of a body without parts.
    private struct Leaf {
        let part: Int
        let linesBefore: Int
        let bareBefore: Int
    }

    /// Reads a header, and while the entity is a message, the header of the message within it.
    /// Leaves the offset at the start of the body of the innermost, which is returned if it is a
    /// leaf; containers are pushed.
    private mutating func readEntity(in bytes: Span<UInt8>, _ offset: inout Int) -> Leaf? {
        while true {
            let index = appendPart(at: offset)
            let content = readHeader(of: index, in: bytes, &offset)
            count(to: offset, in: bytes)
            classify(index, in: bytes, content: content)
            parts[index].body = ByteRange(offset..<offset)
            switch parts[index].kind {
            case .multipart:
                push(index, in: bytes, content: content)
                return nil
            case .message:
                push(index, in: bytes, content: nil)
            case .text, .other, .opaque:
                return Leaf(part: index, linesBefore: lines, bareBefore: bare)
            }
        }
    }

    /// Makes a part that is the last child of the innermost open one.
    private mutating func appendPart(at offset: Int) -> Int {
        let index = parts.count
        var part = Part(at: offset)
        if let last = open.indices.last {
            let parent = open[last].part
            part.parent = parent
            part.isDigestDefault = open[last].isDigest
            if let sibling = open[last].lastChild {
                parts[sibling].nextSibling = index
            } else {
                parts[parent].firstChild = index
            }
            parts[parent].childCount += 1
            open[last].lastChild = index
        }
        parts.append(part)
        return index
    }

    /// Reads the fields up to the empty line, a boundary or the end.
    private mutating func readHeader(
        of index: Int,
        in bytes: Span<UInt8>,
        _ offset: inout Int
    ) -> ContentType? {
        let start = offset
        while offset < bytes.count {
            if let after = HeaderBlock.emptyLine(in: bytes, at: offset) {
                offset = after
                break
            }
            if hasBoundaries, boundaryLine(in: bytes, at: offset) != nil { break }
            guard let field = readField(in: bytes, at: offset) else { break }
            offset = field.lines.upperBound
            note(field, in: bytes, of: index)
        }
        parts[index].header = ByteRange(start..<offset)
        return parts[index].contentType.range.flatMap { ContentType(bytes, in: $0) }
    }

    private func readField(in bytes: Span<UInt8>, at offset: Int) -> HeaderField? {
        HeaderField(in: bytes, at: offset, end: bytes.count)
    }

    /// Keeps the value if the field is one of MIME's; the first one of a name counts.
    private mutating func note(_ field: HeaderField, in bytes: Span<UInt8>, of index: Int) {
        // All of them begin with "Content-".
        let name = field.name
        guard name.count >= 10, bytes[name.lowerBound].lowercased == UInt8(ascii: "c"),
            bytes[name.lowerBound + 7] == UInt8(ascii: "-")
        else { return }
        let path: WritableKeyPath<Part, ByteRange>
        switch name.count {
        case 10 where field.isNamed("content-id", in: bytes): path = \.contentID
        case 11 where field.isNamed("content-md5", in: bytes): path = \.md5
        case 12 where field.isNamed("content-type", in: bytes): path = \.contentType
        case 16 where field.isNamed("content-language", in: bytes): path = \.language
        case 16 where field.isNamed("content-location", in: bytes): path = \.location
        case 19 where field.isNamed("content-description", in: bytes): path = \.description
        case 19 where field.isNamed("content-disposition", in: bytes): path = \.disposition
        case 25 where field.isNamed("content-transfer-encoding", in: bytes):
            path = \.transferEncoding
        default: return
        }
        if parts[index][keyPath: path].range == nil {
            parts[index][keyPath: path] = ByteRange(field.value)
        }
    }

    private mutating func classify(_ index: Int, in bytes: Span<UInt8>, content: ContentType?) {
        var kind = Part.Kind.other
        if let content {
            if bytes.equalsIgnoringCase("multipart", in: content.type) {
                kind = .multipart
            } else if bytes.equalsIgnoringCase("text", in: content.type) {
                kind = .text
            } else if bytes.equalsIgnoringCase("message", in: content.type),
                bytes.equalsIgnoringCase("rfc822", in: content.subtype)
                    || bytes.equalsIgnoringCase("global", in: content.subtype)
            {
                kind = .message
            }
        } else {
            kind = parts[index].isDigestDefault ? .message : .text
        }
        // RFC 2045 §6.4 forbids it, some senders do it: what is within cannot be read as it stands, so
        // it is an attachment, which clients decode. (Dovecot reads the base64 as a message.)
        if kind == .message, isEncoded(index, in: bytes) { kind = .opaque }
        // The last part that fits holds all the rest; a message needs room for its child.
        if parts.count >= Limits.partCountMax {
            kind = .opaque
            for part in open.indices {
                open[part].boundary = []
                open[part].prefixMask = 0
            }
            hasBoundaries = false
        } else if kind == .multipart || kind == .message, open.count >= Limits.partDepthMax {
            kind = .opaque
        }
        parts[index].kind = kind
    }

    private func isEncoded(_ index: Int, in bytes: Span<UInt8>) -> Bool {
        guard let token = parts[index].encodingToken(in: bytes) else { return false }
        return bytes.equalsIgnoringCase("base64", in: token)
            || bytes.equalsIgnoringCase("quoted-printable", in: token)
    }

    private mutating func push(_ index: Int, in bytes: Span<UInt8>, content: ContentType?) {
        var boundary: [UInt8] = []
        var isDigest = false
        if let content {
            isDigest = bytes.equalsIgnoringCase("digest", in: content.subtype)
            let parameters = MediaParameters.parse(bytes, in: content.parameters)
            // Trailing blanks are not part of a boundary (RFC 2046 §5.1.1).
            if let value = parameters.value(of: "boundary")?.value {
                boundary = Array(value.prefix(Limits.boundaryBytesMax))
                while let last = boundary.last, last.isBlank { boundary.removeLast() }
            }
        }
        var part = OpenPart(
            part: index,
            boundary: boundary,
            isDigest: isDigest,
            linesBefore: lines,
            bareBefore: bare
        )
        for (shift, byte) in boundary.prefix(8).enumerated() {
            part.prefix |= UInt64(byte) << UInt64(shift * 8)
            part.prefixMask |= 0xFF << UInt64(shift * 8)
        }
        open.append(part)
        if !boundary.isEmpty { hasBoundaries = true }
    }

    // MARK: Boundaries

    /// The next line from the offset, the start of a line, that is a boundary of an open part.
    private func nextBoundary(in bytes: Span<UInt8>, from offset: Int) -> BoundaryLine? {
        guard hasBoundaries else { return nil }
        if let line = boundaryLine(in: bytes, at: offset) { return line }
        let dash = UInt8(ascii: "-")
        var search = offset
        while let feed = bytes.lineFeed(before: dash, dash, in: search..<bytes.count) {
            search = feed &+ 1
            if let line = boundaryLine(in: bytes, at: search) { return line }
        }
        return nil
    }

    /// The boundary on the line at the offset, if there is one.
    private func boundaryLine(in bytes: Span<UInt8>, at start: Int) -> BoundaryLine? {
        let dash = UInt8(ascii: "-")
        guard start &+ 2 < bytes.count, bytes[start] == dash, bytes[start &+ 1] == dash else {
            return nil
        }
        let text = start &+ 2
        var prefix: UInt64 = 0
        for shift in 0..<min(8, bytes.count &- text) {
            prefix |= UInt64(bytes[text &+ shift]) << UInt64(shift &* 8)
        }
        var best: Int?
        var bestCount = 0
        var index = open.count
        while index > 0 {
            index &-= 1
            guard open[index].prefixMask != 0,
                (prefix ^ open[index].prefix) & open[index].prefixMask == 0
            else { continue }
            let count = open[index].boundary.count
            guard count > bestCount, hasBoundary(index, in: bytes, at: text) else { continue }
            best = index
            bestCount = count
        }
        guard let best else { return nil }
        let after = text &+ bestCount
        let isClosing =
            after &+ 1 < bytes.count && bytes[after] == dash && bytes[after &+ 1] == dash
        let feed = bytes.offset(of: .lf, in: after..<bytes.count)
        return BoundaryLine(
            start: start,
            next: feed.map { $0 &+ 1 } ?? bytes.count,
            open: best,
            isClosing: isClosing
        )
    }

    private func hasBoundary(_ index: Int, in bytes: Span<UInt8>, at text: Int) -> Bool {
        let count = open[index].boundary.count
        guard bytes.count &- text >= count else { return false }
        for offset in 0..<count where bytes[text &+ offset] != open[index].boundary[offset] {
            return false
        }
        return true
    }

    // MARK: Ends

    /// Ends the leaf and the open parts within the one whose boundary was found, or all of them at
    /// the end of the message.
    private mutating func closeParts(in bytes: Span<UInt8>, leaf: Leaf?, at line: BoundaryLine?) {
        // The line end before a boundary belongs to the boundary.
        var end = line?.start ?? bytes.count
        var linesAtEnd = 0
        var bareAtEnd = 0
        count(to: end, in: bytes)
        (linesAtEnd, bareAtEnd) = (lines, bare)
        if line != nil, end > 0, bytes[end - 1] == .lf {
            end -= 1
            linesAtEnd -= 1
            if end > 0, bytes[end - 1] == .cr { end -= 1 } else { bareAtEnd -= 1 }
        }
        if let leaf {
            setEnd(
                of: leaf.part,
                at: end,
                lines: linesAtEnd - leaf.linesBefore,
                bare: bareAtEnd - leaf.bareBefore
            )
        }
        while open.count > (line.map { $0.open + 1 } ?? 0), let part = open.popLast() {
            setEnd(
                of: part.part,
                at: end,
                lines: linesAtEnd - part.linesBefore,
                bare: bareAtEnd - part.bareBefore
            )
            if parts[part.part].kind == .multipart, parts[part.part].childCount == 0 {
                appendStandIn(for: part.part)
            }
        }
        hasBoundaries = open.contains { !$0.boundary.isEmpty }
    }

    private mutating func setEnd(of index: Int, at end: Int, lines: Int, bare: Int) {
        let start = parts[index].body.bounds.lowerBound
        // The header may have ended at the boundary itself.
        guard end > start else { return }
        parts[index].body = ByteRange(start..<end)
        parts[index].bodyLines = lines
        parts[index].bodyOctets = end - start + bare
    }

    /// Gives a multipart without parts a text that is its body.
    private mutating func appendStandIn(for index: Int) {
        let body = parts[index].body
        var part = Part(at: body.bounds.lowerBound)
        part.parent = index
        part.body = body
        part.bodyLines = parts[index].bodyLines
        part.bodyOctets = parts[index].bodyOctets
        parts[index].firstChild = parts.count
        parts[index].childCount = 1
        parts.append(part)
    }

    private mutating func count(to offset: Int, in bytes: Span<UInt8>) {
        guard offset > counted else { return }
        let feeds = bytes.lineFeeds(in: counted..<offset)
        lines += feeds.all
        bare += feeds.bare
        // The first byte counts as bare whatever stands before it.
        if counted > 0, bytes[counted] == .lf, bytes[counted - 1] == .cr { bare -= 1 }
        counted = offset
    }
}
