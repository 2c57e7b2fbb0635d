import Bytes
import Maildir
import Testing

@Suite("FlagLetters")
struct FlagLettersTests {
    /// File name, known letters, the rest, the info as it is rewritten.
    static let names: [(String, FlagLetters.Known, String, String)] = [
        ("1.M2P3.h", [], "", ":2,"),
        ("1.M2P3.h:", [], "", ":2,"),
        ("1.M2P3.h:2,", [], "", ":2,"),
        ("1.M2P3.h:2,S", .seen, "", ":2,S"),
        ("1.M2P3.h:2,DFPRST", .system, "", ":2,DFPRST"),
        ("1.M2P3.h:2,TSRPFD", .system, "", ":2,DFPRST"),
        ("1.M2P3.h:2,SSS", .seen, "", ":2,S"),
        ("1:2,Saz", [.seen, .keyword(0), .keyword(25)], "", ":2,Saz"),
        ("1:2,abcdefghijklmnopqrstuvwxyz", .keywords, "", ":2,abcdefghijklmnopqrstuvwxyz"),
        // What is unknown stays, once, in sorted place.
        ("1:2,XSA", .seen, "AX", ":2,ASX"),
        ("1:2,S~a#", [.seen, .keyword(0)], "#~", ":2,#Sa~"),
        ("1:2,XX", [], "X", ":2,X"),
        ("1:2,sG", .keyword(18), "G", ":2,Gs"),
        // A second comma and all behind it stay byte for byte.
        ("1:2,S,X=4,a", .seen, ",X=4,a", ":2,S,X=4,a"),
        ("1:2,,", [], ",", ":2,,"),
        ("1:2,ZS,zz", .seen, "Z,zz", ":2,SZ,zz"),
        // Other infos mean nothing; the last colon counts.
        ("1:1,S", [], "", ":2,"),
        ("1:3,S", [], "", ":2,"),
        ("1:2", [], "", ":2,"),
        ("1:2;S", [], "", ":2,"),
        ("1:x:2,F", .flagged, "", ":2,F"),
        ("1:2,F:x", [], "", ":2,"),
        ("", [], "", ":2,"),
    ]

    @Test("name, letters, rewritten", arguments: names)
    func letters(_ name: String, _ known: FlagLetters.Known, _ rest: String, _ info: String) {
        let bytes = Array(name.utf8)
        let flags = FlagLetters(fileName: bytes.span)
        #expect(flags.known == known)
        #expect(flags.rest.text == rest)
        #expect(flags.info.text == info)
    }

    @Test("bytes that are not ASCII stay") func highBytes() {
        let name: [UInt8] = Array("1:2,S".utf8) + [0xFF, 0x80]
        let flags = FlagLetters(fileName: name.span)
        #expect(flags.info == Array(":2,S".utf8) + [0x80, 0xFF])
    }

    @Test("changing a flag leaves the unknown alone") func change() {
        let name = Array("1:2,AS,x".utf8)
        var flags = FlagLetters(fileName: name.span)
        flags.known.remove(.seen)
        flags.known.formUnion([.trashed, .keyword(1)])
        #expect(flags.info.text == ":2,ATb,x")
        #expect(flags.known.keywordIndexes == [1])
    }

    @Test("every info reads back as itself") func roundTrip() {
        for bits in [0, 1, 0x8000_0001, 0xFFFF_FFFF, 0x1400_0300] as [UInt32] {
            let flags = FlagLetters(FlagLetters.Known(rawValue: bits))
            let name = Array("x".utf8) + flags.info
            let again = FlagLetters(fileName: name.span)
            #expect(again == flags)
        }
    }
}
