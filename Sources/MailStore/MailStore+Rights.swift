import Bytes
package import Maildir
import Posix

//  Rights are what `dovecot-acl` in the mailbox's directory says (ACLFile.swift). A live mailbox knows
//  its owner's; they are looked at again whenever a session opens it.

extension MailStore {
    /// The ACL of a mailbox; empty where it has no file.
    ///
    /// - Parameter tree: where the caller has just looked.
    package func acl(
        of path: MailboxPath,
        in tree: MailboxTree? = nil
    ) async throws(StoreError) -> ACLFile {
        let directory = try await directory(of: path, in: tree)
        do throws(MaildirError) {
            return try await context.pool.run { () throws(MaildirError) in
                try ACLFile.load(directory) ?? ACLFile()
            }
        } catch {
            context.logFailure(error, directory)
            throw StoreError(error)
        }
    }

    /// What the owner may do with a mailbox.
    package func rights(
        of path: MailboxPath,
        in tree: MailboxTree? = nil
    ) async throws(StoreError) -> MailboxRights {
        try await acl(of: path, in: tree).ownerRights(userName)
    }

    /// Changes the entry of one identifier.
    package func changeACL(
        of path: MailboxPath,
        _ identifier: ACLFile.Identifier,
        _ change: ACLFile.Change,
        base: MailboxRights = .none
    ) async throws(StoreError) {
        try await replaceACL(of: path) { file in
            var file = file
            file.change(identifier, change, base: base)
            return file
        }
    }

    /// Gives a mailbox that was just made the ACL of the nearest mailbox above it.
    package func inheritACL(_ path: MailboxPath) async throws(StoreError) {
        guard let parent = try await nearestParent(of: path) else { return }
        let inherited = try await acl(of: parent)
        guard !inherited.file.isEmpty else { return }
        try await replaceACL(of: path) { _ in inherited }
    }

    /// The nearest mailbox above a name, whether or not there is one of that name.
    package func nearestParent(of path: MailboxPath) async throws(StoreError) -> MailboxPath? {
        let tree = try await tree()
        var components = path.components
        while components.count > 1 {
            components.removeLast()
            let parent = MailboxPath(components)
            if tree.entries[parent] != nil { return parent }
        }
        return nil
    }

    func directory(
        of path: MailboxPath,
        in tree: MailboxTree? = nil
    ) async throws(StoreError) -> Directory {
        let root = root
        var found = tree
        if found == nil { found = try await self.tree() }
        guard let entry = found?.entries[path] else { throw .noSuchMailbox }
        do throws(SystemError) {
            return try await context.pool.run { () throws(SystemError) in
                try MailboxTree.open(entry, root: root)
            }
        } catch {
            if error.isMissing { throw .noSuchMailbox }
            context.logFailure(.system(error), root)
            throw StoreError(error)
        }
    }

    private func replaceACL(
        of path: MailboxPath,
        _ change: @escaping @Sendable (ACLFile) -> ACLFile
    ) async throws(StoreError) {
        let directory = try await directory(of: path)
        let root = root
        try await context.withDotLock(
            ACLFile.name,
            in: directory,
            DotLockPatience(
                staleAfterSeconds: 120,
                timeoutSeconds: aclLockSeconds,
                now: .now
            )
        ) { (lock) throws(MaildirError) in
            let old = try ACLFile.load(directory) ?? ACLFile()
            let new = change(old)
            if new == old {
                _ = try? lock.release()
            } else {
                try new.store(lock, root: root)
            }
        }
        if let mailbox = liveMailbox(path) { await mailbox.loadRights() }
    }
}

extension Mailbox {
    /// Looks at the rights of the owner.
    func loadRights() async {
        let directory = disk.directory
        takeRights(await context.pool.run { ACLFile.Look(directory) })
    }

    func takeRights(_ look: ACLFile.Look) {
        let directory = disk.directory
        do throws(MaildirError) {
            let file = try look.file.get()
            rights = file?.ownerRights(context.store?.userName ?? []) ?? .all
            aclFingerprint = look.fingerprint
            if let file, file.unknownCount > 0 {
                Log.warning(
                    "event=acl-not-understood path=\(directory.path.quotedForLog) lines=\(file.unknownCount)"
                )
            }
        } catch {
            // Who cannot read what he may do may do what only he decides.
            rights = .ofOwner
            context.logFailure(error, directory)
        }
    }

    /// Flags that the owner may set and clear.
    var changeableLetters: FlagLetters.Known {
        let all = FlagLetters.Known(rawValue: .max)
        if rights.isSuperset(of: [.seen, .deleteMessages, .write]) { return all }
        var letters = rights.contains(.write) ? all.subtracting([.seen, .trashed]) : []
        if rights.contains(.seen) { letters.insert(.seen) }
        if rights.contains(.deleteMessages) { letters.insert(.trashed) }
        return letters
    }
}

extension ACLFile {
    /// What is there now; nil where there is no file.
    struct Look: Sendable {
        let fingerprint: FileFingerprint?
        let file: Result<ACLFile?, MaildirError>

        init(_ mailbox: Directory) {
            // The fingerprint first: what comes between is seen when it is compared.
            fingerprint = (try? mailbox.status(ACLFile.name)).map { FileFingerprint($0) }
            do throws(MaildirError) { file = .success(try ACLFile.load(mailbox)) } catch {
                file = .failure(error)
            }
        }
    }
}

extension StoreContext {
    /// Runs a job under one of Dovecot's locks, waiting for it without a thread. The job gives the
    /// lock up.
    func withDotLock(
        _ name: [UInt8],
        in directory: Directory,
        _ patience: DotLockPatience,
        _ job: @escaping @Sendable (DotLock) throws(MaildirError) -> Void
    ) async throws(StoreError) {
        var patience = patience
        let owner = lockOwner
        while true {
            let held: DotLock.Observation?
            do throws(MaildirError) {
                held = try await pool.run { () throws(MaildirError) -> DotLock.Observation? in
                    for _ in 0..<100 {
                        let outcome: DotLock.Outcome
                        do throws(SystemError) {
                            outcome = try DotLock.tryAcquire(name, in: directory, as: owner)
                        } catch {
                            throw .system(error)
                        }
                        switch outcome {
                        case .gone: continue
                        case .held(let observation): return observation
                        case .acquired(let lock):
                            try job(lock)
                            return nil
                        }
                    }
                    return nil
                }
            } catch {
                logFailure(error, directory)
                throw StoreError(error)
            }
            guard let observation = held else { return }
            switch patience.judge(observation, now: .now, date: .now) {
            case .wait(let milliseconds): await EventLoop.sleep(milliseconds: milliseconds)
            case .override:
                try? await pool.run { () throws(SystemError) in
                    try DotLock.override(observation, name, in: directory)
                }
                await EventLoop.sleep(milliseconds: DotLockPatience.pauseAfterOverride)
            case .timedOut: throw .locked
            }
        }
    }
}
