import Bytes
import Foundation
import Maildir
import Posix
import Testing

@testable import MailStore

/// Each operation with each of its system calls failing in turn, alone (the operation answers, the
/// mailbox lives on) and with all later ones (a crash: another process opens the Maildir).
///
extension AllTests {
    /// What must hold, whichever call fails:
    /// - a message that had a UID has it still, with its content, unless its expunge was asked for;
    /// - what was acknowledged is there;
    /// - what was answered with an error is there not at all, or (crash) once.
    @Suite("Faults")
    struct FaultTests {
        enum Kind: String, CaseIterable, Sendable {
            case noSpace, ioError, crash

            var code: CInt { self == .noSpace ? ENOSPC : EIO }
        }

        /// Runs the operation with its 1st, 2nd, … call failing until none fails any more.
        private func eachCall(
            _ kind: Kind,
            _ prepare: @escaping @EventLoop @Sendable (Scratch) throws -> Void,
            _ operate: @escaping @EventLoop @Sendable (Scratch, Mailbox) async -> String?,
            _ check:
                @escaping @EventLoop @Sendable (
                    _ scratch: Scratch, _ acknowledged: Bool, _ live: Mailbox?, _ reopened: Mailbox,
                    _ context: Comment
                ) async throws -> Void
        ) async throws {
            try await EventLoop.test {
                var failed = 0
                for index in 0..<400 {
                    let scratch = try Scratch()
                    try prepare(scratch)
                    let pool = JobPool(threads: 0)
                    let store = try scratch.store(pool)
                    let inbox = try await store.open(.inbox)
                    // No work of the old process behind the crash.
                    if kind == .crash { inbox.unwatch() }
                    let faults = Faults(
                        failing: index,
                        with: kind.code,
                        andAllAfter: kind == .crash
                    )
                    let error = await Faults.$current.withValue(faults) {
                        await operate(scratch, inbox)
                    }
                    let calls = faults.calls
                    let context: Comment = "\(kind), call \(index) of \(calls), \(error ?? "OK")"
                    if error != nil { failed += 1 }
                    if kind == .crash {
                        // A dead process's lock is overridden; see the tests of locks.
                        try? scratch.remove("dovecot-uidlist.lock")
                        try? scratch.remove(".Target/dovecot-uidlist.lock")
                    }
                    let again = try scratch.store(pool)
                    let reopened = try await again.open(.inbox)
                    try await check(
                        scratch,
                        error == nil,
                        kind == .crash ? nil : inbox,
                        reopened,
                        context
                    )
                    #expect(!scratch.exists("dovecot-uidlist.lock"), context)
                    _ = (store, again)
                    if calls.count <= index {
                        #expect(failed > 0, "no call failed the operation")
                        return
                    }
                }
                Issue.record("the operation has no end")
            }
        }

        /// Content → UIDs, of all messages.
        @EventLoop
        private static func contents(_ mailbox: Mailbox) async throws -> [String: [UInt32]] {
            var result: [String: [UInt32]] = [:]
            for uid in mailbox.table.uids {
                result[try await mailbox.read(uid).bytes.text, default: []].append(uid)
            }
            return result
        }

        @EventLoop
        private static func seed(_ scratch: Scratch) throws {
            var list = "3 V7 N4 G\(Scratch.guid)\n"
            for number in 1...3 {
                try scratch.write("cur/\(number).a:2,", "message \(number)\n")
                list += "\(number) :\(number).a\n"
            }
            try scratch.write("dovecot-uidlist", list)
        }

        @EventLoop
        private static func expectSeed(
            _ mailbox: Mailbox,
            _ uids: ClosedRange<UInt32>,
            _ context: Comment
        ) async throws {
            let contents = try await contents(mailbox)
            for uid in uids { #expect(contents["message \(uid)\n"] == [uid], context) }
            #expect(mailbox.uidValidity == 7, context)
        }

        @Test("append", arguments: Kind.allCases) func append(_ kind: Kind) async throws {
            try await eachCall(kind, Self.seed) { _, inbox in
                do throws(StoreError) {
                    _ = try await inbox.append("new\r\n", flags: .seen, keywords: [[UInt8]("Work")])
                    return nil
                } catch {
                    return "\(error)"
                }
            } _: { _, acknowledged, live, reopened, context in
                if let live {
                    let copies = try await Self.contents(live)["new\n"] ?? []
                    #expect(copies.count == (acknowledged ? 1 : 0), context)
                    try await Self.expectSeed(live, 1...3, context)
                }
                let copies = try await Self.contents(reopened)["new\n"] ?? []
                if acknowledged {
                    #expect(copies == [4], context)
                    #expect(reopened.flags(4)?.contains(.seen) == true, context)
                    let row = try #require(reopened.table.row(of: 4))
                    #expect(reopened.keywordNames(row) == [[UInt8]("Work")], context)
                } else {
                    #expect(copies.count <= (live == nil ? 1 : 0), context)
                }
                try await Self.expectSeed(reopened, 1...3, context)
            }
        }

        @Test("replace", arguments: Kind.allCases) func replace(_ kind: Kind) async throws {
            try await eachCall(kind, Self.seed) { _, inbox in
                do throws(StoreError) {
                    _ = try await inbox.append("new\r\n", replacing: 2)
                    return nil
                } catch {
                    return "\(error)"
                }
            } _: { _, acknowledged, live, reopened, context in
                // Never none of both.
                for mailbox in [live, reopened] {
                    guard let mailbox else { continue }
                    let contents = try await Self.contents(mailbox)
                    let old = contents["message 2\n"] ?? []
                    let new = contents["new\n"] ?? []
                    #expect(old == [2] || new.count == 1, context)
                    if acknowledged { #expect(old == [] && new == [4], context) }
                    // Nor both, where it was answered with an error.
                    if !acknowledged, live != nil { #expect(old == [2] && new == [], context) }
                    for uid: UInt32 in [1, 3] {
                        #expect(contents["message \(uid)\n"] == [uid], context)
                    }
                }
            }
        }

        @Test("copy and move", arguments: Kind.allCases, [false, true]) func copy(
            _ kind: Kind,
            _ isMove: Bool
        ) async throws {
            try await copy(kind, isMove, inBatchesOf: Limits.copyBatchMax)
        }

        @Test("a copy in several batches", arguments: Kind.allCases) func batches(_ kind: Kind)
            async throws
        {
            try await copy(kind, false, inBatchesOf: 1)
        }

        private func copy(
            _ kind: Kind,
            _ isMove: Bool,
            inBatchesOf batch: Int
        ) async throws {
            try await eachCall(kind) { scratch in
                try Self.seed(scratch)
                for name in ["", "/cur", "/new", "/tmp"] {
                    try FileManager.default.createDirectory(
                        atPath: scratch.path + "/.Target" + name,
                        withIntermediateDirectories: false
                    )
                }
                try scratch.write(".Target/dovecot-uidlist", "3 V9 N9 G\(Scratch.guid)\n")
            } _: { _, inbox in
                do throws(StoreError) {
                    guard let path = MailboxPath(storageName: [UInt8]("Target")),
                        let store = inbox.context.store
                    else { return "no target" }
                    let target = try await store.open(path)
                    target.copyBatchMax = batch
                    let copies = try await inbox.copy([1, 2], to: target)
                    if copies != [9, 10] { return "UIDs \(copies)" }
                    if isMove {
                        let result = try await inbox.expunge([1, 2], source: 1)
                        if let failure = result.failure { throw failure }
                    }
                    return nil
                } catch {
                    return "\(error)"
                }
            } _: { scratch, acknowledged, _, reopened, context in
                let store = try scratch.store(JobPool(threads: 0))
                let target = try await store.open(.named("Target"))
                let source = try await Self.contents(reopened)
                let copies = try await Self.contents(target)
                for number in 1...2 {
                    let there = copies["message \(number)\n"] ?? []
                    let here = source["message \(number)\n"] ?? []
                    #expect(there.count + here.count >= 1, context)
                    #expect(there.count <= 1 && here.count <= 1, context)
                    if acknowledged {
                        #expect(there == [UInt32(number + 8)], context)
                        #expect(here.isEmpty == isMove, context)
                    } else if !isMove {
                        #expect(here == [UInt32(number)], context)
                        // An error, not a crash: all or none, and it was not all.
                        if kind != .crash { #expect(there.isEmpty, context) }
                    }
                }
                try await Self.expectSeed(reopened, 3...3, context)
            }
        }

        @Test("store", arguments: Kind.allCases) func store(_ kind: Kind) async throws {
            try await eachCall(kind, Self.seed) { _, inbox in
                do throws(StoreError) {
                    let outcomes = try await inbox.store([1, 2], .add(.seen, ["Work"]), source: 1)
                    return outcomes == [.changed, .changed] ? nil : "\(outcomes)"
                } catch {
                    return "\(error)"
                }
            } _: { _, acknowledged, live, reopened, context in
                for mailbox in [live, reopened] {
                    guard let mailbox else { continue }
                    try await Self.expectSeed(mailbox, 1...3, context)
                    for uid in [1, 2] as [UInt32] {
                        let flags = try #require(mailbox.flags(uid))
                        let both: FlagLetters.Known = [.seen, .keyword(0)]
                        #expect(flags == both || !acknowledged && flags == [], context)
                        if flags == both {
                            #expect(mailbox.keywords.name(0)?.text == "Work", context)
                        }
                    }
                    #expect(mailbox.flags(3) == [], context)
                }
            }
        }

        @Test("expunge", arguments: Kind.allCases) func expunge(_ kind: Kind) async throws {
            try await eachCall(kind, Self.seed) { _, inbox in
                // Another session numbers 2: its file is kept aside.
                let viewer = Viewer(inbox)
                defer { _ = viewer.uids.count }
                do throws(StoreError) {
                    let result = try await inbox.expunge([1, 2], source: 1)
                    if let failure = result.failure { throw failure }
                    let content = try await inbox.read(2)
                    return content.bytes.text == "message 2\n" ? nil : "ghost has another content"
                } catch {
                    return "\(error)"
                }
            } _: { _, acknowledged, live, reopened, context in
                let contents = try await Self.contents(reopened)
                for uid in [1, 2] as [UInt32] {
                    let there = contents["message \(uid)\n"] ?? []
                    #expect(there.isEmpty || !acknowledged && there == [uid], context)
                }
                try await Self.expectSeed(reopened, 3...3, context)
                if let live { try await Self.expectSeed(live, 3...3, context) }
            }
        }

        @Test("the scan that gives UIDs", arguments: Kind.allCases) func scan(_ kind: Kind)
            async throws
        {
            try await eachCall(kind, Self.seed) { scratch, inbox in
                let viewer = Viewer(inbox)
                defer { viewer.close() }
                do {
                    try scratch.deliver("new/4.a", "message 4\n")
                    try scratch.deliver("new/5.a", "message 5\n")
                    inbox.wantScan()
                    try await inbox.settle()
                    return inbox.table.uids == [1, 2, 3, 4, 5] ? nil : "\(inbox.table.uids)"
                } catch {
                    return "\(error)"
                }
            } _: { _, acknowledged, live, reopened, context in
                if let live {
                    // What could be served was, and the rest follows.
                    #expect(live.table.uids.prefix(3) == [1, 2, 3], context)
                    live.work()
                    await eventually { live.isSettled && live.table.count == 5 }
                }
                // A file that could not be looked at is looked at again two seconds later.
                await eventually { reopened.isSettled && reopened.table.count == 5 }
                for mailbox in [live, reopened] {
                    guard let mailbox else { continue }
                    try await Self.expectSeed(mailbox, 1...3, context)
                    let contents = try await Self.contents(mailbox)
                    let uids = (contents["message 4\n"] ?? []) + (contents["message 5\n"] ?? [])
                    #expect(
                        Set(uids).count == 2 && (!acknowledged || Set(uids) == [4, 5]),
                        context
                    )
                    if let live {
                        #expect(live.table.uids == reopened.table.uids, context)
                        for uid in live.table.uids {
                            let base = live.table.row(of: uid).map { live.table.base($0) }
                            #expect(
                                reopened.table.row(of: uid).map { reopened.table.base($0) } == base,
                                context
                            )
                        }
                    }
                }
            }
        }

        @Test("messages that wait together share the syncs of list and directory") func together()
            async throws
        {
            try await EventLoop.test {
                let scratch = try Scratch()
                try Self.seed(scratch)
                let inbox = try await scratch.store(JobPool(threads: 0)).open(.inbox)
                let faults = Faults()
                try await Faults.$current.withValue(faults) {
                    let crew = Crew()
                    for number in 1...5 {
                        crew.add { _ = try await inbox.append("new \(number)\r\n") }
                    }
                    try await crew.wait()
                }
                let calls = faults.calls
                // Each file is synced, and cur/ once; the one fdatasync is that of the list.
                #expect(calls.count { $0 == "fsync" } == 5 + 1, "\(calls)")
                #expect(calls.count { $0 == "fdatasync" } == 1, "\(calls)")
                #expect(inbox.table.uids == Array(1...8))
                let contents = try await Self.contents(inbox)
                for number in 1...5 { #expect(contents["new \(number)\n"]?.count == 1) }
            }
        }

        @Test(
            "one of several messages that cannot be written fails alone",
            arguments: [EIO, ENOSPC]
        )
        func alone(_ code: CInt) async throws {
            for index in 0..<200 {
                let isOver = try await EventLoop.test { () -> Bool in
                    let scratch = try Scratch()
                    try Self.seed(scratch)
                    let inbox = try await scratch.store(JobPool(threads: 0)).open(.inbox)
                    let faults = Faults(failing: index, with: code)
                    var failed: Set<Int> = []
                    try await Faults.$current.withValue(faults) {
                        let crew = Crew()
                        for number in 1...3 {
                            crew.add {
                                do throws(StoreError) {
                                    _ = try await inbox.append("new \(number)\r\n")
                                } catch {
                                    failed.insert(number)
                                }
                            }
                        }
                        try await crew.wait()
                    }
                    try await inbox.settle()
                    let contents = try await Self.contents(inbox)
                    for number in 1...3 {
                        let count = contents["new \(number)\n"]?.count ?? 0
                        #expect(count == (failed.contains(number) ? 0 : 1), "call \(index)")
                    }
                    try await Self.expectSeed(inbox, 1...3, "call \(index)")
                    return faults.calls.count <= index
                }
                if isOver { return }
            }
            Issue.record("the operation has no end")
        }

        @Test("UIDs that a full disk postponed follow when there is room") func postponed()
            async throws
        {
            try await EventLoop.test {
                let scratch = try Scratch()
                try Self.seed(scratch)
                try scratch.write("new/4.a", "message 4\n")
                let store = try scratch.store(JobPool(threads: 0))
                // Nothing can be written, but names can be made and removed.
                let faults = Faults()
                _ = await Faults.$current.withValue(faults) { try? await store.open(.inbox) }
                let write = try #require(faults.calls.firstIndex(of: "fdatasync"))
                let scratch2 = try Scratch()
                try Self.seed(scratch2)
                try scratch2.write("new/4.a", "message 4\n")
                let store2 = try scratch2.store(JobPool(threads: 0))
                let inbox = try await Faults.$current.withValue(
                    Faults(failing: write, with: ENOSPC)
                ) { try await store2.open(.inbox) }
                #expect(inbox.table.uids == [1, 2, 3])
                #expect(!inbox.isSettled)
                // A user in need of room can delete.
                let result = try await inbox.expunge([2], source: 1)
                #expect(result.gone == [2] && result.failure == nil)
                inbox.work()
                await eventually { inbox.table.uids == [1, 3, 4] }
            }
        }
    }
}
