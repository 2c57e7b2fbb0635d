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
    private let telling: SelectedMailbox.Telling
    /// The largest MODSEQ written: whoever made the writer tells it to the view.
    private(set) var largestModseq: UInt64 = 0
    /// The row behind the last one: nearly always the next.
    private var nextRow: Int

    @EventLoop
    init(_ plan: FetchPlan, _ view: SelectedMailbox, nextRow: Int = 0) {
        self.plan = plan
        self.view = view
        telling = view.telling
        table = view.mailbox.table
        self.nextRow = nextRow
    }

    /// Whether a line is its numbers between texts that are the same for all messages with the same
    /// flags: so do clients ask that synchronise.
    @EventLoop
    private var writesFlagsOnly: Bool {
        guard view.recent.isEmpty else { return false }
        return plan.wantsFlags && !plan.wantsModseq && !plan.wantsDate && !plan.wantsSize
            && !plan.wantsSaveDate && !telling.uidOnly && table.beyond.isEmpty
    }

    /// Combinations of flags whose texts are held.
    private static let tailsMax = 16

    /// Appends whole responses of messages from the first on, for as long as that can be done the short
    /// way and the output has room. Returns the index that comes next.
    @EventLoop
    mutating func appendFlags(
        _ range: Range<Int>,
        _ uids: [UInt32],
        room: Int,
        to output: inout ByteBuffer
    ) -> Int {
        guard writesFlagsOnly, !range.isEmpty, let row = row(of: uids[range.lowerBound]) else {
            return range.lowerBound
        }
        let wantsUID = plan.wantsUID
        let head: [UInt8] = [UInt8]("* ".utf8)
        let middle = [UInt8](" FETCH (UID ".utf8)
        // A mailbox has few combinations of flags, in any order.
        var known: [UInt32] = []
        var tails: [[UInt8]] = []
        let count = table.forEachFlags(from: row, uids[range]) { offset, uid, flags in
            var place = 0
            while place < known.count, known[place] != flags.rawValue { place += 1 }
            if place == known.count {
                if place == Self.tailsMax {
                    known.removeAll(keepingCapacity: true)
                    tails.removeAll(keepingCapacity: true)
                    place = 0
                }
                var text = ByteBuffer()
                text.append(wantsUID ? " FLAGS " : " FETCH (FLAGS ")
                view.appendFlags(flags, [:], uid, to: &text)
                text.append(")\r\n")
                known.append(flags.rawValue)
                tails.append(text.bytes)
            }
            let number = UInt32(range.lowerBound + offset + 1)
            let tail = tails[place]
            output.append(head.span, number, middle.span, wantsUID ? uid : nil, tail.span)
            return output.count < room
        }
        nextRow = row + count
        return range.lowerBound + count
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

    /// Whether size and date are known where they are asked for.
    func knows(_ row: Int) -> Bool {
        !(plan.wantsSize && table.sizes[row] < 0) && !(plan.wantsDate && table.dates[row] == .min)
    }

    /// What is known of a message's size and date: -1 and `.min` where they are not.
    func sizeAndDate(_ row: Int) -> (size: Int64, date: Int64) {
        (table.sizes[row], table.dates[row])
    }

    /// `* n FETCH (UID u FLAGS (…) INTERNALDATE "…" RFC822.SIZE n` without its end. Returns whether
    /// nothing stands behind the parenthesis yet.
    ///
    /// - Parameter isChanged: whether the command itself changed the flags: then they are told, with all
    ///   that goes with them where nobody asked for it.
    @EventLoop
    mutating func append(
        _ index: Int,
        _ uid: UInt32,
        _ row: Int,
        isChanged: Bool = false,
        to output: inout ByteBuffer
    ) -> Bool {
        var isFirst = appendBeginning(index, uid, row, isChanged: isChanged, to: &output)
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
    mutating func appendBeginning(
        _ index: Int,
        _ uid: UInt32,
        _ row: Int,
        isChanged: Bool,
        to output: inout ByteBuffer
    ) -> Bool {
        output.appendFetch(
            telling.uidOnly ? uid : UInt32(index + 1),
            isUIDOnly: telling.uidOnly
        )
        let start = output.count
        // RFC 7162 §3.2.4
        if plan.wantsUID || isChanged && telling.modseqs && !telling.uidOnly {
            output.append("UID ")
            output.append(decimal: uid)
        }
        if plan.wantsFlags || isChanged {
            output.append(output.count > start ? " FLAGS " : "FLAGS ")
            view.appendFlags(table.flags(row), table.beyond, uid, to: &output)
        }
        if plan.wantsSaveDate {
            output.append(output.count > start ? " SAVEDATE " : "SAVEDATE ")
            output.append(saveDate: SaveDate.seconds(inName: table.base(row)))
        }
        if plan.wantsModseq || isChanged && telling.modseqs {
            if output.count > start { output.append(.space) }
            output.append(modSeq: ModSeq(table.modseqs[row]))
            largestModseq = max(largestModseq, table.modseqs[row])
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
