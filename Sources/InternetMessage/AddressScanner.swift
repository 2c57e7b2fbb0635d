import Bytes

//  Address lists
//
//  Read as RFC 5322 §3.4 and §4.4 have them, and as people write them: names with dots, several
//  words without brackets, an address as its own unquoted name, a missing comma, `;` between
//  addresses as Outlook writes it, unclosed quotes, comments and brackets. One pass, no
//  backtracking, no recursion: 500,000 addresses cost what their bytes cost. The texts of the
//  current address stand in buffers that are used again for the next.

/// Reads an address list one address, group start or group end at a time.
package struct AddressScanner {
    package enum Item: Equatable, Sendable {
        /// `name`, `route`, `mailbox` and `host` describe it.
        case address
        /// `mailbox` is the group's name.
        case groupStart
        case groupEnd
    }

    /// The display name without its quoting, or the comment that stands for it; empty if none.
    package private(set) var name: [UInt8] = []
    /// The route of obsolete syntax, as `@a,@b`; empty if none.
    package private(set) var route: [UInt8] = []
    /// The local part without its quoting. Empty where only a name is there.
    package private(set) var mailbox: [UInt8] = []
    /// The domain; empty where there is none, as in a local `root`.
    package private(set) var host: [UInt8] = []

    private var offset: Int
    private let end: Int
    private var isInGroup = false

    // The address being read.
    private var phrase: [UInt8] = []
    private var comment: [UInt8] = []
    private var phraseBeforeMailbox = 0
    /// An address with `@` or `<` has been read.
    private var isComplete = false
    private var hasBrackets = false
    private var lastWasDot = false
    private var sawSpace = false
    /// What is read now follows an address without a comma: words alone are then no address.
    private var isTrailing = false

    package init(_ range: Range<Int>) {
        offset = range.lowerBound
        end = range.upperBound
    }

    /// The next item, or nil at the end of the list. `bytes` must be the same each time.
    package mutating func next(in bytes: Span<UInt8>) -> Item? {
        reset()
        while offset < end {
            let byte = bytes[offset]
            switch byte {
            case .space, .tab, .cr, .lf:
                offset &+= 1
                sawSpace = true
            case UInt8(ascii: "("):
                bytes.readComment(&offset, end: end, into: &comment)
                sawSpace = true
            case UInt8(ascii: ","):
                offset &+= 1
                if finishAddress() { return .address }
                reset()
            case UInt8(ascii: ";"):
                // The address before it first; the next call sees the semicolon again.
                if finishAddress() { return .address }
                offset &+= 1
                reset()
                guard isInGroup else { continue }
                isInGroup = false
                return .groupEnd
            case UInt8(ascii: ":"):
                offset &+= 1
                sawSpace = true
                guard !isInGroup, !isComplete else { continue }
                isInGroup = true
                swap(&mailbox, &phrase)
                return .groupStart
            case UInt8(ascii: "<"):
                if hasBrackets {
                    if finishAddress() { return .address }
                    reset()
                }
                readBrackets(in: bytes)
            case UInt8(ascii: ">"):
                offset &+= 1
            case UInt8(ascii: "@"):
                readDomain(in: bytes)
            default:
                guard !hasBrackets else {
                    // Words after `<...>` say nothing.
                    skipWord(in: bytes)
                    continue
                }
                if isComplete, sawSpace {
                    _ = finishAddress()
                    isTrailing = true
                    return .address
                }
                readWord(in: bytes)
            }
        }
        if finishAddress() { return .address }
        guard isInGroup else { return nil }
        isInGroup = false
        return .groupEnd
    }

    private mutating func reset() {
        name.removeAll(keepingCapacity: true)
        route.removeAll(keepingCapacity: true)
        mailbox.removeAll(keepingCapacity: true)
        host.removeAll(keepingCapacity: true)
        phrase.removeAll(keepingCapacity: true)
        comment.removeAll(keepingCapacity: true)
        phraseBeforeMailbox = 0
        isComplete = false
        hasBrackets = false
        lastWasDot = false
        sawSpace = false
    }

    /// Reads an atom, a quoted string or a dot into the phrase, and into the mailbox that it may
    /// turn out to be.
    private mutating func readWord(in bytes: Span<UInt8>) {
        let isDot = bytes[offset] == UInt8(ascii: ".")
        if sawSpace, !isDot, !lastWasDot || mailbox.isEmpty {
            mailbox.removeAll(keepingCapacity: true)
        }
        if mailbox.isEmpty { phraseBeforeMailbox = phrase.count }
        if sawSpace, !phrase.isEmpty { phrase.append(.space) }
        let start = phrase.count
        if isDot {
            phrase.append(UInt8(ascii: "."))
            offset &+= 1
        } else if bytes[offset] == .quote {
            bytes.readQuoted(&offset, end: end, into: &phrase)
        } else {
            let first = offset
            skipAtom(in: bytes)
            phrase.append(contentsOf: bytes.extracting(first..<offset))
        }
        mailbox.append(contentsOf: phrase[start...])
        lastWasDot = isDot
        sawSpace = false
    }

    private mutating func skipAtom(in bytes: Span<UInt8>) {
        // At least one byte, so that no byte can stop the scan.
        offset &+= 1
        while offset < end, !bytes[offset].endsAtom { offset &+= 1 }
    }

    private mutating func skipWord(in bytes: Span<UInt8>) {
        guard bytes[offset] == .quote else { return skipAtom(in: bytes) }
        bytes.skipQuoted(&offset, end: end)
    }

    /// Reads `@` and the domain: the words so far were the mailbox, and a name before it.
    private mutating func readDomain(in bytes: Span<UInt8>) {
        offset &+= 1
        guard !hasBrackets else { return }
        if isComplete {
            // `a@b@c`: the last one counts.
            mailbox.append(UInt8(ascii: "@"))
            mailbox.append(contentsOf: host)
            host.removeAll(keepingCapacity: true)
        } else {
            name.append(contentsOf: phrase[..<phraseBeforeMailbox])
        }
        phrase.append(UInt8(ascii: "@"))
        isComplete = true
        sawSpace = false
        var lastWasDot = true
        while offset < end {
            let byte = bytes[offset]
            if byte.isFoldingSpace {
                offset &+= 1
                sawSpace = true
            } else if byte == UInt8(ascii: "(") {
                bytes.readComment(&offset, end: end, into: &comment)
                sawSpace = true
            } else if byte == UInt8(ascii: ".") || (!byte.endsAtom && (lastWasDot || !sawSpace)) {
                let first = offset
                lastWasDot = byte == UInt8(ascii: ".")
                if byte == UInt8(ascii: "[") {
                    while offset < end, bytes[offset] != UInt8(ascii: "]"),
                        bytes[offset] != UInt8(ascii: ",")
                    {
                        offset &+= 1
                    }
                    if offset < end, bytes[offset] == UInt8(ascii: "]") { offset &+= 1 }
                } else if lastWasDot {
                    offset &+= 1
                } else {
                    skipAtom(in: bytes)
                }
                host.append(contentsOf: bytes.extracting(first..<offset))
                phrase.append(contentsOf: bytes.extracting(first..<offset))
                sawSpace = false
            } else {
                return
            }
        }
    }

    /// Reads `<...>`: an optional route, the mailbox and the domain.
    ///
    ///     angle-addr = [CFWS] "<" [obs-route] addr-spec ">" [CFWS]     RFC 5322 §3.4, §4.4
    private mutating func readBrackets(in bytes: Span<UInt8>) {
        offset &+= 1
        swap(&name, &phrase)
        mailbox.removeAll(keepingCapacity: true)
        host.removeAll(keepingCapacity: true)
        isComplete = true
        hasBrackets = true
        readRoute(in: bytes)
        var isInHost = false
        while offset < end {
            let byte = bytes[offset]
            switch byte {
            case .space, .tab, .cr, .lf:
                offset &+= 1
            case UInt8(ascii: "("):
                bytes.skipComment(&offset, end: end)
            case UInt8(ascii: ">"):
                offset &+= 1
                return
            case UInt8(ascii: ","):
                return
            case UInt8(ascii: "@"):
                offset &+= 1
                if isInHost {
                    mailbox.append(UInt8(ascii: "@"))
                    mailbox.append(contentsOf: host)
                    host.removeAll(keepingCapacity: true)
                }
                isInHost = true
            case .quote where !isInHost:
                bytes.readQuoted(&offset, end: end, into: &mailbox)
            default:
                let first = offset
                skipAtom(in: bytes)
                if isInHost {
                    host.append(contentsOf: bytes.extracting(first..<offset))
                } else {
                    mailbox.append(contentsOf: bytes.extracting(first..<offset))
                }
            }
        }
    }

    /// Reads `@a,@b:` if that is what follows, nothing otherwise.
    private mutating func readRoute(in bytes: Span<UInt8>) {
        var index = offset
        bytes.skipCommentsAndSpace(&index, end: end)
        guard index < end, bytes[index] == UInt8(ascii: "@") else { return }
        let start = index
        while index < end, bytes[index] != UInt8(ascii: ":") {
            guard bytes[index] != UInt8(ascii: ">"), bytes[index] != UInt8(ascii: "<") else {
                return
            }
            index &+= 1
        }
        guard index < end else { return }
        for byte in start..<index where !bytes[byte].isFoldingSpace { route.append(bytes[byte]) }
        offset = index &+ 1
    }

    /// Settles what was read up to a separator; false if there was no address.
    private mutating func finishAddress() -> Bool {
        let wasTrailing = isTrailing
        isTrailing = false
        if !isComplete {
            guard !phrase.isEmpty, !wasTrailing else { return false }
            host.removeAll(keepingCapacity: true)
            if phraseBeforeMailbox > 0 || mailbox.isEmpty {
                // Several words and no address: a name that someone wrote.
                swap(&name, &phrase)
                mailbox.removeAll(keepingCapacity: true)
            }
        }
        if name.isEmpty { swap(&name, &comment) }
        return !(name.isEmpty && mailbox.isEmpty && host.isEmpty)
    }
}

extension Span where Element == UInt8 {
    /// Moves over the quoted string that begins at the offset.
    func skipQuoted(_ offset: inout Int, end: Int) {
        offset &+= 1
        while offset < end, self[offset] != .quote {
            offset &+= self[offset] == .backslash ? 2 : 1
        }
        offset = Swift.min(offset &+ 1, end)
    }
}

extension Array where Element == UInt8 {
    mutating func append(contentsOf span: Span<UInt8>) {
        unsafe span.withUnsafeBufferPointer { unsafe append(contentsOf: $0) }
    }
}
