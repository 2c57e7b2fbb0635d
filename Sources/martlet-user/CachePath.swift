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
            var missing: [[UInt8]] = []
            var existing = path
            while true {
                do throws(SystemError) {
                    _ = try statusOfPath(existing)
                    break
                } catch {
                    guard error.isMissing, let cut = existing.lastIndex(of: UInt8(ascii: "/")),
                        cut > 0
                    else { throw error }
                    missing.append(Array(existing[(cut + 1)...]))
                    existing = Array(existing[..<cut])
                }
            }
            var directory = try Directory(path: existing)
            for name in missing.reversed() {
                try directory.makeDirectory(name, mode: 0o700)
                directory = try directory.subdirectory(name)
            }
            return path
        } catch {
            Log.warning("event=no-index path=\(path.quotedForLog) reason=\"\(error)\"")
            return nil
        }
    }
}
