import Glibc
import Maildir
import Posix

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
    private func pollByTime(_ reason: String) {
        let path = disk.directory.path.quotedForLog
        Log.warning("event=polling path=\(path) reason=\(reason) seconds=\(pollSeconds)")
        poll(stamp: nil)
    }

    private var pollSeconds: Int { 2 }

    private func poll(stamp last: [WallTime]?) {
        polling = EventLoop.schedule(at: .after(seconds: pollSeconds)) { [weak self] in
            guard let self, !self.isGone else { return }
            Task {
                let disk = self.disk
                let stamp = try? await self.context.pool.run { () throws(SystemError) in
                    [try disk.new.status().modified, try disk.cur.status().modified]
                }
                // A change within the clock's granularity shows only at the next look.
                let isFresh = stamp.map { $0.contains { WallTime.now.seconds - $0.seconds < 3 } }
                if stamp != last || isFresh == true {
                    self.needsScan = true
                    self.work()
                }
                self.poll(stamp: stamp)
            }
        }
    }

    func handle(_ event: FileEvent, isNew: Bool) {
        switch event.kind {
        case .overflow:
            needsScan = true
            return work()
        case .directoryGone:
            return directoryGone()
        case .movedTo, .created, .written, .attributes, .movedFrom, .deleted: break
        }
        if isNew, tellsArrival(event) { return arrive(FileLocation(isNew: true, name: event.name)) }
        if isBusy {
            deferredEvents.append((event, isNew))
        } else {
            apply(event, isNew: isNew)
        }
    }

    func applyDeferredEvents() {
        let events = deferredEvents
        deferredEvents = []
        for (event, isNew) in events { apply(event, isNew: isNew) }
    }

    /// Whether the event says that a whole message, unknown until now, lies there.
    private func tellsArrival(_ event: FileEvent) -> Bool {
        guard let name = MessageName(event.name), table.row(of: name.base.span) == nil else {
            return false
        }
        switch event.kind {
        case .movedTo, .written: return true
        // By link() it is whole; by open() its writer may not be done, and closing it is an event.
        case .created: return disk.isComplete(event.name, isNew: true)
        default: return false
        }
    }

    private func arrive(_ location: FileLocation) {
        guard let base = MessageName(location.name)?.base else { return }
        if let index = arrivals.firstIndex(where: { MessageName($0.name)?.base == base }) {
            arrivals[index] = location
            return
        }
        arrivals.append(location)
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
                if event.kind == .created, !disk.isComplete(event.name, isNew: isNew) { return }
                return arrive(location)
            }
            let message = MailboxDisk.found(location, name)
            suspects.remove(table.uids[row])
            guard table.location(row) != location else { return }
            let changes = table.flags(row) != message.flags
            table.update(
                row,
                flags: message.flags,
                place: message.place,
                location: message.location
            )
            if changes {
                noteFlags(row, source: 0)
                if message.flags.keywordIndexes.contains(where: { keywords.name($0) == nil }) {
                    // A letter that has no name here yet: the list of names has grown.
                    needsScan = true
                    work()
                }
                notify()
            }
        case .movedFrom, .deleted:
            if let row, table.location(row) == location {
                suspects.insert(table.uids[row])
                work()
            } else if row == nil {
                // Gone before it had a UID; a rename's other half follows at once.
                arrivals.removeAll { $0 == location }
                notify()
            }
        case .attributes, .directoryGone, .overflow: break
        }
    }

    func noteFlags(_ row: Int, source: UInt32) {
        table.modseqs[row] = nextModseq()
        log.append(.init(uid: table.uids[row], isExpunge: false, source: source))
    }

    /// `cur/` or `new/` was removed or moved away: with the mailbox, or alone.
    private func directoryGone() {
        guard !isGone else { return }
        isGone = true
        Log.info("event=mailbox-gone path=\(disk.directory.path.quotedForLog)")
        context.mailboxIsGone(self)
        notify()
        settled.fire()
    }
}

extension MailboxDisk {
    /// Whether a file that was just created has no writer any more: a link, or a copy that is done.
    func isComplete(_ name: [UInt8], isNew: Bool) -> Bool {
        let directory = isNew ? new : cur
        guard let status = try? directory.status(name) else { return false }
        if status.linkCount > 1 { return true }
        // A read lease is granted only while nobody has the file open for writing.
        guard let file = try? directory.open(name, O_RDONLY | O_NONBLOCK) else { return false }
        return file.hasNoWriterNow()
    }
}
