package import Bytes

//  Flags in a file name
//
//  On disk: `:2,` and letters at the end of the name of a file in `cur/`. D F R S T are system
//  flags, P says passed on ($Forwarded), a–z are the mailbox's keywords 0–25. Every mail program of
//  the user writes them, each by one rename() of the whole name, so they change together or not at
//  all and a crash leaves the old name or the new one.
//
//  Other programs know letters that we do not, and may put more sets behind a second comma. Whoever
//  renames a file carries those along: unknown letters stay, in sorted place, and what follows the
//  comma stays byte for byte. An info that is not `2,` means no flags, and is replaced by the next
//  rewrite, as Dovecot does.

/// The flags of one message as its file name tells them.
///
/// One word for the letters we know. `rest` is empty, and so costs no allocation, unless another
/// program wrote something that we do not know.
package struct FlagLetters: Hashable, Sendable {
    /// Letters with a meaning: bit 0–25 for `a`–`z`, then D F P R S T.
    package struct Known: OptionSet, Hashable, Sendable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }

        /// `\Draft`
        package static let draft = Known(rawValue: 1 << 26)
        /// `\Flagged`
        package static let flagged = Known(rawValue: 1 << 27)
        /// `$Forwarded`: forwarded, resent or bounced.
        package static let passed = Known(rawValue: 1 << 28)
        /// `\Answered`
        package static let replied = Known(rawValue: 1 << 29)
        /// `\Seen`
        package static let seen = Known(rawValue: 1 << 30)
        /// `\Deleted`
        package static let trashed = Known(rawValue: 1 << 31)

        /// Every letter `a`–`z`.
        package static let keywords = Known(rawValue: 0x03FF_FFFF)
        /// D F P R S T.
        package static let system = Known(rawValue: 0xFC00_0000)

        /// The letter of keyword `index`, which must be below 26.
        package static func keyword(_ index: Int) -> Known {
            precondition((0..<Limits.keywordLetterCount).contains(index), "no letter for keyword")
            return Known(rawValue: 1 << UInt32(index))
        }

        /// The indexes of the keyword letters, ascending.
        package var keywordIndexes: [Int] {
            (0..<Limits.keywordLetterCount).filter { rawValue & 1 << UInt32($0) != 0 }
        }

        /// The letter's bit, or nothing for a letter without a meaning.
        @inline(__always) init(letter: UInt8) {
            rawValue =
                switch letter {
                case 0x61...0x7A: 1 << UInt32(letter &- 0x61)
                case UInt8(ascii: "D"): 1 << 26
                case UInt8(ascii: "F"): 1 << 27
                case UInt8(ascii: "P"): 1 << 28
                case UInt8(ascii: "R"): 1 << 29
                case UInt8(ascii: "S"): 1 << 30
                case UInt8(ascii: "T"): 1 << 31
                default: 0
                }
        }
    }

    package var known: Known

    /// Unknown letters in ASCII order, then everything from the second comma on. Usually empty.
    package private(set) var rest: [UInt8]

    package init(_ known: Known = []) {
        self.known = known
        rest = []
    }

    /// The flags in a whole file name: what follows its *last* colon.
    package init(fileName: Span<UInt8>) {
        var colon = fileName.count
        while colon > 0, fileName[colon - 1] != UInt8(ascii: ":") { colon -= 1 }
        if colon == 0 { self.init() } else { self.init(fileName, from: colon) }
    }

    /// The flags in an info suffix, given without its colon: `2,FS`.
    package init(info: Span<UInt8>) { self.init(info, from: 0) }

    private init(_ name: Span<UInt8>, from start: Int) {
        self.init()
        guard name.count - start >= 2, name[start] == UInt8(ascii: "2"),
            name[start + 1] == UInt8(ascii: ",")
        else { return }
        var index = start + 2
        while index < name.count {
            let letter = name[index]
            let bit = Known(letter: letter)
            if bit.rawValue != 0 {
                known.formUnion(bit)
            } else if letter == UInt8(ascii: ",") {
                rest.append(contentsOf: name.extracting(index..<name.count).array)
                return
            } else {
                keepUnknown(letter)
            }
            index += 1
        }
    }

    /// The unknown letters hold no comma yet while this is called.
    private mutating func keepUnknown(_ letter: UInt8) {
        let place = rest.firstIndex { $0 >= letter } ?? rest.count
        if place < rest.count, rest[place] == letter { return }
        rest.insert(letter, at: place)
    }

    /// Appends `:2,` and the letters in ASCII order, then whatever followed a second comma.
    package func write(to buffer: inout ByteBuffer) {
        buffer.append(":2,")
        var unknown = 0
        // The six system letters are the set bits above 25, in ASCII order.
        let letters: StaticString = "DFPRST"
        for index in 0..<6 where known.rawValue & 1 << UInt32(26 + index) != 0 {
            let letter = unsafe letters.utf8Start[index]
            writeUnknown(below: letter, from: &unknown, to: &buffer)
            buffer.append(letter)
        }
        var keywords = known.rawValue & Known.keywords.rawValue
        while keywords != 0 {
            let letter = 0x61 + UInt8(keywords.trailingZeroBitCount)
            writeUnknown(below: letter, from: &unknown, to: &buffer)
            buffer.append(letter)
            keywords &= keywords &- 1
        }
        buffer.append(rest[unknown...])
    }

    private func writeUnknown(
        below letter: UInt8,
        from index: inout Int,
        to buffer: inout ByteBuffer
    ) {
        while index < rest.count, rest[index] != UInt8(ascii: ","), rest[index] < letter {
            buffer.append(rest[index])
            index += 1
        }
    }

    /// The info suffix with its colon.
    package var info: [UInt8] {
        var buffer = ByteBuffer(capacity: 40)
        write(to: &buffer)
        return buffer.bytes
    }
}
