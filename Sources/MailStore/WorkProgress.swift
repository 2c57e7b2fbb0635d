package import Posix

/// How far a long piece of work is, for whoever tells it to a client. Made by whoever asks for the
/// work, counted up by whoever does it.
@EventLoop
package final class WorkProgress {
    package var done = 0
    /// How many there are; 0 where that is not known.
    package var goal = 0

    package init() {}

    package func begin(_ goal: Int = 0) {
        done = 0
        self.goal = goal
    }
}
