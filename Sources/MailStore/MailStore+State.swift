import Maildir
import MessageIndex
import Posix

//  `martlet-state` and the clock of modseqs of a live store. What is on disk: StateFile.swift.
//
//  The file is read before the first mailbox is opened. The incarnation and the new ceiling are written
//  when somebody needs them (`reserveModseqs`): a client that is told modseqs, a cache that is going
//  to hold them. Others do not wait for that sync.

extension MailStore {
    /// Starts the clock. Where `martlet-state` cannot be read nobody is told modseqs.
    func startClock() async {
        guard past == nil else { return }
        await stateChanges.enter()
        defer { stateChanges.leave() }
        guard past == nil else { return }
        do throws(StoreError) {
            var opened = try await loadedState()
            let (past, clock) = opened.open(bootID: bootID, now: .now)
            state = opened
            isStateUnwritten = true
            context.modseqs = clock
            self.past = past
        } catch {
            // It is in the log. Values that nobody is told serve as well.
            context.modseqs = ModseqClock(last: 1, ceiling: ModseqClock.reserve)
            past = StatePast(stamp: CacheStamp(id: [], incarnation: 0), isUnbroken: false)
        }
    }

    /// Makes sure that modseqs given today cannot come again after a crash. Returns whether that is so.
    package func reserveModseqs() async -> Bool {
        await startClock()
        guard state != nil else { return false }
        if !context.modseqs.isDurable || context.modseqs.isLow() {
            do throws(StoreError) {
                let clock = context.modseqs
                try await changeState { $0.reserve(clock, now: .now) }
            } catch {
                // In the log.
            }
        }
        if context.modseqs.isDurable { reserveLater() }
        return context.modseqs.isDurable
    }

    /// Makes sure that this modseq, which a message or a mailbox has, cannot come again after a crash: at
    /// once where an earlier process gave it.
    package func makeDurable(_ modseq: UInt64) async -> Bool {
        await startClock()
        if state != nil, context.modseqs.isDurable(modseq) { return true }
        return await reserveModseqs()
    }

    /// What a cache writes down with what it caches, once `reserveModseqs` was true.
    package var cacheStamp: CacheStamp? {
        state.map { CacheStamp(id: $0.cacheID, incarnation: $0.incarnation) }
    }

    /// A cache that is newer than the Maildir holds this modseq.
    package func raiseModseqs(above modseq: UInt64) {
        context.modseqs.raise(above: modseq)
    }

    private func reserveLater() {
        guard reserving == nil else { return }
        reserving = EventLoop.schedule(at: .after(seconds: Limits.reservationSeconds)) {
            [weak self] in
            guard let self else { return }
            self.reserving = nil
            Task { _ = await self.reserveModseqs() }
        }
    }

    /// Waits for what is being written, says that the process ends in order, and closes the store. A
    /// cache is on the disk before that.
    ///
    /// - Parameter inOrder: false to leave what a crash leaves; for tests.
    package func shutDown(inOrder: Bool = true) async {
        if inOrder { await closeIndex() }
        context.index?.close(isWhole: false)
        if inOrder, past != nil, state != nil, !isStateUnwritten {
            let clock = context.modseqs
            // A failure costs no more than a crash does.
            try? await changeState { $0.end(clock) }
        } else {
            await stateChanges.enter()
            stateChanges.leave()
        }
        close()
    }

    // MARK: The file

    func loadedState() async throws(StoreError) -> StateFile {
        if let state { return state }
        let root = root
        do throws(SystemError) {
            let loaded = try await context.pool.run { () throws(SystemError) in
                try StateFile.load(root: root)
            }
            if let state { return state }
            state = loaded
            return loaded
        } catch {
            context.logFailure(.system(error), root)
            throw StoreError(error)
        }
    }

    func changeState(_ change: (inout StateFile) -> Void) async throws(StoreError) {
        await stateChanges.enter()
        defer { stateChanges.leave() }
        var changed = try await loadedState()
        let before = changed
        change(&changed)
        guard changed != before || isStateUnwritten else { return }
        let written = changed
        let root = root
        do throws(SystemError) {
            try await context.pool.run(.syncing) { () throws(SystemError) in
                try written.store(root: root)
            }
        } catch {
            context.logFailure(.system(error), root)
            throw StoreError(error)
        }
        state = changed
        isStateUnwritten = false
        if let ceiling = changed.ceiling { context.modseqs.noteDurable(ceiling) }
    }
}
