import Bytes
import Foundation
import Posix
import Testing

@testable import Maildir

@Suite("UIDListFile")
struct UIDListFileTests {
    static let guid = "3085f01b7f11094c501100008c4a11c1"
    static let header = "3 V9 N7 G\(guid)\n"
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    func live(_ file: UIDListFile) -> [String] {
        guard let list = file.list else { return [] }
        return (0..<list.recordCount).filter { list.isLive($0) }
            .map { "\(list.uid($0)) \(list.baseName($0).array.text)" }
    }

    @Test("begins a list, appends to it, compacts it") func life() throws {
        var file = UIDListFile()
        #expect(try file.refresh(in: scratch.directory) == .missing)
        let lock = try scratch.lock()
        file.list = UIDList(uidValidity: 9, guid: Array(Self.guid.utf8), nextUID: 7)
        _ = try file.list?.add(named: "a")
        try file.commit(lock)
        #expect(scratch.read("dovecot-uidlist") == "3 V9 N8 G\(Self.guid)\n7 :a\n")
        let inode = try scratch.directory.status(UIDListFile.name).inode

        for name in ["b", "c", "d"] { _ = try file.list?.add(named: name) }
        try file.commit(lock)
        let text = "3 V9 N8 G\(Self.guid)\n7 :a\n8 :b\n9 :c\n10 :d\n"
        #expect(scratch.read("dovecot-uidlist") == text)
        #expect(try scratch.directory.status(UIDListFile.name).inode == inode)
        #expect(try file.refresh(in: scratch.directory) == .unchanged)

        file.list?.remove(0)
        try file.commit(lock)
        #expect(scratch.read("dovecot-uidlist") == "3 V9 N11 G\(Self.guid)\n8 :b\n9 :c\n10 :d\n")
        #expect(try file.refresh(in: scratch.directory) == .unchanged)
        #expect(live(file) == ["8 b", "9 c", "10 d"])
        #expect(try scratch.names() == ["dovecot-uidlist", "dovecot-uidlist.lock"])
        let before = scratch.read("dovecot-uidlist")
        try file.commit(lock)
        #expect(scratch.read("dovecot-uidlist") == before)
    }

    @Test("the order of calls is that of the design note") func order() throws {
        try scratch.write("dovecot-uidlist", Self.header + "5 :a\n6 :b\n")
        var file = UIDListFile()
        _ = try file.refresh(in: scratch.directory)
        let lock = try scratch.lock()
        func calls(_ change: (inout UIDListFile) throws -> Void) throws -> [String] {
            try change(&file)
            let faults = Faults()
            try Faults.$current.withValue(faults) { try file.commit(lock) }
            return faults.calls
        }
        // The first append to another program's file makes its name durable too.
        #expect(
            try calls { _ = try $0.list?.add(named: "c") } == [
                "openat", "write", "fdatasync", "fsync",
            ]
        )
        #expect(try calls { _ = try $0.list?.add(named: "d") } == ["openat", "write", "fdatasync"])
        let rewrite = ["unlinkat", "openat", "write", "fdatasync", "renameat", "fsync"]
        #expect(try calls { $0.list?.header.uidValidity = 10 } == rewrite)
        #expect(try calls { $0.list?.raiseNextUID(to: 100) } == rewrite)
        #expect(scratch.read("dovecot-uidlist")?.hasPrefix("3 V10 N100 ") == true)
        #expect(try calls { _ = try $0.list?.add(named: "e") } == ["openat", "write", "fdatasync"])
    }

    @Test("what others appended is synced before anybody is told of it") func syncsOthers() throws {
        try scratch.write("dovecot-uidlist", Self.header + "5 :a\n")
        var file = UIDListFile()
        let lock = try scratch.lock()
        func calls() throws -> [String] {
            _ = try file.refresh(in: scratch.directory)
            guard file.isCommitDue else { return [] }
            let faults = Faults()
            try Faults.$current.withValue(faults) { try file.commit(lock) }
            return faults.calls
        }
        // Also the first time: its writer may have been killed before it synced.
        #expect(try calls() == ["openat", "fdatasync", "fsync"])
        #expect(try calls() == [])
        try scratch.append("dovecot-uidlist", "6 :b\n")
        #expect(try calls() == ["openat", "fdatasync"])
        #expect(try calls() == [])
        #expect(live(file) == ["5 a", "6 b"])
        // Where that fails the next commit is a new file.
        try scratch.append("dovecot-uidlist", "7 :c\n")
        _ = try file.refresh(in: scratch.directory)
        let failing = Faults(failing: 1, with: EIO)
        #expect(throws: MaildirError.self) {
            try Faults.$current.withValue(failing) { try file.commit(lock) }
        }
        #expect(failing.calls.last == "fdatasync")
        #expect(try calls() == ["unlinkat", "openat", "write", "fdatasync", "renameat", "fsync"])
        #expect(live(file) == ["5 a", "6 b", "7 c"])
    }

    @Test("sees what others append, replace and remove") func foreign() throws {
        var file = UIDListFile()
        try scratch.write("dovecot-uidlist", Self.header + "5 :a\n")
        #expect(try file.refresh(in: scratch.directory) == .replaced)
        try scratch.append("dovecot-uidlist", "6 :b\n7 :")
        let growth = UIDList.Growth(firstIndex: 1, superseded: [])
        #expect(try file.refresh(in: scratch.directory) == .grown(growth))
        #expect(try file.refresh(in: scratch.directory) == .unchanged)
        try scratch.append("dovecot-uidlist", "c\n")
        let second = UIDList.Growth(firstIndex: 2, superseded: [])
        #expect(try file.refresh(in: scratch.directory) == .grown(second))
        #expect(live(file) == ["5 a", "6 b", "7 c"])

        // The same inode with other content, longer, as after two rewrites.
        let inode = try scratch.directory.status(UIDListFile.name).inode
        let handle = try FileHandle(
            forWritingTo: URL(fileURLWithPath: scratch.path + "/dovecot-uidlist")
        )
        try handle.truncate(atOffset: 0)
        try handle.write(contentsOf: Data((Self.header + "6 :b\n7 :c\n8 :dddd\n").utf8))
        try handle.close()
        #expect(try scratch.directory.status(UIDListFile.name).inode == inode)
        #expect(try file.refresh(in: scratch.directory) == .replaced)
        #expect(live(file) == ["6 b", "7 c", "8 dddd"])

        try scratch.append("dovecot-uidlist", "8 :e\n")
        #expect(try file.refresh(in: scratch.directory) == .replaced)
        #expect(file.list?.damage.outOfOrder == 1)
        try scratch.remove("dovecot-uidlist")
        #expect(try file.refresh(in: scratch.directory) == .missing)
        try scratch.write("dovecot-uidlist", "")
        #expect(try file.refresh(in: scratch.directory) == .missing)
    }

    @Test("a restored older file brings no UID back") func restored() throws {
        try scratch.write("dovecot-uidlist", Self.header + "5 :a\n90 :b\n")
        var file = UIDListFile()
        _ = try file.refresh(in: scratch.directory)
        try scratch.remove("dovecot-uidlist")
        try scratch.write("dovecot-uidlist", Self.header + "5 :a\n")
        #expect(try file.refresh(in: scratch.directory) == .replaced)
        #expect(file.list?.nextUID == 91)
        #expect(try file.refresh(in: scratch.directory) == .unchanged)
        try scratch.append("dovecot-uidlist", "7 :c\n")
        let growth = UIDList.Growth(firstIndex: 1, superseded: [])
        #expect(try file.refresh(in: scratch.directory) == .grown(growth))
        #expect(try file.list?.add(named: "d") == 91)
        try file.commit(scratch.lock())
        #expect(scratch.read("dovecot-uidlist") == Self.header + "5 :a\n7 :c\n91 :d\n")
        // Another UIDVALIDITY begins anew.
        try scratch.write("dovecot-uidlist", "3 V10 N7\n5 :a\n")
        _ = try file.refresh(in: scratch.directory)
        #expect(file.list?.nextUID == 7)
    }

    @Test("writes nothing from a state that is not the file's") func stale() throws {
        try scratch.write("dovecot-uidlist", Self.header + "5 :a\n")
        var file = UIDListFile()
        _ = try file.refresh(in: scratch.directory)
        let lock = try scratch.lock()
        for isRewrite in [false, true] {
            try scratch.append("dovecot-uidlist", isRewrite ? "9 :x\n" : "8 :y\n")
            let before = scratch.read("dovecot-uidlist")
            _ = try file.list?.add(named: "b")
            if isRewrite { file.list?.header.uidValidity = 77 }
            #expect(throws: MaildirError.stale) { try file.commit(lock) }
            #expect(scratch.read("dovecot-uidlist") == before)
            #expect(file.list == nil)
            #expect(try file.refresh(in: scratch.directory) == .replaced)
        }
        var empty = UIDListFile()
        empty.list = UIDList(uidValidity: 1, guid: Array(Self.guid.utf8))
        #expect(throws: MaildirError.stale) { try empty.commit(lock) }
    }

    @Test("writes nothing once the lock is lost") func lostLock() throws {
        try scratch.write("dovecot-uidlist", Self.header + "5 :a\n")
        for isRewrite in [false, true] {
            var file = UIDListFile()
            _ = try file.refresh(in: scratch.directory)
            let lock = try scratch.lock()
            try scratch.remove("dovecot-uidlist.lock")
            try scratch.write("dovecot-uidlist.lock", "1:elsewhere")
            _ = try file.list?.add(named: "b")
            if isRewrite { file.list?.header.uidValidity = 77 }
            #expect(throws: MaildirError.lockLost) { try file.commit(lock) }
            #expect(scratch.read("dovecot-uidlist") == Self.header + "5 :a\n")
            try scratch.remove("dovecot-uidlist.lock")
        }
    }

    @Test("what is no regular file is not read") func notRegular() throws {
        var file = UIDListFile()
        try FileManager.default.createSymbolicLink(
            atPath: scratch.path + "/dovecot-uidlist",
            withDestinationPath: "/etc/passwd"
        )
        #expect(throws: MaildirError.self) { try file.refresh(in: scratch.directory) }
        try scratch.remove("dovecot-uidlist")
        #expect(mkfifo(scratch.path + "/dovecot-uidlist", 0o600) == 0)
        #expect(throws: MaildirError.self) { try file.refresh(in: scratch.directory) }
    }

    @Test(
        "mode and group are the directory's, whatever the umask",
        arguments: [0o700, 0o750, 0o2770]
    )
    func permissions(_ mode: Int) throws {
        #expect(chmod(scratch.path, mode_t(mode)) == 0)
        var file = UIDListFile()
        file.list = UIDList(uidValidity: 9, guid: Array(Self.guid.utf8))
        try file.commit(scratch.lock())
        let status = try scratch.directory.status(UIDListFile.name)
        #expect(status.permissions == UInt32(mode & 0o666))
    }

    // MARK: Faults

    /// What clients were told.
    struct Announced {
        var uids: [String: UInt32] = [:]
        var next: UInt32 = 0
    }

    /// One process's work: takes in new files, expunges some, announces what is durable.
    func work(_ announced: inout Announced, adding names: [String], removing: [String]) throws {
        // Their files are gone before the list is told.
        for name in removing { announced.uids[name] = nil }
        let lock = try scratch.lock()
        defer { _ = try? lock.release() }
        var file = UIDListFile()
        _ = try file.refresh(in: scratch.directory)
        if file.list == nil {
            file.list = UIDList(uidValidity: 9, guid: Array(Self.guid.utf8))
        }
        for name in names where file.list?.index(named: name) == nil {
            _ = try file.list?.add(named: name)
        }
        for name in removing {
            if let index = file.list?.index(named: name) { file.list?.remove(index) }
        }
        try file.commit(lock)
        let list = try #require(file.list)
        for name in names {
            let index = try #require(list.index(named: name))
            announced.uids[name] = list.uid(index)
        }
        announced.next = list.nextUID
    }

    @Test("no announced UID changes, whichever call fails", arguments: [false, true])
    func faults(_ crashes: Bool) throws {
        // In turn: a new file, an append, an append to a foreign file, a rewrite.
        let steps: [([String], [String])] = [
            (["a", "b"], []), (["a", "b", "c"], []), (["a", "b", "c", "d", "e"], []),
            (["d", "e", "f"], ["a", "b", "c"]), (["d", "e", "f", "g"], []),
        ]
        var index = 0
        var isDone = false
        while !isDone {
            for name in try scratch.names() { try scratch.remove(name) }
            var announced = Announced()
            let faults = Faults(failing: index, with: ENOSPC, andAllAfter: crashes)
            Faults.$current.withValue(faults) {
                for (names, removed) in steps {
                    try? work(&announced, adding: names, removing: removed)
                }
            }
            isDone = faults.calls.count <= index
            index += 1

            // The next process; the lock of a crashed one is stale.
            try? scratch.remove("dovecot-uidlist.lock")
            var file = UIDListFile()
            _ = try file.refresh(in: scratch.directory)
            for (name, uid) in announced.uids {
                let found = file.list?.index(named: name).flatMap { file.list?.uid($0) }
                #expect(found == uid, "\(name) after call \(index)")
            }
            #expect((file.list?.nextUID ?? 0) >= announced.next)
            // And it can go on: new mail gets UIDs that nobody has seen.
            var later = announced
            try work(&later, adding: ["x"], removing: [])
            #expect((later.uids["x"] ?? 0) >= max(announced.next, 1))
            _ = try file.refresh(in: scratch.directory)
            #expect(file.list?.damage.isEmpty == true)
            #expect(file.list?.hasPartialLine == false)
        }
        #expect(index > 25)
    }

    @Test("after a write that failed, the next one is a whole new file") func failedSync() throws {
        try scratch.write("dovecot-uidlist", Self.header + "5 :a\n")
        var file = UIDListFile()
        _ = try file.refresh(in: scratch.directory)
        let lock = try scratch.lock()
        _ = try file.list?.add(named: "b")
        Faults.$current.withValue(Faults(failing: 2)) {
            #expect(throws: MaildirError.self) { try file.commit(lock) }
        }
        // The record reached the file, but not for sure the disk.
        #expect(scratch.read("dovecot-uidlist") == Self.header + "5 :a\n7 :b\n")
        #expect(try file.refresh(in: scratch.directory) == .replaced)
        let faults = Faults()
        try Faults.$current.withValue(faults) { try file.commit(lock) }
        #expect(faults.calls.contains("renameat"))
        #expect(live(file) == ["5 a", "7 b"])
    }

    @Test("a partial line that a dead process left is gone after the next write") func partial()
        throws
    {
        try scratch.write("dovecot-uidlist", Self.header + "5 :a\n6 :b")
        var file = UIDListFile()
        _ = try file.refresh(in: scratch.directory)
        _ = try file.list?.add(named: "c")
        try file.commit(scratch.lock())
        #expect(scratch.read("dovecot-uidlist") == "3 V9 N8 G\(Self.guid)\n5 :a\n7 :c\n")
    }
}
