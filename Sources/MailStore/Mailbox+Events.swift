import Bytes
import Glibc
import Maildir
import Posix

//  What inotify tells of `new/` and `cur/`, applied one by one. An event is a hint about a name: it is
//  held against what the table has, so that one that comes late, twice, or from ourselves changes
//  nothing. A file that went is only suspected; a scan under the lock decides.

extension Mailbox {
    /// Whether changes can be told at all.
    var mayBeWatched: Bool { context.inotify != nil && disk.cur.tellsEveryChange }

    /// Arms inotify on `new/` and `cur/`, then runs the body. Whoever relies on it looks at the
    /// directories afterwards, as the body does.
    func watch<Success: Sendable>(then body: @escaping @Sendable () -> Success) async -> Success {
        isWatchDecided = true
        guard let inotify = context.inotify, disk.cur.tellsEveryChange else {
            pollByTime("filesystem")
            return await context.pool.run { body() }
        }
        let (added, result) = await inotify.add(
            [(disk.new, true), (disk.cur, false)].map { directory, isNew in
                .init(directory) { [weak self] kind, name in
                    self?.handle(kind, name, isNew: isNew)
                }
            },
            in: context.pool,
            then: body
        )
        switch added {
        case .success(let ids):
            watches = ids
            // Nobody wants it any more.
            if isUnwatched { unwatch() }
        case .failure(let error):
            Log.warning(
                "event=no-inotify error=\"\(error)\" hint=\"raise fs.inotify.max_user_watches\""
            )
            if !isUnwatched { pollByTime("inotify") }
        }
        return result
    }

    func unwatch() {
        isUnwatched = true
        for id in watches { context.inotify?.remove(id) }
        watches = []
        if let polling { EventLoop.cancel(polling) }
        polling = nil
    }

    /// Where changes are not told, directories are looked at by time.
    func pollByTime(_ reason: String) {
        let path = disk.directory.path.quotedForLog
        Log.warning("event=polling path=\(path) reason=\(reason) seconds=\(pollSeconds)")
        poll(stamp: nil)
    }

    private var pollSeconds: Int { 2 }

    /// Whether changes by others are seen only by looking.
    var isPolled: Bool { polling != nil }

    private func poll(stamp last: [WallTime]?) {
        polling = EventLoop.schedule(at: .after(seconds: pollSeconds)) { [weak self] in
            guard let self, !self.isGone else { return }
            // Without a session nobody is told; `MailStore.open` has it scanned.
            guard self.isObserved else { return self.poll(stamp: nil) }
            Task {
                let disk = self.disk
                let stamp = try? await self.context.pool.run { () throws(SystemError) in
                    [try disk.new.status().modified, try disk.cur.status().modified]
                }
                guard !self.isGone, self.polling != nil else { return }
                // A change within the clock's granularity shows only at the next look.
                let isFresh = stamp.map { $0.contains { WallTime.now.seconds - $0.seconds < 3 } }
                if stamp != last || isFresh == true { self.wantScan() }
                self.poll(stamp: stamp)
            }
        }
    }

    func handle(_ kind: FileEvent.Kind, _ name: Span<UInt8>, isNew: Bool) {
        switch kind {
        case .overflow: return wantScan()
        case .directoryGone:
            Log.info("event=mailbox-gone path=\(disk.directory.path.quotedForLog)")
            return leave()
        case .movedTo, .created, .written, .attributes, .movedFrom, .deleted: break
        }
        let listed = MessageName.Listed(name)
        guard listed.layout.kind == .message else { return }
        if isBusy, !appliesEvents {
            // An arrival never waits.
            let base = name.extracting(..<listed.layout.baseCount)
            if isNew, !table.isOutline, table.row(of: base) == nil,
                hasArrived(kind, name, isNew: true)
            {
                return arrive(base.array, FileLocation(isNew: true, name: name.array))
            }
            deferredEvents.append(kind, name, isNew: isNew)
            if deferredEvents.count > Limits.deferredEventsMax {
                deferredEvents = DeferredEvents()
                wantScan()
            }
            return
        }
        apply(kind, name, listed, isNew: isNew)
    }

    func applyDeferredEvents() {
        guard !deferredEvents.isEmpty else { return }
        let events = deferredEvents
        deferredEvents = DeferredEvents()
        events.forEach { kind, name, isNew in
            apply(kind, name, MessageName.Listed(name), isNew: isNew)
        }
    }

    /// Whether the event says that a whole message, unknown until now, lies there.
    private func hasArrived(_ kind: FileEvent.Kind, _ name: Span<UInt8>, isNew: Bool) -> Bool {
        switch kind {
        case .movedTo, .written: return true
        // By link() it is whole; by open() its writer may not be done, and closing it is an event.
        case .created:
            switch disk.completeness(FileLocation(isNew: isNew, name: name.array)) {
            case .complete: return true
            case .written:
                // Closing it will change neither directory.
                unseenFiles += 1
                return false
            case .gone: return false
            case .unknown:
                lookAgain()
                return false
            }
        default: return false
        }
    }

    private func arrive(_ base: [UInt8], _ location: FileLocation) {
        guard arrivals.insert(base, location) else { return }
        notify()
        work()
    }

    private func apply(
        _ kind: FileEvent.Kind,
        _ name: Span<UInt8>,
        _ listed: MessageName.Listed,
        isNew: Bool
    ) {
        let base = name.extracting(..<listed.layout.baseCount)
        let row = table.row(of: base)
        switch kind {
        case .movedTo, .written, .created:
            if let row {
                relocate(row, name, listed, isNew: isNew)
            } else if hasArrived(kind, name, isNew: isNew) {
                arrive(base.array, FileLocation(isNew: isNew, name: name.array))
            }
        case .movedFrom, .deleted:
            if let row {
                guard table.isAt(row, name, isNew: isNew, listed) else { return }
                suspects.insert(table.uids[row])
                work()
            } else if !arrivals.isEmpty {
                let location = FileLocation(isNew: isNew, name: name.array)
                // Gone before it had a UID; a rename's other half follows at once.
                if arrivals.remove(base.array, at: location) { notify() }
            }
        case .attributes, .directoryGone, .overflow: break
        }
    }

    /// A message's file has this name now.
    private func relocate(
        _ row: Int,
        _ file: Span<UInt8>,
        _ listed: MessageName.Listed,
        isNew: Bool
    ) {
        let hadGone = !suspects.isEmpty && suspects.remove(table.uids[row]) != nil
        // Nearly always it is what we did ourselves.
        guard !table.isAt(row, file, isNew: isNew, listed) else { return }
        guard let name = MessageName(file.array) else { return }
        // The name that it had was not seen to go: two files of one base name.
        if !hadGone { wantScan() }
        let message = MailboxDisk.found(FileLocation(isNew: isNew, name: name.bytes), name)
        let changed = table.flags(row).symmetricDifference(message.flags)
        table.update(
            row,
            flags: message.flags,
            place: message.place,
            location: message.location
        )
        guard !changed.isEmpty else { return }
        noteFlags(row, changed: ChangedFlags(letters: changed), source: 0)
        // A letter that has no name here yet: the list of names has grown.
        if message.flags.keywordIndexes.contains(where: { keywords.name($0) == nil }) { wantScan() }
        notify()
    }

    func noteFlags(_ row: Int, changed: ChangedFlags, source: UInt32) {
        let modseq = nextModseq()
        let previous = table.modseqs[row]
        table.modseqs[row] = modseq
        log.append(
            .init(
                uid: table.uids[row],
                modseq: modseq,
                changed: changed,
                previous: previous,
                source: source
            )
        )
    }
}

/// Events that wait for an operation to end, one behind the other: kind, place, length, name.
struct DeferredEvents {
    private var bytes: [UInt8] = []
    private(set) var count = 0
    var isEmpty: Bool { count == 0 }

    mutating func append(_ kind: FileEvent.Kind, _ name: Span<UInt8>, isNew: Bool) {
        bytes.append(kind.rawValue)
        bytes.append(isNew ? 1 : 0)
        // The kernel's names have 255 bytes at most.
        let length = min(name.count, Int(UInt8.max))
        bytes.append(UInt8(length))
        for index in 0..<length { bytes.append(name[index]) }
        count += 1
    }

    @EventLoop
    func forEach(_ body: @EventLoop (FileEvent.Kind, Span<UInt8>, Bool) -> Void) {
        var offset = 0
        while offset + 3 <= bytes.count {
            let start = offset + 3
            let end = start + Int(bytes[offset + 2])
            if let kind = FileEvent.Kind(rawValue: bytes[offset]) {
                body(kind, bytes.span.extracting(start..<end), bytes[offset + 1] == 1)
            }
            offset = end
        }
    }
}

extension MailboxDisk {
    /// Whether a file that is new here has its writer still.
    enum Completeness {
        case complete
        case written
        /// The filesystem does not tell.
        case unknown
        case gone
    }

    func completeness(_ location: FileLocation) -> Completeness {
        let directory = location.isNew ? new : cur
        guard let status = try? directory.status(location.name) else { return .gone }
        // A link is made of a whole file; what has been left alone for long is taken for one.
        let age = WallTime.now.seconds - max(status.modified.seconds, status.changed.seconds)
        if status.linkCount > 1 || !status.isRegular || age > Limits.writingSecondsMax {
            return .complete
        }
        // A read lease is granted only while nobody has the file open for writing.
        do throws(SystemError) {
            let file = try directory.open(location.name, O_RDONLY | O_NONBLOCK)
            if let hasNoWriter = file.hasNoWriterNow() { return hasNoWriter ? .complete : .written }
        } catch {
            if error.isMissing { return .gone }
            // One that cannot be read is a message all the same; whoever reads it is told why not.
            if error.code == EACCES { return .complete }
        }
        return age > Limits.unfinishedSeconds ? .complete : .unknown
    }
}
