import Bytes
import Foundation
import Maildir
import Testing

@Suite("martlet-annotations")
struct AnnotationFileTests {
    static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test("what is written is read: any octets, empty values, order by name")
    func roundTrip() throws {
        var file = AnnotationFile()
        let names = try file.set([
            (Self.bytes("/shared/b c"), Self.bytes("line\nline\n")),
            (Self.bytes("/private/a"), []), (Self.bytes("/private/x"), [0, 255, 10]),
        ])
        #expect(names.count == 3)
        #expect(AnnotationFile(file: file.file) == file)
        let text = Array(file.file.prefix(60)).text
        #expect(text.hasPrefix("martlet-annotations 1\n0 /private/a\n\n3 /private/x\n"))
        #expect(try file.set([(Self.bytes("/private/a"), [])]).isEmpty)
        #expect(try file.set([(Self.bytes("/private/a"), nil)]) == [Self.bytes("/private/a")])
        #expect(try file.set([(Self.bytes("/private/a"), nil)]).isEmpty)
    }

    @Test(
        "of a damaged file all before the damage is read",
        arguments: [
            "5 /b\nabc", "x /b\nabc\n", "3 /b\nabcd\n", "3\nabc\n", "99999999999 /b\nabc\n",
            "3 \nabc\n", "-1 /b\n\n", "3 /b",
        ]
    )
    func damage(_ tail: String) {
        let file = AnnotationFile(file: Self.bytes("martlet-annotations 1\n1 /a\nx\n" + tail))
        #expect(file.values == [Self.bytes("/a"): Self.bytes("x")])
        #expect(file.isDamaged)
        #expect(!AnnotationFile(file: []).isDamaged)
        #expect(AnnotationFile(file: Self.bytes("something else\n")).isDamaged)
    }

    @Test("limits: at it, and one above; nothing is set then")
    func limits() throws {
        var file = AnnotationFile()
        let long = [UInt8](repeating: 7, count: AnnotationFile.valueBytesMax)
        _ = try file.set([(Self.bytes("/a"), long)])
        #expect(throws: AnnotationFile.Refusal.valueTooLong) {
            _ = try file.set([(Self.bytes("/b"), [1]), (Self.bytes("/c"), long + [1])])
        }
        #expect(file.values.count == 1)
        for number in 1..<AnnotationFile.entryCountMax {
            _ = try file.set([(Self.bytes("/n\(number)"), [1])])
        }
        #expect(throws: AnnotationFile.Refusal.tooMany) {
            _ = try file.set([(Self.bytes("/one-more"), [1])])
        }
        #expect(AnnotationFile(file: file.file) == file)
        // What is there may be changed, and taken away.
        _ = try file.set([(Self.bytes("/n1"), [2])])
        _ = try file.set([(Self.bytes("/n2"), nil)])
        let name = Self.bytes("/" + String(repeating: "x", count: AnnotationFile.nameBytesMax - 1))
        _ = try file.set([(name, [1])])
        #expect(throws: AnnotationFile.Refusal.tooMany) {
            _ = try file.set([(name + [1], [1]), (name, nil)])
        }
        var large = AnnotationFile()
        for number in 0..<15 { _ = try large.set([(Self.bytes("/n\(number)"), long)]) }
        #expect(throws: AnnotationFile.Refusal.tooMany) {
            _ = try large.set([(Self.bytes("/last"), long)])
        }
        #expect(large.file.count <= AnnotationFile.fileBytesMax)
    }
}
