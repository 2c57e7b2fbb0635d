import Bytes
import Testing

@testable import Maildir

/// The macros cannot pass spans.
extension UIDList {
    func index(named name: String) -> Int? {
        let bytes = Array(name.utf8)
        return index(of: bytes.span)
    }

    mutating func add(named name: String, keys: String = "") throws(UIDListError) -> UInt32 {
        let bytes = Array(name.utf8)
        return try add(bytes.span, keys: Array(keys.utf8))
    }
}

@Suite("UIDList")
struct UIDListTests {
    static let guid = "3085f01b7f11094c501100008c4a11c1"
    static let header = "3 V1275660208 N25022 G\(guid)\n"

    func list(_ text: String) throws -> UIDList {
        try #require(try UIDList(file: Array(text.utf8)))
    }

    /// `uid base` of the live records.
    func live(_ list: UIDList) -> [String] {
        (0..<list.recordCount).filter { list.isLive($0) }
            .map { "\(list.uid($0)) \(list.baseName($0).array.text)" }
    }

    @Test("reads what Dovecot writes") func dovecot() throws {
        let list = try list(
            Self.header + """
                25006 :1276528487.M364837P9451.host,S=1355,W=1394
                25017 W2481 G0f3c.orig :1276533073.M242911P3632.host

                """
        )
        #expect(list.header.uidValidity == 1_275_660_208)
        #expect(list.header.guid?.text == Self.guid)
        #expect(list.nextUID == 25_022)
        #expect(list.version == 3)
        #expect(list.damage.isEmpty)
        #expect(!list.needsRewrite)
        #expect(
            live(list) == [
                "25006 1276528487.M364837P9451.host,S=1355,W=1394",
                "25017 1276533073.M242911P3632.host",
            ]
        )
        #expect(list.value(of: UInt8(ascii: "W"), 1)?.text == "2481")
        #expect(list.value(of: UInt8(ascii: "G"), 1)?.text == "0f3c.orig")
        #expect(list.value(of: UInt8(ascii: "P"), 1) == nil)
        #expect(list.value(of: UInt8(ascii: "W"), 0) == nil)
        #expect(list.index(named: "1276533073.M242911P3632.host") == 1)
        #expect(list.index(named: "1276533073.M242911P3632.hos") == nil)
        #expect(list.index(of: 25_006) == 0)
        #expect(list.index(of: 25_007) == nil)
    }

    @Test("reads version 1, and writes version 3") func version1() throws {
        let list = try list("1 1275660208 25022\n25006 a b,S=1\n25017 c:2,S\n")
        #expect(live(list) == ["25006 a b,S=1", "25017 c"])
        #expect(list.version == 1)
        #expect(list.needsRewrite)
        let new = list.compacted()
        let guid = try #require(new.header.guid)
        #expect(guid.count == 32)
        #expect(
            new.pendingBytes.text
                == "3 V1275660208 N25022 G\(guid.text)\n25006 :a b,S=1\n25017 :c\n"
        )
    }

    /// File, live records, UIDNEXT, broken lines, out of order, duplicates.
    static let salvage: [(String, [String], UInt32, Int, Int, Int)] = [
        // Names with an info, with blanks, with colons; keys of any kind and order.
        ("5 :a:2,S\n6 :b c\n7 Z1 A2 :d: :e\n", ["5 a", "6 b c", "7 d"], 25_022, 0, 0, 0),
        ("30000 :a\n", ["30000 a"], 30_001, 0, 0, 0),
        // One broken line costs its own record only, and not its UID.
        ("5 :a\ngarbage\n7 :c\n", ["5 a", "7 c"], 25_022, 1, 0, 0),
        ("5 :a\n\n7 :c\n", ["5 a", "7 c"], 25_022, 1, 0, 0),
        ("5 :a\n6 W3\n7 :c\n", ["5 a", "7 c"], 25_022, 1, 0, 0),
        ("5 :a\n30000 :\n", ["5 a"], 30_001, 1, 0, 0),
        ("5 :a\n6 :x/y\n7 :c\r\n", ["5 a"], 25_022, 2, 0, 0),
        ("5 :a\n6 :x\u{0}y\n7 :c\n", ["5 a", "7 c"], 25_022, 1, 0, 0),
        ("5:a\n-6 :b\n0 :c\n7 :d\n", ["7 d"], 25_022, 3, 0, 0),
        ("5 x3 W4 :a\n6  :b\n", ["5 a", "6 b"], 25_022, 2, 0, 0),
        ("4294967294 :a\n4294967295 :b\n", ["4294967294 a"], 4_294_967_295, 1, 0, 0),
        ("99999999999999999999999 :b\n", [], 25_022, 1, 0, 0),
        // One wrong UID does not renumber the others, wherever it is.
        ("5 :a\n900 :b\n7 :c\n8 :d\n", ["5 a", "7 c", "8 d"], 25_022, 0, 1, 0),
        ("5 :a\n6 :b\n2 :c\n8 :d\n", ["5 a", "6 b", "8 d"], 25_022, 0, 1, 0),
        ("5 :a\n5 :b\n6 :c\n", ["5 a", "6 c"], 25_022, 0, 1, 0),
        ("9 :a\n5 :b\n6 :c\n7 :d\n", ["5 b", "6 c", "7 d"], 25_022, 0, 1, 0),
        // Of two records with one base name the later counts.
        ("5 :a\n6 :b\n7 :a:2,S\n", ["6 b", "7 a"], 25_022, 0, 0, 1),
    ]

    @Test("salvages", arguments: salvage)
    func salvages(
        _ records: String,
        _ live: [String],
        _ next: UInt32,
        _ broken: Int,
        _ disorder: Int,
        _ duplicates: Int
    ) throws {
        let list = try list(Self.header + records)
        #expect(self.live(list) == live)
        #expect(list.liveCount == live.count)
        #expect(list.nextUID == next)
        #expect(list.damage.brokenLines == broken)
        #expect(list.damage.outOfOrder == disorder)
        #expect(list.damage.duplicates == duplicates)
        #expect(list.needsRewrite == (broken + disorder + duplicates > 0))
        for line in live {
            let parts = line.split(separator: " ", maxSplits: 1)
            let index = try #require(list.index(named: String(parts[1])))
            #expect(String(list.uid(index)) == parts[0])
        }
        // What was salvaged is whole after a rewrite.
        let again = try #require(try UIDList(file: list.compacted().arena))
        #expect(self.live(again) == live)
        #expect(again.damage.isEmpty)
        #expect(again.nextUID == next)
    }

    /// First line, UIDVALIDITY, whether it is damaged.
    static let headers: [(String, UInt32, Bool)] = [
        ("3 V1 N7 G00112233445566778899aabbccddeeff", 1, false),
        ("3 N7 G00112233445566778899AABBCCDDEEFF V1", 1, false),
        ("3 V4294967295 N7", 4_294_967_295, false),
        ("3 V1 N7 Gxyz", 1, false),
        ("3 N7", 0, true), ("3 V0 N7", 0, true), ("3 V4294967296 N7", 0, true),
        ("3 V1x N7", 0, true), ("3 V-1 N7", 0, true), ("3", 0, true), ("", 0, true),
        ("garbage", 0, true), ("3V1 N7", 0, true), ("1 5", 5, true), ("1 5 0", 5, true),
        ("1 5 7", 5, false), ("1  5 7", 0, true),
    ]

    @Test("header", arguments: headers)
    func header(_ line: String, _ uidValidity: UInt32, _ isDamaged: Bool) throws {
        let list = try list(line + "\n")
        #expect(list.header.uidValidity == uidValidity)
        #expect(list.damage.isHeaderDamaged == isDamaged)
        if !isDamaged { #expect(list.nextUID == 7) }
    }

    @Test("a header without its end tells nothing", arguments: ["3 V1 N7", "3 V1275"])
    func cutHeader(_ text: String) throws {
        let list = try list(text)
        #expect(list.header.uidValidity == 0)
        #expect(list.recordCount == 0)
        #expect(list.needsRewrite)
    }

    @Test("a header at the limit and above", arguments: [4_096, 4_097])
    func longHeader(_ count: Int) throws {
        let start = "3 V1 N7 X"
        let list = try list(start + String(repeating: "x", count: count - start.count) + "\n5 :a\n")
        #expect(list.damage.isHeaderDamaged == (count > 4_096))
        #expect(live(list) == ["5 a"])
    }

    @Test("without N, UIDNEXT leaves a gap for what was expunged") func lostNextUID() throws {
        let lost = try list("3 V1 Nx\n5 :a\n")
        #expect(lost.nextUID == 100_006)
        #expect(lost.header.uidValidity == 1)
        let full = try list("3 V1 Nx\n4294967294 :a\n")
        #expect(full.nextUID == Limits.uidMax)
    }

    @Test("an empty file is no list") func empty() throws {
        #expect(try UIDList(file: []) == nil)
    }

    @Test(
        "an unknown version is left alone",
        arguments: ["2 V1 N7\n", "4 V1 N7\n", "33\n", "0 1\n"]
    )
    func versions(_ text: String) {
        #expect(throws: UIDListError.unsupportedVersion) {
            try UIDList(file: Array(text.utf8))
        }
    }

    @Test("names and keys at the limit and above", arguments: [(255, 4_096), (256, 4_097)])
    func limits(_ name: Int, _ keys: Int) throws {
        let name = String(repeating: "n", count: name)
        let keys = "K" + String(repeating: "k", count: keys - 1)
        let list = try list(Self.header + "5 :\(name)\n6 \(keys) :b\n")
        let fits = name.count == 255
        #expect(live(list) == (fits ? ["5 \(name)"] : []) + ["6 b"])
        #expect((list.value(of: UInt8(ascii: "K"), 1) != nil) == fits)
        #expect(list.damage.brokenLines == (fits ? 0 : 2))
    }

    @Test("reads on where it stopped, and leaves a partial line") func extending() throws {
        var list = try list(Self.header + "5 :a\n6 :b")
        #expect(list.hasPartialLine)
        #expect(list.needsRewrite)
        #expect(live(list) == ["5 a"])
        #expect(list.fileBytes == Self.header.utf8.count + 5)

        let growth = try list.extend(with: Array("6 :b\n30000 W3 :c\n300".utf8))
        #expect(growth == UIDList.Growth(firstIndex: 1, superseded: []))
        #expect(list.hasPartialLine)
        #expect(list.nextUID == 30_001)
        #expect(live(list) == ["5 a", "6 b", "30000 c"])

        let second = try list.extend(with: Array("30001 :a\n".utf8))
        #expect(second == UIDList.Growth(firstIndex: 3, superseded: [5]))
        #expect(live(list) == ["6 b", "30000 c", "30001 a"])
        #expect(!list.hasPartialLine)
        #expect(list.value(of: UInt8(ascii: "W"), 2)?.text == "3")
        #expect(list.index(named: "a") == 3)
    }

    @Test(
        "a tail that does not continue the list is not taken",
        arguments: ["5 :b\n", "x\n", "6 :\n"]
    )
    func badTail(_ tail: String) throws {
        var list = try list(Self.header + "5 :a\n")
        #expect(try list.extend(with: Array(tail.utf8)) == nil)
        #expect(live(list) == ["5 a"])
        #expect(list.fileBytes == Self.header.utf8.count + 5)
    }

    @Test("adds records as Dovecot writes them") func adding() throws {
        var list = try list(Self.header + "25006 :a\n")
        let name = "1276533073.M242911P3632.host"
        #expect(try list.add(named: name, keys: "W2481 Gx") == 25_022)
        #expect(try list.add(named: "b c,S=1,W=2") == 25_023)
        #expect(
            list.pendingBytes.text == """
                25022 W2481 Gx :1276533073.M242911P3632.host
                25023 :b c,S=1,W=2

                """
        )
        #expect(list.value(of: UInt8(ascii: "G"), 1)?.text == "x")
        #expect(list.index(named: name) == 1)
        #expect(list.hasPending)
        list.markSynced()
        #expect(!list.hasPending)
        #expect(live(list) == live(try #require(try UIDList(file: list.arena))))
    }

    @Test(
        "refuses names that no record can carry",
        arguments: [
            "", "a:2,S", "a/b", "a\nb", "a\rb", "a\u{0}", String(repeating: "x", count: 256),
        ]
    )
    func unlistable(_ name: String) throws {
        var list = UIDList(uidValidity: 1, guid: UIDList.newGUID())
        #expect(throws: UIDListError.unlistableName) { _ = try list.add(named: name) }
    }

    @Test("gives no UID twice") func refusals() throws {
        var list = try list("3 V1 N4294967294\n5 :a\n")
        #expect(throws: UIDListError.alreadyListed) { _ = try list.add(named: "a") }
        #expect(try list.add(named: "b") == 4_294_967_294)
        #expect(throws: UIDListError.exhausted) { _ = try list.add(named: "c") }
    }

    @Test("a name that comes back after its expunge is a new message") func removal() throws {
        var list = try list(Self.header + "5 :a\n6 :b\n7 :c\n8 :d\n9 :e\n")
        list.remove(0)
        list.remove(0)
        #expect(list.liveCount == 4)
        #expect(list.index(named: "a") == nil)
        #expect(list.index(of: 5) == nil)
        #expect(!list.needsRewrite)
        #expect(try list.add(named: "a") == 25_022)
        #expect(list.index(named: "a") == 5)
        list.remove(1)
        // 4 of 6 are left.
        #expect(list.needsRewrite)
        let new = list.compacted()
        #expect(live(new) == ["7 c", "8 d", "9 e", "25022 a"])
        #expect(new.pendingBytes.text.hasPrefix("3 V1275660208 N25023 G\(Self.guid)\n7 :c\n"))
        #expect(new.index(named: "a") == 3)
    }

    @Test("keeps what it does not know") func unknown() throws {
        let text = "3 V1 N9 G\(Self.guid) P%08Xv%u Qx\n5 Q1 :a\n6 Z S4 :b\n"
        let list = try list(text)
        #expect(list.compacted().pendingBytes.text == text)
        let bad = try self.list(Self.header + "5 x3 W4 :a\n")
        #expect(bad.compacted().pendingBytes.text == Self.header + "5 W4 :a\n")
    }

    @Test("finds each of many") func many() throws {
        var list = UIDList(uidValidity: 1, guid: UIDList.newGUID())
        for number in 0..<5_000 {
            _ = try list.add(named: "1276533073.M\(number)P1.host")
        }
        for number in stride(from: 0, to: 5_000, by: 3) { list.remove(number) }
        list = list.compacted()
        for number in 0..<5_000 {
            let index = list.index(named: "1276533073.M\(number)P1.host")
            #expect((index == nil) == (number % 3 == 0))
            if let index { #expect(list.uid(index) == UInt32(number + 1)) }
        }
    }

    @Test("any bytes are read without a trap, and leave a list that reads back") func anyBytes()
        throws
    {
        var generator = SystemRandomNumberGenerator()
        let alphabet = Array("0123456789 :\n\n3VNGWaz/\r\u{0}".utf8) + [0xFF]
        for _ in 0..<3_000 {
            var text = Array("3 V1 N7\n".utf8)
            for _ in 0..<Int.random(in: 0...60, using: &generator) {
                text.append(alphabet.randomElement(using: &generator) ?? 0)
            }
            guard let list = try UIDList(file: text) else { continue }
            let again = try #require(try UIDList(file: list.compacted().arena))
            #expect(again.damage.isEmpty)
            #expect(live(again) == live(list))
        }
    }
}
