import Bytes

//  New message names
//
//  `SECONDS.M<microseconds>P<pid>Q<count>.HOST,S=<size>,W=<size with CRLF>`
//
//  On disk: the name of a file that we write, first in `tmp/`, then in `new/` or `cur/`. No other
//  program asks us for it; it must differ from every name that was ever given in this Maildir,
//  because a uidlist that still lists the old message would give its UID to the new one. Time, pid
//  and host make it so, as for every Maildir writer. Within one process the time never repeats: a
//  name that the clock has already used, or that lies behind it after a step back, takes the next
//  microsecond. Across processes a step back *and* the same pid could repeat one; creation in `tmp/`
//  is exclusive, and so must be the rename (never over an existing file).

/// Makes the names of new messages. One per process: the order is only strict within a value.
package struct UniqueNames: Sendable {
    private let suffix: [UInt8]
    private let processID: Int32
    private var lastMicroseconds: UInt64 = 0
    private var count: UInt64 = 0

    /// The host name may hold anything; what a file name cannot carry is escaped.
    package init(processID: Int32, host: [UInt8]) {
        self.processID = processID
        suffix = Self.escaped(host: host)
    }

    /// A name without sizes, for the time given. Later calls give later names, whatever the clock.
    package mutating func next(seconds: Int64, microseconds: Int64) -> [UInt8] {
        let now = UInt64(max(0, min(seconds, 1 << 40))) * 1_000_000 + UInt64(max(0, microseconds))
        lastMicroseconds = max(now, lastMicroseconds + 1)
        count += 1
        var name = ByteBuffer(capacity: 96)
        name.append(decimal: lastMicroseconds / 1_000_000)
        name.append(".M")
        name.append(decimal: lastMicroseconds % 1_000_000)
        name.append("P")
        name.append(decimal: processID)
        name.append("Q")
        name.append(decimal: count)
        name.append(UInt8(ascii: "."))
        name.append(suffix)
        return name.bytes
    }

    /// The name with the sizes that are known once the message is written.
    package static func base(_ name: [UInt8], stored: UInt64, wire: UInt64) -> [UInt8] {
        var buffer = ByteBuffer(name)
        buffer.append(",S=")
        buffer.append(decimal: stored)
        buffer.append(",W=")
        buffer.append(decimal: wire)
        return buffer.bytes
    }

    /// `/` and `:` as the Maildir convention writes them. A comma would begin a field, and control
    /// characters would break lists: they are written likewise.
    static func escaped(host: [UInt8]) -> [UInt8] {
        var buffer = ByteBuffer()
        for byte in host {
            let needsEscape =
                byte.isControl || byte == UInt8(ascii: "/") || byte == UInt8(ascii: ":")
                || byte == UInt8(ascii: ",") || byte == .space || byte == .backslash
            guard buffer.count + (needsEscape ? 4 : 1) <= Limits.hostBytesMax else { break }
            if needsEscape {
                buffer.append(.backslash)
                for shift in [6, 3, 0] as [UInt8] { buffer.append(0x30 + (byte >> shift & 7)) }
            } else {
                buffer.append(byte)
            }
        }
        if buffer.isEmpty { buffer.append("localhost") }
        return buffer.bytes
    }
}
