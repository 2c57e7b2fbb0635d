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
        var header: SummaryHeader
        var messages: MessageTable
        var history: MailboxHistory?
        var guid: [UInt8]
        var keywords: Keywords
        /// Whether directories and lists are as they were then.
        var isUnchanged: Bool
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
        guard let stamps = try? fileStamps(), let list = listHeader(), let guid = list.guid,
            let mailbox = openIndex(index, list.uidValidity, guid)
        else { return nil }
        guard let summary = mailbox.readSummary(), summary.header.uidValidity == list.uidValidity,
            (try? keywordsFile.refresh(in: directory)) != nil,
            let messages = MessageTable(summary, keywordsFile.keywords)
        else { return Answer(index: mailbox, uidValidity: list.uidValidity) }
        let cached = Cached(
            index: mailbox,
            header: summary.header,
            messages: messages,
            history: MailboxHistory(summary.header.history.span),
            guid: guid,
            keywords: keywordsFile.keywords,
            isUnchanged: summary.header.stamps == stamps
        )
        return Answer(index: mailbox, uidValidity: list.uidValidity, cached: cached)
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

    private static func bytes(ofHex text: [UInt8]) -> [UInt8]? {
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

    /// The first line of the uidlist; the rest is read when somebody needs it.
    private func listHeader() -> UIDList.Header? {
        guard let file = try? directory.open(UIDListFile.name, O_RDONLY | O_NONBLOCK),
            let status = try? file.status(), status.isRegular,
            let start = try? file.read(at: 0, count: Limits.listHeaderBytesMax),
            let end = start.firstIndex(of: .lf),
            let list = try? UIDList(file: Array(start[...end])), !list.damage.isHeaderDamaged
        else { return nil }
        return list.header
    }

    /// What the messages of a mailbox follow from.
    func fileStamps() throws(SystemError) -> [FileStamp] {
        var stamps = [FileStamp(try cur.status()), FileStamp(try new.status())]
        for name in [UIDListFile.name, KeywordsFile.name, KeywordsFile.beyondName] {
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
