package import Posix

/// An answer that one task waits for and another gives, once.
@EventLoop
package final class Answer<Value: Sendable> {
    private var value: Value?
    private let given = Signal()

    package init() {}

    package func give(_ value: Value) {
        guard self.value == nil else { return }
        self.value = value
        given.fire()
    }

    /// The answer, or nil where none came before the deadline.
    package func wait(until deadline: Instant? = nil) async -> Value? {
        if value == nil { _ = await given.wait(until: deadline) }
        return value
    }
}
