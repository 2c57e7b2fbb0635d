import Bytes
import Foundation
import Posix
import Testing

@testable import Maildir

/// Files and names with any bytes: nothing traps, and what is written reads back as the same.
@Suite("Hostile bytes")
struct HostileBytesTests {
    /// Random texts of the pieces, cut and joined anywhere.
    func forEachText(_ pieces: [String], _ body: ([UInt8]) throws -> Void) rethrows {
        var generator = SystemRandomNumberGenerator()
        let pieces = pieces.map { Array($0.utf8) } + [[0xFF], [0], [.lf], [0xC3], [0x80]]
        for _ in 0..<2_000 {
            var text: [UInt8] = []
            for _ in 0..<Int.random(in: 0...12, using: &generator) {
                text += pieces.randomElement(using: &generator) ?? []
            }
            if !text.isEmpty, Bool.random(using: &generator) {
                text.remove(at: Int.random(in: 0..<text.count, using: &generator))
            }
            try body(text)
        }
    }

    @Test("file names") func names() throws {
        let pieces = ["1", ".M2", ":", "2,", "S", "a", ",S=3", ",W=", "99999999999999999999", "Z"]
        forEachText(pieces) { text in
            guard let name = MessageName(text) else { return }
            _ = (name.sizeHints, name.deliveryTime)
            let written = name.with(name.flags)
            let again = MessageName(written)
            #expect(again?.base == name.base)
            #expect(again?.flags == name.flags)
            #expect(again?.with(name.flags) == written)
        }
    }

    @Test("keyword files") func keywords() throws {
        let pieces = ["0 a\n", "1 b\n", "26 c\n", "\n", " ", "26 ", ":x\n", "martlet-keywords 1\n"]
        try forEachText(pieces) { text in
            let header = Array("martlet-keywords 1\n".utf8)
            let keywords = try Keywords(letters: text, beyond: header + text)
            let again = try Keywords(letters: keywords.lettersFile, beyond: keywords.beyondFile)
            #expect(again == keywords)
            _ = try? Keywords(letters: [], beyond: text)
            let list = CourierFiles.keywordList(text)
            #expect(list.values.allSatisfy { !$0.isEmpty && $0.allSatisfy(Keywords.isValid) })
        }
    }

    @Test("subscriptions") func subscriptions() throws {
        let pieces = ["V\t2\n\n", "INBOX\n", "a", ".", "\t", "\u{1}t", "\u{1}", "&AOk-", "&", "é"]
        forEachText(pieces) { text in
            _ = CourierFiles.subscriptions(text)
            guard var list = Subscriptions(file: text) else { return }
            #expect(Subscriptions(file: list.file) == list || list.file.isEmpty)
            for path in list.mailboxes {
                #expect(list.contains(path))
                let removed = list.remove(path)
                #expect(removed && !list.contains(path))
            }
            #expect(list.mailboxes.isEmpty)
        }
    }

    @Test("mailbox names are UTF-8 without control characters, and encode to themselves")
    func mailboxNames() throws {
        forEachText(["a", ".", "&", "-", "&AOk-", "&2D3eAA-", "é", "\u{85}", "😀"]) { text in
            guard let path = MailboxPath(storageName: text) else { return }
            for component in path.components {
                let isText = UTF8Text.isValid(component.span)
                #expect(isText)
                #expect(!component.contains { $0.isControl })
            }
            for encoding in [NameEncoding.modifiedUTF7, .utf8] {
                guard let name = try? path.storageName(encoding) else { continue }
                #expect(MailboxPath(storageName: name) == path)
            }
        }
    }

    @Test("files above their limit are refused, not read") func tooLarge() throws {
        let scratch = try Scratch()
        func make(_ name: String, _ size: Int) throws {
            try scratch.write(name, "")
            #expect(truncate("\(scratch.path)/\(name)", off_t(size)) == 0)
        }
        let tooLarge = SystemError("read", EFBIG)
        try make("dovecot-uidlist", Limits.uidListBytesMax + 1)
        var file = UIDListFile()
        #expect(throws: MaildirError.system(tooLarge)) { try file.refresh(in: scratch.directory) }
        var keywords = KeywordsFile()
        try make("dovecot-keywords", Limits.keywordsBytesMax)
        #expect(try keywords.refresh(in: scratch.directory))
        try make("martlet-keywords", Limits.messageKeywordsBytesMax + 1)
        #expect(throws: MaildirError.system(tooLarge)) {
            try keywords.refresh(in: scratch.directory)
        }
        try scratch.remove("martlet-keywords")
        try make("dovecot-keywords", Limits.keywordsBytesMax + 1)
        #expect(throws: MaildirError.system(tooLarge)) {
            try keywords.refresh(in: scratch.directory)
        }
    }
}
