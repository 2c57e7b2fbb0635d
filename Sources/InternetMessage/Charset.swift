import Bytes
import Glibc

//  Charsets
//
//  UTF-8, US-ASCII and ISO-8859-1 are done here, all others by iconv of libc. Only names on a list
//  reach iconv: it loads a module of the system for each, some of which have had holes
//  (CVE-2024-2961 in ISO-2022-CN-EXT), and mail says nothing in those that are left out.

/// A charset that mail is written in.
package enum Charset: Hashable, Sendable {
    case utf8
    /// Also what is told for text that has 8-bit bytes after all.
    case ascii
    case latin1
    /// Known to iconv under this name.
    case other([UInt8])

    /// Nil for a name that is not known. Case, and a language after `*` (RFC 2231 §5), do not
    /// matter.
    package init?(_ name: [UInt8]) {
        var name = name.lowercased
        if let star = name.firstIndex(of: UInt8(ascii: "*")) { name.removeSubrange(star...) }
        guard name.count <= Limits.charsetNameBytesMax else { return nil }
        if name.starts(with: [UInt8]("x-")) { name.removeFirst(2) }
        switch name.text {
        case "utf-8", "utf8", "unicode-1-1-utf-8": self = .utf8
        case "us-ascii", "ascii", "ansi_x3.4-1968", "iso646-us", "646", "": self = .ascii
        case "iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "l1", "cp819": self = .latin1
        default:
            guard let known = Self.iconvName(of: name.text) else { return nil }
            self = .other(Array(known.utf8))
        }
    }

    /// Whether bytes below 0x80 mean what they mean in ASCII, wherever there are no others.
    package var extendsASCII: Bool {
        guard case .other(let name) = self else { return true }
        return !["UTF-16", "UTF-32", "UTF-7", "ISO-2022", "UCS-"].contains {
            name.starts(with: $0.utf8)
        }
    }

    private static func iconvName(of name: String) -> String? {
        // Those that are superset and subset in practice, and other names for the same.
        switch name {
        case "gb2312", "gbk", "cp936", "windows-936", "gb_2312-80", "euc-cn", "gb18030":
            return "GB18030"
        case "ks_c_5601-1987", "ks_c_5601", "ksc5601", "euc-kr", "korean", "uhc", "cp949",
            "windows-949":
            return "CP949"
        case "shift_jis", "shift-jis", "sjis", "ms_kanji", "cp932", "windows-31j",
            "windows-932":
            return "CP932"
        case "big5", "cp950", "windows-950": return "CP950"
        case "big5-hkscs": return "BIG5-HKSCS"
        case "iso-8859-8-i", "iso-8859-8-e": return "ISO-8859-8"
        case "iso-8859-6-i", "iso-8859-6-e": return "ISO-8859-6"
        case "unicode-1-1-utf-7", "utf-7": return "UTF-7"
        case "tis-620", "iso-8859-11", "windows-874", "cp874": return "CP874"
        case "macintosh", "mac", "mac-roman": return "MACINTOSH"
        case "viscii": return "VISCII"
        case "utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be", "koi8-r",
            "koi8-u", "koi8-t", "euc-jp", "euc-tw", "iso-2022-jp", "iso-2022-jp-1",
            "iso-2022-jp-2", "iso-2022-jp-3", "iso-2022-kr", "johab":
            return name.uppercased()
        default: break
        }
        // Families with a number.
        for (family, iconv) in [
            ("iso-8859-", "ISO-8859-"), ("iso8859-", "ISO-8859-"), ("iso_8859-", "ISO-8859-"),
            ("windows-", "CP"), ("cp-", "CP"), ("cp", "CP"), ("ibm", "CP"),
        ] where name.hasPrefix(family) {
            let number = name.dropFirst(family.count)
            guard (1...4).contains(number.count), number.utf8.allSatisfy(\.isDigit) else {
                return nil
            }
            return iconv + number
        }
        return nil
    }
}

/// Converts text to UTF-8. Keeps the descriptors it has opened, so one serves a whole search; it
/// must stay on one thread at a time.
package final class CharsetConverter {
    private var descriptors: [Charset: Descriptor] = [:]

    package init() {}

    /// An open iconv descriptor, or that there is none.
    @safe private final class Descriptor {
        private let descriptor: iconv_t?
        private var scratch = [UInt8](repeating: 0, count: 1 << 14)
        /// How many bytes are skipped where they have no meaning.
        private let unit: Int

        init(_ name: [UInt8]) {
            unit = name.starts(with: "UTF-16".utf8) ? 2 : name.starts(with: "UTF-32".utf8) ? 4 : 1
            let text = (name + [0]).map { CChar(bitPattern: $0) }
            let opened = unsafe iconv_open("UTF-8", text)
            // (iconv_t) -1 is the failure.
            unsafe descriptor = Int(bitPattern: opened) == -1 ? nil : opened
        }

        deinit {
            if let descriptor = unsafe descriptor { _ = unsafe iconv_close(descriptor) }
        }

        var isOpen: Bool { unsafe descriptor != nil }

        func reset() {
            guard let descriptor = unsafe descriptor else { return }
            _ = unsafe iconv(descriptor, nil, nil, nil, nil)
        }

        /// Converts as much as it can; returns how many bytes are left, because they are the
        /// beginning of a character that does not end.
        func convert(_ bytes: Span<UInt8>, into output: inout [UInt8]) -> Int {
            var offset = 0
            while offset < bytes.count {
                let (consumed, produced, failure) = step(bytes.extracting(offset..<bytes.count))
                output.append(contentsOf: scratch[..<produced])
                offset += consumed
                switch failure {
                case 0 where consumed > 0, E2BIG where consumed + produced > 0: break
                case EINVAL: return bytes.count - offset
                default:
                    output.append(scalar: 0xFFFD)
                    offset += unit
                }
            }
            return 0
        }

        /// Converts into `scratch` until that is full, the bytes end, or one has no meaning.
        private func step(
            _ bytes: Span<UInt8>
        ) -> (consumed: Int, produced: Int, failure: CInt) {
            guard let descriptor = unsafe descriptor else { return (bytes.count, 0, 0) }
            return unsafe bytes.withUnsafeBufferPointer { source in
                unsafe scratch.withUnsafeMutableBytes { target in
                    // iconv does not write to its input, though its type says so.
                    var input = unsafe UnsafeMutableRawBufferPointer(
                        mutating: UnsafeRawBufferPointer(source)
                    ).baseAddress?.assumingMemoryBound(to: CChar.self)
                    var output = unsafe target.baseAddress?.assumingMemoryBound(to: CChar.self)
                    var left = source.count
                    var room = target.count
                    let result = unsafe iconv(descriptor, &input, &left, &output, &room)
                    // (size_t) -1; a size_t is an Int here.
                    let failure = result == -1 ? errno : 0
                    return (source.count - left, target.count - room, failure)
                }
            }
        }
    }

    /// Appends the text in UTF-8. What has no meaning in the charset becomes U+FFFD. False, with
    /// nothing appended, if the host has no such charset.
    @discardableResult
    package func append(_ text: Span<UInt8>, in charset: Charset, to output: inout [UInt8]) -> Bool
    {
        begin(charset)
        guard let left = convert(text, in: charset, to: &output) else { return false }
        if left > 0 { output.append(scalar: 0xFFFD) }
        return true
    }

    /// Whether the host can convert from it: iconv's charsets are files of the system.
    package func has(_ charset: Charset) -> Bool {
        guard case .other = charset else { return true }
        return descriptor(of: charset) != nil
    }

    /// The text in UTF-8; nil where some of it has no meaning in the charset.
    package func convertWhole(_ text: Span<UInt8>, in charset: Charset) -> [UInt8]? {
        switch charset {
        case .utf8: return UTF8Text.isValid(text) ? text.array : nil
        case .ascii, .latin1, .other:
            var converted: [UInt8] = []
            guard append(text, in: charset, to: &converted) else { return nil }
            // What has no meaning has become U+FFFD.
            let mark: [UInt8] = [0xEF, 0xBF, 0xBD]
            let found = converted.span.offset(ofLowercased: mark.span, in: 0..<converted.count)
            return found == nil ? converted : nil
        }
    }

    /// Starts a text that is converted piece by piece.
    func begin(_ charset: Charset) {
        if case .other = charset { descriptor(of: charset)?.reset() }
    }

    /// Appends a piece in UTF-8; returns how many bytes at its end are the beginning of a
    /// character that goes on in the next piece. Nil if the host has no such charset.
    func convert(_ piece: Span<UInt8>, in charset: Charset, to output: inout [UInt8]) -> Int? {
        switch charset {
        case .utf8:
            return appendRepairing(piece, to: &output) { _ in 0xFFFD }
        case .ascii:
            // 8-bit bytes that should not be there: UTF-8, or else ISO-8859-1.
            return appendRepairing(piece, to: &output) { UInt32($0) }
        case .latin1:
            output.reserveMore(piece.count)
            for index in piece.indices { output.append(scalar: UInt32(piece[index])) }
            return 0
        case .other:
            return descriptor(of: charset)?.convert(piece, into: &output)
        }
    }

    private func descriptor(of charset: Charset) -> Descriptor? {
        guard case .other(let name) = charset else { return nil }
        if let known = descriptors[charset] { return known.isOpen ? known : nil }
        let opened = Descriptor(name)
        descriptors[charset] = opened
        return opened.isOpen ? opened : nil
    }

    private func appendRepairing(
        _ piece: Span<UInt8>,
        to output: inout [UInt8],
        broken: (UInt8) -> UInt32
    ) -> Int {
        output.reserveMore(piece.count)
        var index = 0
        var good = 0
        while index < piece.count {
            guard let (_, count) = piece.scalar(at: index, end: piece.count) else {
                output.append(contentsOf: piece.extracting(good..<index))
                let left = piece.count - index
                if left < 4, piece[index] >= 0xC2, piece[index] < 0xF5,
                    left < piece[index].sequenceLength, piece.isContinued(from: index + 1)
                {
                    return left
                }
                output.append(scalar: broken(piece[index]))
                index += 1
                good = index
                continue
            }
            index += count
        }
        output.append(contentsOf: piece.extracting(good..<index))
        return 0
    }
}

extension UInt8 {
    /// How long the UTF-8 sequence is that this byte begins.
    fileprivate var sequenceLength: Int { self < 0xE0 ? 2 : self < 0xF0 ? 3 : 4 }
}

extension Span where Element == UInt8 {
    fileprivate func isContinued(from start: Int) -> Bool {
        for index in start..<Swift.max(start, count) where self[index] & 0xC0 != 0x80 {
            return false
        }
        return true
    }
}
