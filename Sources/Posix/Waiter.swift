/// A suspended task, to be resumed exactly once; the only place that touches a raw continuation.
///
/// The runtime's checked continuation costs a lock and an allocation a suspension; ours are all
/// resumed by code of this module, which takes a waiter out of its place before resuming it.
@safe
struct Waiter<Value: Sendable>: Sendable {
    private let continuation: UnsafeContinuation<Value, Never>

    /// Suspends the calling task; `body` stores the waiter.
    @EventLoop
    static func suspend(_ body: (Waiter) -> Void) async -> Value {
        unsafe await withUnsafeContinuation { unsafe body(Waiter(continuation: $0)) }
    }

    private init(continuation: UnsafeContinuation<Value, Never>) {
        unsafe self.continuation = continuation
    }

    func resume(_ value: sending Value) { unsafe continuation.resume(returning: value) }
}
