#if DEBUG
import CLinux

/// A test process has a main thread of its own; the loop then runs beside it.
extension EventLoop {
    private static let background: Void = {
        unsafe martlet_start_thread({ _ in LoopExecutor.shared.run() }, nil, 8 << 20)
        return ()
    }()

    /// Starts the loop on a thread, once, and runs the body on it.
    package nonisolated static func test<Success: Sendable>(
        _ body: @escaping @EventLoop @Sendable () async throws -> Success
    ) async throws -> Success {
        await startInBackground()
        return try await Task { @EventLoop in try await body() }.value
    }

    private nonisolated static func startInBackground() async { _ = background }
}
#endif
