import Glibc
package import Posix

//  The relay
//
//  Two pumps copy between the TLS connection and the plaintext end. One buffer of the process
//  serves all of them, because a pump never waits while it has something in it: what the receiver
//  does not take at once is copied to an array of the pump's own, and nothing more is read until
//  that is gone. So an idle connection holds no buffer, and a slow reader holds 16 KiB and makes
//  the sender wait.
//
//  The end: when one side says that it sends nothing more, the other is told, and may still send
//  what it has (the session's last answers, up to its BYE). A failure of either ends both.

/// Carries bytes between a TLS connection and a stream socket until either ends.
@EventLoop
package final class Relay {
    private let tls: TLSConnection
    private let plain: OwnedDescriptor
    private let watch: DescriptorWatch
    private var isClosed = false
    private let pumpEnded = Signal()

    /// The buffer of all relays; in use only between two awaits.
    private static let buffer = Buffer()

    package init(_ tls: TLSConnection, _ plain: consuming OwnedDescriptor) throws(SystemError) {
        self.tls = tls
        watch = try DescriptorWatch(plain.raw)
        self.plain = plain
    }

    package func run() async {
        let inward = Task { await self.pumpInward() }
        await pumpOutward()
        // The session has closed its end. It needs no more of the client.
        close()
        await inward.value
    }

    package func close() {
        guard !isClosed else { return }
        isClosed = true
        tls.close()
        watch.stop()
        _ = shutdown(plain.raw, Int32(SHUT_RDWR))
    }

    /// Client → session.
    private func pumpInward() async {
        while !isClosed {
            switch unsafe tls.read(into: Self.buffer.bytes) {
            case .moved(let count):
                guard await send(count) else { return close() }
            case .wantsRead:
                tls.watch.didBlockReading()
                _ = await tls.watch.waitReadable()
            case .wantsWrite: await waitForTheOtherPump()
            case .ended:
                _ = shutdown(plain.raw, Int32(SHUT_WR))
                return
            case .failed: return close()
            }
        }
    }

    /// Sends the first bytes of the buffer to the session. False where it is gone.
    private func send(_ count: Int) async -> Bool {
        var sent = unsafe sendNow(UnsafeRawBufferPointer(rebasing: Self.buffer.bytes[..<count]))
        guard sent >= 0 else { return false }
        guard sent < count else { return true }
        let rest = unsafe Array(Self.buffer.bytes[sent..<count])
        sent = 0
        while sent < rest.count {
            watch.didBlockWriting()
            _ = await watch.waitWritable()
            guard !isClosed else { return false }
            let more = unsafe rest.withUnsafeBytes {
                unsafe sendNow(UnsafeRawBufferPointer(rebasing: $0[sent...]))
            }
            guard more >= 0 else { return false }
            sent += more
        }
        return true
    }

    /// Sends what the socket takes: a count, 0 where it is full, -1 where it is gone.
    private func sendNow(_ bytes: UnsafeRawBufferPointer) -> Int {
        while true {
            let count = unsafe Glibc.send(
                plain.raw,
                bytes.baseAddress,
                bytes.count,
                Int32(MSG_NOSIGNAL)
            )
            if count >= 0 { return count }
            if errno == EINTR { continue }
            return errno == EAGAIN ? 0 : -1
        }
    }

    /// Session → client.
    private func pumpOutward() async {
        while !isClosed {
            let count = unsafe recv(
                plain.raw,
                Self.buffer.bytes.baseAddress,
                Self.buffer.bytes.count,
                0
            )
            if count > 0 {
                guard await encrypt(count) else { return }
            } else if count == 0 {
                return tls.endOutput()
            } else if errno == EAGAIN {
                watch.didBlockReading()
                _ = await watch.waitReadable()
            } else if errno != EINTR {
                return
            }
        }
    }

    /// Sends the first bytes of the buffer to the client. False where it is gone.
    private func encrypt(_ count: Int) async -> Bool {
        var sent = 0
        var rest: [UInt8]?
        while sent < count {
            let step: TLSStep
            if let rest {
                step = unsafe rest.withUnsafeBytes {
                    unsafe tls.write(UnsafeRawBufferPointer(rebasing: $0[sent...]))
                }
            } else {
                step = unsafe tls.write(
                    UnsafeRawBufferPointer(rebasing: Self.buffer.bytes[sent..<count])
                )
            }
            switch step {
            case .moved(let more): sent += more
            case .wantsWrite:
                // OpenSSL wants the same bytes again: they are kept from where it stood.
                if rest == nil { rest = unsafe Array(Self.buffer.bytes[..<count]) }
                tls.watch.didBlockWriting()
                let outcome = await tls.watch.waitWritable(
                    until: .after(seconds: writeStallSeconds)
                )
                guard outcome == .ready else { return false }
            case .wantsRead:
                if rest == nil { rest = unsafe Array(Self.buffer.bytes[..<count]) }
                await waitForTheOtherPump()
            case .ended, .failed: return false
            }
            if isClosed { return false }
        }
        return true
    }

    /// TLS has to send before it can read, or the other way round (a change of keys while the
    /// socket is full). One direction of a socket has one waiter, and that is the other pump; so
    /// this one looks again a little later. Happens next to never.
    private func waitForTheOtherPump() async { await EventLoop.sleep(milliseconds: 20) }

    @safe
    private final class Buffer {
        let bytes = UnsafeMutableRawBufferPointer.allocate(
            byteCount: TLSLimits.relayBytesMax,
            alignment: 16
        )
    }
}
