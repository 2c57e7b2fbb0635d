import Posix

//  Reading messages of a live mailbox
//
//  Files are renamed by others at any time: who does not find one looks for its new name.

extension Mailbox {
    /// The content of a message; of one that a sibling session expunged as well, while a session
    /// numbers it.
    package func read(_ uid: UInt32) async throws(StoreError) -> MessageContent {
        for attempt in 0..<Limits.renameRetriesMax {
            let place: (Directory, [UInt8])
            if let row = table.row(of: uid) {
                let location = table.location(row)
                place = (location.isNew ? disk.new : disk.cur, location.name)
            } else if let aside = ghosts[uid] {
                place = (disk.tmp, aside)
            } else {
                throw .messageGone
            }
            let content = try await context.pool.run { () throws(StoreError) in
                try MessageFile.read(place.1, in: place.0)
            }
            if let content {
                if let row = table.row(of: uid) { table.note(row, date: content.date.seconds) }
                return content
            }
            try await lookAgain(attempt)
        }
        throw .messageGone
    }

    /// Where a file is not under its name: whoever renamed it, the event is queued already, or a scan
    /// finds it.
    func lookAgain(_ attempt: Int) async throws(StoreError) {
        context.inotify?.drain()
        if attempt > 0 || watches.isEmpty { wantScan() }
        try await settle()
    }

    /// Looks up internal dates that are not known yet. What is gone meanwhile keeps none.
    package func loadDates(_ uids: [UInt32]) async {
        for start in stride(from: 0, to: uids.count, by: Limits.dateBatchMax) {
            let end = min(start + Limits.dateBatchMax, uids.count)
            await loadDates(of: uids[start..<end])
        }
    }

    private func loadDates(of uids: ArraySlice<UInt32>) async {
        for attempt in 0..<Limits.renameRetriesMax {
            var missing: [(uid: UInt32, directory: Directory, name: [UInt8])] = []
            for uid in uids {
                if let row = table.row(of: uid), table.dates[row] == .min {
                    let location = table.location(row)
                    missing.append((uid, location.isNew ? disk.new : disk.cur, location.name))
                }
            }
            guard !missing.isEmpty else { return }
            let list = missing
            let dates = await context.pool.run { () -> [Int64?] in
                list.map { try? $0.directory.statusFollowingLinks($0.name).modified.seconds }
            }
            var isComplete = true
            for (entry, date) in zip(missing, dates) {
                if let date, let row = table.row(of: entry.uid) {
                    table.note(row, date: date)
                } else {
                    isComplete = false
                }
            }
            await EventLoop.yield()
            if isComplete { return }
            // Renamed meanwhile, perhaps by our own move out of new/.
            do throws(StoreError) { try await lookAgain(attempt) } catch { return }
        }
    }

    /// Runs `body` over the content of messages, in one job, until `budget` bytes were read.
    ///
    /// - Returns: results for the first messages, at least one; nil for a message whose file was not
    ///   where it was expected: `read` finds it or says that it is gone.
    package func process<Success: Sendable>(
        _ uids: ArraySlice<UInt32>,
        budget: Int,
        _ body: @escaping @Sendable (UInt32, MessageContent) -> Success
    ) async -> [Success?] {
        var places: [(uid: UInt32, directory: Directory, name: [UInt8])?] = []
        for uid in uids {
            if let row = table.row(of: uid) {
                let location = table.location(row)
                places.append((uid, location.isNew ? disk.new : disk.cur, location.name))
            } else {
                places.append(nil)
            }
        }
        let list = places
        return await context.pool.run { () -> [Success?] in
            var results: [Success?] = []
            var left = budget
            for place in list {
                guard let place,
                    let content = try? MessageFile.read(place.name, in: place.directory)
                else {
                    results.append(nil)
                    continue
                }
                results.append(body(place.uid, content))
                left -= content.bytes.count
                if left <= 0 { break }
            }
            return results
        }
    }

    /// Counts RFC822.SIZE of messages where it is not known yet.
    package func loadSizes(
        _ uids: [UInt32],
        _ count: @escaping @Sendable ([UInt8]) -> Int
    ) async {
        var missing = uids.filter { uid in table.row(of: uid).map { table.sizes[$0] < 0 } ?? false
        }[...]
        while !missing.isEmpty {
            let batch = missing.prefix(256)
            let sizes = await process(batch, budget: 4 << 20) { _, content in
                (count(content.bytes), content.date.seconds)
            }
            for (uid, result) in zip(batch, sizes) {
                if let result {
                    note(uid, size: Int64(result.0), date: result.1)
                } else if let content = try? await read(uid) {
                    note(uid, size: Int64(count(content.bytes)), date: content.date.seconds)
                }
            }
            missing = missing.dropFirst(max(sizes.count, 1))
            await EventLoop.yield()
        }
    }

    /// Records what reading a message showed.
    ///
    /// - Parameters:
    ///   - size: -1 where it showed none.
    ///   - date: `.min` where it showed none.
    package func note(_ uid: UInt32, size: Int64, date: Int64) {
        guard let row = table.row(of: uid) else { return }
        table.note(row, size: size, date: date)
        saveSummaryLater()
    }
}
