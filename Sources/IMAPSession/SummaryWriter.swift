import Bytes
import IMAPWire
import Maildir
import MailStore
import Posix

/// Writes what FETCH tells from memory: UID, FLAGS, INTERNALDATE, RFC822.SIZE.
///
/// Made for a run of messages between two awaits. It holds the columns once, so that a message costs
/// neither an allocation nor a reference count.
struct SummaryWriter {
    private let plan: FetchPlan
    private let table: MessageTable
    private let view: SelectedMailbox
    /// The row behind the last one: nearly always the next.
    private var nextRow: Int

    @EventLoop
    init(_ plan: FetchPlan, _ view: SelectedMailbox, nextRow: Int = 0) {
        self.plan = plan
        self.view = view
        table = view.mailbox.table
        self.nextRow = nextRow
    }

    /// The row of a message, or nil where it is gone.
    mutating func row(of uid: UInt32) -> Int? {
        if nextRow < table.count, table.uids[nextRow] == uid {
            nextRow += 1
            return nextRow - 1
        }
        guard let row = table.row(of: uid) else { return nil }
        nextRow = row + 1
        return row
    }

    /// What is known of a message's size and date: -1 and `.min` where they are not.
    func sizeAndDate(_ row: Int) -> (size: Int64, date: Int64) {
        (table.sizes[row], table.dates[row])
    }

    /// `* n FETCH (UID u FLAGS (…) INTERNALDATE "…" RFC822.SIZE n` without its end. Returns whether
    /// nothing stands behind the parenthesis yet.
    @EventLoop
    func append(
        _ index: Int,
        _ uid: UInt32,
        _ row: Int,
        addsFlags: Bool = false,
        to output: inout ByteBuffer
    ) -> Bool {
        var isFirst = appendBeginning(index, uid, row, addsFlags: addsFlags, to: &output)
        Self.append(
            date: plan.wantsDate ? (table.dates[row] == .min ? 0 : table.dates[row]) : nil,
            size: plan.wantsSize ? Int(max(table.sizes[row], 0)) : nil,
            isFirst: &isFirst,
            to: &output
        )
        return isFirst
    }

    /// The same without date and size, which may not be known yet.
    @EventLoop
    func appendBeginning(
        _ index: Int,
        _ uid: UInt32,
        _ row: Int,
        addsFlags: Bool,
        to output: inout ByteBuffer
    ) -> Bool {
        output.appendFetch(UInt32(index + 1))
        let start = output.count
        if plan.wantsUID {
            output.append("UID ")
            output.append(decimal: uid)
        }
        if plan.wantsFlags || addsFlags {
            output.append(output.count > start ? " FLAGS " : "FLAGS ")
            view.appendFlags(table.flags(row), table.beyond, uid, to: &output)
        }
        return output.count == start
    }

    /// `INTERNALDATE "…" RFC822.SIZE n`, where asked for, with a space before all that is not first.
    static func append(
        date: Int64?,
        size: Int?,
        isFirst: inout Bool,
        to output: inout ByteBuffer
    ) {
        if let date {
            output.append(isFirst ? "INTERNALDATE " : " INTERNALDATE ")
            output.append(date: InternalDate(unixSeconds: date, zoneMinutes: 0))
            isFirst = false
        }
        if let size {
            output.append(isFirst ? "RFC822.SIZE " : " RFC822.SIZE ")
            output.append(decimal: size)
            isFirst = false
        }
    }
}
