import Bytes

//  Keywords: names for letters, and keywords without a letter
//
//  On disk, in the mailbox directory:
//
//      dovecot-keywords     <index> <name>              index 0–25, letter 'a' + index in file names
//
//      martlet-keywords     martlet-keywords 1          ours; only where a mailbox has more than 26
//                           <index> <name>              index from 26 on
//                                                       (an empty line)
//                           <index> <index> … :<base name>
//
//  The first file is Dovecot's and read by it; the second is to it a file like any other. In the
//  second the indexes stand before the name, as in a uidlist, since a base name may hold blanks.
//
//  Who writes: who holds `dovecot-uidlist.lock`; readers need no lock, as both files are only ever
//  replaced by rename. The file is on disk *before* a message is renamed to carry a new letter. So
//  a crash leaves a name that no message has, never a letter whose meaning is lost.
//
//  Letters are for ever: no index is freed or given a second name, because a file somewhere may
//  still carry it. A letter that files carry but no line names is left alone: it is kept in file
//  names, shown to nobody, and not given out. A name that is no IMAP atom keeps its line and its
//  letter but is not shown either.
//
//  When Dovecot gives a letter to a name that was beyond the letters, the letter is the keyword, and
//  what was recorded for the old index counts for it from then on.

/// The keywords of one mailbox.
package struct Keywords: Sendable, Equatable {
    /// By index. A gap is nil.
    private var names: [[UInt8]?] = []
    private var indexes: [[UInt8]: Int] = [:]

    /// Base name → ascending indexes, of messages with keywords that are not in their file name.
    package private(set) var beyondLetters: [[UInt8]: [Int]] = [:]

    package init() {}
}

package enum KeywordsError: Error, Equatable {
    /// The name is no atom, or too long.
    case invalidName
    case tooMany
    /// `martlet-keywords` of a later program, which we must not replace.
    case unsupportedVersion
}

// MARK: Names and indexes

extension Keywords {
    /// flag-keyword = atom        RFC 9051 §9. Bounded, since every FLAGS response carries it.
    package static func isValid(_ name: [UInt8]) -> Bool {
        guard !name.isEmpty, name.count <= Limits.keywordNameBytesMax else { return false }
        return name.allSatisfy { byte in
            guard byte > 0x20, byte < 0x7F else { return false }
            switch byte {
            case UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "{"), UInt8(ascii: "%"),
                UInt8(ascii: "*"), UInt8(ascii: "]"), .quote, .backslash:
                return false
            default: return true
            }
        }
    }

    /// The name of a keyword, or nil where it has none that a client may see.
    package func name(_ index: Int) -> [UInt8]? {
        guard names.indices.contains(index), let name = names[index], Self.isValid(name) else {
            return nil
        }
        return name
    }

    /// The index of a name, in any case of its letters.
    package func index(of name: [UInt8]) -> Int? { indexes[name.lowercased] }

    /// Indexes that have a name which a client may see, ascending.
    package var namedIndexes: [Int] { names.indices.filter { name($0) != nil } }

    /// The index of a name, a new one where it has none: the lowest free letter, else the lowest free
    /// number. The change has to be on disk before a message carries it.
    ///
    /// Letters without a name that messages carry are `unnamedLetters`; none of them is given out.
    package mutating func allocate(
        _ name: [UInt8],
        unnamedLetters: FlagLetters.Known
    ) throws(KeywordsError) -> Int {
        if let index = index(of: name) { return index }
        guard Self.isValid(name) else { throw KeywordsError.invalidName }
        for index in 0..<Limits.keywordCountMax {
            if index < names.count, names[index] != nil { continue }
            if index < Limits.keywordLetterCount, unnamedLetters.contains(.keyword(index)) {
                continue
            }
            set(name, index)
            return index
        }
        throw KeywordsError.tooMany
    }

    private mutating func set(_ name: [UInt8], _ index: Int) {
        while names.count <= index { names.append(nil) }
        if let old = names[index] { indexes[old.lowercased] = nil }
        names[index] = name
        indexes[name.lowercased] = index
    }
}

// MARK: Keywords that are in no file name

extension Keywords {
    /// The keywords of a message that its file name does not show.
    package func beyond(_ baseName: [UInt8]) -> [Int] { beyondLetters[baseName] ?? [] }

    /// Records them. Indexes below 26 belong in the file name, and are only taken away here.
    package mutating func setBeyond(_ baseName: [UInt8], _ indexes: [Int]) {
        let kept = Set(indexes).sorted().filter { names.indices.contains($0) && names[$0] != nil }
        beyondLetters[baseName] = kept.isEmpty ? nil : kept
    }

    /// Forgets messages that are gone.
    package mutating func keepBeyond(where isThere: ([UInt8]) -> Bool) {
        beyondLetters = beyondLetters.filter { isThere($0.key) }
    }
}

// MARK: Files

extension Keywords {
    /// Reads both files. Lines that cannot be read are passed over, as Dovecot does.
    package init(letters: [UInt8], beyond: [UInt8]? = nil) throws(KeywordsError) {
        for line in letters.split(separator: .lf) {
            guard let (index, name) = Self.named(line), index < Limits.keywordLetterCount,
                indexes[name.lowercased] == nil
            else { continue }
            set(name, index)
        }
        if let beyond { try readBeyond(beyond) }
    }

    /// INDEX SP NAME
    private static func named(_ line: ArraySlice<UInt8>) -> (Int, [UInt8])? {
        guard let space = line.firstIndex(of: .space), space + 1 < line.endIndex,
            let index = number(line[..<space])
        else { return nil }
        return (index, Array(line[(space + 1)...]))
    }

    private static func number(_ text: ArraySlice<UInt8>) -> Int? {
        let digits = Array(text)
        var cursor = ByteCursor(digits.span)
        guard let value = cursor.decimal(max: UInt64(Limits.keywordCountMax) - 1), cursor.isAtEnd
        else { return nil }
        return Int(value)
    }

    private static let beyondHeader = [UInt8]("martlet-keywords 1")

    private mutating func readBeyond(_ file: [UInt8]) throws(KeywordsError) {
        if file.isEmpty { return }
        var lines = file.split(separator: .lf, omittingEmptySubsequences: false)[...]
        guard let header = lines.popFirst(), Array(header) == Self.beyondHeader else {
            throw KeywordsError.unsupportedVersion
        }
        // A name that has a letter by now: its old index stands for the letter.
        var current: [Int: Int] = [:]
        while let line = lines.popFirst(), !line.isEmpty {
            guard let (index, name) = Self.named(line), index >= Limits.keywordLetterCount else {
                continue
            }
            if let known = indexes[name.lowercased] {
                current[index] = known
            } else if index >= names.count || names[index] == nil {
                set(name, index)
                current[index] = index
            }
        }
        for line in lines {
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
            let baseName = Array(line[(colon + 1)...])
            guard UIDList.isListable(baseName.span) else { continue }
            let listed = line[..<colon].split(separator: .space).compactMap { token in
                Self.number(token).flatMap { $0 < Limits.keywordLetterCount ? $0 : current[$0] }
            }
            setBeyond(baseName, listed)
        }
    }

    /// The content of `dovecot-keywords`.
    package var lettersFile: [UInt8] {
        var buffer = ByteBuffer()
        for (index, name) in names.prefix(Limits.keywordLetterCount).enumerated() {
            guard let name else { continue }
            buffer.append(decimal: index)
            buffer.append(.space)
            buffer.append(name)
            buffer.append(.lf)
        }
        return buffer.bytes
    }

    /// The content of `martlet-keywords`, or nil where there is nothing to say in it.
    package var beyondFile: [UInt8]? {
        guard names.count > Limits.keywordLetterCount || !beyondLetters.isEmpty else { return nil }
        var buffer = ByteBuffer()
        buffer.append(Self.beyondHeader)
        buffer.append(.lf)
        for (index, name) in names.enumerated().dropFirst(Limits.keywordLetterCount) {
            guard let name else { continue }
            buffer.append(decimal: index)
            buffer.append(.space)
            buffer.append(name)
            buffer.append(.lf)
        }
        buffer.append(.lf)
        let messages = beyondLetters.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        for (baseName, indexes) in messages {
            for index in indexes {
                buffer.append(decimal: index)
                buffer.append(.space)
            }
            buffer.append(UInt8(ascii: ":"))
            buffer.append(baseName)
            buffer.append(.lf)
        }
        return buffer.bytes
    }
}
