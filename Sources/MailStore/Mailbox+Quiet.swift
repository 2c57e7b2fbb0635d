import Maildir
import Posix

//  Many changes of our own without an event for each
//
//  A rename in a watched directory makes two events: each is allocated and queued by the kernel, read,
//  and held against what is known, a fifth of what a STORE of thousands costs. So while a command
//  changes a good part of a mailbox, the kernel tells no renames and removals in `cur/`. What other
//  programs did meanwhile is found afterwards: the events are asked for again, and then `cur/` is
//  listed once under the lock, and held against what is known. As a rule all is as it should be; else a
//  scan tells.
//
//  Meanwhile nothing is wrong, only late: a file that is not where it was last seen is looked for by
//  whoever needs it, as ever.

extension Mailbox {
    /// Begins a change of so many messages. Returns whether `endQuiet` is due after it.
    func beginQuiet(_ count: Int) -> Bool {
        guard count >= Limits.quietChangesMin, table.count <= Limits.quietTableFactor * count,
            let inotify = context.inotify, let watch = watches.last
        else { return false }
        if quietChanges == 0, !inotify.mute(watch, disk.cur) { return false }
        quietChanges += 1
        return true
    }

    func endQuiet() async {
        quietChanges -= 1
        guard quietChanges == 0, !isGone, let watch = watches.last else { return }
        do throws(SystemError) { try context.inotify?.unmute(watch, disk.cur) } catch {
            Log.warning("event=no-inotify error=\"\(error)\"")
            unwatch()
            pollByTime("inotify")
            return wantScan()
        }
        do throws(StoreError) {
            try await locked { () -> Job<Bool>? in
                let table = self.table
                return { (disk, _) throws(MaildirError) in try disk.holds(table) }
            } applying: { isAsKnown in
                if !isAsKnown { wantScan() }
            }
        } catch {
            wantScan()
        }
    }
}

extension MailboxDisk {
    /// Whether `cur/` has exactly the files that the table says.
    func holds(_ table: MessageTable) throws(MaildirError) -> Bool {
        var table = table
        var left = table.count - table.newCount
        var isAsKnown = true
        try system { () throws(SystemError) in
            try cur.forEachName { (name, _) throws(SystemError) in
                let listed = MessageName.Listed(name)
                guard isAsKnown, listed.layout.kind == .message else { return }
                let row = table.row(of: name.extracting(..<listed.layout.baseCount))
                isAsKnown = row.map { table.isAt($0, name, isNew: false, listed) } ?? false
                left -= 1
            }
        }
        return isAsKnown && left == 0
    }
}
