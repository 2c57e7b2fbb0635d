import Bytes
import Testing

@Suite("searching by vectors")
struct ByteSearchTests {
    /// Texts of every length around the vectors' width, with the wanted bytes rare and frequent.
    static let texts: [[UInt8]] = {
        var state: UInt64 = 1
        func next(_ bound: UInt64) -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return (state >> 33) % bound
        }
        return (0..<600).map { length in
            let rarity: UInt64 = length % 3 == 0 ? 4 : 60
            return (0..<(length % 300)).map { _ in
                switch next(rarity) {
                case 0: .lf
                case 1: .cr
                case 2: UInt8(ascii: "-")
                case 3: UInt8(0x80 + next(0x80))
                default: UInt8(next(0x80))
                }
            }
        }
    }()

    @Test("gives what a look at each byte gives")
    func equalsPlain() {
        for text in Self.texts {
            let span = text.span
            for range in [0..<text.count, (text.count / 3)..<text.count, 0..<(text.count / 2)] {
                let bare = range.filter {
                    text[$0] == .lf && ($0 == range.lowerBound || text[$0 - 1] != .cr)
                }
                let feeds = span.lineFeeds(in: range)
                #expect(feeds.all == range.filter { text[$0] == .lf }.count)
                #expect(feeds.bare == bare.count)
                #expect(span.bareLineFeed(in: range) == bare.first)
                #expect(span.isASCII(in: range) == text[range].allSatisfy { $0 < 0x80 })
                #expect(span.offset(of: .cr, in: range) == text[range].firstIndex(of: .cr))
                let dashes = range.first {
                    $0 + 2 < range.upperBound && text[$0] == .lf
                        && text[$0 + 1] == UInt8(ascii: "-") && text[$0 + 2] == UInt8(ascii: "-")
                }
                let dash = UInt8(ascii: "-")
                #expect(span.lineFeed(before: dash, dash, in: range) == dashes)
            }
        }
    }

    @Test("counts past what a lane can hold")
    func longRuns() {
        let feeds = [UInt8](repeating: .lf, count: 100_000)
        #expect(feeds.span.lineFeeds(in: 0..<100_000) == (100_000, 100_000))
        #expect(feeds.span.lineFeeds(in: 1..<99_999) == (99_998, 99_998))
        let pairs = [UInt8]("\r\n") + Array([[UInt8]](repeating: [13, 10], count: 50_000).joined())
        #expect(pairs.span.lineFeeds(in: 0..<pairs.count) == (50_001, 0))
    }

    @Test("finds a needle in either case at each place, not past the end")
    func needle() {
        let needle = Array("ab1".utf8)
        for at in 0..<100 {
            var text = [UInt8](repeating: UInt8(ascii: "a"), count: 103)
            text.replaceSubrange(at..<(at + 3), with: Array("aB1".utf8))
            #expect(text.span.offset(ofLowercased: needle.span, in: 0..<103) == at)
            #expect(text.span.offset(ofLowercased: needle.span, in: 0..<(at + 2)) == nil)
            #expect(text.span.offset(ofLowercased: needle.span, in: (at + 1)..<103) == nil)
        }
        let empty: [UInt8] = []
        #expect(empty.span.offset(ofLowercased: empty.span, in: 0..<0) == 0)
        #expect(empty.span.offset(ofLowercased: needle.span, in: 0..<0) == nil)
    }
}
