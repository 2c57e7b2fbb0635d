import Glibc
import Maildir
import Posix

//  What inotify tells of `new/` and `cur/`, applied one by one. An event is a hint about a name: it is
//  held against what the table has, so that one that comes late, twice, or from ourselves changes
//  nothing. A file that went is only suspected; a scan under the lock decides.

extension Mailbox {
    /// Arms inotify on `new/` and `cur/`. Whoever relies on it scans afterwards.
    func watch() {
        guard let inotify = context.inotify, disk.cur.tellsEveryChange else {
            return pollByTime("filesystem")
        }
        do throws(SystemError) {
            for (directory, isNew) in [(disk.new, true), (disk.cur, false)] {
                let id = try inotify.add(directory) { [weak self] event in
                    self?.handle(event, isNew: isNew)
                }
                watches.append(id)
            }
        } catch {
            Log.warning(
                "event=no-inotify error=\"\(error)\" hint=\"raise fs.inotify.max_user_watches\""
            )
            unwatch()
            pollByTime("inotify")
        }
    }

    func unwatch() {
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

    func handle(_ event: FileEvent, isNew: Bool) {
        switch event.kind {
        case .overflow: return wantScan()
        case .directoryGone:
            Log.info("event=mailbox-gone path=\(disk.directory.path.quotedForLog)")
            return leave()
        case .movedTo, .created, .written, .attributes, .movedFrom, .deleted: break
        }
        if isNew, let base = arrivingBase(event, isNew: true) {
            return arrive(base, FileLocation(isNew: true, name: event.name))
        }
        guard isBusy else { return apply(event, isNew: isNew) }
        deferredEvents.append((event, isNew))
        if deferredEvents.count > Limits.deferredEventsMax {
            deferredEvents = []
            wantScan()
        }
    }

    func applyDeferredEvents() {
        let events = deferredEvents
        deferredEvents = []
        for (event, isNew) in events { apply(event, isNew: isNew) }
    }

    /// The base name, where the event says that a whole message, unknown until now, lies there.
    private func arrivingBase(_ event: FileEvent, isNew: Bool) -> [UInt8]? {
        guard let name = MessageName(event.name), table.row(of: name.base.span) == nil else {
            return nil
        }
        switch event.kind {
        case .movedTo, .written: return name.base
        // By link() it is whole; by open() its writer may not be done, and closing it is an event.
        case .created:
            switch disk.completeness(FileLocation(isNew: isNew, name: event.name)) {
            case .complete: return name.base
            case .written:
                // Closing it will change neither directory.
                unseenFiles += 1
                return nil
            case .gone: return nil
            case .unknown:
                lookAgain()
                return nil
            }
        default: return nil
        }
    }

    private func arrive(_ base: [UInt8], _ location: FileLocation) {
        guard arrivals.insert(base, location) else { return }
        notify()
        work()
    }

    private func apply(_ event: FileEvent, isNew: Bool) {
        guard let name = MessageName(event.name) else { return }
        let location = FileLocation(isNew: isNew, name: event.name)
        let row = table.row(of: name.base.span)
        switch event.kind {
        case .movedTo, .written, .created:
            guard let row else {
                if let base = arrivingBase(event, isNew: isNew) { arrive(base, location) }
                return
            }
            relocate(row, location, name)
        case .movedFrom, .deleted:
            if let row {
                guard table.location(row) == location else { return }
                suspects.insert(table.uids[row])
                work()
            } else if arrivals.remove(name.base, at: location) {
                // Gone before it had a UID; a rename's other half follows at once.
                notify()
            }
        case .attributes, .directoryGone, .overflow: break
        }
    }

    /// A message's file has this name now.
    private func relocate(_ row: Int, _ location: FileLocation, _ name: MessageName) {
        let hadGone = suspects.remove(table.uids[row]) != nil
        guard table.location(row) != location else { return }
        // The name that it had was not seen to go: two files of one base name.
        if !hadGone { wantScan() }
        let message = MailboxDisk.found(location, name)
        let changes = table.flags(row) != message.flags
        table.update(
            row,
            flags: message.flags,
            place: message.place,
            location: message.location
        )
        guard changes else { return }
        noteFlags(row, source: 0)
        // A letter that has no name here yet: the list of names has grown.
        if message.flags.keywordIndexes.contains(where: { keywords.name($0) == nil }) { wantScan() }
        notify()
    }

    func noteFlags(_ row: Int, source: UInt32) {
        let modseq = nextModseq()
        table.modseqs[row] = modseq
        log.append(.init(uid: table.uids[row], modseq: modseq, source: source))
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
