import Glibc

//  The corpus: a Maildir mailbox that is the same, byte for byte, for the same seed
//
//  Files have LF line ends and names as Postfix makes them (no `S=`, no `W=`), and lie in `cur/`
//  with flags; their mtime is the date of the message. Two kinds: `mixed` (about 42 KB on
//  average: text, alternatives, one message in seven with attachments of 1 KB to 1 MB) and `small`
//  (about 7 KB). Bodies are runs of lines out of pools of text that are made once, so a corpus of
//  400 MB is made as fast as the disk takes it.
//
//  A few words are put in so that a search for them finds a known share: the sender's name
//  `Quillon` (one in 50), `rhubarb` in the subject (one in 100), `quixotry` in the body (one in
//  100), `zephyrine` anywhere (one in 100).

struct Corpus {
    enum Kind: String { case mixed, small }

    /// The first message's date: 14 November 2023.
    private static let begin = 1_700_000_000
    private static let secondsBetween = 313
    private static let poolBytes = 4 << 20
    private static let host = "bench.example.org"

    let kind: Kind
    private let seed: UInt64
    private let words: [String]
    private let names: [(shown: String, address: String)]
    private let plain: LinePool
    private let accented: LinePool
    private let quoted: LinePool
    private let html: LinePool
    private let base64: LinePool

    init(kind: Kind, seed: UInt64) {
        self.kind = kind
        self.seed = seed
        var random = SeededRandom(seed: seed)
        words = Self.makeWords(&random)
        names = Self.makeNames(&random, words)
        plain = LinePool.text(&random, words, bytes: Self.poolBytes)
        accented = LinePool.text(&random, words + Self.accentedWords, bytes: Self.poolBytes)
        quoted = LinePool.quotedPrintable(&random, words, Self.accentedWords, bytes: Self.poolBytes)
        html = LinePool.html(&random, words, bytes: Self.poolBytes)
        base64 = LinePool.base64(&random, bytes: Self.poolBytes)
    }

    private static let accentedWords = [
        "für", "größer", "Übung", "café", "déjà", "naïve", "señor", "łódź", "žluť", "привет",
        "мир", "日本", "東京", "çok", "smörgås",
    ]

    private static func makeWords(_ random: inout SeededRandom) -> [String] {
        let heads = [
            "b", "br", "d", "dr", "g", "h", "l", "m", "n", "p", "r", "s", "st", "v", "w", "",
        ]
        let hearts = ["a", "e", "i", "o", "u", "ai", "ee", "ou"]
        let tails = ["n", "r", "l", "s", "nd", "m", "rn", "x", "", ""]
        return (0..<2_000).map { _ in
            (0...random.below(3)).map { _ in
                random.pick(heads) + random.pick(hearts) + random.pick(tails)
            }.joined()
        }
    }

    private static func makeNames(
        _ random: inout SeededRandom,
        _ words: [String]
    ) -> [(shown: String, address: String)] {
        var names: [(shown: String, address: String)] = []
        for index in 0..<300 {
            let first = random.pick(words).capitalizedASCII
            let last = random.pick(words).capitalizedASCII
            let address = "\(first).\(last)\(index)@\(random.pick(words)).example.org".lowercased()
            switch index % 6 {
            case 0: names.append(("=?UTF-8?Q?J=C3=BCrgen_\(last)?=", address))
            case 1: names.append(("=?ISO-8859-1?Q?Ren=E9_\(last)?=", address))
            case 2: names.append(("\"\(last), \(first)\"", address))
            default: names.append(("\(first) \(last)", address))
            }
        }
        // One in fifty.
        for index in stride(from: 25, to: 300, by: 50) {
            names[index] = ("Quillon \(random.pick(words).capitalizedASCII)", names[index].address)
        }
        return names
    }

    // MARK: Files

    /// Writes a mailbox. `owner` is whom it shall belong to.
    func write(to directory: String, count: Int, owner: (uid: uid_t, gid: gid_t)?)
        throws(BenchError)
        -> Int
    {
        for path in [directory, "\(directory)/cur", "\(directory)/new", "\(directory)/tmp"] {
            guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw failure(path) }
            if let owner { chown(path, owner.uid, owner.gid) }
        }
        var sum = 0
        for index in 0..<count {
            let bytes = message(index)
            sum += bytes.count
            var random = SeededRandom(seed: seed ^ UInt64(index) &* 7_919 ^ 0xF1A6)
            let flags = ["S", "S", "S", "S", "RS", "RS", "FS", "", "", "S"][random.below(10)]
            let seconds = Self.begin + index * Self.secondsBetween
            let inode = String(0x20_0000 + index * 3, radix: 16)
            let name =
                "\(seconds).Vfe01I\(inode)M\(random.below(1_000_000)).\(Self.host):2,\(flags)"
            try writeFile("\(directory)/cur/\(name)", bytes, seconds, owner)
        }
        return sum
    }

    private func writeFile(
        _ path: String,
        _ bytes: [UInt8],
        _ seconds: Int,
        _ owner: (uid: uid_t, gid: gid_t)?
    ) throws(BenchError) {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw failure(path) }
        defer { close(file) }
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes {
                Glibc.write(file, $0.baseAddress, $0.count)
            }
            guard count > 0 else { throw failure(path) }
            written += count
        }
        if let owner { fchown(file, owner.uid, owner.gid) }
        let time = timespec(tv_sec: seconds, tv_nsec: 0)
        futimens(file, [time, time])
    }

    private func failure(_ path: String) -> BenchError {
        BenchError("\(path): \(String(cString: strerror(errno)))")
    }

    // MARK: Messages

    /// The message with this number, always the same.
    func message(_ index: Int) -> [UInt8] {
        var random = SeededRandom(seed: seed ^ (UInt64(index) &+ 1) &* 0xA24B_AED4_963E_E407)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(16_384)
        header(index, &random, &bytes)
        switch (kind, random.below(100)) {
        case (.mixed, ..<14): withAttachments(index, &random, &bytes, 1_024, 1 << 20)
        case (.mixed, ..<50): alternative(index, &random, &bytes)
        case (.small, ..<2): withAttachments(index, &random, &bytes, 1_024, 16_384)
        case (.small, ..<12): alternative(index, &random, &bytes)
        default: text(index, &random, &bytes)
        }
        return bytes
    }

    private func header(_ index: Int, _ random: inout SeededRandom, _ bytes: inout [UInt8]) {
        func field(_ name: String, _ value: String) {
            bytes += Array("\(name): \(value)\n".utf8)
        }
        let from = random.pick(names)
        let to = random.pick(names)
        let seconds = Self.begin + index * Self.secondsBetween
        let date = mailDate(seconds)
        field("Return-Path", "<\(from.address)>")
        field("X-Original-To", to.address)
        field("Delivered-To", to.address)
        for hop in 0..<(2 + random.below(3)) {
            let id = String(random.next() >> 24, radix: 16)
            field(
                "Received",
                "from mx\(hop).\(random.pick(words)).example.net (mx\(hop) [192.0.2.\(hop + 1)])\n"
                    + "\tby \(Self.host) (Postfix) with ESMTPS id \(id)\n"
                    + "\tfor <\(to.address)>; \(date)"
            )
        }
        if random.isOne(of: 60) {
            var signature = "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=bench;\n\tb="
            signature += String(decoding: base64.lines(&random, 220), as: UTF8.self)
                .split(separator: "\n").joined(separator: "\n\t")
            field("DKIM-Signature", signature)
        }
        field("Message-ID", messageID(index))
        field("Date", date)
        field("From", "\(from.shown) <\(from.address)>")
        let others = random.isOne(of: 5) ? 12 : random.below(3)
        let recipients = ([to] + (0..<others).map { _ in random.pick(names) })
            .map { "\($0.shown) <\($0.address)>" }
        field("To", recipients.joined(separator: ",\n "))
        if random.isOne(of: 20) {
            let copy = random.pick(names)
            field("Cc", "\(copy.shown) <\(copy.address)>")
        }
        subject(index, &random, &bytes)
        let isReply = index > 40 && random.isOne(of: 55)
        if isReply {
            // A thread goes back in steps; one in ten is long.
            let length = random.isOne(of: 10) ? 10 + random.below(30) : 1 + random.below(5)
            let parents = (1...length).map { index - $0 * 7 }.filter { $0 >= 0 }.reversed()
            field("References", parents.map(messageID).joined(separator: "\n "))
            field("In-Reply-To", messageID(index - 7))
        }
        if random.isOne(of: 15) {
            field("List-Id", "Talk <talk.example.org>")
            field("List-Post", "<mailto:talk@example.org>")
        }
        if index % 100 == 7 { field("X-Bench", "zephyrine") }
        field("MIME-Version", "1.0")
    }

    private func messageID(_ index: Int) -> String { "<\(index).\(seed).bench@example.org>" }

    private func subject(_ index: Int, _ random: inout SeededRandom, _ bytes: inout [UInt8]) {
        var line = "Subject: "
        if random.isOne(of: 50) { line += "Re: " }
        if random.isOne(of: 20) {
            line += "=?UTF-8?B?w5xiZXIgZGllIEdyw7bDn2UgZGVyIERpbmdl?= "
        }
        for _ in 0..<(2 + random.below(7)) { line += random.pick(words) + " " }
        if index % 100 == 13 { line += "rhubarb " }
        bytes += Array((line.dropLast() + "\n").utf8)
    }

    private func text(_ index: Int, _ random: inout SeededRandom, _ bytes: inout [UInt8]) {
        let size = kind == .mixed ? random.size(1_024, 60_000) : random.size(768, 24_000)
        switch random.below(10) {
        case ..<6:
            bytes += Array("Content-Type: text/plain; charset=us-ascii\n\n".utf8)
            bytes += plain.lines(&random, size)
        case ..<8:
            bytes += Array(
                "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n".utf8
            )
            bytes += accented.lines(&random, size)
        default:
            bytes += Array(
                "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
                    .utf8
            )
            bytes += quoted.lines(&random, size)
        }
        if index % 100 == 42 { bytes += Array("He called it quixotry.\n".utf8) }
    }

    private func alternative(_ index: Int, _ random: inout SeededRandom, _ bytes: inout [UInt8]) {
        let boundary = "=_alt\(index)"
        bytes += Array(
            "Content-Type: multipart/alternative; boundary=\"\(boundary)\"\n\n--\(boundary)\n".utf8
        )
        text(index, &random, &bytes)
        bytes += Array(
            "\n--\(boundary)\nContent-Type: text/html; charset=us-ascii\n\n<html><body>\n".utf8
        )
        bytes += html.lines(&random, kind == .mixed ? random.size(4_096, 60_000) : 6_000)
        bytes += Array("</body></html>\n\n--\(boundary)--\n".utf8)
    }

    private func withAttachments(
        _ index: Int,
        _ random: inout SeededRandom,
        _ bytes: inout [UInt8],
        _ low: Int,
        _ high: Int
    ) {
        let boundary = "=_mix\(index)"
        bytes += Array("Content-Type: multipart/mixed; boundary=\"\(boundary)\"\n".utf8)
        bytes += Array("\nThis is a message in MIME format.\n--\(boundary)\n".utf8)
        if random.isOne(of: 50) {
            alternative(index, &random, &bytes)
        } else {
            text(index, &random, &bytes)
        }
        for part in 0..<(random.isOne(of: 25) ? 2 : 1) {
            let type = random.pick(["application/pdf", "image/jpeg", "application/zip"])
            let name = random.isOne(of: 20) ? "=?UTF-8?Q?=C3=9Cbersicht?=" : random.pick(words)
            let head =
                "\n--\(boundary)\nContent-Type: \(type); name=\"\(name)\"\n"
                + "Content-Transfer-Encoding: base64\n"
                + "Content-Disposition: attachment; filename=\"\(name)-\(part)\"\n\n"
            bytes += Array(head.utf8)
            bytes += base64.lines(&random, random.size(low, high))
        }
        bytes += Array("\n--\(boundary)--\n".utf8)
    }

    private func mailDate(_ seconds: Int) -> String {
        var time = time_t(seconds)
        var parts = tm()
        gmtime_r(&time, &parts)
        var room = [CChar](repeating: 0, count: 64)
        let count = strftime(&room, room.count, "%a, %d %b %Y %H:%M:%S +0000", &parts)
        return String(decoding: room[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

extension String {
    fileprivate var capitalizedASCII: String { prefix(1).uppercased() + dropFirst() }
}

/// Lines of one kind, out of which any run may be taken.
private struct LinePool {
    private let bytes: [UInt8]
    private let starts: [Int]

    private init(_ bytes: [UInt8]) {
        self.bytes = bytes
        var starts = [0]
        for (index, byte) in bytes.enumerated() where byte == 10 { starts.append(index + 1) }
        self.starts = starts.dropLast()
    }

    /// Whole lines, together about so many bytes.
    func lines(_ random: inout SeededRandom, _ count: Int) -> ArraySlice<UInt8> {
        let wanted = min(count, bytes.count / 2)
        var from = starts[random.below(starts.count)]
        if from + wanted > bytes.count { from = 0 }
        let end = bytes[(from + wanted - 1)...].firstIndex(of: 10) ?? bytes.count - 1
        return bytes[from...end]
    }

    static func text(_ random: inout SeededRandom, _ words: [String], bytes count: Int) -> LinePool
    {
        make(count) { random.pick(words) }
    }

    private static func make(
        _ count: Int,
        indent: String = "",
        softEnd: String = "",
        _ word: () -> String
    ) -> LinePool {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 100)
        while bytes.count < count {
            var line = indent
            while line.utf8.count < 66 { line += word() + " " }
            bytes += Array((line.dropLast() + softEnd + "\n").utf8)
        }
        return LinePool(bytes)
    }

    static func quotedPrintable(
        _ random: inout SeededRandom,
        _ words: [String],
        _ accented: [String],
        bytes count: Int
    ) -> LinePool {
        make(count, softEnd: " =") {
            guard random.isOne(of: 10) else { return random.pick(words) }
            return random.pick(accented).utf8.map { byte in
                byte < 128
                    ? String(UnicodeScalar(byte)) : "=" + String(byte, radix: 16, uppercase: true)
            }.joined()
        }
    }

    static func html(_ random: inout SeededRandom, _ words: [String], bytes count: Int) -> LinePool
    {
        make(count, indent: "<p class=\"body\" style=\"margin:0\">", softEnd: "</p>") {
            random.pick(words)
        }
    }

    static func base64(_ random: inout SeededRandom, bytes count: Int) -> LinePool {
        let alphabet = Array(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8
        )
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 100)
        while bytes.count < count {
            for _ in 0..<76 { bytes.append(alphabet[random.below(64)]) }
            bytes.append(10)
        }
        return LinePool(bytes)
    }
}
