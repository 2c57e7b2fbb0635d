import Bytes
import Glibc
import Posix

//  cache_directory of the system service: root's, with a directory for each uid that has had a session
//
//      /var/cache/martlet          root, 0755: nobody else can make or rename a name in it
//      /var/cache/martlet/1000     that user's, 0700
//
//  So no name can be swapped between looking and giving away. A directory that belongs to somebody else,
//  or is a link, stays as it is, and that user is served without an index. Below it martletd touches
//  nothing. A path in the user's home (`~`) is the user's process's own affair.

struct CacheDirectory {
    let path: [UInt8]

    /// Makes the user's directory, or finds it as it has to be.
    func prepare(uid: UInt32, gid: UInt32) throws(SystemError) {
        try Files.makeDirectory(path.text, mode: 0o755)
        let all = try Directory(path: path)
        let status = try all.status()
        guard status.uid == geteuid(), status.permissions & 0o022 == 0 else {
            throw SystemError("open", EPERM, path: path)
        }
        // Made under a strict umask, nobody could go through it.
        if status.permissions & 0o111 != 0o111, fchmod(all.descriptor, 0o755) != 0 {
            throw SystemError("fchmod", path: path)
        }
        let name = Array("\(uid)".utf8)
        do throws(SystemError) { try all.makeDirectory(name, mode: 0o700) } catch {
            guard error.code == EEXIST else { throw error }
        }
        let own = try all.subdirectory(name)
        let owner = try own.status().uid
        if owner == uid { return }
        // One that a crash left between making and giving away is root's, and empty.
        guard owner == geteuid(), try own.names().isEmpty else {
            throw SystemError("open", EPERM, path: own.path)
        }
        guard fchown(own.descriptor, uid, gid) == 0 else {
            throw SystemError("fchown", path: own.path)
        }
    }
}
