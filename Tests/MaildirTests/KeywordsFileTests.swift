import Bytes
import Foundation
import Posix
import Testing

@testable import Maildir

@Suite("KeywordsFile")
struct KeywordsFileTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    func allocate(_ name: String, in file: inout KeywordsFile) throws -> Int {
        try file.keywords.allocate(Array(name.utf8), unnamedLetters: [])
    }

    @Test("writes what changed, and reads what others write") func life() throws {
        var file = KeywordsFile()
        #expect(try file.refresh(in: scratch.directory))
        #expect(try !file.refresh(in: scratch.directory))
        let lock = try scratch.lock()
        try file.commit(lock)
        #expect(try scratch.names() == ["dovecot-uidlist.lock"])

        #expect(try allocate("$Forwarded", in: &file) == 0)
        #expect(try allocate("work", in: &file) == 1)
        try file.commit(lock)
        #expect(scratch.read("dovecot-keywords") == "0 $Forwarded\n1 work\n")
        #expect(try !file.refresh(in: scratch.directory))
        #expect(try scratch.names() == ["dovecot-keywords", "dovecot-uidlist.lock"])

        try scratch.append("dovecot-keywords", "2 more\n")
        #expect(try file.refresh(in: scratch.directory))
        #expect(file.keywords.index(of: Array("more".utf8)) == 2)

        for index in 3..<27 { _ = try allocate("k\(index)", in: &file) }
        file.keywords.setBeyond(Array("1.h".utf8), [26])
        try file.commit(lock)
        #expect(scratch.read("martlet-keywords") == "martlet-keywords 1\n26 k26\n\n26 :1.h\n")
        var other = KeywordsFile()
        #expect(try other.refresh(in: scratch.directory))
        #expect(other.keywords == file.keywords)
    }

    @Test("each dovecot-keywords is a second younger than the one before") func time() throws {
        var file = KeywordsFile()
        _ = try file.refresh(in: scratch.directory)
        let lock = try scratch.lock()
        var last: Int64 = 0
        for round in 0..<4 {
            _ = try allocate("k\(round)", in: &file)
            try file.commit(lock)
            let modified = try scratch.directory.status(KeywordsFile.name).modified.seconds
            #expect(modified > last)
            last = modified
        }
    }

    @Test("nothing is written from a stale state") func stale() throws {
        var file = KeywordsFile()
        _ = try file.refresh(in: scratch.directory)
        let lock = try scratch.lock()
        try scratch.write("dovecot-keywords", "0 theirs\n")
        _ = try allocate("ours", in: &file)
        #expect(throws: MaildirError.stale) { try file.commit(lock) }
        #expect(scratch.read("dovecot-keywords") == "0 theirs\n")
        #expect(try file.refresh(in: scratch.directory))
        #expect(try allocate("ours", in: &file) == 1)
    }

    @Test("a lock file that a dead process left does not stop it") func strayLock() throws {
        try scratch.write("dovecot-keywords.lock", "stray")
        var file = KeywordsFile()
        _ = try file.refresh(in: scratch.directory)
        _ = try allocate("a", in: &file)
        try file.commit(scratch.lock())
        #expect(scratch.read("dovecot-keywords") == "0 a\n")
        #expect(!scratch.exists("dovecot-keywords.lock"))
    }

    @Test("an announced keyword keeps its index, whichever call fails", arguments: [false, true])
    func faults(_ crashes: Bool) throws {
        var index = 0
        var isDone = false
        while !isDone {
            for name in try scratch.names() { try scratch.remove(name) }
            try scratch.write("dovecot-keywords", "0 zero\n")
            var announced = ["zero": 0]
            let faults = Faults(failing: index, with: EIO, andAllAfter: crashes)
            Faults.$current.withValue(faults) {
                for round in 0..<30 {
                    do {
                        let lock = try scratch.lock()
                        var file = KeywordsFile()
                        _ = try file.refresh(in: scratch.directory)
                        let number = try allocate("k\(round)", in: &file)
                        try file.commit(lock)
                        announced["k\(round)"] = number
                    } catch {}
                }
            }
            isDone = faults.calls.count <= index
            // Not each call of 30 rounds: the first rounds and those that begin the second file.
            index += index < 20 || index > 240 ? 1 : 20
            var file = KeywordsFile()
            _ = try file.refresh(in: scratch.directory)
            for (name, number) in announced {
                #expect(file.keywords.index(of: Array(name.utf8)) == number)
            }
            #expect(Set(announced.values).count == announced.count)
        }
    }
}

@Suite("Subscriptions on disk")
struct SubscriptionsDiskTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    @Test("read, change, replace") func life() throws {
        var list = try Subscriptions.load(root: scratch.directory)
        #expect(list.mailboxes.isEmpty)
        #expect(try list.add(.inbox, encoding: .modifiedUTF7))
        let lock = try scratch.lock(Subscriptions.name)
        try list.store(lock)
        #expect(try scratch.names() == ["subscriptions"])
        #expect(scratch.read("subscriptions") == "V\t2\n\nINBOX\n")
        #expect(try Subscriptions.load(root: scratch.directory) == list)
    }

    @Test("another version is left alone") func version() throws {
        try scratch.write("subscriptions", "V\t3\n\nINBOX\n")
        #expect(throws: MaildirError.unsupportedSubscriptions) {
            try Subscriptions.load(root: scratch.directory)
        }
    }

    @Test("size at the limit and above", arguments: [1 << 20, 1 << 20 + 1])
    func size(_ count: Int) throws {
        try scratch.write("subscriptions", "INBOX\n" + String(repeating: "\n", count: count - 6))
        let list = try? Subscriptions.load(root: scratch.directory)
        #expect((list != nil) == (count == 1 << 20))
    }
}

@Suite("UIDValiditySource")
struct UIDValiditySourceTests {
    let scratch: Scratch
    let now = WallTime(seconds: 0x6000_0000)

    init() throws { scratch = try Scratch() }

    func next(floor: UInt32 = 1) throws -> UInt32 {
        try UIDValiditySource.next(root: scratch.directory, now: now, floor: floor)
    }

    @Test("starts at the clock, then counts") func start() throws {
        #expect(try next() == 0x6000_0000)
        #expect(scratch.read("dovecot-uidvalidity") == "60000000")
        #expect(
            try scratch.names() == ["dovecot-uidvalidity", "dovecot-uidvalidity.60000000"]
        )
        let status = try scratch.directory.status(Array("dovecot-uidvalidity.60000000".utf8))
        #expect(status.permissions == 0o444)
        #expect(try next() == 0x6000_0001)
        #expect(
            try scratch.names() == ["dovecot-uidvalidity", "dovecot-uidvalidity.60000001"]
        )
        #expect(scratch.read("dovecot-uidvalidity") == "60000001")
        #expect(try next(floor: 0x7000_0000) == 0x7000_0000)
        #expect(try next(floor: 5) == 0x7000_0001)
    }

    /// Content of the plain file, suffixes, next value, suffixes afterwards.
    static let states: [(String?, [String], UInt32, [String])] = [
        ("0000000f", ["0000000f"], 0x10, ["00000010"]),
        ("0000000f\n", ["0000000f"], 0x10, ["00000010"]),
        // The plain file is behind: another process counted on, or crashed before writing it.
        ("0000000f", ["00000012"], 0x13, ["00000013"]),
        ("0000000f", ["00000018"], 0x19, ["00000019"]),
        ("0000000f", ["00000f00"], 0xF01, ["00000f01"]),
        ("00000f00", ["0000000f"], 0x10, ["00000010"]),
        (nil, ["0000000f"], 0x10, ["00000010"]),
        ("garbage", ["0000000f"], 0x10, ["00000010"]),
        ("00000000", ["0000000f"], 0x10, ["00000010"]),
        // Of several the largest counts and the smallest goes.
        (nil, ["0000000a", "0000000b", "0000000c"], 0xD, ["0000000b", "0000000d"]),
        ("ffffffff", ["ffffffff"], 1, ["00000001"]),
        (
            "0000000f", ["0000000F", "x", "0000000g"], 0x6000_0000,
            ["0000000F", "0000000g", "60000000", "x"]
        ),
    ]

    @Test("state", arguments: states)
    func state(_ plain: String?, _ suffixes: [String], _ value: UInt32, _ after: [String]) throws {
        if let plain { try scratch.write("dovecot-uidvalidity", plain) }
        for suffix in suffixes { try scratch.write("dovecot-uidvalidity.\(suffix)", "") }
        #expect(try next() == value)
        let names = try scratch.names().filter { $0 != "dovecot-uidvalidity" }
        #expect(names == after.map { "dovecot-uidvalidity.\($0)" }.sorted())
        #expect(try next() == value + 1)
    }

    @Test("no value twice, whichever call fails") func faults() throws {
        var index = 0
        var isDone = false
        while !isDone {
            for name in try scratch.names() { try scratch.remove(name) }
            var given: [UInt32] = []
            let faults = Faults(failing: index)
            Faults.$current.withValue(faults) {
                for _ in 0..<4 {
                    if let value = try? next() { given.append(value) }
                }
            }
            isDone = faults.calls.count <= index
            index += 1
            given.append(try next())
            #expect(given == Set(given).sorted())
        }
        #expect(index > 20)
    }
}
