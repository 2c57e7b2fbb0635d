import InternetMessage
import Testing

private let ascii = #"("charset" "us-ascii")"#

@Suite("BODYSTRUCTURE")
struct BodyStructureTests {
    static let table: [(String, String)] = [
        ("plain-lf", #"("text" "plain" \#(ascii) NIL NIL "7bit" 24 2 NIL NIL NIL NIL)"#),
        ("plain-crlf", #"("text" "plain" \#(ascii) NIL NIL "7bit" 24 2 NIL NIL NIL NIL)"#),
        ("only-header", #"("text" "plain" \#(ascii) NIL NIL "7bit" 0 0 NIL NIL NIL NIL)"#),
        (
            "alternative",
            """
            (("text" "plain" ("charset" "utf-8") NIL NIL "quoted-printable" 32 1 NIL NIL NIL NIL)\
            ("text" "html" ("charset" "utf-8") NIL NIL "base64" 20 0 NIL NIL NIL NIL) \
            "alternative" ("boundary" "=_b1") NIL NIL NIL)
            """
        ),
        (
            "attachment",
            """
            (("text" "plain" \(ascii) NIL NIL "7bit" 15 1 NIL NIL NIL NIL)\
            ("application" "pdf" ("name" "a b.pdf") "<part2@example.org>" "The file" "base64" 16 \
            "Q2hlY2sgSW50ZWdyaXR5IQ==" ("attachment" ("filename" "a b.pdf" "size" "12")) ("fr") \
            "a.pdf") "mixed" ("boundary" "xyz") NIL ("de" "en") "http://example.org/")
            """
        ),
        (
            "rfc822-root",
            """
            ("message" "rfc822" NIL NIL NIL "7bit" 68 \
            (NIL "b" NIL NIL NIL NIL NIL NIL NIL NIL) \
            ("message" "rfc822" NIL NIL NIL "7bit" 24 \
            (NIL "c" NIL NIL NIL NIL NIL NIL NIL NIL) \
            ("text" "plain" \(ascii) NIL NIL "7bit" 10 1 NIL NIL NIL NIL) \
            3 NIL NIL NIL NIL) 6 NIL NIL NIL NIL)
            """
        ),
        (
            "digest",
            """
            (("message" "rfc822" NIL NIL NIL "7bit" 45 (NIL "one" ((NIL NIL "a" "example.org")) \
            ((NIL NIL "a" "example.org")) ((NIL NIL "a" "example.org")) NIL NIL NIL NIL NIL) \
            ("text" "plain" \(ascii) NIL NIL "7bit" 8 0 NIL NIL NIL NIL) 3 NIL NIL NIL NIL)\
            ("text" "plain" \(ascii) NIL NIL "7bit" 10 0 NIL NIL NIL NIL) \
            "digest" ("boundary" "d") NIL NIL NIL)
            """
        ),
        (
            "no-parts",
            """
            (("text" "plain" \(ascii) NIL NIL "7bit" 32 2 NIL NIL NIL NIL) \
            "mixed" ("boundary" "never") NIL NIL NIL)
            """
        ),
        (
            "no-boundary",
            """
            (("text" "plain" \(ascii) NIL NIL "7bit" 20 4 NIL NIL NIL NIL) "mixed" NIL NIL NIL NIL)
            """
        ),
        (
            "missing-end",
            """
            ((("text" "plain" \(ascii) NIL NIL "7bit" 17 0 NIL NIL NIL NIL) \
            "mixed" ("boundary" "i") NIL NIL NIL)\
            ("text" "plain" \(ascii) NIL NIL "7bit" 12 0 NIL NIL NIL NIL) \
            "mixed" ("boundary" "o") NIL NIL NIL)
            """
        ),
        (
            "boundary-prefixes",
            """
            ((("text" "plain" \(ascii) NIL NIL "7bit" 3 0 NIL NIL NIL NIL) \
            "mixed" ("boundary" "bb") NIL NIL NIL)\
            (("text" "plain" \(ascii) NIL NIL "7bit" 3 0 NIL NIL NIL NIL) \
            "mixed" ("boundary" "b--") NIL NIL NIL) "mixed" ("boundary" "b") NIL NIL NIL)
            """
        ),
        (
            "boundary-in-header",
            """
            (("text" "plain" \(ascii) NIL NIL "7bit" 0 0 NIL NIL NIL NIL)\
            ("text" "plain" \(ascii) NIL NIL "7bit" 0 0 NIL NIL NIL NIL) \
            "mixed" ("boundary" "q") NIL NIL NIL)
            """
        ),
        (
            "empty-parts",
            """
            (("text" "plain" \(ascii) NIL NIL "7bit" 0 0 NIL NIL NIL NIL)\
            ("application" "octet-stream" NIL NIL NIL "7bit" 0 NIL NIL NIL NIL)\
            ("text" "plain" \(ascii) NIL NIL "7bit" 0 0 NIL NIL NIL NIL) \
            "mixed" ("boundary" "e") NIL NIL NIL)
            """
        ),
        (
            "broken-types",
            """
            (("text" "plain" \(ascii) NIL NIL "7bit" 1 0 NIL NIL NIL NIL)\
            ("text" "plain" \(ascii) NIL NIL "7bit" 1 0 NIL NIL NIL NIL)\
            ("image" "png" ("name" "my file.png" "x" "" "name" "unclosed") NIL NIL "7bit" 1 NIL \
            ("attachment" ("filename" "x")) NIL NIL)\
            ("text" "plain" \(ascii) "" NIL "x-unknown" 1 0 NIL NIL NIL NIL) \
            "mixed" ("boundary" "t") NIL NIL NIL)
            """
        ),
        (
            "rfc2231",
            """
            (("application" "x-stuff" ("title*" "us-ascii'en'This%20is%20even%20more%20\
            %2A%2A%2Afun%2A%2A%2A%20isn%27t%20it!") NIL NIL "7bit" 1 NIL NIL NIL NIL)\
            ("text" "plain" ("charset*" "''utf-8") NIL NIL "7bit" 1 0 NIL \
            ("attachment" ("filename*" "utf-8''%e2%82%ac%20rates.txt" "filename" "euro.txt")) \
            NIL NIL)\
            ("text" "plain" \(ascii) NIL NIL "7bit" 1 0 NIL \
            ("attachment" ("f" "ab" "g*1" "x" "h" "p" "k*99999999999" "z")) NIL NIL) \
            "mixed" ("boundary" "continued") NIL NIL NIL)
            """
        ),
    ]

    @Test("of the corpus", arguments: table)
    func corpus(_ name: String, _ expected: String) throws {
        #expect(bodyStructure(try Corpus.message("\(name).eml")) == expected)
    }

    @Test("BODY has no extension fields")
    func body() throws {
        #expect(
            bodyStructure(try Corpus.message("attachment.eml"), extended: false) == """
                (("text" "plain" \(ascii) NIL NIL "7bit" 15 1)\
                ("application" "pdf" ("name" "a b.pdf") "<part2@example.org>" "The file" "base64" \
                16) "mixed")
                """
        )
    }

    @Test("a section number at the limit makes no section", arguments: [-1, 0])
    func sectionLimit(_ extra: Int) {
        let number = Limits.parameterSectionMax + extra
        let text = bodyStructure("Content-Type: a/b; n*0=x; n*\(number)=y\n\n")
        // A section after a gap is dropped; what is none stays as written.
        let kept = extra < 0 ? "" : #" "n*\#(number)" "y""#
        #expect(text == #"("a" "b" ("n" "x"\#(kept)) NIL NIL "7bit" 0 NIL NIL NIL NIL)"#)
    }

    @Test("a file of no bytes is an empty text")
    func nothing() {
        #expect(
            bodyStructure("") == #"("text" "plain" \#(ascii) NIL NIL "7bit" 0 0 NIL NIL NIL NIL)"#
        )
    }

    @Test("one message is the same with LF and with CRLF", arguments: Corpus.names)
    func lineEndsDoNotMatter(_ name: String) throws {
        let message = try Corpus.message(name)
        // Lone CRs and UTF-16 would change their meaning.
        guard name != "mixed-line-ends.eml", name != "utf-16-body.eml" else { return }
        let lf = message.filter { $0 != 13 }
        let crlf = lf.flatMap { $0 == 10 ? [13, 10] : [$0] }
        #expect(bodyStructure(lf) == bodyStructure(crlf))
        #expect(envelope(lf) == envelope(crlf))
    }
}

@Suite("sections")
struct SectionTests {
    static let table: [(String, [UInt32], SectionText, String?)] = [
        // A message that is no multipart has part 1, its body.
        ("plain-lf", [1], .whole, "Tomorrow at noon?\r\nAnn\r\n"),
        ("plain-lf", [], .text, "Tomorrow at noon?\r\nAnn\r\n"),
        ("plain-lf", [2], .whole, nil), ("plain-lf", [1, 1], .whole, nil),
        ("plain-lf", [0], .whole, nil),
        // Only a message within has a header.
        ("plain-lf", [1], .header, nil), ("plain-lf", [1], .text, nil),
        ("empty-line-first", [], .header, "\r\n"), ("empty-line-first", [], .text, "body only\r\n"),
        // A multipart has as many as there are.
        ("alternative", [2], .whole, "PGI+R3LDvMOfZTwvYj4K"),
        (
            "alternative", [2], .mime,
            "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        ),
        ("alternative", [3], .whole, nil), ("alternative", [1, 1], .whole, nil),
        ("alternative", [1], .header, nil),
        ("nested-rfc822", [1], .whole, "first"), ("nested-rfc822", [1], .mime, "\r\n"),
        // Into a message/rfc822 that holds a multipart.
        (
            "nested-rfc822", [2], .mime,
            "Content-Type: message/rfc822\r\nContent-Description: forwarded\r\n\r\n"
        ),
        (
            "nested-rfc822", [2], .header,
            "From: inner@example.org\r\nSubject: inner subject\r\n"
                + "Date: Sun, 1 Mar 2026 09:00:00 +0000\r\n"
                + "Content-Type: multipart/alternative; boundary=inner\r\n\r\n"
        ),
        ("nested-rfc822", [2, 1], .whole, "inner text"),
        ("nested-rfc822", [2, 2], .mime, "Content-Type: text/html\r\n\r\n"),
        ("nested-rfc822", [2, 3], .whole, nil),
        // Into one that holds a single part.
        ("digest", [1, 1], .whole, "body one"), ("digest", [1], .text, "body one"),
        ("digest", [1, 2], .whole, nil), ("digest", [1, 1, 1], .whole, nil),
        // The message is itself message/rfc822.
        (
            "rfc822-root", [1], .whole,
            "Subject: b\r\nContent-Type: message/rfc822\r\n\r\nSubject: c\r\n\r\nthe body\r\n"
        ),
        ("rfc822-root", [1], .header, "Subject: b\r\nContent-Type: message/rfc822\r\n\r\n"),
        ("rfc822-root", [1, 1], .whole, "Subject: c\r\n\r\nthe body\r\n"),
        ("rfc822-root", [1, 1], .header, "Subject: c\r\n\r\n"),
        ("rfc822-root", [1, 1, 1], .whole, "the body\r\n"),
        ("rfc822-root", [1, 1, 1, 1], .whole, nil),
        // A multipart without parts has one.
        ("no-parts", [1], .whole, "Nobody split this.\r\nTwo lines.\r\n"),
        ("no-parts", [1], .mime, ""), ("no-parts", [2], .whole, nil),
    ]

    @Test("name what RFC 3501 §6.4.5 says", arguments: table)
    func named(_ name: String, _ path: [UInt32], _ text: SectionText, _ expected: String?) throws {
        let message = String(decoding: try Corpus.message("\(name).eml"), as: UTF8.self)
        #expect(section(path, text, of: message) == expected)
    }

    @Test("no numbers name the message: HEADER and TEXT make it up", arguments: Corpus.names)
    func whole(_ name: String) throws {
        let message = try Corpus.message(name)
        let structure = MessageStructure.parse(message.span)
        #expect(structure.range(of: [], .whole) == 0..<message.count)
        let header = try #require(structure.range(of: [], .header))
        let text = try #require(structure.range(of: [], .text))
        #expect(header.upperBound == text.lowerBound)
        #expect(header.lowerBound == 0 && text.upperBound == message.count)
        #expect(HeaderBlock.end(in: message.span) == header.upperBound)
    }
}
