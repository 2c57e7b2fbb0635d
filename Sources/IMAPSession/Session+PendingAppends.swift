import IMAPWire
import MailStore
import Posix

//  APPENDs that wait for the disk                                            RFC 9051 §5.5
//
//  A client that sends message after message without waiting for the answers need not wait for three
//  syncs a message either: while one is made durable the next is taken in, and all that wait are
//  synced together. Answers go in the order of the commands, and before anything else that the client
//  can take for an answer: another command is run, and a literal is asked for, when all have gone.
//
//  One that has nothing behind it is answered as it always was, without this.

/// An APPEND that has come whole.
@EventLoop
final class PendingAppend {
    let tag: [UInt8]
    let body: CommandBody
    fileprivate(set) var result: Result<Session.Completion, CommandFailure>?

    init(_ tag: [UInt8], _ body: CommandBody) {
        self.tag = tag
        self.body = body
    }
}

extension Session {
    /// Whether the client has sent more than the piece in hand.
    func hasMore(behind count: Int) -> Bool {
        if consumed + count < input.count { return true }
        // An end or an error shows again at the next reading.
        return ((try? stream.read(into: &input, max: Limits.inputBytesMax)) ?? 0) > 0
    }

    /// Brings in the messages of a command that has ended, while the session goes on.
    func admitLater(_ upload: Upload, _ tag: [UInt8]) async -> AppendStep {
        let pending = PendingAppend(tag, upload.command.body)
        pendingAppends.append(pending)
        Task {
            do throws(CommandFailure) {
                pending.result = .success(try await admit(upload))
            } catch {
                await discard(upload)
                pending.result = .failure(error)
            }
            appendFinished.fire()
            stream.interrupt()
        }
        while pendingAppends.count >= Limits.pendingAppendsMax {
            if pendingAppends[0].result == nil { await appendFinished.wait() }
            guard await answerAppends(waits: false) else { return .closed }
        }
        return .handled
    }

    /// Answers the APPENDs that are done, in order; with `waits` all that there are. False where the
    /// client is gone.
    func answerAppends(waits: Bool = true) async -> Bool {
        while let first = pendingAppends.first {
            guard let result = first.result else {
                guard waits else { return true }
                await appendFinished.wait()
                continue
            }
            pendingAppends.removeFirst()
            do throws(CommandFailure) {
                let completion = try result.get()
                badCommands = 0
                try await report(after: first.body)
                output.append(tagged: first.tag, .ok, completion.code, completion.text)
            } catch {
                if case .closed = error { return false }
                badCommands = 0
                try? await report(after: first.body)
                answer(error, first.tag)
            }
        }
        return true
    }
}
