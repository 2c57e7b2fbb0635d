import Bytes
import Posix

//  maildirsize: how much a user may have, and has                            Maildir++
//
//      10000000S,1000C                     limits: bytes and messages; 0 or nothing: no limit
//        123456     17                     bytes and messages; lines are summed
//      -2048 -1
//
//  In the root of the Maildir. Who writes: every program that delivers or removes mail (Postfix with
//  its quota patch, maildrop, Courier, Dovecot, and we), each by one write() of one line to the end,
//  without a lock. The first line is the limit's only place: programs that know no other take it from
//  there. Where there is no such file there is no quota, and nobody is told of one; we never make it,
//  and never remove it.
//
//  The numbers drift: a program that crashes between a rename and its line, or that knows no quota,
//  leaves them wrong. So they are counted anew from the directories, and the file replaced, where
//  they cannot be right (a negative sum, a NUL), where the file has 5120 bytes, and before mail is
//  refused, unless the file was just counted (one line, younger than 15 minutes). What others add
//  between count and rename would be lost: the count is taken again where the file changed meanwhile.
//
//  All messages count, those in Trash and those marked as deleted too, as with Dovecot. (Courier
//  leaves them out unless told otherwise. Where it counts the same file anew, the sum is lower until
//  we do.)
//
//  A crash of ours between rename and line leaves the numbers off by a batch until the next count;
//  one during a count leaves the old file, and `maildirsize.martlet`, which the next count replaces.

/// What `maildirsize` says.
package struct QuotaFile: Equatable, Sendable {
    package struct Limits: Equatable, Sendable {
        /// Nil: not limited.
        package var bytes: UInt64?
        package var messages: UInt64?

        package init(bytes: UInt64? = nil, messages: UInt64? = nil) {
            self.bytes = bytes
            self.messages = messages
        }

        package var isNone: Bool { bytes == nil && messages == nil }
    }

    /// What there is, or what is added.
    package struct Amount: Equatable, Sendable {
        package var bytes: Int64
        package var messages: Int64

        package init(bytes: Int64 = 0, messages: Int64 = 0) {
            self.bytes = bytes
            self.messages = messages
        }

        package static func + (left: Amount, right: Amount) -> Amount {
            Amount(
                bytes: left.bytes.addingClamped(right.bytes),
                messages: left.messages.addingClamped(right.messages)
            )
        }

        package static prefix func - (amount: Amount) -> Amount {
            Amount(bytes: 0 &- amount.bytes, messages: 0 &- amount.messages)
        }
    }

    package var limits: Limits
    package var used: Amount
    /// The first line as it stands there: letters that we do not know stay.
    package var limitLine: [UInt8]
    /// Lines behind it.
    package var lineCount: Int
    /// Whether the numbers cannot be right, or the file has become long.
    package var mustCount: Bool

    /// From this size on the file is counted anew, which makes it short. (Maildir++ says so.)
    static let byteCountMax = 5_120

    package init(_ file: [UInt8]) {
        limits = Limits()
        used = Amount()
        limitLine = []
        lineCount = 0
        mustCount = file.count >= Self.byteCountMax || file.contains(0)
        var rest = file[...]
        var isFirst = true
        // A line without its end is being written.
        while let end = rest.firstIndex(of: .lf) {
            let line = rest[..<end]
            rest = rest[(end + 1)...]
            if isFirst {
                limitLine = Array(line)
                limits = Self.limits(limitLine)
                isFirst = false
            } else if let amount = Self.amount(Array(line)) {
                used = used + amount
                lineCount += 1
            }
        }
        if isFirst, !file.contains(0) {
            limitLine = file
            limits = Self.limits(file)
        }
        if used.bytes < 0 || used.messages < 0 || lineCount == 0 { mustCount = true }
    }

    /// Whether this much more is over a limit.
    package func isOver(adding amount: Amount) -> Bool {
        let sum = used + amount
        if let bytes = limits.bytes, amount.bytes > 0, UInt64(max(sum.bytes, 0)) > bytes {
            return true
        }
        if let messages = limits.messages, amount.messages > 0,
            UInt64(max(sum.messages, 0)) > messages
        {
            return true
        }
        return false
    }

    /// The file with one line of numbers.
    package var file: [UInt8] {
        var buffer = ByteBuffer(limitLine)
        buffer.append(.lf)
        buffer.append(Self.line(used))
        return buffer.bytes
    }

    package static func line(_ amount: Amount) -> [UInt8] {
        var buffer = ByteBuffer()
        buffer.append(decimal: amount.bytes)
        buffer.append(.space)
        buffer.append(decimal: amount.messages)
        buffer.append(.lf)
        return buffer.bytes
    }

    /// `<integer><letter>`, separated by commas.
    private static func limits(_ line: [UInt8]) -> Limits {
        var limits = Limits()
        for word in line.split(separator: UInt8(ascii: ",")) {
            let bytes = word.filter { $0 != .space }
            var cursor = ByteCursor(bytes.span)
            guard let number = cursor.decimal(max: UInt64(Int64.max)), number > 0 else { continue }
            if cursor.accept(UInt8(ascii: "S")), cursor.isAtEnd { limits.bytes = number }
            if cursor.accept(UInt8(ascii: "C")), cursor.isAtEnd { limits.messages = number }
        }
        return limits
    }

    /// Two signed integers with blanks around them.
    private static func amount(_ line: [UInt8]) -> Amount? {
        let words = line.split { $0 == .space || $0 == UInt8(ascii: "\t") || $0 == .cr }
        guard words.count >= 2, let bytes = integer(Array(words[0])),
            let messages = integer(Array(words[1]))
        else { return nil }
        return Amount(bytes: bytes, messages: messages)
    }

    private static func integer(_ word: [UInt8]) -> Int64? {
        var cursor = ByteCursor(word.span)
        let isNegative = cursor.accept(UInt8(ascii: "-"))
        if !isNegative { _ = cursor.accept(UInt8(ascii: "+")) }
        guard let number = cursor.decimal(max: UInt64(Int64.max)), cursor.isAtEnd else {
            return nil
        }
        return isNegative ? -Int64(number) : Int64(number)
    }
}

extension Int64 {
    fileprivate func addingClamped(_ other: Int64) -> Int64 {
        let (sum, overflowed) = addingReportingOverflow(other)
        return overflowed ? (other < 0 ? .min : .max) : sum
    }
}
