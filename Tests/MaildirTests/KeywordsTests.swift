import Bytes
import Maildir
import Testing

@Suite("Keywords")
struct KeywordsTests {
    func read(_ letters: String, _ beyond: String? = nil) throws -> Keywords {
        try Keywords(letters: Array(letters.utf8), beyond: beyond.map { Array($0.utf8) })
    }

    @Test("reads dovecot-keywords, with gaps") func reading() throws {
        let keywords = try read("0 $Forwarded\n2 work\n25 NonJunk\n")
        #expect(keywords.name(0)?.text == "$Forwarded")
        #expect(keywords.name(1) == nil)
        #expect(keywords.name(25)?.text == "NonJunk")
        #expect(keywords.namedIndexes == [0, 2, 25])
        #expect(keywords.index(of: Array("WORK".utf8)) == 2)
        #expect(keywords.index(of: Array("wor".utf8)) == nil)
        #expect(keywords.lettersFile.text == "0 $Forwarded\n2 work\n25 NonJunk\n")
        #expect(keywords.beyondFile == nil)
    }

    @Test(
        "passes over lines that mean nothing",
        arguments: [
            "x", "x y", "0", "0 ", "26 z", "-1 z", "99999999999999999999 z", "3 WORK", " 4 z", "",
        ]
    )
    func broken(_ line: String) throws {
        #expect(try read("1 work\n\(line)\n2 b").lettersFile.text == "1 work\n2 b\n")
    }

    @Test(
        "a name that is no atom is kept and not shown",
        arguments: ["a b", "a(", "a]", "é", "a\\"]
    )
    func notAtom(_ name: String) throws {
        var keywords = try read("0 \(name)\n")
        #expect(keywords.name(0) == nil)
        #expect(keywords.namedIndexes.isEmpty)
        #expect(try keywords.allocate(Array("x".utf8), unnamedLetters: []) == 1)
        #expect(keywords.lettersFile.text == "0 \(name)\n1 x\n")
        #expect(throws: KeywordsError.invalidName) {
            try keywords.allocate(Array("y\(name)".utf8), unnamedLetters: [])
        }
    }

    @Test("name length at the limit and above", arguments: [200, 201])
    func length(_ count: Int) throws {
        let name = Array(repeating: UInt8(ascii: "k"), count: count)
        #expect(Keywords.isValid(name) == (count == 200))
        #expect(try (read("0 \(name.text)\n").name(0) != nil) == (count == 200))
    }

    @Test("gives out the lowest free letter that no message carries") func allocation() throws {
        var keywords = try read("0 a\n2 c\n")
        let unnamed: FlagLetters.Known = [.keyword(1), .keyword(4)]
        #expect(try keywords.allocate(Array("x".utf8), unnamedLetters: unnamed) == 3)
        #expect(try keywords.allocate(Array("y".utf8), unnamedLetters: unnamed) == 5)
        #expect(try keywords.allocate(Array("X".utf8), unnamedLetters: unnamed) == 3)
        #expect(keywords.lettersFile.text == "0 a\n2 c\n3 x\n5 y\n")
    }

    @Test("goes on behind the letters, up to the limit") func limit() throws {
        var keywords = Keywords()
        for index in 0..<512 {
            #expect(try keywords.allocate(Array("k\(index)".utf8), unnamedLetters: []) == index)
        }
        #expect(throws: KeywordsError.tooMany) {
            try keywords.allocate(Array("more".utf8), unnamedLetters: [])
        }
        let letters = keywords.lettersFile
        #expect(letters.split(separator: .lf).count == 26)
        let again = try Keywords(letters: letters, beyond: keywords.beyondFile)
        #expect(again == keywords)
    }

    static let beyond = """
        martlet-keywords 1
        26 Over
        28 Top

        26 28 :1.h,S=3
        28 :a b:c
        28 x 99 27 26 :d
        27 :e

        """

    @Test("reads and writes martlet-keywords") func beyondLetters() throws {
        var keywords = try read("0 a\n", Self.beyond)
        #expect(keywords.index(of: Array("over".utf8)) == 26)
        #expect(keywords.beyond(Array("1.h,S=3".utf8)) == [26, 28])
        #expect(keywords.beyond(Array("d".utf8)) == [26, 28])
        #expect(keywords.beyond(Array("e".utf8)).isEmpty)
        keywords.setBeyond(Array("n m".utf8), [28, 26, 28, 27, -1, 700])
        keywords.setBeyond(Array("d".utf8), [])
        keywords.keepBeyond { $0.text != "1.h,S=3" }
        let written = "martlet-keywords 1\n26 Over\n28 Top\n\n26 28 :n m\n"
        #expect(keywords.beyondFile?.text == written)
        #expect(try read("0 a\n", written) == keywords)
    }

    @Test("a keyword that Dovecot gave a letter is that letter") func adopted() throws {
        let keywords = try read("3 top\n", Self.beyond)
        #expect(keywords.index(of: Array("Top".utf8)) == 3)
        #expect(keywords.name(28) == nil)
        #expect(keywords.beyond(Array("1.h,S=3".utf8)) == [3, 26])
    }

    @Test("another version is left alone", arguments: ["martlet-keywords 2\n", "x", "\n"])
    func version(_ text: String) {
        #expect(throws: KeywordsError.unsupportedVersion) { try read("", text) }
    }

    @Test("a martlet-keywords that is cut off anywhere is read so far") func cut() throws {
        let whole = Array(Self.beyond.utf8)
        for count in 19...whole.count {
            let keywords = try Keywords(letters: [], beyond: Array(whole[..<count]))
            #expect(keywords.beyondLetters.count <= 3)
        }
    }
}
