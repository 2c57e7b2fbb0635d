import Bytes
import Glibc
package import Maildir
package import Posix

//  All mailboxes of one user
//
//  On disk: the Maildir++ tree (`MailboxTree`), `subscriptions`, and `martlet-state` with the special
//  uses that CREATE set. The tree is listed anew whenever it is asked for: other programs make and
//  remove mailboxes too. Who opens one mailbox looks only at the directory that it was last time, or
//  STATUS of each of some thousand mailboxes would look at all of them some thousand times. Live
//  mailboxes are found by path; one that nobody has selected stays live for a while, so that coming
//  back costs nothing.

/// Where a user's mail is and how it is named.
package struct StoreSettings: Sendable {
    package var root: [UInt8]
    package var separator: UInt8
    /// Nil: `INBOX.` only where Courier's files are and no dovecot-uidlist, or were when Martlet came.
    package var prefix: [UInt8]?
    package var processID: Int32
    package var host: [UInt8]
    package var userName: [UInt8]
    /// Tells one start of the machine from another; empty where that is not known.
    package var bootID: [UInt8]
    /// Where indexes of the user's Maildirs are; nil for none. Only the user may be able to write to it.
    package var cacheDirectory: [UInt8]?
    /// Whether the last process died of a signal: the index may have been why.
    package var setsIndexAside: Bool

    package init(
        root: [UInt8],
        separator: UInt8 = UInt8(ascii: "."),
        prefix: [UInt8]? = nil,
        processID: Int32,
        host: [UInt8],
        userName: [UInt8] = [],
        bootID: [UInt8] = [],
        cacheDirectory: [UInt8]? = nil,
        setsIndexAside: Bool = false
    ) {
        self.root = root
        self.separator = separator
        self.prefix = prefix
        self.processID = processID
        self.host = host
        self.userName = userName
        self.bootID = bootID
        self.cacheDirectory = cacheDirectory
        self.setsIndexAside = setsIndexAside
    }
}

@EventLoop
package final class MailStore {
    package let naming: MailboxNaming
    /// Whose mail it is.
    package let userName: [UInt8]
    let root: Directory
    let context: StoreContext
    var live: [MailboxPath: Mailbox] = [:]
    /// Live mailboxes without a session, the longest idle first.
    private var idle: [MailboxPath] = []
    private let changes = Turnstile()
    private let subscribing = Turnstile()
    let stateChanges = Turnstile()
    let annotationChanges = Turnstile()
    /// How long SETACL waits for another program's lock; tests wait for less.
    var aclLockSeconds = 30
    /// Told which entries of which mailbox (nil: of the server) another session has changed.
    package var annotationObservers: [ObjectIdentifier: (MailboxPath?, [[UInt8]]) -> Void] = [:]
    /// Whoever makes the default mailboxes: several clients may log in for the first time at once.
    package let firstLogin = Turnstile()
    private var opening: [MailboxPath: Signal] = [:]
    /// Where mailboxes were when the tree was last listed.
    private(set) var lastSeen: [MailboxPath: MailboxTree.Entry] = [:]
    var state: StateFile?
    /// Whether `state` is another than the file holds.
    var isStateUnwritten = false
    let bootID: [UInt8]
    let cacheDirectory: [UInt8]?
    let setsIndexAside: Bool
    let indexOpening = Turnstile()
    var isIndexOpened = false
    package internal(set) var past: StatePast?
    var reserving: TimerID?

    /// Opens the root; its subdirectories are made if they are missing.
    package init(_ settings: StoreSettings, pool: JobPool = .shared) throws(SystemError) {
        root = try Directory(path: settings.root)
        userName = settings.userName
        bootID = settings.bootID
        cacheDirectory = settings.cacheDirectory
        setsIndexAside = settings.setsIndexAside
        var prefix = settings.prefix ?? []
        if settings.prefix == nil, Self.isNamedByCourier(root) {
            prefix = [UInt8]("INBOX") + [settings.separator]
        }
        naming = MailboxNaming(separator: settings.separator, prefix: prefix)
        context = StoreContext(
            processID: settings.processID,
            host: settings.host,
            pool: pool
        )
        context.store = self
        _ = try MailboxDisk(root, root: root, names: context.names, quota: context.quota)
    }

    /// Decided when the Maildir is first served, and written down before any dovecot-uidlist is: the next
    /// process would find that list and name all mailboxes anew.
    private static func isNamedByCourier(_ root: Directory) -> Bool {
        do throws(SystemError) {
            var state = try StateFile.load(root: root)
            if state.isNamedByCourier { return true }
            guard looksLikeCourier(root) else { return false }
            state.isNamedByCourier = true
            try state.store(root: root)
            return true
        } catch {
            Log.error("event=state-failed path=\(root.path.quotedForLog) reason=\"\(error)\"")
            return looksLikeCourier(root)
        }
    }

    private static func looksLikeCourier(_ root: Directory) -> Bool {
        func exists(_ name: StaticString) -> Bool { (try? root.status([UInt8](name))) != nil }
        return !exists("dovecot-uidlist")
            && (exists("courierimapuiddb") || exists("courierimapsubscribed"))
    }

    /// Where whatever takes long is done.
    package var pool: JobPool { context.pool }

    /// Gives up what the kernel holds for the store. No session uses it any more.
    package func close() {
        for mailbox in live.values { mailbox.unwatch() }
        live = [:]
        idle = []
        if let reserving { EventLoop.cancel(reserving) }
        context.inotify?.stop()
    }

    // MARK: Mailboxes

    /// The mailboxes that exist now.
    package func tree() async throws(StoreError) -> MailboxTree {
        let root = root
        do throws(SystemError) {
            let tree = try await context.pool.run { () throws(SystemError) in
                try MailboxTree(root: root)
            }
            lastSeen = tree.entries
            return tree
        } catch {
            context.logFailure(.system(error), root)
            throw StoreError(error)
        }
    }

    /// Looks at the mailboxes that exist and at those that are subscribed, in one job.
    package func survey<Success: Sendable>(
        _ body: @escaping @Sendable (MailboxTree, Subscriptions) -> Success
    ) async throws(StoreError) -> Success {
        let root = root
        do throws(MaildirError) {
            let (entries, success) = try await context.pool.run { () throws(MaildirError) in
                let tree = try system { () throws(SystemError) in try MailboxTree(root: root) }
                return (tree.entries, body(tree, try Subscriptions.load(root: root)))
            }
            lastSeen = entries
            return success
        } catch {
            context.logFailure(error, root)
            throw StoreError(error)
        }
    }

    /// The mailboxes that exist when no change of this process is half done: renaming a mailbox
    /// with others below it takes several steps.
    package func settledTree() async throws(StoreError) -> MailboxTree {
        await changes.enter()
        defer { changes.leave() }
        return try await tree()
    }

    /// The live mailbox of a path, scanned if it was not live.
    ///
    /// - Parameter outlineSuffices: whether `Mailbox.isOutline` may still be true on return.
    package func open(
        _ path: MailboxPath,
        outlineSuffices: Bool = false
    ) async throws(StoreError) -> Mailbox {
        await startClock()
        while let signal = opening[path] { await signal.wait() }
        let signal = Signal()
        opening[path] = signal
        defer {
            opening[path] = nil
            signal.fire()
        }
        if let mailbox = live[path], await isInPlace(mailbox), !mailbox.isGone {
            if mailbox.isPolled { mailbox.wantScan() }
            try await mailbox.settle(outlineSuffices: outlineSuffices)
            if !mailbox.isGone { return mailbox }
        }
        live[path]?.leave()
        let (disk, acl) = try await openDisk(path)
        let mailbox = Mailbox(path, disk, context)
        mailbox.takeRights(acl)
        do throws(StoreError) {
            try await mailbox.settle(outlineSuffices: outlineSuffices)
        } catch {
            mailbox.unwatch()
            throw error
        }
        guard !mailbox.isGone else { throw .noSuchMailbox }
        live[path] = mailbox
        mailboxBecameIdle(mailbox)
        return mailbox
    }

    private func openDisk(
        _ path: MailboxPath
    ) async throws(StoreError) -> (MailboxDisk, ACLFile.Look) {
        let root = root
        let names = context.names
        let quota = context.quota
        let seen = lastSeen[path]
        do throws(SystemError) {
            let opened = try await context.pool.run { () throws(SystemError) in
                try Self.openDisk(path, seen, root, names, quota)
            }
            if let entries = opened.listed { lastSeen = entries }
            guard let mailbox = opened.mailbox else { throw SystemError("open", ENOENT) }
            return mailbox
        } catch {
            if error.isMissing { throw .noSuchMailbox }
            context.logFailure(.system(error), root)
            throw StoreError(error)
        }
    }

    /// - Parameter seen: where it was when the tree was last listed.
    /// - Returns: no mailbox for what is none; and the tree, where it had to be listed.
    private nonisolated static func openDisk(
        _ path: MailboxPath,
        _ seen: MailboxTree.Entry?,
        _ root: Directory,
        _ names: NameSource,
        _ quota: Quota
    ) throws(SystemError) -> (
        mailbox: (MailboxDisk, ACLFile.Look)?, listed: [MailboxPath: MailboxTree.Entry]?
    ) {
        var entry = seen
        var listed: [MailboxPath: MailboxTree.Entry]?
        if try seen.map({ entry throws(SystemError) in try entry.isCurrent(root: root) }) != true {
            let tree = try MailboxTree(root: root)
            listed = tree.entries
            entry = tree.entries[path]
            if entry == nil { try Self.checkAccess(path, tree.encoding, root) }
        }
        guard let entry else { return (nil, listed) }
        let directory = try MailboxTree.open(entry, root: root)
        let disk = try MailboxDisk(directory, root: root, names: names, quota: quota)
        try disk.cleanUp()
        return ((disk, ACLFile.Look(directory)), listed)
    }

    /// A mailbox that cannot be entered is not in the tree; throws why, where that is so.
    private nonisolated static func checkAccess(
        _ path: MailboxPath,
        _ encoding: NameEncoding,
        _ root: Directory
    ) throws(SystemError) {
        guard let name = try? path.storageName(encoding) else { return }
        do throws(SystemError) {
            let directory = [UInt8(ascii: ".")] + name
            _ = try root.statusFollowingLinks(directory + [UInt8]("/cur"))
        } catch {
            if !error.isMissing { throw error }
        }
    }

    func mailboxBecameIdle(_ mailbox: Mailbox) {
        guard !mailbox.isObserved, live[mailbox.path] === mailbox else { return }
        idle.removeAll { $0 == mailbox.path }
        idle.append(mailbox.path)
        var index = 0
        while idle.count > Limits.idleMailboxesMax, index < idle.count {
            guard let old = live[idle[index]], !old.isObserved else {
                idle.remove(at: index)
                continue
            }
            guard old.isSettled, !old.isBusy, old !== mailbox, old.mayBeForgotten else {
                index += 1
                continue
            }
            idle.remove(at: index)
            live[old.path] = nil
            old.unwatch()
        }
    }

    /// Without a look at the disk: nil for one that nobody has open.
    package func liveMailbox(_ path: MailboxPath) -> Mailbox? { live[path] }

    /// Whether nobody has a mailbox open, or is opening it.
    func isAtRest(_ path: MailboxPath) -> Bool { live[path] == nil && opening[path] == nil }

    func forget(_ mailbox: Mailbox) {
        mailbox.unwatch()
        if live[mailbox.path] === mailbox { live[mailbox.path] = nil }
        idle.removeAll { $0 == mailbox.path }
    }

    // MARK: Changes of the tree, one at a time

    private func changingTree<Success: Sendable>(
        _ body: @escaping @Sendable (MailboxTree, Directory) throws(MailboxTreeError) -> Success
    ) async throws(StoreError) -> Success {
        await changes.enter()
        defer { changes.leave() }
        let root = root
        do throws(MailboxTreeError) {
            return try await context.pool.run(.syncing) { () throws(MailboxTreeError) in
                let tree: MailboxTree
                do throws(SystemError) { tree = try MailboxTree(root: root) } catch {
                    throw .system(error)
                }
                return try body(tree, root)
            }
        } catch {
            if case .system(let system) = error { context.logFailure(.system(system), root) }
            throw StoreError(error)
        }
    }

    package func create(_ path: MailboxPath) async throws(StoreError) {
        let unique = context.names.next()
        _ = try await changingTree { (tree, root) throws(MailboxTreeError) in
            try tree.create(path, root: root, unique: unique)
        }
    }

    /// Deletes one mailbox; those below it stay.
    package func delete(_ path: MailboxPath) async throws(StoreError) {
        let unique = context.names.next()
        let quota = context.quota
        let left = try await changingTree { (tree, root) throws(MailboxTreeError) in
            try quota.countingDeletion(of: tree.entries[path], root: root) {
                () throws(MailboxTreeError) in
                try tree.delete(path, root: root, unique: unique)
            }
        }
        live[path]?.leave()
        // It is deleted, whatever becomes of this; the failure is in the log.
        try? await changeState { $0.uses[path] = nil }
        guard let left else { return }
        let root = root
        Task { [context] in
            do throws(SystemError) {
                try await context.pool.run(.syncing) { () throws(SystemError) in
                    try MailboxTree.remove(left, root: root)
                }
            } catch {
                context.logFailure(.system(error), root)
            }
        }
    }

    /// Renames a mailbox and all below it.
    package func rename(_ old: MailboxPath, to new: MailboxPath) async throws(StoreError) {
        try await changingTree { (tree, root) throws(MailboxTreeError) in
            try MailboxTree.rename(try tree.renamings(old, to: new), root: root)
        }
        for (path, mailbox) in live where path == old || path.isBelow(old) {
            await mailbox.saveSummary(isLast: true)
            mailbox.leave()
        }
        try? await changeState { state in
            for (path, use) in state.uses where path == old || path.isBelow(old) {
                state.uses[path] = nil
                state.uses[path.moved(from: old, to: new)] = use
            }
        }
    }

    // MARK: Subscriptions

    package func subscriptions() async throws(StoreError) -> Subscriptions {
        let root = root
        do throws(MaildirError) {
            return try await context.pool.run { () throws(MaildirError) in
                try Subscriptions.load(root: root)
            }
        } catch {
            context.logFailure(error, root)
            throw StoreError(error)
        }
    }

    /// Subscribes or unsubscribes. What is so already is no error.
    package func setSubscribed(
        _ path: MailboxPath,
        _ isSubscribed: Bool
    ) async throws(StoreError) {
        try await setSubscribed([path], isSubscribed)
    }

    /// All of them in one change of the file.
    package func setSubscribed(
        _ paths: [MailboxPath],
        _ isSubscribed: Bool
    ) async throws(StoreError) {
        if paths.isEmpty { return }
        await subscribing.enter()
        defer { subscribing.leave() }
        let root = root
        let owner = context.lockOwner
        var patience = DotLockPatience.subscriptions(now: .now)
        while true {
            let outcome: DotLock.Observation?
            do throws(MaildirError) {
                outcome = try await context.pool.run(.syncing) { () throws(MaildirError) in
                    try Self.changeSubscriptions(paths, isSubscribed, root, owner)
                }
            } catch {
                context.logFailure(error, root)
                throw StoreError(error)
            }
            guard let observation = outcome else { return }
            switch patience.judge(observation, now: .now, date: .now) {
            case .wait(let milliseconds): await EventLoop.sleep(milliseconds: milliseconds)
            case .override:
                try? await context.pool.run(.syncing) { () throws(SystemError) in
                    try DotLock.override(observation, Subscriptions.name, in: root)
                }
                await EventLoop.sleep(milliseconds: DotLockPatience.pauseAfterOverride)
            case .timedOut: throw .locked
            }
        }
    }

    /// Nil when done; else who holds the lock.
    private nonisolated static func changeSubscriptions(
        _ paths: [MailboxPath],
        _ isSubscribed: Bool,
        _ root: Directory,
        _ owner: DotLock.Owner
    ) throws(MaildirError) -> DotLock.Observation? {
        for _ in 0..<100 {
            let outcome = try system { () throws(SystemError) in
                try DotLock.tryAcquire(Subscriptions.name, in: root, as: owner)
            }
            switch outcome {
            case .gone: continue
            case .held(let observation): return observation
            case .acquired(let lock):
                var list = try Subscriptions.load(root: root)
                let tree = try system { () throws(SystemError) in try MailboxTree(root: root) }
                var isChanged = false
                for path in paths {
                    if !isSubscribed {
                        if list.remove(path) { isChanged = true }
                        continue
                    }
                    do throws(MailboxNameRefusal) {
                        let isNew = try list.add(
                            path,
                            directoryName: tree.entries[path]?.directoryName,
                            encoding: tree.encoding
                        )
                        if isNew { isChanged = true }
                    } catch {
                        // A name that cannot be written cannot be subscribed.
                    }
                }
                if isChanged { try list.store(lock) } else { _ = try? lock.release() }
                return nil
            }
        }
        return nil
    }

    // MARK: State (the file: MailStore+State.swift)

    /// The special use that CREATE set for each mailbox.
    package func storedUses() async throws(StoreError) -> [MailboxPath: [UInt8]] {
        try await loadedState().uses
    }

    package func setUse(_ path: MailboxPath, _ use: [UInt8]?) async throws(StoreError) {
        try await changeState { $0.uses[path] = use }
    }

    /// Whether the default mailboxes were looked for already in this Maildir.
    package func isFirstLogin() async throws(StoreError) -> Bool {
        try await !loadedState().hasDefaults
    }

    package func noteDefaultsMade() async throws(StoreError) {
        try await changeState { $0.hasDefaults = true }
    }
}

extension MailStore {
    /// For the log: which path could not be used, whose it is and which mode it has.
    package static func describe(_ error: SystemError, at path: [UInt8]) -> String {
        StoreContext.describe(error, at: path)
    }
}
