import Bytes
import Foundation
import Maildir
import Testing

@Suite("dovecot-acl")
struct ACLFileTests {
    static func parse(_ text: String) -> ACLFile { ACLFile(file: Array(text.utf8)) }

    @Test("a file that nothing was changed in stays as it is, whatever is in it")
    func keeps() {
        let text = """
            # comment

            owner lrwstipekxa
            user=ben lr
            -user=ben w
            "user=jo \\"x\\" ann" lrs
            anyone l :named other
            group=team :only
            nonsense here
            user=ben lrc
            "user=open lr
            user= lr

            """
        let file = Self.parse(text)
        #expect(Self.parse(file.file.text) == file)
        #expect(file.unknownCount == 4)
        #expect(file.entries.count == 6)
        let expected = text.replacingOccurrences(of: "lrwstipekxa", with: "lrswipkxtea")
        #expect(file.file.text == expected)
    }

    @Test(
        "the owner's rights",
        arguments: [
            ("", "lrswipkxtea"), ("owner lr\n", "lra"), ("user=ann r\n", "lra"),
            ("user=ann r\nowner lrswi\n", "lra"), ("owner lrswi\nuser=ann r\n", "lra"),
            ("-owner wi\n", "lrspkxtea"), ("owner lrsw\n-user=ann w\n", "lrsa"),
            ("anyone lr\nauthenticated lr\nuser=ben \n", "lrswipkxtea"),
            ("owner\n", "la"), ("-owner la\n", "lrswipkxtea"), ("junk\n", "lrswipkxtea"),
            ("owner lr", "lra"),
        ]
    )
    func owner(_ text: String, _ letters: String) {
        #expect(Self.parse(text).ownerRights(Array("ann".utf8)).letters.text == letters)
    }

    @Test("changes")
    func changes() {
        var file = Self.parse("# top\nuser=ben lr\nwhat is this\n")
        let ben = ACLFile.Identifier(Array("user=ben".utf8))
        file.change(ben, .add([.write]))
        file.change(.owner, .remove([.post]), base: .all)
        file.change(ACLFile.Identifier(Array("user=jo ann".utf8), isNegative: true), .replace([]))
        #expect(
            file.file.text
                == "# top\nuser=ben lrw\nwhat is this\nowner lrswikxtea\n\"-user=jo ann\" \n"
        )
        file.change(ben, .delete)
        #expect(file.file.text.hasPrefix("# top\nwhat is this\n"))
    }

    @Test(
        "identifiers that would make Dovecot refuse the file",
        arguments: [
            ("user=a", true), ("anyone", true), ("group=a b", true), ("user=", false),
            ("somebody", false), ("user=a\nb", false), ("user=a\u{7F}", false),
            ("user=" + String(repeating: "a", count: 995), true),
            ("user=" + String(repeating: "a", count: 996), false),
        ]
    )
    func identifiers(_ text: String, _ isTaken: Bool) {
        #expect(ACLFile.isIdentifier(Array(text.utf8)) == isTaken)
        #expect(!ACLFile.isIdentifier(Array("user=".utf8) + [0xFF]))
    }
}
