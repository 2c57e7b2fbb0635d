import Bytes
import CLinux
import Glibc

//  Watching directories with many names
//
//  The kernel marks each name of a directory that it has in its cache when the directory is first
//  watched: 100,000 names take it ten milliseconds. That is for a job. Its watches have handlers only
//  when the job is done, and events come from when the kernel has them on: what comes meanwhile is kept,
//  and told to the new handlers first.

extension Inotify {
    /// A directory to be watched, and whom to tell.
    package struct Request {
        package let directory: Directory
        package let handle: @EventLoop (FileEvent.Kind, Span<UInt8>) -> Void

        package init(
            _ directory: Directory,
            _ handle: @escaping @EventLoop (FileEvent.Kind, Span<UInt8>) -> Void
        ) {
            self.directory = directory
            self.handle = handle
        }
    }

    /// Events kept for watches that are being added; more are an overflow.
    nonisolated static let keptEventsMax = 4_096

    /// Watches directories, all or none, in a job; then, in the same job, does what has to see every
    /// change that is no event. Events are told from then on.
    package func add<Success: Sendable>(
        _ requests: [Request],
        in pool: JobPool,
        then body: @escaping @Sendable () -> Success
    ) async -> (watches: Result<[WatchID], SystemError>, result: Success) {
        guard !isStopped else {
            let result = await pool.run { body() }
            return (.failure(SystemError("inotify_add_watch", EBADF)), result)
        }
        additions += 1
        let descriptor = self.descriptor
        let directories = requests.map(\.directory)
        let (added, result) = await pool.run { () -> (Result<[CInt], SystemError>, Success) in
            var added: [CInt] = []
            var failure: SystemError?
            for directory in directories where failure == nil {
                do throws(SystemError) {
                    added.append(try Self.add(directory, to: descriptor))
                } catch {
                    failure = error
                }
            }
            let result = body()
            return (failure.map { .failure($0) } ?? .success(added), result)
        }
        // What is queued by now was made before anybody could have been told.
        drain()
        additions -= 1
        defer { if additions == 0 { kept = KeptEvents() } }
        switch added {
        case .failure(let error): return (.failure(error), result)
        case .success(let watches):
            guard !isStopped else {
                return (.failure(SystemError("inotify_add_watch", EBADF)), result)
            }
            let ids = zip(watches, requests).map { watch, request in
                register(watch, wantsDirectories: false) { kind, name, _ in
                    request.handle(kind, name)
                }
            }
            for (watch, request) in zip(watches, requests) { kept.tell(watch, request.handle) }
            return (.success(ids), result)
        }
    }

    nonisolated static func add(
        _ directory: Directory,
        to descriptor: CInt,
        _ mask: UInt32 = everything
    ) throws(SystemError) -> CInt {
        // By descriptor: the very directory that the store has open, whatever its path is now.
        let path = Array("/proc/self/fd/\(directory.descriptor)".utf8)
        let result = unsafe try withPath(path) { name throws(SystemError) in
            unsafe martlet_inotify_add(descriptor, name, mask)
        }
        guard result >= 0 else { throw SystemError("inotify_add_watch", path: directory.path) }
        return result
    }
}

/// Events that came while watches were being added, each with its watch descriptor.
struct KeptEvents {
    private var events: [(watch: CInt, kind: FileEvent.Kind, name: [UInt8])] = []
    private var hasOverflown = false

    mutating func append(_ watch: CInt, _ kind: FileEvent.Kind, _ name: Span<UInt8>) {
        guard events.count < Inotify.keptEventsMax else {
            hasOverflown = true
            return
        }
        events.append((watch, kind, name.array))
    }

    mutating func noteOverflow() { hasOverflown = true }

    @EventLoop
    func tell(_ watch: CInt, _ handle: @EventLoop (FileEvent.Kind, Span<UInt8>) -> Void) {
        if hasOverflown {
            let none: [UInt8] = []
            return handle(.overflow, none.span)
        }
        for event in events where event.watch == watch { handle(event.kind, event.name.span) }
    }
}
