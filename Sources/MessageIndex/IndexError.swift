import CLMDB
package import Posix

/// Why an index cannot be used. Never an error to a client: whoever gets one goes on without.
package enum IndexError: Error, Equatable, CustomStringConvertible {
    /// What the machine said.
    case system(SystemError)
    /// What LMDB said, by its code.
    case database(Int32)
    /// The file has become as large as it may.
    case isFull
    /// Another process has it open.
    case inUse
    /// The directory or the file belongs to somebody else, or is no regular one.
    case untrusted
    /// It is of another Maildir, or of another time of this one.
    case foreign
    /// A record that passed its checksum does not fit together.
    case inconsistent
    /// A summary whose writing was cut short.
    case unfinished

    package var description: String {
        switch self {
        case .system(let error): "\(error)"
        case .database(let code): unsafe String(cString: martlet_lmdb_text(code))
        case .isFull: "it is full"
        case .inUse: "another process uses it"
        case .untrusted: "it belongs to somebody else"
        case .foreign: "it is another Maildir's"
        case .unfinished: "its writing was cut short"
        case .inconsistent: "its records do not fit together"
        }
    }

    /// Codes above zero are those of errno.
    init(code: Int32) {
        if code > 0 {
            self = .system(SystemError("lmdb", code))
        } else if code == Int32(MARTLET_LMDB_FULL) {
            self = .isFull
        } else {
            self = .database(code)
        }
    }
}
