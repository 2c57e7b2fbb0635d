import Bytes

//  A message's file name
//
//      name = base [":" info]        base = unique *("," field)        info = "2," letters …
//
//  On disk: the name of a file in `new/` (usually without info) or in `cur/` (with one). The program
//  that delivers makes the base name once; after that only the info changes, by rename(). So the
//  base name, all of it up to the *first* colon and with its `,S=` and `,W=`, is what identifies the
//  message in every list, and the info is what follows the *last* colon. Between the two there is
//  normally one colon; a name with more is kept as it is, apart from its info.
//
//  We look into the base name for three things only: digits at its start (delivery time), an
//  `M<digits>` in its second dot-field (microseconds), and the sizes. All three are hints that the
//  delivering program may have got wrong: times only order messages that come in together, and sizes
//  count only when the message has been read.

/// The name of a file that is a message, and where its parts lie.
package struct MessageName: Hashable, Sendable {
    package let bytes: [UInt8]
    package let layout: Layout

    /// The name, or nil where a directory entry of this name is not a message.
    package init?(_ bytes: [UInt8]) {
        layout = Layout(bytes.span)
        guard layout.kind == .message else { return nil }
        self.bytes = bytes
    }

    /// The text before the first colon. Two names denote one message exactly if these are equal.
    package var base: [UInt8] { Array(bytes[..<layout.baseCount]) }

    package var flags: FlagLetters { FlagLetters(fileName: bytes.span) }

    /// The same message's name with these flags, as it is written in `cur/`.
    package func with(_ flags: FlagLetters) -> [UInt8] {
        var buffer = ByteBuffer(capacity: layout.stemCount + 40)
        buffer.append(bytes[..<layout.stemCount])
        flags.write(to: &buffer)
        return buffer.bytes
    }

    /// What the name claims of the message's size, from its base name.
    package var sizeHints: SizeHints { SizeHints(base: bytes.span.extracting(..<layout.baseCount)) }

    package var deliveryTime: DeliveryTime? {
        DeliveryTime(base: bytes.span.extracting(..<layout.baseCount))
    }
}

extension MessageName {
    /// What a directory entry is, judged by its name.
    package enum Kind: Sendable {
        case message
        /// Begins with a dot: never a message.
        case hidden
        /// Holds CR, LF or NUL, which no list could carry: not served.
        case unsafe
        /// Begins with a colon, so that nothing identifies it: needs a fresh name.
        case baseless
    }

    /// Where the parts of a name end. Found in one pass without an allocation, for directory scans.
    package struct Layout: Hashable, Sendable {
        package let kind: Kind
        /// Up to the first colon.
        package let baseCount: Int
        /// Up to the last colon: what stays when the info is rewritten.
        package let stemCount: Int

        package var hasInfo: Bool { kind == .message && count != baseCount }
        private let count: Int

        package init(_ name: Span<UInt8>) {
            let count = name.count
            var first = count
            var last = count
            var isUnsafe = false
            func look(_ range: Range<Int>) {
                for index in range {
                    let byte = name[index]
                    if byte == UInt8(ascii: ":") {
                        if first == count { first = index }
                        last = index
                    } else if byte < 0x0E, byte == .lf || byte == .cr || byte == 0 {
                        isUnsafe = true
                    }
                }
            }
            var offset = 0
            while offset &+ 8 <= count {
                // Nearly all words hold neither a colon nor what makes a name unsafe.
                let word = name.word(at: offset)
                let hits =
                    Self.zeroBytes(word ^ Self.colons) | Self.zeroBytes(word ^ Self.lineFeeds)
                    | Self.zeroBytes(word ^ Self.returns) | Self.zeroBytes(word)
                if hits != 0 { look(offset..<(offset &+ 8)) }
                offset &+= 8
            }
            look(offset..<count)
            baseCount = first
            stemCount = last
            self.count = count
            if name.isEmpty || name[0] == UInt8(ascii: ".") {
                kind = .hidden
            } else if isUnsafe {
                kind = .unsafe
            } else {
                kind = first == 0 ? .baseless : .message
            }
        }

        private static let colons: UInt64 = 0x3A3A_3A3A_3A3A_3A3A
        private static let lineFeeds: UInt64 = 0x0A0A_0A0A_0A0A_0A0A
        private static let returns: UInt64 = 0x0D0D_0D0D_0D0D_0D0D

        /// Not 0 exactly where one of the eight bytes is.
        @inline(__always) private static func zeroBytes(_ word: UInt64) -> UInt64 {
            (word &- 0x0101_0101_0101_0101) & ~word & 0x8080_8080_8080_8080
        }
    }
}

extension MessageName {
    /// A name in a directory as a listing keeps it, told in one call without an allocation.
    package struct Listed: Sendable {
        package let layout: Layout
        package let flags: FlagLetters.Known
        /// Whether the name is the base name, `:2,` and known letters in ascending order, each once.
        package let isCanonical: Bool

        package init(_ name: Span<UInt8>) {
            layout = Layout(name)
            let start = layout.stemCount
            guard layout.hasInfo else {
                flags = []
                isCanonical = false
                return
            }
            var known: FlagLetters.Known = []
            var last: UInt8 = 0
            var index = start + 3
            var isRegular =
                layout.baseCount == start && index <= name.count
                && name[start + 1] == UInt8(ascii: "2") && name[start + 2] == UInt8(ascii: ",")
            while isRegular, index < name.count {
                let letter = name[index]
                let bit = FlagLetters.Known(letter: letter)
                isRegular = letter > last && bit.rawValue != 0
                known.formUnion(bit)
                last = letter
                index += 1
            }
            isCanonical = isRegular
            flags = isRegular ? known : FlagLetters(fileName: name).known
        }
    }
}

extension MessageName {
    /// `,S=` and `,W=` of a base name.
    package struct SizeHints: Hashable, Sendable {
        /// Octets of the file, before any compression of it.
        package let stored: UInt64?
        /// Octets with each bare LF counted as CRLF: RFC822.SIZE.
        package let wire: UInt64?

        package init(base: Span<UInt8>) {
            stored = Self.field(UInt8(ascii: "S"), of: base)
            wire = Self.field(UInt8(ascii: "W"), of: base)
        }

        /// The first `,K=` counts. It must hold digits up to the next comma or the end.
        private static func field(_ key: UInt8, of base: Span<UInt8>) -> UInt64? {
            var index = 0
            while index + 3 < base.count {
                if base[index] == UInt8(ascii: ","), base[index + 1] == key,
                    base[index + 2] == UInt8(ascii: "=")
                {
                    var cursor = ByteCursor(base, at: index + 3)
                    // A size above 2^62 would overflow the sums that are made of sizes.
                    guard let value = cursor.decimal(max: 1 << 62),
                        cursor.isAtEnd || cursor.peek == UInt8(ascii: ",")
                    else { return nil }
                    return value
                }
                index += 1
            }
            return nil
        }
    }

    /// When the delivering program says it made the name.
    package struct DeliveryTime: Hashable, Comparable, Sendable {
        package let seconds: UInt64
        /// Nil sorts before any number.
        package let microseconds: UInt32?

        /// Nil where the name does not begin with a digit, or with a number that is no time.
        package init?(base: Span<UInt8>) {
            var cursor = ByteCursor(base)
            guard let seconds = cursor.decimal(max: UInt64(Int64.max)) else { return nil }
            self.seconds = seconds
            guard cursor.accept(UInt8(ascii: ".")) else {
                microseconds = nil
                return
            }
            _ = cursor.take { $0 != UInt8(ascii: "M") && $0 != UInt8(ascii: ".") }
            guard cursor.accept(UInt8(ascii: "M")) else {
                microseconds = nil
                return
            }
            microseconds = cursor.decimal(max: UInt64(UInt32.max)).map(UInt32.init)
        }

        package static func < (left: DeliveryTime, right: DeliveryTime) -> Bool {
            guard left.seconds == right.seconds else { return left.seconds < right.seconds }
            switch (left.microseconds, right.microseconds) {
            case (nil, nil), (_, nil): return false
            case (nil, _): return true
            case (let left?, let right?): return left < right
            }
        }
    }

    /// Base names in the order in which they get their UIDs: by time, then by name; names without a
    /// time come first.
    ///
    /// Dovecot compares microseconds only where both have them, which orders three names in a
    /// circle at times; a name without them comes first in its second here, so that this is an order.
    package static func sortedByArrival(_ bases: [[UInt8]]) -> [[UInt8]] {
        let times = bases.map { DeliveryTime(base: $0.span) }
        let order = bases.indices.sorted { left, right in
            switch (times[left], times[right]) {
            case (nil, nil): break
            case (nil, _): return true
            case (_, nil): return false
            case (let first?, let second?):
                if first != second { return first < second }
            }
            return bases[left].lexicographicallyPrecedes(bases[right])
        }
        return order.map { bases[$0] }
    }
}
