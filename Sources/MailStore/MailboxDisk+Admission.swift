import Bytes
import Glibc
import Maildir
import Posix

//  Giving messages their UIDs; the steps and what a crash leaves stand in MailboxDisk.swift.

extension MailboxDisk {
    /// A message of ours on its way in.
    struct Admission: Sendable {
        enum Source: Sendable {
            /// Complete and synced in `tmp/` under this name.
            case staged([UInt8])
            /// Finished; it is made durable in `tmp/` before the lock is taken.
            case message(StagedMessage)
            /// A second name is made for this file.
            case link(Directory, [UInt8])
        }
        var source: Source
        var base: [UInt8]
        var flags: FlagLetters.Known
        var keywords: [[UInt8]]

        var message: StagedMessage? {
            if case .message(let message) = source { message } else { nil }
        }
    }

    /// A file that got its name in `cur/`, and the name in `tmp/` that it had before, if any.
    private typealias Placed = (name: [UInt8], staged: [UInt8]?)

    struct AdmissionRequest: Sendable {
        /// What others put into `new/` or `cur/`.
        var found: [FileLocation]
        /// What we bring: of each group all or none.
        var groups: [[Admission]]
        /// What goes as each group has come in.
        var replaced: [Removal?]
        /// Of the list that the mailbox is known to have.
        var uidValidity: UInt32
        /// The last message that sessions know.
        var lastUID: UInt32
        var movesNew: Bool
        var lettersInUse: FlagLetters.Known

        var isEmpty: Bool { found.isEmpty && groups.isEmpty }
    }

    struct Admitted: Sendable {
        var message: FoundMessage
        var beyond: [Int] = []
    }

    struct AdmissionResult: Sendable {
        /// False where the list is missing or another one: nothing was done.
        var isDone = false
        var found: [Admitted] = []
        /// Base names of files that went away before they had a UID, or can have none.
        var vanished: [[UInt8]] = []
        var groups: [Result<[Admitted], StoreError>] = []
        /// UIDs of what was replaced, and its name in `tmp/` where it is kept aside.
        var removed: [UInt32: [UInt8]?] = [:]
        var nextUID: UInt32 = 1
        var keywords = Keywords()
        /// Another program gave out UIDs meanwhile, to messages that are not among these.
        var needsScan = false
    }

    /// Gives messages their UIDs, all with one sync of the list. Durable on return.
    func admit(_ request: AdmissionRequest, _ lock: DotLock) throws(MaildirError) -> AdmissionResult
    {
        var result = AdmissionResult()
        // What has no row has no record either, but for those that others brought since: a list at rest
        // will do.
        let refresh = try uidList.refresh(in: directory, isWhole: false)
        guard let header = uidList.list?.header, header.uidValidity == request.uidValidity,
            header.guid != nil
        else { return result }
        _ = try keywordsFile.refresh(in: directory)

        try admitFound(request, &result)
        result.needsScan =
            result.needsScan || hasForeign(refresh, among: result.found)
        try countingAdmitted(&result) { (result) throws(MaildirError) in
            try admitGroups(request, &result, lock)
        }
        if request.movesNew {
            for index in result.found.indices { _ = moveToCur(&result.found[index].message) }
        }
        result.isDone = true
        return result
    }

    /// Whether the list has records that are new to us and name none of these messages.
    private func hasForeign(
        _ refresh: UIDListFile.Refresh,
        among found: [Admitted]
    ) -> Bool {
        switch refresh {
        case .unchanged: return false
        case .replaced, .missing: return true
        case .grown(let growth):
            guard growth.superseded.isEmpty else { return true }
            let uids = Set(found.map(\.message.uid))
            return (growth.firstIndex..<list.recordCount).contains { record in
                list.isLive(record) && !uids.contains(list.uid(record))
            }
        }
    }

    /// Files that others delivered, in the order of their coming. They have records afterwards.
    private func admitFound(
        _ request: AdmissionRequest,
        _ result: inout AdmissionResult
    ) throws(MaildirError) {
        for location in request.found {
            guard let name = MessageName(location.name) else { continue }
            guard let status = try? (location.isNew ? new : cur).status(location.name) else {
                result.vanished.append(name.base)
                continue
            }
            var message = Self.found(location, name)
            message.isLink = status.isSymbolicLink
            if let record = list.index(of: message.base.span) {
                message.uid = list.uid(record)
                // A message that was told as expunged would come back in the middle.
                if message.uid <= request.lastUID { result.needsScan = true }
            } else if let uid = try assignUID(message.base) {
                message.uid = uid
            } else {
                result.vanished.append(name.base)
                continue
            }
            result.found.append(Admitted(message: message))
        }
    }

    private func admitGroups(
        _ request: AdmissionRequest,
        _ result: inout AdmissionResult,
        _ lock: DotLock
    ) throws(MaildirError) {
        // Meanings of letters reach the disk before any name that carries them.
        let meanings = request.groups.map { group in
            group.map { allocate($0, request.lettersInUse) }
        }
        try keywordsFile.commit(lock)
        var moved: [Placed] = []
        do throws(MaildirError) {
            for (index, group) in request.groups.enumerated() {
                if let removal = request.replaced[index], try !isPresent(removal) {
                    result.groups.append(.failure(.messageGone))
                } else {
                    result.groups.append(place(group, meanings[index], &moved))
                }
            }
            for index in result.groups.indices {
                guard case .success(var group) = result.groups[index] else { continue }
                for entry in group.indices {
                    guard let uid = try assignUID(group[entry].message.base) else {
                        throw .uidList(.unlistableName)
                    }
                    group[entry].message.uid = uid
                }
                result.groups[index] = .success(group)
            }
            try commit(lock)
            if !moved.isEmpty {
                try system { () throws(SystemError) in try cur.sync() }
            }
        } catch {
            // Not acknowledged: a client will send it again, so it must not be there as well.
            withdraw(moved[...])
            throw error
        }
        result.nextUID = list.nextUID
        result.keywords = keywordsFile.keywords
        // The list may be unread after it.
        replace(request, &result, moved, lock)
    }

    /// Removes what was replaced, now that what replaces it is durable. Where it cannot go, its
    /// replacement goes again; a record without a file does no harm.
    private func replace(
        _ request: AdmissionRequest,
        _ result: inout AdmissionResult,
        _ moved: [Placed],
        _ lock: DotLock
    ) {
        var start = 0
        for index in request.groups.indices {
            guard case .success(let group) = result.groups[index] else { continue }
            let placed = moved[start..<(start + group.count)]
            start = placed.endIndex
            guard let removal = request.replaced[index] else { continue }
            switch remove([removal][...], lock).first {
            case .success(let aside)?: result.removed[removal.uid] = .some(aside)
            case .failure(let error)?:
                withdraw(placed)
                result.groups[index] = .failure(error)
            case nil: break
            }
        }
    }

    private func isPresent(_ removal: Removal) throws(MaildirError) -> Bool {
        let directory = removal.location.isNew ? new : cur
        if (try? directory.status(removal.location.name)) != nil { return true }
        return try locations()[removal.base] != nil
    }

    /// Puts files back into `tmp/`, from where they are tried again or removed; a second name just
    /// goes.
    private func withdraw(_ moved: ArraySlice<Placed>) {
        for (name, staged) in moved {
            do throws(SystemError) {
                guard let staged else { throw SystemError("rename", ENOENT) }
                try cur.rename(name, to: tmp, staged)
            } catch {
                try? cur.unlink(name)
            }
        }
    }

    /// Puts a group's files into `cur/`, all or none.
    private func place(
        _ group: [Admission],
        _ meanings: [(flags: FlagLetters.Known, beyond: [Int])?],
        _ moved: inout [Placed]
    ) -> Result<[Admitted], StoreError> {
        var admitted: [Admitted] = []
        admitted.reserveCapacity(group.count)
        let first = moved.count
        for (item, meaning) in zip(group, meanings) {
            guard let meaning else { return refuse(.tooManyKeywords, first, &moved) }
            var buffer = ByteBuffer(capacity: item.base.count + 16)
            buffer.append(item.base)
            FlagLetters(meaning.flags).write(to: &buffer)
            do throws(SystemError) {
                moved.append((buffer.bytes, try place(item.source, buffer.bytes)))
            } catch {
                return refuse(StoreError(error), first, &moved)
            }
            let message = FoundMessage(
                uid: 0,
                base: item.base,
                flags: meaning.flags,
                place: .cur,
                location: nil
            )
            admitted.append(Admitted(message: message, beyond: meaning.beyond))
        }
        return .success(admitted)
    }

    /// Gives one file its name in `cur/`, which nobody else has. Returns its name in `tmp/` before.
    private func place(
        _ source: Admission.Source,
        _ name: [UInt8]
    ) throws(SystemError) -> [UInt8]? {
        switch source {
        case .link(let directory, let old):
            try directory.link(old, to: cur, name)
            return nil
        case .staged(let staged):
            try tmp.renameExclusively(staged, to: cur, name)
            return staged
        case .message(let message):
            if let failure = message.failure { throw failure }
            try tmp.renameExclusively(message.name, to: cur, name)
            return message.name
        }
    }

    private func refuse(
        _ error: StoreError,
        _ first: Int,
        _ moved: inout [Placed]
    ) -> Result<[Admitted], StoreError> {
        withdraw(moved[first...])
        moved.removeSubrange(first...)
        return .failure(error)
    }

    /// Nil where there are too many keywords.
    private func allocate(
        _ item: Admission,
        _ lettersInUse: FlagLetters.Known
    ) -> (flags: FlagLetters.Known, beyond: [Int])? {
        var flags = item.flags
        var beyond: [Int] = []
        for name in item.keywords {
            guard
                let index = try? keywordsFile.keywords.allocate(name, unnamedLetters: lettersInUse)
            else { return nil }
            if index < Maildir.Limits.keywordLetterCount {
                flags.insert(.keyword(index))
            } else if !beyond.contains(index) {
                beyond.append(index)
            }
        }
        if !beyond.isEmpty { keywordsFile.keywords.setBeyond(item.base, beyond) }
        return (flags, beyond.sorted())
    }
}
