import Bytes
import Foundation
import Maildir
import Posix
import Testing

@Suite("maildirsize")
struct QuotaFileTests {
    typealias Amount = QuotaFile.Amount

    static func parse(_ text: String) -> QuotaFile { QuotaFile(Array(text.utf8)) }

    @Test(
        "limits",
        arguments: [
            ("10000000S,1000C\n", 10_000_000, 1_000), ("1000C,500S\n", 500, 1_000),
            ("500S\n", 500, nil), ("7C", nil, 7), ("0S\n", nil, nil), ("0S,5C\n", nil, 5),
            ("\n", nil, nil), ("", nil, nil), ("500S,9X,4C\n", 500, 4), ("S,C\n", nil, nil),
            ("-5S,3C\n", nil, 3), ("99999999999999999999S,3C\n", nil, 3), ("12Sx,3C\n", nil, 3),
            ("500 S\n", 500, nil),
        ] as [(String, UInt64?, UInt64?)]
    )
    func limits(_ text: String, _ bytes: UInt64?, _ messages: UInt64?) {
        #expect(Self.parse(text).limits == QuotaFile.Limits(bytes: bytes, messages: messages))
    }

    @Test(
        "sums",
        arguments: [
            ("5S\n1 2\n", 1, 2, 1, false),
            ("5S\n      123456     17\n       -2048     -1\n", 121_408, 16, 2, false),
            // A line without its end is being written.
            ("5S\n10 1\n20 2", 10, 1, 1, false),
            // Tabs, signs and carriage returns; a third number; what is no number.
            ("5S\n\t10\t1\r\n+5 +1\n", 15, 2, 2, false), ("5S\n1 2 3\nx y\n4\n", 1, 2, 1, false),
            ("5S\n", 0, 0, 0, true), ("5S\n10 1\n-20 0\n", -10, 1, 2, true),
            ("5S\n10 1\n0 -2\n", 10, -1, 2, true), ("5S\n10 1\n\0\n", 10, 1, 1, true),
            ("5S\n9223372036854775807 1\n9223372036854775807 1\n", .max, 2, 2, false),
        ] as [(String, Int64, Int64, Int, Bool)]
    )
    func sums(
        _ text: String,
        _ bytes: Int64,
        _ messages: Int64,
        _ lines: Int,
        _ mustCount: Bool
    ) {
        let file = Self.parse(text)
        #expect(file.used == Amount(bytes: bytes, messages: messages))
        #expect(file.lineCount == lines)
        #expect(file.mustCount == mustCount)
    }

    @Test("long files are counted anew", arguments: [(5_119, false), (5_120, true)])
    func long(_ size: Int, _ mustCount: Bool) {
        var text = "5S\n"
        while text.utf8.count + 4 < size { text += "1 1\n" }
        text += String(repeating: " ", count: size - text.utf8.count - 1) + "\n"
        #expect(text.utf8.count == size)
        #expect(Self.parse(text).mustCount == mustCount)
    }

    @Test("over a limit is above it, not at it")
    func over() {
        let file = Self.parse("100S,3C\n90 2\n")
        #expect(!file.isOver(adding: Amount(bytes: 10, messages: 1)))
        #expect(file.isOver(adding: Amount(bytes: 11, messages: 1)))
        #expect(file.isOver(adding: Amount(bytes: 1, messages: 2)))
        #expect(!Self.parse("0S\n9999 99\n").isOver(adding: Amount(bytes: 1, messages: 1)))
        // What takes no more of a resource is not refused for it.
        #expect(!Self.parse("100S,3C\n900 2\n").isOver(adding: Amount(bytes: -5, messages: 1)))
    }

    @Test("limits that are not understood stay in the file")
    func keepsLimits() {
        let file = Self.parse("5S,9X\n1 1\n")
        #expect(file.file.text == "5S,9X\n1 1\n")
    }

    // MARK: On disk

    private func maildir() throws -> Scratch {
        let scratch = try Scratch()
        try scratch.makeMailbox("", messages: ["1.a,S=100:2,S", "2.a:2,"])
        try scratch.makeMailbox(".Trash", messages: ["3.a,S=1000:2,ST", ".hidden"])
        try scratch.write(".Trash/new/4.a", "four!")
        return scratch
    }

    @Test("counts all mailboxes, by names where they tell")
    func counts() throws {
        let scratch = try maildir()
        try scratch.write("maildirsize", "5000S,100C\n-1 0\n")
        let file = try Quota().current(root: scratch.directory)
        #expect(file?.used == Amount(bytes: 1_109, messages: 4))
        #expect(scratch.read("maildirsize") == "5000S,100C\n1109 4\n")
        #expect(!scratch.exists("maildirsize.martlet"))
    }

    @Test("what is right is not counted")
    func believes() throws {
        let scratch = try maildir()
        try scratch.write("maildirsize", "5000S\n7 1\n-2 0\n")
        let file = try Quota().current(root: scratch.directory)
        #expect(file?.used == Amount(bytes: 5, messages: 1))
        #expect(scratch.read("maildirsize") == "5000S\n7 1\n-2 0\n")
    }

    @Test("before mail is refused it is counted, unless it was a moment ago")
    func countsBeforeRefusing() throws {
        let scratch = try maildir()
        let quota = Quota()
        let one = Amount(bytes: 1, messages: 1)
        try scratch.write("maildirsize", "5000S\n9000 1\n0 0\n")
        #expect(try !quota.isOver(adding: one, root: scratch.directory))
        #expect(scratch.read("maildirsize") == "5000S\n1109 4\n")
        try scratch.write("maildirsize", "5000S\n9000 1\n")
        #expect(try quota.isOver(adding: one, root: scratch.directory))
        let old = WallTime(seconds: WallTime.now.seconds - 901)
        try scratch.directory.setModified(Array("maildirsize".utf8), old)
        #expect(try !quota.isOver(adding: one, root: scratch.directory))
    }

    @Test("no file, no quota, and none is made")
    func none() throws {
        let scratch = try maildir()
        let quota = Quota()
        #expect(try quota.current(root: scratch.directory) == nil)
        #expect(
            try !quota.isOver(adding: Amount(bytes: .max, messages: 9), root: scratch.directory)
        )
        quota.begin()
        quota.end(Amount(bytes: 5, messages: 1), root: scratch.directory)
        #expect(!scratch.exists("maildirsize"))
    }

    @Test("changes are lines at the end")
    func appends() throws {
        let scratch = try maildir()
        try scratch.write("maildirsize", "5000S\n7 1\n")
        let quota = Quota()
        quota.begin()
        quota.end(Amount(bytes: 50, messages: 1), root: scratch.directory)
        quota.begin()
        quota.end(-Amount(bytes: 20, messages: 2), root: scratch.directory)
        quota.begin()
        quota.end(Amount(), root: scratch.directory)
        #expect(scratch.read("maildirsize") == "5000S\n7 1\n50 1\n-20 -2\n")
    }

    @Test("a count that ran beside a change of ours is not written")
    func countBesideChange() throws {
        let scratch = try maildir()
        try scratch.write("maildirsize", "5000S\n-1 0\n")
        let quota = Quota()
        quota.begin()
        let file = try quota.current(root: scratch.directory)
        #expect(file?.used == Amount(bytes: 1_109, messages: 4))
        #expect(scratch.read("maildirsize") == "5000S\n-1 0\n")
        quota.end(Amount(), root: scratch.directory)
        _ = try quota.current(root: scratch.directory)
        #expect(scratch.read("maildirsize") == "5000S\n1109 4\n")
    }

    @Test("what is no file limits nothing")
    func noFile() throws {
        let scratch = try maildir()
        try FileManager.default.createDirectory(
            atPath: scratch.path + "/maildirsize",
            withIntermediateDirectories: false
        )
        #expect(try Quota().current(root: scratch.directory) == nil)
    }

    #if DEBUG
    @Test("a failure at any call leaves the old file or the new one")
    func faults() throws {
        for index in 0..<40 {
            let scratch = try maildir()
            try scratch.write("maildirsize", "5000S\n-1 0\n")
            let faults = Faults(failing: index, with: ENOSPC, andAllAfter: true)
            Faults.$current.withValue(faults) {
                _ = try? Quota().current(root: scratch.directory)
            }
            let text = scratch.read("maildirsize")
            #expect(text == "5000S\n-1 0\n" || text == "5000S\n1109 4\n", "call \(index)")
            if faults.calls.count <= index { return }
        }
        Issue.record("no end")
    }
    #endif
}
