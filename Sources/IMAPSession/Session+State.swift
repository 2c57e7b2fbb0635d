import Bytes
import IMAPWire
import MailStore
import Posix

//  ID, ENABLE, IDLE

extension Session {
    //  id = "ID" SP id-params-list                                           RFC 2971 §3.1
    func identify(_ fields: [IDField]?) -> Completion {
        if let fields, !fields.isEmpty {
            let pairs = fields.map { field in
                "\(field.name.quotedForLog):\((field.value ?? []).quotedForLog)"
            }
            Log.info(
                "event=id user=\(identity.user) session=\(identity.id) client=\(pairs.joined(separator: ","))"
            )
        }
        output.append(id: [IDField(name: [UInt8]("name"), value: [UInt8]("Martlet"))])
        return Completion("Done")
    }

    //  enable = "ENABLE" 1*(SP capability)                                   RFC 5161 §4
    //
    //  What is unknown is left out without a word (mutt asks for what is not offered).
    func enable(_ names: [[UInt8]]) async throws(CommandFailure) -> Completion {
        var enabled: [Capability] = []
        var modes = sync
        // RFC 6855 §3, RFC 9051 §6.3.1: what has been told of the mailbox would change its form.
        // Looked at first, so that a refused command enables nothing.
        let changesForm = names.contains { name in
            name.equalsIgnoringCase("UTF8=ACCEPT") && !acceptsUTF8
                || name.equalsIgnoringCase("IMAP4rev2") && revision == .rev1
        }
        guard selected == nil || !changesForm else {
            throw .clientBug("Not while a mailbox is selected")
        }
        for name in names {
            if name.equalsIgnoringCase("UTF8=ACCEPT"), !acceptsUTF8 {
                acceptsUTF8 = true
                enabled.append(.utf8Accept)
            } else if name.equalsIgnoringCase("IMAP4rev2"), revision == .rev1 {
                revision = .rev2
                enabled.append(.imap4rev2)
            } else if name.equalsIgnoringCase("CONDSTORE"), !modes.condStore {
                modes.condStore = true
                enabled.append(.condStore)
            } else if name.equalsIgnoringCase("QRESYNC"), !modes.quickResync {
                modes.quickResync = true
                enabled.append(.quickResync)
            } else if name.equalsIgnoringCase("UIDONLY"), !modes.uidOnly {
                modes.uidOnly = true
                enabled.append(.uidOnly)
            } else if name.equalsIgnoringCase("METADATA"), !isMetadataEnabled {
                enableMetadata()
                enabled.append(.metadata)
            }
        }
        output.append(enabled: enabled)
        await change(to: modes)
        return Completion("Enabled")
    }

    //  idle = "IDLE" CRLF "DONE"                                             RFC 2177
    //
    //  The watches are armed since the mailbox is live; what their queue holds is applied, then told
    //  right behind the continuation, so that nothing that came before is missed.
    func idle() async throws(CommandFailure) -> Completion {
        isIdling = true
        defer { isIdling = false }
        // It makes no progress; it keeps alive by itself.
        forgetStart()
        selected?.mailbox.drainEvents()
        output.append(continuation: "idling")
        try await aside(reportInIdle)
        var lines = LineFramer(lineBytesMax: 8_192)
        var deadline = Instant.after(seconds: Limits.keepAliveSeconds)
        while !isEnding {
            let bytes = input
            switch lines.next(bytes.span.extracting(consumed..<bytes.count)) {
            case .line(let textCount, let count):
                let line = Array(input[consumed..<(consumed + textCount)])
                consume(count)
                guard line.equalsIgnoringCase("DONE") else { throw .bad("Expected DONE") }
                return Completion("Idle completed")
            case .tooLong:
                end("Expected DONE")
                throw .bad("Expected DONE")
            case .needsMore: break
            }
            try await flush()
            do throws(StreamClosed) {
                if try stream.read(into: &input, max: Limits.inputBytesMax) > 0 { continue }
            } catch {
                throw .closed
            }
            switch await stream.waitForInput(until: deadline) {
            case .ready: continue
            case .interrupted: try await aside(reportInIdle)
            case .timedOut:
                output.append(untagged: .ok, "Still here")
                deadline = .after(seconds: Limits.keepAliveSeconds)
            }
        }
        // BYE follows; a tagged answer would come before DONE.
        throw .closed
    }

    private func reportInIdle() async throws(CommandFailure) {
        // RFC 5465 §4: with NOTIFY exactly what it asked for.
        if notifier != nil, selected?.mailbox.isGone != true { return try await tellEvents() }
        try await tellEnabledAnnotations()
        guard let selected else { return }
        if selected.mailbox.isGone {
            end("Selected mailbox is gone")
        } else {
            try await tellChanges(allowsExpunge: true, withUID: false)
        }
    }
}
