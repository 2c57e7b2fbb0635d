import Bytes
import IMAPWire
import MailStore
import Posix

//  INPROGRESS: what is told of a command that takes long                     RFC 9585
//
//  A client that has heard nothing for `Limits.progressMilliseconds` while its command runs is told how
//  far it is. Commands wait, and give the loop back, between responses and never within one: so
//  whatever `output` holds when the timer comes up is whole.
//
//  One timer a session, armed by the first command and left alone by the others: when it comes up
//  it looks whether the command of that moment has run long enough.

extension Session {
    /// The command that is in progress.
    struct Running {
        let tag: [UInt8]
        /// When it began, or when something was last sent meanwhile.
        var heard: Instant
    }

    /// Called at the start of each command; `running` is taken away at its end.
    func noteStart(of command: Command) {
        progress.begin()
        running = Running(tag: command.tag, heard: .now)
        if progressTimer == nil { lookAfterProgress(at: due) }
    }

    /// For a command that may wait for as long as it likes: not even the timer is left.
    func forgetStart() {
        running = nil
        if let timer = progressTimer.take() { EventLoop.cancel(timer) }
    }

    private var due: Instant {
        (running?.heard ?? .now).adding(milliseconds: progressMilliseconds)
    }

    private func lookAfterProgress(at time: Instant) {
        progressTimer = EventLoop.schedule(at: time) { [weak self] in self?.tellProgress() }
    }

    private func tellProgress() {
        progressTimer = nil
        guard let running else { return }
        let due = due
        if due <= .now {
            // A client that does not read what there is has enough to read.
            if !isWriting, telling == nil { send(running.tag) }
            self.running?.heard = .now
        }
        lookAfterProgress(at: self.due)
    }

    private func send(_ tag: [UInt8]) {
        // What is counted may be done, and its end be on the way to the disk.
        let isCounted = progress.done < progress.goal
        output.append(
            untagged: .ok,
            .inProgress(
                tag: tag,
                done: isCounted ? UInt32(clamping: progress.done) : nil,
                goal: isCounted ? UInt32(clamping: progress.goal) : nil
            ),
            "Still working on it"
        )
        // The command goes on; where it writes too, it waits for this (`flush`).
        telling = Task {
            await writeOutput()
            telling = nil
        }
    }
}
