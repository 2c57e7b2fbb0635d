import Bytes
import Glibc
import Maildir
import MessageIndex
import Posix

//  What the index has of a mailbox, held against the directories

extension MailboxDisk {
    /// What a mailbox was when its summary was written.
    struct Cached: Sendable {
        var index: MailboxIndex
        var summary: MailboxSummary
        /// An outline, where `isUnchanged` and that is enough to begin with.
        var messages: MessageTable
        var history: MailboxHistory?
        var guid: [UInt8]
        var keywords: Keywords
        /// The directories and lists as they were looked at before the summary was.
        var stamps: [FileStamp]
        /// Whether they are as they were when the summary was made.
        var isUnchanged: Bool

        var header: SummaryHeader { summary.header }
    }

    struct Answer: Sendable {
        var index: MailboxIndex
        var uidValidity: UInt32
        var cached: Cached?
    }

    /// The index of this mailbox, with its summary where there is one. Nil where the mailbox has no
    /// list yet.
    func askIndex(_ index: MessageIndex) -> Answer? {
        // Looked at first: what changes from now on is an event, or shows when it is looked at again.
        guard let stamps = try? fileStamps(), let list = listEnds(), let guid = list.header.guid,
            let mailbox = openIndex(index, list.header.uidValidity, guid)
        else { return nil }
        let uidValidity = list.header.uidValidity
        guard let summary = mailbox.readOutline(), summary.header.uidValidity == uidValidity,
            (try? keywordsFile.refresh(in: directory)) != nil,
            let messages = MessageTable(outline: summary)
        else { return Answer(index: mailbox, uidValidity: uidValidity) }
        var cached = Cached(
            index: mailbox,
            summary: summary,
            messages: messages,
            history: MailboxHistory(summary.header.history.span),
            guid: guid,
            keywords: keywordsFile.keywords,
            stamps: stamps,
            isUnchanged: summary.header.stamps == stamps
        )
        // What lies in new/ is moved, and keywords beyond letters follow from names: there the outline is
        // not enough.
        if !cached.isUnchanged || messages.newCount > 0
            || !keywordsFile.keywords.beyondLetters.isEmpty
        {
            guard let whole = readRest(cached) else {
                return Answer(index: mailbox, uidValidity: uidValidity)
            }
            cached.messages = whole
        }
        if cached.isUnchanged, let status = list.status, FileStamp(status) == stamps[2] {
            adoptList(list, status, summary.header)
        }
        return Answer(index: mailbox, uidValidity: uidValidity, cached: cached)
    }

    /// The table with names, dates and sizes. Nil where they cannot be had.
    func readRest(_ cached: Cached) -> MessageTable? {
        guard let whole = cached.index.readRest(of: cached.summary),
            var messages = MessageTable(whole, cached.keywords)
        else { return nil }
        // Here it keeps nobody waiting; on the loop it would.
        messages.indexNames()
        return messages
    }

    func openIndex(
        _ index: MessageIndex,
        _ uidValidity: UInt32,
        _ guid: [UInt8]
    ) -> MailboxIndex? {
        guard let identity = try? directory.status().identity, let id = Self.bytes(ofHex: guid)
        else { return nil }
        return try? index.mailbox(id: id, directory: identity, uidValidity: uidValidity)
    }

    static func bytes(ofHex text: [UInt8]) -> [UInt8]? {
        guard text.count == 32 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: 32, by: 2) {
            guard let high = Character(UnicodeScalar(text[index])).hexDigitValue,
                let low = Character(UnicodeScalar(text[index + 1])).hexDigitValue
            else { return nil }
            bytes.append(UInt8(high * 16 + low))
        }
        return bytes
    }

    /// A uidlist's first line and its last bytes; the rest is read when somebody needs it.
    private struct ListEnds {
        var header: UIDList.Header
        var head: [UInt8]
        var end: [UInt8]
        var status: FileStatus?
    }

    private func listEnds() -> ListEnds? {
        guard let file = try? directory.open(UIDListFile.name, O_RDONLY | O_NONBLOCK),
            let status = try? file.status(), status.isRegular,
            let (header, head) = Self.listHead(file)
        else { return nil }
        var ends = ListEnds(header: header, head: head, end: [])
        let from = status.size - UIDList.restingBytes
        if from > Limits.listHeaderBytesMax,
            let last = try? file.read(at: from, count: UIDList.restingBytes),
            last.count == UIDList.restingBytes
        {
            (ends.end, ends.status) = (last, status)
        }
        return ends
    }

    /// What the first line of a uidlist says.
    static func listHeader(_ file: borrowing OwnedDescriptor) -> UIDList.Header? {
        guard let status = try? file.status(), status.isRegular else { return nil }
        return listHead(file)?.header
    }

    private static func listHead(
        _ file: borrowing OwnedDescriptor
    ) -> (header: UIDList.Header, line: [UInt8])? {
        guard let start = try? file.read(at: 0, count: Limits.listHeaderBytesMax),
            let end = start.firstIndex(of: .lf)
        else { return nil }
        let line = Array(start[...end])
        guard let list = try? UIDList(file: line), !list.damage.isHeaderDamaged else { return nil }
        return (list.header, line)
    }

    /// The rows of the summary are those of the list: nobody needs to read it.
    private func adoptList(_ ends: ListEnds, _ status: FileStatus, _ header: SummaryHeader) {
        guard
            let list = UIDList(
                head: ends.head,
                end: ends.end,
                fileBytes: status.size,
                liveCount: Int(header.messageCount)
            )
        else { return }
        uidList.adopt(list, FileFingerprint(status), uidNext: header.uidNext)
    }

    /// What the messages of a mailbox follow from; the first two are directories.
    static let stampedNames = [
        [UInt8]("cur"), [UInt8]("new"),
        UIDListFile.name, KeywordsFile.name, KeywordsFile.beyondName,
    ]

    /// One for each of `stampedNames`.
    func fileStamps() throws(SystemError) -> [FileStamp] {
        var stamps = [FileStamp(try cur.status()), FileStamp(try new.status())]
        for name in Self.stampedNames[2...] {
            do throws(SystemError) { stamps.append(FileStamp(try directory.status(name))) } catch {
                guard error.isMissing else { throw error }
                stamps.append(FileStamp())
            }
        }
        return stamps
    }
}

extension FileStamp {
    /// Whether the change was so long before that a later one shows in the time.
    func isOlder(than now: WallTime, milliseconds: Int64) -> Bool {
        let (changed, overflow) = changedSeconds.multipliedReportingOverflow(by: 1_000)
        guard !overflow else { return false }
        return now.microseconds / 1_000 - changed - Int64(changedNanoseconds) / 1_000_000
            >= milliseconds
    }
}
