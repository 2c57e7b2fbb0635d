import Bytes
import IMAPWire
import InternetMessage
import Maildir
import MailStore
import Posix

//  The parts of CATENATE that are in the mailbox already                     RFC 4469
//
//  A part is read once and copied to the staged message in pieces. What a URL cannot give, whatever
//  the reason, is BADURL with the first such URL, and nothing is appended.

extension Session {
    /// Adds what a URL names to the message that is being written.
    func appendPart(_ url: [UInt8], _ upload: inout Upload?) async throws(CommandFailure) {
        guard let target = upload?.target, let message = upload?.messages.last else { return }
        let (content, part) = try await part(url)
        guard part.octets <= Limits.appendBytesMax - message.octets else {
            throw .refused(.tooBig, "Message is too large")
        }
        try await checkRoom(for: part.octets, upload)
        var copier = PartCopier(part)
        do throws(StoreError) {
            while let piece = copier.next(content, max: Limits.uploadChunkBytes) {
                try await target.write(piece, to: message.staged)
            }
        } catch {
            throw CommandFailure(error)
        }
        let last = (upload?.messages.count ?? 0) - 1
        upload?.messages[last].octets += part.octets
    }

    /// The message that a URL names, and what of it.
    private func part(
        _ url: [UInt8]
    ) async throws(CommandFailure) -> (MessageContent, MessagePart) {
        let badURL = CommandFailure.refused(.badURL(url), "URL names nothing that is here")
        let base = selected.map { store.naming.name(of: $0.mailbox.path) }
        guard let source = MessageURL(url, base: base) else { throw badURL }
        let mailbox = try await mailbox(of: source, badURL)
        guard source.uidValidity ?? mailbox.uidValidity == mailbox.uidValidity else { throw badURL }
        let content: MessageContent
        do throws(StoreError) {
            // A message that was just delivered has a UID only when it is settled.
            if mailbox.table.row(of: source.uid) == nil { try await mailbox.settle() }
            content = try await mailbox.read(source.uid)
        } catch {
            if error == .messageGone { throw badURL }
            throw CommandFailure(error)
        }
        let part = await mailbox.inJob {
            MessagePart(source.section, source.partial, of: content)
        }
        guard let part else { throw badURL }
        return (content, part)
    }

    private func mailbox(
        of source: MessageURL,
        _ badURL: CommandFailure
    ) async throws(CommandFailure) -> Mailbox {
        guard let name = source.mailbox else {
            guard let selected, !selected.mailbox.isGone else { throw badURL }
            return selected.mailbox
        }
        guard
            let decoded = MailboxName(name).decoded(
                isUTF8: true,
                separator: store.naming.separator
            ),
            let path = try? store.naming.path(of: decoded)
        else { throw badURL }
        do throws(StoreError) { return try await store.open(path) } catch {
            if error == .noSuchMailbox { throw badURL }
            throw CommandFailure(error)
        }
    }
}

/// What of a message a section and an octet range name, in the form of the wire.
struct MessagePart: Sendable {
    fileprivate enum Text {
        /// Of the message file.
        case range(Range<Int>)
        /// Put together from header fields.
        case made([UInt8])
    }

    fileprivate let text: Text
    fileprivate let offset: Int
    let octets: Int

    /// Nil where the message has no such section.
    init?(_ section: SectionSpecifier, _ partial: OctetRange?, of content: MessageContent) {
        let item = FetchItem.bodySection(section, partial: nil, peek: true)
        let set = SequenceSet([])
        let plan = FetchPlan(FetchCommand(kind: .uid, set: set, items: [item]), isUTF8: true)
        let size: Int
        switch plan.text(of: section, content) {
        case .none: return nil
        case .range(let range):
            text = .range(range)
            size = MessageText.crlfSize(of: content.bytes.span, in: range)
        case .made(let bytes):
            text = .made(bytes)
            size = bytes.count
        }
        offset = min(Int(clamping: partial?.offset ?? 0), size)
        octets = min(Int(clamping: partial?.count ?? .max), size - offset)
    }
}

/// Gives a part of a message piece by piece.
private struct PartCopier {
    private let part: MessagePart
    private var position: CRLFPosition
    private var end: Int
    private var left: Int

    init(_ part: MessagePart) {
        self.part = part
        left = part.octets
        switch part.text {
        case .range(let range):
            position = CRLFPosition(at: range.lowerBound)
            end = range.upperBound
        case .made(let bytes):
            position = CRLFPosition(at: 0)
            end = bytes.count
        }
    }

    /// Nil at the end.
    mutating func next(_ content: MessageContent, max: Int) -> [UInt8]? {
        guard left > 0 else { return nil }
        let bytes = bytes(content)
        position.skip(to: part.offset, of: bytes.span, end: end)
        var piece = ByteBuffer()
        let count = min(left, max)
        // A NUL of a binary part stays one: nothing is lost on the way.
        left -= position.append(count, of: bytes.span, end: end, to: &piece, keepsNUL: true)
        return piece.bytes
    }

    private func bytes(_ content: MessageContent) -> [UInt8] {
        switch part.text {
        case .range: content.bytes
        case .made(let made): made
        }
    }
}
