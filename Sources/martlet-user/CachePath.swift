import Glibc
import Posix

/// The directory with the indexes of this user's Maildirs.
enum CachePath {
    /// Makes what is missing of the path, with the user's own rights: below the home for a path that
    /// begins there; what martletd has made is there already. Nil, with a line in the log, where there
    /// is no such directory in the end.
    static func prepare(_ path: [UInt8]) -> [UInt8]? {
        guard !path.isEmpty else { return nil }
        do throws(SystemError) {
            try DirectoryPath.make(path, below: [])
            return path
        } catch {
            Log.warning("event=no-index path=\(path.quotedForLog) reason=\"\(error)\"")
            return nil
        }
    }
}
