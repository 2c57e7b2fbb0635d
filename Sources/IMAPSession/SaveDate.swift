import Bytes
import IMAPWire

//  SAVEDATE                                                                  RFC 8514
//
//  A message's file name begins with the second in which it was put into its mailbox: the MTA's
//  delivery, our APPEND, and COPY and MOVE, which give a new name. So it needs no place of its own. A
//  name that begins otherwise tells none; SEARCH takes the internal date then, as RFC 8514 §4.2 has it.

enum SaveDate {
    /// The seconds since 1970 at the start of a base name, or nil.
    static func seconds(inName base: [UInt8]) -> Int64? {
        var cursor = ByteCursor(base.span)
        // Larger ones are beyond the year 9999, which no date on the wire can say.
        guard let seconds = cursor.decimal(max: 253_402_300_799), seconds > 0,
            cursor.accept(UInt8(ascii: "."))
        else { return nil }
        return Int64(seconds)
    }
}

extension ByteBuffer {
    /// A date-time in quotes, or NIL.
    mutating func append(saveDate seconds: Int64?) {
        if let seconds {
            append(date: InternalDate(unixSeconds: seconds, zoneMinutes: 0))
        } else {
            append("NIL")
        }
    }
}
