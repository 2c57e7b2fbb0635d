import Posix

extension Mailbox {
    /// Runs work that may take long, and waits for no lock, beside the loop.
    package func inJob<Success: Sendable>(
        _ body: @escaping @Sendable () -> Success
    ) async -> Success {
        await context.pool.run { body() }
    }
}
