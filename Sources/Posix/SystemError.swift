import Glibc

/// A system call that failed. What a client learns of it is decided elsewhere; this is for the log.
package struct SystemError: Error, Equatable, CustomStringConvertible {
    /// The call, as its man page names it.
    package let call: String
    /// The value of errno.
    package let code: CInt
    /// What it was about, where that is known.
    package let path: [UInt8]

    package init(_ call: StaticString, _ code: CInt = errno, path: [UInt8] = []) {
        self.call = "\(call)"
        self.code = code
        self.path = path
    }

    package var isMissing: Bool { code == ENOENT }
    package var isNoSpace: Bool { code == ENOSPC || code == EDQUOT }

    package var description: String {
        let reason = unsafe String(cString: strerror(code))
        return path.isEmpty ? "\(call): \(reason)" : "\(call) \(path.quotedForLog): \(reason)"
    }
}

extension [UInt8] {
    /// As one word of a log line: quoted, with escapes, where it holds anything but plain
    /// printable ASCII.
    package var quotedForLog: String {
        let isPlain =
            !isEmpty
            && allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != 0x22 && $0 != 0x5C && $0 != 0x3D }
        if isPlain { return String(decoding: self, as: UTF8.self) }
        var quoted = "\""
        for byte in self {
            switch byte {
            case 0x22: quoted += "\\\""
            case 0x5C: quoted += "\\\\"
            case 0x20..<0x7F: quoted.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16)
                quoted += "\\x" + (digits.count == 1 ? "0" : "") + digits
            }
        }
        return quoted + "\""
    }
}
