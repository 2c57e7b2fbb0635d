import Bytes

/// A command as far as it matters before login.
struct LoginCommand: Equatable {
    enum Name: Equatable {
        case capability, noop, logout, startTLS
        case id
        /// Language ranges in order of preference; empty asks for the list.
        case language([[UInt8]])
        case login(user: [UInt8], password: [UInt8])
        /// `initial` is nil where none came, empty for `=`.
        case authenticate(mechanism: [UInt8], initial: [UInt8]?)
        /// Known to IMAP perhaps, but not before login.
        case other
    }

    let tag: [UInt8]
    let name: Name
}

/// A command that breaks the grammar; answered `BAD`.
struct LoginSyntaxError: Error, Equatable {
    /// Empty where not even the tag was right: the answer is untagged.
    let tag: [UInt8]
    let reason: StaticString

    init(_ tag: [UInt8], _ reason: StaticString) {
        self.tag = tag
        self.reason = reason
    }

    static func == (left: LoginSyntaxError, right: LoginSyntaxError) -> Bool {
        left.tag == right.tag && "\(left.reason)" == "\(right.reason)"
    }
}

/// The grammar of RFC 3501 §9 as far as login needs it, with LITERAL+ (RFC 7888), SASL-IR
/// (RFC 4959), ID (RFC 2971) and LANGUAGE (RFC 5255). Strings may hold any byte but NUL: a password may be UTF-8.
extension LoginCommand {
    init(parsing bytes: [UInt8]) throws(LoginSyntaxError) {
        let span = bytes.span
        var cursor = ByteCursor(span)
        let tagRange = cursor.take(while: Self.isTagCharacter)
        guard !tagRange.isEmpty, tagRange.count <= LoginLimits.tagBytesMax else {
            throw LoginSyntaxError([], "Expected a tag")
        }
        let tag = cursor.bytes(tagRange)
        guard cursor.accept(.space) else { throw LoginSyntaxError(tag, "Expected a command") }
        let nameRange = cursor.take(while: Self.isAtomCharacter)
        guard !nameRange.isEmpty else { throw LoginSyntaxError(tag, "Expected a command") }
        let name = cursor.bytes(nameRange).uppercased

        do throws(Mismatch) {
            self.tag = tag
            self.name = try Self.arguments(of: name, &cursor)
        } catch {
            throw LoginSyntaxError(tag, error.reason)
        }
    }

    private struct Mismatch: Error {
        let reason: StaticString
    }

    @_lifetime(cursor: copy cursor)
    private static func arguments(
        of name: [UInt8],
        _ cursor: inout ByteCursor
    ) throws(Mismatch) -> Name {
        let result: Name
        if name == [UInt8]("CAPABILITY") {
            result = .capability
        } else if name == [UInt8]("NOOP") {
            result = .noop
        } else if name == [UInt8]("LOGOUT") {
            result = .logout
        } else if name == [UInt8]("STARTTLS") {
            result = .startTLS
        } else if name == [UInt8]("ID") {
            try idArguments(&cursor)
            result = .id
        } else if name == [UInt8]("LANGUAGE") {
            //  language = "LANGUAGE" [SP lang-range *(SP lang-range)]        RFC 5255 §3.7
            var ranges: [[UInt8]] = []
            while cursor.accept(.space) { ranges.append(try astring(&cursor)) }
            result = .language(ranges)
        } else if name == [UInt8]("LOGIN") {
            //  login = "LOGIN" SP userid SP password
            try space(&cursor)
            let user = try astring(&cursor)
            try space(&cursor)
            result = .login(user: user, password: try astring(&cursor))
        } else if name == [UInt8]("AUTHENTICATE") {
            result = try authenticateArguments(&cursor)
        } else {
            // Its arguments are not looked at.
            return .other
        }
        guard cursor.isAtEnd else { throw Mismatch(reason: "Expected the end of the line") }
        return result
    }

    //  authenticate = "AUTHENTICATE" SP auth-type [SP (base64 / "=")]            RFC 4959 §3
    @_lifetime(cursor: copy cursor)
    private static func authenticateArguments(
        _ cursor: inout ByteCursor
    ) throws(Mismatch) -> Name {
        try space(&cursor)
        let range = cursor.take(while: isAtomCharacter)
        guard !range.isEmpty else { throw Mismatch(reason: "Expected a mechanism") }
        let mechanism = cursor.bytes(range).uppercased
        guard cursor.accept(.space) else {
            return .authenticate(mechanism: mechanism, initial: nil)
        }
        let initial = cursor.take { $0 > 0x20 && $0 < 0x7F }
        guard !initial.isEmpty else { throw Mismatch(reason: "Expected an initial response") }
        let bytes = cursor.bytes(initial)
        return .authenticate(mechanism: mechanism, initial: bytes == [UInt8]("=") ? [] : bytes)
    }

    //  id              = "ID" SP id-params-list                                RFC 2971 §4
    //  id-params-list  = "(" *(string SP nstring) ")" / nil
    @_lifetime(cursor: copy cursor)
    private static func idArguments(_ cursor: inout ByteCursor) throws(Mismatch) {
        try space(&cursor)
        if cursor.acceptIgnoringCase("NIL") { return }
        guard cursor.accept(UInt8(ascii: "(")) else { throw Mismatch(reason: "Expected a list") }
        var count = 0
        while !cursor.accept(UInt8(ascii: ")")) {
            guard count < LoginLimits.idPairCountMax else {
                throw Mismatch(reason: "Too many fields")
            }
            if count > 0 { try space(&cursor) }
            _ = try string(&cursor)
            try space(&cursor)
            if !cursor.acceptIgnoringCase("NIL") { _ = try string(&cursor) }
            count += 1
        }
    }

    @_lifetime(cursor: copy cursor)
    private static func space(_ cursor: inout ByteCursor) throws(Mismatch) {
        guard cursor.accept(.space) else { throw Mismatch(reason: "Expected a space") }
    }

    //  astring = 1*ASTRING-CHAR / string
    @_lifetime(cursor: copy cursor)
    private static func astring(_ cursor: inout ByteCursor) throws(Mismatch) -> [UInt8] {
        let range = cursor.take(while: isAstringCharacter)
        return range.isEmpty ? try string(&cursor) : cursor.bytes(range)
    }

    //  string = quoted / literal
    @_lifetime(cursor: copy cursor)
    private static func string(_ cursor: inout ByteCursor) throws(Mismatch) -> [UInt8] {
        if cursor.accept(.quote) { return try quoted(&cursor) }
        guard cursor.accept(UInt8(ascii: "{")),
            let count = cursor.decimal(max: UInt64(LoginLimits.literalBytesMax))
        else { throw Mismatch(reason: "Expected a string") }
        _ = cursor.accept(UInt8(ascii: "+"))
        guard cursor.accept(UInt8(ascii: "}")) else {
            throw Mismatch(reason: "Expected the end of a literal's size")
        }
        _ = cursor.accept(.cr)
        guard cursor.accept(.lf), cursor.remainingCount >= Int(count) else {
            throw Mismatch(reason: "Expected a literal")
        }
        let start = cursor.offset
        cursor.offset += Int(count)
        let bytes = cursor.bytes(start..<cursor.offset)
        guard !bytes.contains(0) else { throw Mismatch(reason: "A string holds NUL") }
        return bytes
    }

    //  quoted = DQUOTE *(<any but CR, LF, NUL, DQUOTE, "\"> / "\" (DQUOTE / "\")) DQUOTE
    @_lifetime(cursor: copy cursor)
    private static func quoted(_ cursor: inout ByteCursor) throws(Mismatch) -> [UInt8] {
        var bytes: [UInt8] = []
        while let byte = cursor.next() {
            switch byte {
            case .quote: return bytes
            case .backslash:
                guard let escaped = cursor.next(), escaped == .quote || escaped == .backslash
                else { throw Mismatch(reason: "Wrong escape in a quoted string") }
                bytes.append(escaped)
            case 0, .cr, .lf: throw Mismatch(reason: "Wrong byte in a quoted string")
            default: bytes.append(byte)
            }
        }
        throw Mismatch(reason: "A quoted string has no end")
    }

    //  ATOM-CHAR    = <any CHAR except "(" / ")" / "{" / SP / CTL / "%" / "*" / DQUOTE / "\" / "]">
    private static func isAtomCharacter(_ byte: UInt8) -> Bool {
        isAstringCharacter(byte) && byte != UInt8(ascii: "]")
    }

    //  ASTRING-CHAR = ATOM-CHAR / "]"
    private static func isAstringCharacter(_ byte: UInt8) -> Bool {
        switch byte {
        case 0...0x20, 0x7F...: false
        case UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "{"), UInt8(ascii: "%"),
            UInt8(ascii: "*"), UInt8(ascii: "\""), UInt8(ascii: "\\"):
            false
        default: true
        }
    }

    //  tag = 1*<any ASTRING-CHAR except "+">
    private static func isTagCharacter(_ byte: UInt8) -> Bool {
        isAstringCharacter(byte) && byte != UInt8(ascii: "+")
    }
}
