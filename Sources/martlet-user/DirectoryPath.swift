import Glibc
import Posix

/// Directories that are made with the user's own rights.
enum DirectoryPath {
    /// Makes what is missing of the path, but not the directory `base` nor what is above it.
    static func make(_ path: [UInt8], below base: [UInt8]) throws(SystemError) {
        var missing: [[UInt8]] = []
        var existing = path
        while true {
            do throws(SystemError) {
                _ = try statusOfPath(existing)
                break
            } catch {
                guard error.isMissing, existing != base,
                    let cut = existing.lastIndex(of: UInt8(ascii: "/")), cut > 0
                else { throw error }
                missing.append(Array(existing[(cut + 1)...]))
                existing = Array(existing[..<cut])
            }
        }
        guard !missing.isEmpty else { return }
        var directory = try Directory(path: existing)
        for name in missing.reversed() {
            try directory.makeDirectory(name, mode: 0o700)
            directory = try directory.subdirectory(name)
        }
    }
}
