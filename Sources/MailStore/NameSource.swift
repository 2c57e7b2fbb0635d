import Bytes
import Maildir
package import Posix
import Synchronization

/// Gives out base names that nobody else gives out; one per process.
package final class NameSource: Sendable {
    private let names: Mutex<UniqueNames>

    package init(processID: Int32, host: [UInt8]) {
        names = Mutex(UniqueNames(processID: processID, host: host))
    }

    /// A name for now, without sizes.
    package func next(_ time: WallTime = .now) -> [UInt8] {
        names.withLock {
            $0.next(seconds: time.seconds, microseconds: Int64(time.nanoseconds / 1_000))
        }
    }

    /// A name for now, with the `,S=` and `,W=` that another base name has.
    package func next(keepingFieldsOf base: [UInt8]) -> [UInt8] {
        var name = ByteBuffer(next())
        let hints = MessageName.SizeHints(base: base.span)
        if let stored = hints.stored {
            name.append(",S=")
            name.append(decimal: stored)
        }
        if let wire = hints.wire {
            name.append(",W=")
            name.append(decimal: wire)
        }
        return name.bytes
    }
}
