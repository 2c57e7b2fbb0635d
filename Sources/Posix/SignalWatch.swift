import CLinux
import Glibc

/// Signals as events of the loop. Made before any thread: it blocks them in the process.
@EventLoop
package final class SignalWatch {
    private let descriptor: OwnedDescriptor
    private let watch: DescriptorWatch

    package init(_ signals: [CInt]) throws(SystemError) {
        let raw = unsafe martlet_signalfd(signals, CInt(signals.count))
        guard raw >= 0 else { throw SystemError("signalfd") }
        descriptor = OwnedDescriptor(raw)
        watch = try DescriptorWatch(raw)
    }

    /// The next of the signals.
    package func next() async -> CInt {
        while true {
            let signal = martlet_signalfd_read(descriptor.raw)
            if signal > 0 { return signal }
            watch.didBlockReading()
            _ = await watch.waitReadable()
        }
    }
}
