import CLinux
import Bytes
import Glibc

//  One inotify instance a process.
//
//  Events are handed over one by one, in order, on the loop. When the kernel's queue overflows,
//  every watch is told `.overflow` and must scan. `drain` takes what the kernel has already
//  queued without going back to the loop: our own thousands of renames would overflow it.
//
//  While a job makes events by the hundred, the loop is not woken for each of them (`hold`): a rename
//  that wakes a thread costs half as much again. They are taken in together, every few milliseconds.

/// What happened to a name in a watched directory.
package struct FileEvent: Sendable {
    package enum Kind: UInt8, Sendable {
        /// A file of that name was made; its writer may not be done.
        case created
        /// A writer closed it.
        case written
        case movedTo
        case movedFrom
        case deleted
        /// Links or mode changed.
        case attributes
        /// The watched directory itself was deleted, moved or unmounted.
        case directoryGone
        /// Events were lost: scan.
        case overflow
    }
    package let kind: Kind
    package let name: [UInt8]
    /// Whether the name is a directory's. Told only to who asked for directories.
    package var isDirectory = false
}

@safe
@EventLoop
package final class Inotify {
    /// Which directory an event is about.
    package struct WatchID: Hashable, Sendable {
        let value: CInt
        let number: UInt64
    }

    struct Handler {
        let number: UInt64
        let wantsDirectories: Bool
        let handle: (FileEvent.Kind, Span<UInt8>, Bool) -> Void
    }

    let descriptor: CInt
    private let watch: DescriptorWatch
    /// By watch descriptor. The kernel has one for a directory, whoever asks for it and however often.
    private var handlers: [CInt: [Handler]] = [:]
    private var lastNumber: UInt64 = 0
    private let buffer: UnsafeMutableRawBufferPointer
    private(set) var isStopped = false
    private var holds = 0
    /// Watches that are being added in jobs, and what came meanwhile (`Inotify+Adding`).
    var additions = 0
    var kept = KeptEvents()

    /// How long events wait at most while they are held.
    private static let heldMilliseconds = 4

    /// Fails with EMFILE where the user's instances (fs.inotify.max_user_instances) are used up.
    package init() throws(SystemError) {
        let descriptor = martlet_inotify_create()
        guard descriptor >= 0 else { throw SystemError("inotify_init1") }
        self.descriptor = descriptor
        unsafe buffer = .allocate(byteCount: 65_536, alignment: 8)
        watch = try DescriptorWatch(descriptor)
        Task { [weak self] in
            while let watch = self?.watch, await watch.waitReadable() == .ready { self?.drain() }
        }
    }

    isolated deinit { stop() }

    /// Watches a directory; events go to `handler` until `remove`.
    ///
    /// Fails with ENOSPC where fs.inotify.max_user_watches is reached.
    ///
    /// - Parameter directories: whether what happens to directories in it is told too.
    package func add(
        _ directory: Directory,
        directories: Bool = false,
        _ handler: @escaping @EventLoop (FileEvent) -> Void
    ) throws(SystemError) -> WatchID {
        try add(directory, directories) { kind, name, isDirectory in
            handler(FileEvent(kind: kind, name: name.array, isDirectory: isDirectory))
        }
    }

    /// The same for who looks at thousands of names: each is there during the call only.
    package func addRaw(
        _ directory: Directory,
        _ handler: @escaping @EventLoop (FileEvent.Kind, Span<UInt8>) -> Void
    ) throws(SystemError) -> WatchID {
        try add(directory, false) { kind, name, _ in handler(kind, name) }
    }

    private func add(
        _ directory: Directory,
        _ directories: Bool,
        _ handler: @escaping @EventLoop (FileEvent.Kind, Span<UInt8>, Bool) -> Void
    ) throws(SystemError) -> WatchID {
        register(
            try ask(directory, Self.everything),
            wantsDirectories: directories,
            handler
        )
    }

    func register(
        _ watch: CInt,
        wantsDirectories: Bool,
        _ handler: @escaping @EventLoop (FileEvent.Kind, Span<UInt8>, Bool) -> Void
    ) -> WatchID {
        lastNumber += 1
        handlers[watch, default: []].append(
            Handler(number: lastNumber, wantsDirectories: wantsDirectories, handle: handler)
        )
        return WatchID(value: watch, number: lastNumber)
    }

    private nonisolated static var quietKinds: UInt32 {
        martlet_in_close_write | martlet_in_create | martlet_in_delete_self | martlet_in_move_self
            | martlet_in_onlydir
    }

    nonisolated static var everything: UInt32 {
        quietKinds | martlet_in_moved_to | martlet_in_moved_from | martlet_in_delete
    }

    /// Has the kernel tell of these events in the directory. Returns its watch descriptor.
    private func ask(_ directory: Directory, _ mask: UInt32) throws(SystemError) -> CInt {
        guard !isStopped else { throw SystemError("inotify_add_watch", EBADF) }
        return try Self.add(directory, to: descriptor, mask)
    }

    /// Has the kernel tell no renames and removals in a watched directory until `unmute`: each of
    /// thousands of our own would be queued, copied and read. Whoever does that looks at the directory
    /// after `unmute`. False where another watch wants them.
    package func mute(_ id: WatchID, _ directory: Directory) -> Bool {
        guard !isStopped, additions == 0, handlers[id.value]?.count == 1 else { return false }
        return (try? ask(directory, Self.quietKinds)) == id.value
    }

    /// Fails where the directory cannot be watched any more.
    package func unmute(_ id: WatchID, _ directory: Directory) throws(SystemError) {
        guard !isStopped, handlers[id.value] != nil else { return }
        _ = try ask(directory, Self.everything)
    }

    package func remove(_ id: WatchID) {
        guard !isStopped, var left = handlers[id.value] else { return }
        left.removeAll { $0.number == id.number }
        handlers[id.value] = left.isEmpty ? nil : left
        if left.isEmpty { _ = martlet_inotify_remove(descriptor, id.value) }
    }

    /// Gives the instance back; no event comes any more.
    package func stop() {
        guard !isStopped else { return }
        isStopped = true
        handlers = [:]
        watch.stop()
        _ = close(descriptor)
        unsafe buffer.deallocate()
    }

    /// Handles every event that the kernel has queued by now.
    package func drain() {
        // A handler may stop it.
        while !isStopped {
            let count = unsafe read(descriptor, buffer.baseAddress, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                watch.didBlockReading()
                return
            }
            unsafe deliver(UnsafeRawBufferPointer(rebasing: buffer[0..<count]))
        }
    }

    private func deliver(_ events: UnsafeRawBufferPointer) {
        var offset = 0
        // struct inotify_event: watch 4, mask 4, cookie 4, length 4, name padded with NULs.
        while !isStopped, offset + 16 <= events.count {
            let id = unsafe events.loadUnaligned(fromByteOffset: offset, as: CInt.self)
            let mask = unsafe events.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self)
            let length = Int(
                unsafe events.loadUnaligned(fromByteOffset: offset + 12, as: UInt32.self)
            )
            let start = offset + 16
            guard start + length <= events.count else { return }
            let padded = unsafe UnsafeRawBufferPointer(rebasing: events[start..<(start + length)])
            let bytes = unsafe Span<UInt8>(_unsafeBytes: padded)
            let name = bytes.extracting(0..<(bytes.firstIndex(of: 0) ?? length))
            offset = start + length
            if mask & martlet_in_overflow != 0 {
                if additions > 0 { kept.noteOverflow() }
                for handler in handlers.values.joined() { handler.handle(.overflow, name, false) }
            } else if let kind = Self.kind(mask) {
                if additions > 0, mask & martlet_in_isdir == 0 || kind == .directoryGone {
                    kept.append(id, kind, name)
                }
                guard let handlers = handlers[id] else { continue }
                let isDirectory = kind != .directoryGone && mask & martlet_in_isdir != 0
                for handler in handlers where !isDirectory || handler.wantsDirectories {
                    handler.handle(kind, name, isDirectory)
                }
            }
        }
    }

    // MARK: Holding

    /// From now on events come together every few milliseconds, until `release`.
    package func hold() {
        holds += 1
        guard holds == 1, !isStopped else { return }
        watch.pause()
        drainLater()
    }

    package func release() {
        precondition(holds > 0, "events were not held")
        holds -= 1
        resumeIfDue()
    }

    /// Where the kernel refuses the watch now, events go on to be taken by time.
    private func resumeIfDue() {
        if holds == 0, !isStopped { try? watch.unpause() }
    }

    private func drainLater() {
        EventLoop.schedule(at: .after(milliseconds: Self.heldMilliseconds)) { [weak self] in
            guard let self, !self.isStopped, self.watch.isPaused else { return }
            self.drain()
            self.resumeIfDue()
            if self.watch.isPaused { self.drainLater() }
        }
    }

    private static func kind(_ mask: UInt32) -> FileEvent.Kind? {
        if mask & (martlet_in_delete_self | martlet_in_move_self | martlet_in_ignored) != 0 {
            return .directoryGone
        }
        if mask & martlet_in_moved_to != 0 { return .movedTo }
        if mask & martlet_in_moved_from != 0 { return .movedFrom }
        if mask & martlet_in_delete != 0 { return .deleted }
        if mask & martlet_in_close_write != 0 { return .written }
        if mask & martlet_in_create != 0 { return .created }
        if mask & martlet_in_attrib != 0 { return .attributes }
        return nil
    }
}
