import Maildir
import Posix

extension Mailbox {
    /// Runs work that may take long, and waits for no lock, beside the loop.
    package func inJob<Success: Sendable>(
        _ body: @escaping @Sendable () -> Success
    ) async -> Success {
        await context.pool.run { body() }
    }

    /// What a message takes of the quota, as far as its name or an earlier look tells; else 0.
    package func storedSize(_ uid: UInt32) -> Int {
        guard let row = table.row(of: uid) else { return 0 }
        if let stored = MessageName(table.base(row))?.sizeHints.stored {
            return Int(clamping: stored)
        }
        return max(Int(table.sizes[row]), 0)
    }
}
