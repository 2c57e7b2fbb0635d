import Bytes
import Foundation
import Maildir
import Posix
import Testing

@testable import MailStore

@Suite("ChangeLog")
struct ChangeLogTests {
    private func entry(_ uid: Int) -> ChangeLog.Entry {
        .init(uid: UInt32(uid), modseq: 1, source: 0)
    }

    @Test("entries from a position; positions stay when old ones are dropped") func positions() {
        var log = ChangeLog()
        for uid in 1...Limits.changeLogMax { log.append(entry(uid)) }
        #expect(log.end == Limits.changeLogMax)
        #expect(log.entries(from: 0)?.count == Limits.changeLogMax)
        #expect(log.entries(from: 10)?.first?.uid == 11)
        let seen = log.end
        log.append(entry(1_000_000))
        // One more than the limit: half is dropped, who lagged compares.
        #expect(log.entries(from: 0)?.count == nil)
        #expect(log.end == seen + 1)
        #expect(log.entries(from: seen)?.map(\.uid) == [1_000_000])
        #expect(log.entries(from: log.end)?.isEmpty == true)
    }

    @Test("which flags changed since") func flagsChanged() {
        func entry(
            _ uid: UInt32,
            _ previous: UInt64,
            _ modseq: UInt64,
            _ letters: FlagLetters.Known,
            beyond: Bool = false
        ) -> ChangeLog.Entry {
            .init(
                uid: uid,
                modseq: modseq,
                changed: ChangedFlags(letters: letters, beyond: beyond),
                previous: previous,
                source: 1
            )
        }
        var log = ChangeLog()
        log.append(entry(2, 5, 10, .seen))
        log.append(entry(3, 5, 11, .draft))
        log.append(.init(uid: 4, modseq: 12, isExpunge: true, source: 1))
        log.append(entry(2, 10, 13, .flagged))
        log.append(entry(7, 14, 15, .flagged, beyond: true))
        let now: [(uid: UInt32, modseq: UInt64)] = [(2, 13), (3, 11), (7, 15)]
        // 7 came with 14; what of it changed since then is known, before that it was not there.
        #expect(
            log.flagsChanged(in: now, since: 5) == [
                ChangedFlags(letters: [.seen, .flagged]), ChangedFlags(letters: .draft), nil,
            ]
        )
        #expect(
            log.flagsChanged(in: now, since: 14) == [
                ChangedFlags(), ChangedFlags(), ChangedFlags(letters: .flagged, beyond: true),
            ]
        )
        #expect(log.flagsChanged(in: now, since: 10)[0] == ChangedFlags(letters: .flagged))
        // Before the log, and where a link is missing.
        #expect(log.flagsChanged(in: now, since: 4) == [nil, nil, nil])
        #expect(log.flagsChanged(in: [(2, 14), (5, 12)], since: 5) == [nil, nil])
    }

    @Test("keywords beyond the letters are not told apart") func beyondLetters() {
        let some = ChangedFlags(letters: .seen, beyond: true)
        #expect(some.isDisjoint(with: ChangedFlags(letters: .flagged)))
        #expect(!some.isDisjoint(with: ChangedFlags(beyond: true)))
        #expect(!some.isDisjoint(with: ChangedFlags(letters: [.seen, .draft])))
    }
}

@Suite("MessageTable")
struct MessageTableTests {
    private func found(_ uid: UInt32, _ place: Place, _ name: String) throws -> FoundMessage {
        let location = FileLocation(isNew: place == .new, name: Array(name.utf8))
        var message = MailboxDisk.found(location, try #require(MessageName(location.name)))
        message.uid = uid
        return message
    }

    @Test(
        "the name of a file is that which it has",
        arguments: [
            "1.a:2,", "1.a:2,FS", "1.a:2,SF", "1.a:2,SZ", "1.a:2,S,other", "1.a", "1.a:1,x",
            "1.a:2,:2,S",
        ]
    )
    func names(_ name: String) throws {
        var table = MessageTable()
        table.append(try found(1, .cur, name), modseq: 1)
        table.append(try found(2, .new, "2.b"), modseq: 2)
        #expect(table.location(0) == FileLocation(isNew: false, name: Array(name.utf8)))
        #expect(table.location(1) == FileLocation(isNew: true, name: [UInt8]("2.b")))
        #expect(table.isNew(1) && !table.isNew(0) && table.newCount == 1)
    }

    @Test("rows are found by UID and by name, after others went") func finding() throws {
        var table = MessageTable()
        for uid in 1...200 as ClosedRange<UInt32> {
            table.append(try found(uid * 3, .cur, "\(uid).a:2,S"), modseq: UInt64(uid))
        }
        func row(of base: [UInt8]) -> Int? { table.row(of: base.span) }
        let name = [UInt8]("100.a".utf8)
        #expect(row(of: name) == 99)
        table.remove([0, 50, 98])
        #expect(row(of: name) == 96)
        #expect(table.row(of: 300) == 96)
        #expect(table.firstRow(from: 299) == 96 && table.firstRow(from: 301) == 97)
        let gone = [UInt8]("1.a".utf8)
        #expect(row(of: gone) == nil)
        // The same base name again, as a new message.
        table.append(try found(1_000, .new, "1.a"), modseq: 500)
        #expect(row(of: gone) == 197)
        #expect(table.newMessages(above: 0, 10).map(\.uid) == [1_000])
        #expect(table.newMessages(above: 1_000, 10).isEmpty)
        table.remove(Array(0..<table.count))
        #expect(table.isEmpty && row(of: name) == nil)
    }
}

@Suite("Arrivals")
struct ArrivalsTests {
    @Test("in the order of coming, one for a base name") func order() {
        var arrivals = Arrivals()
        func place(_ name: String) -> FileLocation {
            FileLocation(isNew: true, name: Array(name.utf8))
        }
        for number in [3, 1, 2] {
            let isNew = arrivals.insert([UInt8(number)], place("\(number)"))
            #expect(isNew)
        }
        let base: [UInt8] = [1]
        let isNew = arrivals.insert(base, place("1:2,S"))
        #expect(!isNew)
        #expect(arrivals.first(10).map(\.name.text) == ["3", "1:2,S", "2"])
        #expect(arrivals.first(1).map(\.name.text) == ["3"])
        // Its old name went away: it has another.
        let hadOldName = arrivals.remove(base, at: place("1"))
        let hadNewName = arrivals.remove(base, at: place("1:2,S"))
        #expect(!hadOldName && hadNewName)
        #expect(arrivals.count == 2)
    }
}

@Suite("Listing and match")
struct ListingTests {
    @Test("which file belongs to which record; what one listing missed the next one shows")
    func match() throws {
        let scratch = try Scratch()
        for name in ["cur/1.a:2,S", "new/2.a", "cur/4.a:2,", "new/4.a", "cur/5.fresh:2,"] {
            try scratch.write(name)
        }
        try FileManager.default.createDirectory(
            atPath: scratch.path + "/cur/dir",
            withIntermediateDirectories: false
        )
        let file = "3 V7 N9 G\(Scratch.guid)\n1 :1.a\n2 :2.a\n3 :3.a\n4 :4.a\n8 :8.gone\n"
        let list = try #require(try UIDList(file: Array(file.utf8)))
        let new = try scratch.root.subdirectory([UInt8]("new"))
        let cur = try scratch.root.subdirectory([UInt8]("cur"))
        var listing = try MailboxDisk.Listing(new: new, cur: cur)
        var match = MailboxDisk.Match(listing, list)
        #expect(listing.entries.count == 5)
        #expect(match.present(list) == [0, 1, 3])
        #expect(match.missing(list) == [2, 4])
        #expect(match.fresh.map { listing.base($0).text } == ["5.fresh"])
        #expect(match.duplicates.count == 1)
        try scratch.write("cur/3.a:2,F")
        match.fillGaps(with: try MailboxDisk.Listing(new: new, cur: cur), list, into: &listing)
        #expect(match.present(list) == [0, 1, 2, 3])
        #expect(match.missing(list) == [4] && match.hasMissing)
        let entry = listing.entries.count - 1
        #expect(listing.location(entry).name.text == "3.a:2,F")
    }
}

@Suite("martlet-state")
struct StateFileTests {
    @Test("what is not understood stays") func roundTrip() throws {
        let text =
            "martlet-state 1\ndefaults made\nnames courier\nnames other\nfuture thing\n"
            + "use \\Archive Old.Mail\nuse bad\n"
        var state = StateFile(Array(text.utf8))
        #expect(state.hasDefaults && state.isNamedByCourier)
        #expect(state.uses == [try .named("Old.Mail"): [UInt8]("\\Archive")])
        state.uses[try .named("Sent")] = [UInt8]("\\Sent")
        #expect(
            state.file.text
                == "martlet-state 1\ndefaults made\nnames courier\nuse \\Archive Old.Mail\n"
                + "use \\Sent Sent\nnames other\nfuture thing\nuse bad\n"
        )
        #expect(StateFile(state.file) == state)
    }

    private let noon = WallTime(seconds: 1_800_000_000)

    @Test("a clock goes on above all that was told") func opening() throws {
        let day = ModseqClock.reserve
        var first = StateFile([])
        var (past, clock) = first.open(bootID: [UInt8]("b1"), now: noon)
        #expect(past.trust(in: nil) == .foreign)
        #expect(clock.last == 1_800_000_000_000_000 + 365 * day)
        #expect(clock.ceiling == clock.last + day && first.ceiling == clock.ceiling)
        #expect(!clock.isDurable)
        clock.noteDurable(clock.ceiling)
        #expect(clock.isDurable)
        let stamp = CacheStamp(id: first.cacheID, incarnation: 1)

        // It crashes: above the ceiling, though the date goes back.
        var second = StateFile(first.file)
        var again = second.open(bootID: [UInt8]("b1"), now: WallTime(seconds: 5))
        #expect(again.clock.last == clock.ceiling && again.clock.ceiling == clock.ceiling + day)
        #expect(again.past.trust(in: stamp) == .current)
        #expect(second.incarnation == 2 && second.cacheID == first.cacheID)

        // The machine crashes.
        second = StateFile(first.file)
        again = second.open(bootID: [UInt8]("b2"), now: noon)
        #expect(again.past.trust(in: stamp) == .contentOnly)
        second = StateFile(first.file)
        #expect(second.open(bootID: [], now: noon).past.trust(in: stamp) == .contentOnly)

        // It ends.
        _ = clock.next(now: noon)
        first.end(clock)
        second = StateFile(first.file)
        again = second.open(bootID: [UInt8]("b2"), now: noon)
        #expect(again.clock.last == clock.last && again.past.trust(in: stamp) == .current)
        #expect(second.ended == nil)
        // What it told is durable before anything is written; what it gives is not.
        #expect(again.clock.isDurable(clock.last) && !again.clock.isDurable(clock.last + 1))
        #expect(!again.clock.isDurable)
        let older = CacheStamp(id: stamp.id, incarnation: 0)
        let newer = CacheStamp(id: stamp.id, incarnation: 7)
        let other = CacheStamp(id: [UInt8]("0"), incarnation: 1)
        #expect(again.past.trust(in: older) == .contentOnly)
        #expect(again.past.trust(in: newer) == .maildirRestored)
        #expect(again.past.trust(in: other) == .foreign)
    }

    @Test("numbers of a damaged file are lost", arguments: ["0", "x", "4611686018427387904", ""])
    func damage(_ number: String) throws {
        var state = StateFile(Array("modseq \(number)\ncache abc\nopened -1 b\n".utf8))
        #expect(state.ceiling == nil && state.cacheID.isEmpty && state.incarnation == 0)
        let (past, clock) = state.open(bootID: [UInt8]("b"), now: noon)
        #expect(clock.last > 1_800_000_000_000_000 && !past.isUnbroken)
        state = StateFile(Array("modseq 4611686018427387903\n".utf8))
        #expect(state.open(bootID: [], now: noon).clock.ceiling < UInt64(Int64.max))
    }
}

@Suite("Modseqs")
struct ModseqTests {
    @Test("a clock never goes back and never passes its ceiling") func clock() {
        var clock = ModseqClock(last: 1_000_000, ceiling: 3_000_000)
        #expect(clock.next(now: WallTime(seconds: 2)) == 2_000_000)
        #expect(clock.next(now: WallTime(seconds: 1)) == 2_000_001)
        #expect(clock.next(now: WallTime(seconds: 2)) == 2_000_002)
        #expect(clock.next(now: WallTime(seconds: 4)) == 2_000_003)
        #expect(clock.isLow(now: WallTime(seconds: 1)))
        clock.noteDurable(2_000_002)
        #expect(!clock.isDurable)
        clock.noteDurable(ModseqClock.reserve)
        #expect(clock.isDurable && !clock.isLow(now: WallTime(seconds: 1)))
        #expect(clock.next(now: WallTime(seconds: 4)) == 4_000_000)
        clock.raise(above: ModseqClock.reserve * 2)
        #expect(clock.next(now: WallTime(seconds: 5)) == ModseqClock.reserve * 2 + 1)
        #expect(!clock.isDurable)
    }

    @Test("expunges since") func history() throws {
        var history = MailboxHistory(from: 10)
        #expect(history.vanished(since: 9) == nil && history.vanished(since: 10) == [])
        for (index, uid) in [5, 6, 7, 3, 4, 9].enumerated() {
            history.noteExpunge(UInt32(uid), 11 + UInt64(index))
        }
        history.noteChange(20)
        #expect(history.highestModseq == 20 && history.expunges.count == 3)
        #expect(history.vanished(since: 10) == [3...7, 9...9])
        // Told again, since they are one entry: more than was asked for, never less.
        #expect(history.vanished(since: 12) == [3...7, 9...9])
        #expect(history.vanished(since: 13) == [3...4, 9...9])
        #expect(history.vanished(since: 16) == [])
        let bytes = history.bytes
        #expect(MailboxHistory(bytes.span) == history)
        #expect(MailboxHistory(bytes.span.extracting(droppingLast: 1)) == nil)
        for index in [0, 8, 16, 24] {
            var broken = bytes
            for octet in 0..<4 { broken[index + octet] = 0xFF }
            if index <= 8 { broken[index + 7] = 0xFF }
            #expect(MailboxHistory(broken.span) == nil, "at \(index)")
        }
    }

    @Test("a history has its limit") func limit() {
        var history = MailboxHistory(from: 1)
        let limit = UInt64(Limits.expungeHistoryMax)
        for index in 0..<limit { history.noteExpunge(UInt32(2 * index + 1), index + 2) }
        #expect(history.expunges.count == Int(limit) && history.completeSince == 1)
        history.noteExpunge(.max, limit + 2)
        #expect(history.expunges.count == Int(limit) / 2 + 1)
        #expect(history.completeSince == limit / 2 + 1)
        #expect(history.vanished(since: limit / 2) == nil)
        #expect(history.vanished(since: limit / 2 + 1)?.count == Int(limit) / 2 + 1)
        #expect(MailboxHistory(history.bytes.span) == history)
    }
}

extension AllTests {
    @Suite("The order of writes")
    struct OrderTests {
        /// The calls of an operation, without the lock's own.
        @EventLoop
        private func calls(
            _ body: @EventLoop (Mailbox) async throws -> Void
        ) async throws -> [String] {
            let scratch = try Scratch()
            try scratch.fill(3)
            let (store, inbox) = try await scratch.inbox(JobPool(threads: 0))
            let faults = Faults()
            try await Faults.$current.withValue(faults) { try await body(inbox) }
            _ = store
            return faults.calls
        }

        @Test("a message is on disk, then its name, then its UID, then it is acknowledged")
        func append() async throws {
            try await EventLoop.test {
                let calls = try await calls { _ = try await $0.append() }
                let important = calls.filter { ["fsync", "fdatasync", "renameat"].contains($0) }
                // Content; name; list; cur/. (The list's own name was made durable at the opening.)
                #expect(important == ["fsync", "renameat", "fdatasync", "fsync"])
            }
        }

        @Test("flags and expunges are durable when they are acknowledged") func changes()
            async throws
        {
            try await EventLoop.test {
                let store = try await calls { _ = try await $0.store([1], .add(.seen), source: 1) }
                #expect(store.last == "fsync")
                let expunge = try await calls { _ = try await $0.expunge([1], source: 1) }
                #expect(expunge.last == "fsync")
            }
        }
    }
}

extension AllTests {
    @Suite("A Maildir from Courier")
    struct CourierNamingTests {
        @EventLoop
        private static func prefix(_ scratch: Scratch, fixed: [UInt8]? = nil) throws -> String {
            let store = try MailStore(
                StoreSettings(
                    root: Array(scratch.path.utf8),
                    prefix: fixed,
                    processID: ownProcessID,
                    host: Array("host".utf8)
                )
            )
            defer { store.close() }
            return store.naming.prefix.text
        }

        @Test("keeps its names after the first dovecot-uidlist") func staysAsItWas() async throws {
            try await EventLoop.test {
                let scratch = try Scratch()
                try scratch.write("courierimapsubscribed", "INBOX\nINBOX.Sent\n")
                #expect(try Self.prefix(scratch) == "INBOX.")
                try scratch.write("dovecot-uidlist", "3 V1700000000 N1\n")
                #expect(try Self.prefix(scratch) == "INBOX.")
                #expect(try Self.prefix(scratch, fixed: []) == "")
                #expect(try Self.prefix(scratch) == "INBOX.")
            }
        }

        @Test("has Dovecot's names where Dovecot came before us") func afterDovecot() async throws {
            try await EventLoop.test {
                let scratch = try Scratch()
                try scratch.write("courierimapuiddb", "/1 1700000000 2\n")
                try scratch.write("dovecot-uidlist", "3 V1700000000 N1\n")
                #expect(try Self.prefix(scratch) == "")
                #expect(!scratch.exists("martlet-state"))
            }
        }
    }

    @Suite("Modseqs of a store")
    struct StoreModseqTests {
        @Test("are told once the file holds their ceiling, and go on above it") @EventLoop
        func durable() async throws {
            let scratch = try Scratch()
            try scratch.fill(3)
            let (store, inbox) = try await scratch.inbox(JobPool(threads: 0))
            #expect(!scratch.exists("martlet-state"))
            #expect(await store.reserveModseqs())
            let ceiling = store.context.modseqs.ceiling
            #expect(scratch.read("martlet-state")?.contains("\nmodseq \(ceiling)\n") == true)
            let told = inbox.highestModseq
            #expect(inbox.table.modseqs.allSatisfy { $0 == told })
            _ = try await inbox.store(
                [2],
                .init(mode: .add, system: .seen, keywords: []),
                source: 1
            )
            #expect(inbox.table.modseqs[1] == inbox.highestModseq && inbox.highestModseq > told)
            _ = try await inbox.expunge([3], source: 1)
            #expect(inbox.history.vanished(since: told) == [3...3])
            await store.shutDown(inOrder: false)

            let (next, same) = try await scratch.inbox(JobPool(threads: 0))
            #expect(same.highestModseq > ceiling)
            #expect(same.history.vanished(since: ceiling) == nil)
            #expect(await next.reserveModseqs())
            let last = next.context.modseqs.last
            await next.shutDown()
            #expect(scratch.read("martlet-state")?.contains("\nended \(last)\n") == true)
            let (third, _) = try await scratch.inbox(JobPool(threads: 0))
            #expect(third.past?.trust(in: next.cacheStamp) == .current)
            await third.shutDown()
        }

        @Test("are not told where the file cannot be written or read") @EventLoop
        func refused() async throws {
            let scratch = try Scratch()
            try scratch.fill(1)
            let (store, _) = try await scratch.inbox(JobPool(threads: 0))
            for call in 0..<4 {
                let faults = Faults(failing: call, with: ENOSPC)
                let isReserved = await Faults.$current.withValue(faults) {
                    await store.reserveModseqs()
                }
                #expect(!isReserved, "\(faults.calls)")
            }
            #expect(await store.reserveModseqs())
            await store.shutDown()
        }

        @Test("a restored Maildir: UIDNEXT stays, what came back is new") @EventLoop
        func restored() async throws {
            let scratch = try Scratch()
            try scratch.fill(3)
            let (store, inbox) = try await scratch.inbox(JobPool(threads: 0))
            let list = try #require(scratch.read("dovecot-uidlist"))
            let name = try #require(scratch.names("cur").last)
            try scratch.deliver("new/1800000000.x.h")
            inbox.wantScan()
            try await inbox.settle()
            _ = try await inbox.expunge([3, 4], source: 1)
            #expect(inbox.table.uids == [1, 2] && inbox.uidNext == 5)
            try scratch.write("dovecot-uidlist.old", list)
            try scratch.rename("dovecot-uidlist.old", "dovecot-uidlist")
            try scratch.write("cur/\(name)")
            inbox.wantScan()
            try await inbox.settle()
            #expect(inbox.table.uids == [1, 2, 5] && inbox.uidNext == 6)
            await store.shutDown()
        }
    }
}

@Suite("NameColumn and ModseqColumn")
struct ColumnTests {
    @Test("as arrays of names and numbers have it") func model() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<30 {
            var (names, uids, modseqs) = ([[UInt8]](), [UInt32](), [UInt64]())
            var (column, packed) = (NameColumn(), ModseqColumn())
            var next: UInt32 = 1
            for _ in 0..<12 {
                for _ in 0..<Int.random(in: 0...400, using: &random) {
                    let name =
                        [UInt8]("\(next)".utf8) + Array(repeating: 120, count: Int(next % 50))
                    names.append(name)
                    uids.append(next)
                    column.append(name.span, uids)
                    modseqs.append(Bool.random() ? 7 : UInt64(next / 300))
                    packed.append(modseqs[modseqs.count - 1])
                    next += 1
                }
                let rows = names.indices.filter { _ in Int.random(in: 0..<9, using: &random) == 0 }
                for row in rows.reversed() {
                    names.remove(at: row)
                    uids.remove(at: row)
                    modseqs.remove(at: row)
                }
                column.remove(rows)
                packed.remove(rows)
                if let row = modseqs.indices.randomElement() {
                    modseqs[row] = 99
                    packed[row] = 99
                }
                let read = names.indices.map { column[$0].array }
                #expect(read == names)
                let found = names.map { column.row(of: $0.span, uids) }
                #expect(found == Array(names.indices))
                #expect(column.byteCount == names.reduce(0) { $0 + $1.count })
                #expect(Array(packed) == modseqs)
                let middle = modseqs.count / 3..<modseqs.count
                #expect(packed.values(middle) == Array(modseqs[middle]))
                let some = column.names(of: middle).array
                #expect(some == Array(names[middle].joined()))
                let gone = [UInt8]("none".utf8)
                let none = column.row(of: gone.span, uids)
                #expect(none == nil)
            }
        }
    }
}
