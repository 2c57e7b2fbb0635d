import Bytes
import Foundation
import Posix
import Testing

@testable import Maildir

/// A list that is held by its end, against what other programs do to the file meanwhile.
@Suite("UIDListFile at rest")
struct UIDListRestTests {
    static let guid = "3085f01b7f11094c501100008c4a11c1"
    static let name = "dovecot-uidlist"
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    /// A file of records 1…count.
    static func text(_ count: Int, next: Int? = nil) -> String {
        var text = "3 V9 N\(next ?? count + 1) G\(guid)\n"
        for uid in 1...count { text += "\(uid) :16000000\(uid).M\(uid)P1.host\n" }
        return text
    }

    /// Read from a file that has been left alone for long, and put to rest.
    private func resting(_ text: String) throws -> UIDListFile {
        try scratch.write(Self.name, text)
        var file = UIDListFile()
        _ = try file.refresh(in: scratch.directory)
        // What was just written may not be on the disk: then it is not at rest.
        file.rest()
        #expect(file.list?.isWhole == true)
        let lock = try scratch.lock()
        try file.commit(lock)
        _ = try lock.release()
        file.rest()
        return file
    }

    private func live(_ file: UIDListFile) -> [UInt32] {
        guard let list = file.list else { return [] }
        return (0..<list.recordCount).filter { list.isLive($0) }.map { list.uid($0) }
    }

    @Test("is appended to without being read") func append() throws {
        let text = Self.text(1_000)
        var file = try resting(text)
        #expect(file.list?.isWhole == false)
        #expect(file.list?.recordCount == 1_000)
        #expect((file.list?.arena.count ?? .max) <= UIDList.restingBytes)
        let lock = try scratch.lock()
        let faults = Faults()
        for round in 0..<3 {
            try Faults.$current.withValue(faults) {
                #expect(try file.refresh(in: scratch.directory, isWhole: false) == .unchanged)
                #expect(try file.list?.add(named: "new\(round)") == UInt32(1_001 + round))
                #expect(throws: UIDListError.alreadyListed) {
                    try file.list?.add(named: "new\(round)")
                }
                try file.commit(lock)
            }
            file.rest()
            #expect(file.list?.isWhole == false)
            #expect(file.list?.recordCount == 1_001 + round)
        }
        #expect(!faults.calls.contains("pread"))
        let expected = text + "1001 :new0\n1002 :new1\n1003 :new2\n"
        #expect(scratch.read(Self.name) == expected)
        // Whoever wants records has them all.
        #expect(try file.refresh(in: scratch.directory) == .unchanged)
        #expect(live(file) == Array(1...1_003))
        #expect(!file.isCommitDue)
    }

    @Test("a short list stays whole") func short() throws {
        let file = try resting(Self.text(3))
        #expect(file.list?.isWhole == true)
    }

    @Test("sees what others appended") func grown() throws {
        var file = try resting(Self.text(500))
        try scratch.append(Self.name, "501 :x\n502 :y\n")
        let growth = UIDList.Growth(firstIndex: 500, superseded: [])
        #expect(try file.refresh(in: scratch.directory, isWhole: false) == .grown(growth))
        #expect(live(file) == Array(1...502))
        // It may not be on the disk.
        #expect(file.isCommitDue)
        let lock = try scratch.lock()
        #expect(try file.list?.add(named: "z") == 503)
        try file.commit(lock)
        #expect(scratch.read(Self.name)?.hasSuffix("502 :y\n503 :z\n") == true)
    }

    @Test("a record that another one takes the name of is no mere growth") func superseded() throws
    {
        var file = try resting(Self.text(500))
        try scratch.append(Self.name, "501 :16000000500.M500P1.host\n")
        #expect(try file.refresh(in: scratch.directory, isWhole: false) == .replaced)
    }

    @Test("leaves a partial line to a rewrite") func partial() throws {
        var file = try resting(Self.text(500))
        try scratch.append(Self.name, "501 :x\n502 :")
        _ = try file.refresh(in: scratch.directory, isWhole: false)
        #expect(file.list?.hasPartialLine == true)
        #expect(try file.list?.add(named: "z") == 502)
        try file.commit(scratch.lock())
        #expect(
            scratch.read(Self.name)?.hasSuffix("500 :16000000500.M500P1.host\n501 :x\n502 :z\n")
                == true
        )
    }

    /// The same inode with other bytes: two rewrites by another program, the second of which got the
    /// inode of the first.
    @Test(
        "another file of the same inode is read",
        arguments: [
            // As long.
            text(500).replacingOccurrences(of: " :16000000250.", with: " :16000000999."),
            // Longer, with other bytes at the end of what was known.
            text(500).replacingOccurrences(of: " :16000000500.", with: " :16000000999.")
                + "501 :x\n",
            // Longer, and only the header tells.
            text(500).replacingOccurrences(of: "V9", with: "V8") + "501 :x\n",
            // Truncated.
            text(300, next: 501), "3 V9 N501 G\(guid)\n",
        ]
    ) func sameInode(_ other: String) throws {
        var file = try resting(Self.text(500))
        let inode = try scratch.directory.status(UIDListFile.name).inode
        let handle = try FileHandle(
            forWritingTo: URL(fileURLWithPath: scratch.path + "/" + Self.name)
        )
        try handle.truncate(atOffset: 0)
        try handle.write(contentsOf: Data(other.utf8))
        try handle.close()
        #expect(try scratch.directory.status(UIDListFile.name).inode == inode)
        let seen = try file.refresh(in: scratch.directory, isWhole: false)
        #expect(file.list?.isWhole == true)
        // A file of the same length and end is told by its times alone; its records are read all the
        // same.
        if other.count != Self.text(500).count { #expect(seen == .replaced) }
        var fresh = UIDListFile()
        _ = try fresh.refresh(in: scratch.directory)
        #expect(live(file) == live(fresh))
        #expect((file.list?.nextUID ?? 0) >= (file.list?.header.uidValidity == 9 ? 501 : 1))
    }

    @Test("another file renamed over it, damage, no file") func foreign() throws {
        var file = try resting(Self.text(500))
        try scratch.remove(Self.name)
        try scratch.write(Self.name, Self.text(400, next: 450))
        #expect(try file.refresh(in: scratch.directory, isWhole: false) == .replaced)
        // An older file brings no UID back.
        #expect(file.list?.nextUID == 501)

        file = try resting(Self.text(500))
        try scratch.append(Self.name, "garbage\n501 :x\n")
        #expect(try file.refresh(in: scratch.directory, isWhole: false) == .replaced)
        #expect(file.list?.damage.brokenLines == 1)

        file = try resting(Self.text(500))
        try scratch.remove(Self.name)
        #expect(try file.refresh(in: scratch.directory, isWhole: false) == .missing)
        #expect(file.list == nil)
    }

    @Test("nothing is written to a file that changed since") func stale() throws {
        var file = try resting(Self.text(500))
        _ = try file.refresh(in: scratch.directory, isWhole: false)
        _ = try file.list?.add(named: "z")
        try scratch.append(Self.name, "501 :x\n")
        let lock = try scratch.lock()
        #expect(throws: MaildirError.stale) { try file.commit(lock) }
        #expect(scratch.read(Self.name) == Self.text(500) + "501 :x\n")
        _ = try file.refresh(in: scratch.directory, isWhole: false)
        #expect(try file.list?.add(named: "z") == 502)
        try file.commit(lock)
        #expect(scratch.read(Self.name)?.hasSuffix("501 :x\n502 :z\n") == true)
    }

    @Test("after a write that failed it is read, and written as a whole") func failed() throws {
        var file = try resting(Self.text(500))
        _ = try file.refresh(in: scratch.directory, isWhole: false)
        _ = try file.list?.add(named: "z")
        let lock = try scratch.lock()
        Faults.$current.withValue(Faults(failing: 2, with: EIO)) {
            #expect(throws: MaildirError.self) { try file.commit(lock) }
        }
        file.rest()
        #expect(file.doubtfulFrom == 501)
        _ = try file.refresh(in: scratch.directory, isWhole: false)
        file.rest()
        // Not before the new file is there.
        #expect(file.list?.isWhole == true)
        let faults = Faults()
        try Faults.$current.withValue(faults) { try file.commit(lock) }
        #expect(faults.calls.contains("renameat"))
        file.rest()
        #expect(file.list?.isWhole == false)
        #expect(file.doubtfulFrom == nil)
    }

    @Test("expunges are counted, and compacted once it is read") func expunge() throws {
        var file = try resting(Self.text(400))
        for uid in 1...99 {
            file.list?.noteRemoved(Array("16000000\(uid).M\(uid)P1.host".utf8).span)
        }
        #expect(file.list?.needsRewrite == false)
        file.list?.noteRemoved(Array("16000000100.M100P1.host".utf8).span)
        #expect(file.list?.needsRewrite == true)
        // Nobody writes a list that is not whole.
        let lock = try scratch.lock()
        var other = file
        #expect(throws: MaildirError.stale) { try other.commit(lock) }
        _ = try file.refresh(in: scratch.directory)
        #expect(file.list?.isWhole == true)
        file.list?.removeGone(below: 400, keeping: Array(101...399))
        try file.commit(lock)
        // 400 is not below: nobody knows of it yet.
        #expect(live(file) == Array(101...400))
        #expect(scratch.read(Self.name)?.split(separator: "\n").count == 301)
    }

    @Test("a list whose messages are known elsewhere begins at rest") func adopted() throws {
        let text = Self.text(500)
        try scratch.write(Self.name, text)
        let head = Array("3 V9 N501 G\(Self.guid)\n".utf8)
        let end = Array(text.utf8.suffix(200))
        let list = try #require(
            UIDList(head: head, end: end, fileBytes: text.utf8.count, liveCount: 500)
        )
        let state = FileFingerprint(try scratch.directory.status(UIDListFile.name))
        var file = UIDListFile()
        file.adopt(list, state, uidNext: 501)
        #expect(try file.refresh(in: scratch.directory, isWhole: false) == .unchanged)
        #expect(try file.list?.add(named: "z") == 501)
        let lock = try scratch.lock()
        try file.commit(lock)
        #expect(scratch.read(Self.name) == text + "501 :z\n")

        // Who knows of a later UID than the file does not lose it.
        file = UIDListFile()
        let now = FileFingerprint(try scratch.directory.status(UIDListFile.name))
        let later = try #require(
            UIDList(
                head: head,
                end: Array((text + "501 :z\n").utf8.suffix(200)),
                fileBytes: text.utf8.count + 7,
                liveCount: 501
            )
        )
        #expect(later.nextUID == 502)
        file.adopt(later, now, uidNext: 900)
        _ = try file.refresh(in: scratch.directory, isWhole: false)
        #expect(try file.list?.add(named: "y") == 900)
        try file.commit(lock)
        #expect(scratch.read(Self.name)?.hasSuffix("501 :z\n900 :y\n") == true)
    }

    @Test(
        "an end that is none, or a header that says too little, is not taken",
        arguments: [
            ("3 V9 N501 G\(guid)\n", "500 :a"), ("3 V9 N501 G\(guid)\n", "500 :a\n"),
            ("3 V9 N501 G\(guid)\n", "x\nabc :a\n"), ("3 V9 N501 G\(guid)\n", "x\n0 :a\n"),
            ("3 V9 N501\n", "x\n500 :a\n"), ("3 N501 G\(guid)\n", "x\n500 :a\n"),
            ("1 9 501\n", "x\n500 a\n"), ("3 V9 N501 G\(guid)\n", "x\n4294967295 :a\n"),
        ]
    ) func refused(_ head: String, _ end: String) {
        #expect(
            UIDList(head: Array(head.utf8), end: Array(end.utf8), fileBytes: 9_999, liveCount: 5)
                == nil
        )
    }
}
