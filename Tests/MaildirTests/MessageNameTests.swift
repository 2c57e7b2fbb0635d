import Bytes
import Maildir
import Testing

@Suite("MessageName")
struct MessageNameTests {
    @Test(
        "what a directory entry is",
        arguments: [
            ("1.M2P3.h", .message), ("x", .message), ("a b:2,S", .message), ("1:", .message),
            (".", .hidden), ("..", .hidden), (".nfs0001", .hidden), ("", .hidden),
            (":2,S", .baseless), (":", .baseless),
            ("1\n2", .unsafe), ("1\r", .unsafe), ("1\u{0}2", .unsafe), (":\n", .unsafe),
        ] as [(String, MessageName.Kind)]
    )
    func kinds(_ name: String, _ kind: MessageName.Kind) {
        let bytes = Array(name.utf8)
        let layout = MessageName.Layout(bytes.span)
        #expect(layout.kind == kind)
        #expect((MessageName(bytes) != nil) == (kind == .message))
    }

    /// Name, base, name with \Seen.
    static let rewrites = [
        ("1.M2P3.h", "1.M2P3.h", "1.M2P3.h:2,S"),
        ("1.h,S=3,W=4:2,", "1.h,S=3,W=4", "1.h,S=3,W=4:2,S"),
        ("1.h:2,S", "1.h", "1.h:2,S"),
        ("1.h:1,foo", "1.h", "1.h:2,S"),
        ("1.h:x:2,D", "1.h", "1.h:x:2,S"),
    ]

    @Test("base and rewriting", arguments: rewrites)
    func rewriting(_ name: String, _ base: String, _ seen: String) throws {
        let name = try #require(MessageName(Array(name.utf8)))
        #expect(name.base.text == base)
        #expect(name.with(FlagLetters(.seen)).text == seen)
    }

    @Test("info or none", arguments: [("1", false), ("1:", true), ("1:2,S", true), (":2,", false)])
    func info(_ name: String, _ hasInfo: Bool) {
        let bytes = Array(name.utf8)
        let layout = MessageName.Layout(bytes.span)
        #expect(layout.hasInfo == hasInfo)
    }

    @Test(
        "size hints",
        arguments: [
            ("1.h,S=12,W=13", 12, 13), ("1.h,S=12", 12, nil), ("1.h,W=13,S=12", 12, 13),
            ("1.h", nil, nil), ("1.h,S=", nil, nil), ("1.h,S=x", nil, nil), ("1.h,S=1x", nil, nil),
            ("1.h,S=1,S=2", 1, nil), ("1.h,S=x,S=2", nil, nil), ("1.h,S=-1", nil, nil),
            ("1.h,s=1", nil, nil), ("1.h,S=4611686018427387904", 1 << 62, nil),
            ("1.h,S=4611686018427387905", nil, nil),
            ("1.h,S=99999999999999999999999", nil, nil), (",S=7", 7, nil),
            // Behind the colon a field is another program's business.
            ("1.h:2,S,S=5", nil, nil), ("1.h,S=4:2,W=5", 4, nil),
        ] as [(String, UInt64?, UInt64?)]
    )
    func sizes(_ name: String, _ stored: UInt64?, _ wire: UInt64?) throws {
        let name = try #require(MessageName(Array(name.utf8)))
        #expect(name.sizeHints.stored == stored)
        #expect(name.sizeHints.wire == wire)
    }

    @Test(
        "delivery time",
        arguments: [
            ("1276528487.M364837P9451.host", 1_276_528_487, 364_837),
            ("1276528487.P9451M364837.host", 1_276_528_487, 364_837),
            ("1276528487.9451.host", 1_276_528_487, nil),
            ("1276528487.9451.M5", 1_276_528_487, nil),
            ("1276528487", 1_276_528_487, nil), ("12M5", 12, nil), ("12.M", 12, nil),
            ("12.M99999999999", 12, nil), ("x12", nil, nil), ("-1", nil, nil),
            ("9223372036854775807.x", UInt64(Int64.max), nil), ("9223372036854775808.x", nil, nil),
            ("99999999999999999999999999", nil, nil),
        ] as [(String, UInt64?, UInt32?)]
    )
    func times(_ name: String, _ seconds: UInt64?, _ microseconds: UInt32?) throws {
        let name = try #require(MessageName(Array(name.utf8)))
        #expect(name.deliveryTime?.seconds == seconds)
        #expect(name.deliveryTime?.microseconds == microseconds)
    }

    @Test("new messages are ordered by time, then name") func order() {
        let sorted = ["x", "y", "5.P1.h", "5.M3P1.b", "5.M3P2.a", "5.M20P1.a", "6.M1.h", "10.h"]
        for shift in sorted.indices {
            let shuffled = Array(sorted[shift...] + sorted[..<shift]).reversed()
            let names = shuffled.map { Array($0.utf8) }
            #expect(MessageName.sortedByArrival(names).map(\.text) == sorted)
        }
    }
}

@Suite("UniqueNames")
struct UniqueNamesTests {
    @Test("form") func form() {
        var names = UniqueNames(processID: 42, host: Array("mx.example.org".utf8))
        let first = names.next(seconds: 1_276_528_487, microseconds: 364_837)
        #expect(first.text == "1276528487.M364837P42Q1.mx.example.org")
        let base = UniqueNames.base(first, stored: 1355, wire: 1394)
        #expect(base.text == "1276528487.M364837P42Q1.mx.example.org,S=1355,W=1394")
    }

    @Test("ascend strictly, also when the clock stands still or steps back") func ascending() throws
    {
        var names = UniqueNames(processID: 42, host: Array("h".utf8))
        var last: MessageName.DeliveryTime?
        for (seconds, microseconds) in [(9, 999_999), (9, 999_999), (9, 999_999), (3, 0), (-5, 0)] {
            let name = names.next(seconds: Int64(seconds), microseconds: Int64(microseconds))
            let time = try #require(MessageName(name)?.deliveryTime)
            if let last { #expect(last < time) }
            last = time
        }
        let extreme = names.next(seconds: .max, microseconds: .max)
        #expect(MessageName(extreme) != nil)
    }

    @Test(
        "host",
        arguments: [
            ("a/b:c", "a\\057b\\072c"), ("a,b c", "a\\054b\\040c"), ("", "localhost"),
            ("a\nb", "a\\012b"), ("h\\", "h\\134"),
        ]
    )
    func host(_ host: String, _ written: String) {
        var names = UniqueNames(processID: 1, host: Array(host.utf8))
        #expect(names.next(seconds: 1, microseconds: 2).text == "1.M2P1Q1.\(written)")
    }

    @Test("a host name of any length leaves room in the file name", arguments: [100, 101, 5_000])
    func longHost(_ count: Int) {
        var names = UniqueNames(processID: .max, host: Array(repeating: 0x61, count: count))
        let name = names.next(seconds: 1 << 40, microseconds: 0)
        #expect(name.split(separator: 0x2E, maxSplits: 2)[2].count == min(count, 100))
        let base = UniqueNames.base(name, stored: 1 << 40, wire: 1 << 40)
        #expect(base.count <= Limits.newBaseNameBytesMax)
    }
}
