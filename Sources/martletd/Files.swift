import Bytes
import Glibc
import Posix

/// The few files that martletd itself reads and writes: configuration, keys, a certificate.
enum Files {
    static func read(_ path: String, max: Int) throws(SystemError) -> [UInt8] {
        let raw = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard raw >= 0 else { throw SystemError("open", path: Array(path.utf8)) }
        let file = OwnedDescriptor(raw)
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = unsafe Glibc.read(file.raw, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw SystemError("read", path: Array(path.utf8)) }
            if count == 0 { return bytes }
            bytes += chunk[..<count]
            guard bytes.count <= max else {
                throw SystemError("read", EFBIG, path: Array(path.utf8))
            }
        }
    }

    static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    /// Writes a file that only its owner reads, whole or not at all.
    static func store(_ bytes: [UInt8], at path: String) throws(SystemError) {
        let temporary = path + ".\(getpid()).tmp"
        _ = unsafe unlink(temporary)
        let raw = unsafe open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard raw >= 0 else { throw SystemError("open", path: Array(temporary.utf8)) }
        let file = OwnedDescriptor(raw)
        do throws(SystemError) {
            try file.writeAll(bytes)
            try file.close()
        } catch {
            _ = unsafe unlink(temporary)
            throw error
        }
        guard unsafe rename(temporary, path) == 0 else {
            throw SystemError("rename", path: Array(path.utf8))
        }
    }

    /// Makes a directory and those above it.
    static func makeDirectory(_ path: String, mode: mode_t) throws(SystemError) {
        var prefix = ""
        for part in path.split(separator: "/") {
            prefix += "/" + part
            guard unsafe mkdir(prefix, mode) != 0, errno != EEXIST else { continue }
            guard errno == EACCES || errno == EROFS, exists(prefix) else {
                throw SystemError("mkdir", path: Array(prefix.utf8))
            }
        }
    }
}
