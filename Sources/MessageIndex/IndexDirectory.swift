import Bytes
import Glibc
package import Posix

//  Where the indexes of one user are
//
//  One directory for each Maildir below the user's cache directory, named for the Maildir's device and
//  inode. Only its owner may write to it. A directory that nothing was written to for long belongs to a
//  Maildir that is gone, and is removed by whoever opens another one.

package enum IndexDirectory {
    /// Opens the directory of a Maildir's index, making it where it is missing.
    package static func open(
        in cache: [UInt8],
        for maildir: FileIdentity
    ) throws(IndexError) -> Directory {
        try system { () throws(SystemError) in
            let parent = try Directory(path: cache)
            let name = Self.name(of: maildir)
            do throws(SystemError) { return try parent.subdirectory(name) } catch {
                guard error.isMissing else { throw error }
                try parent.makeDirectory(name, mode: 0o700)
                return try parent.subdirectory(name)
            }
        }
    }

    static func name(of maildir: FileIdentity) -> [UInt8] {
        var name = ByteBuffer()
        name.append("maildir-")
        name.append(string: String(maildir.device, radix: 16))
        name.append("-")
        name.append(string: String(maildir.inode, radix: 16))
        return name.bytes
    }

    /// Puts an index aside that a process died of, for whoever wants to look at it; one of them is
    /// kept.
    package static func setAside(_ directory: Directory) {
        do throws(SystemError) {
            try directory.rename(
                MessageIndex.fileName,
                to: directory,
                MessageIndex.fileName + [UInt8](".aside")
            )
            Log.warning("event=index-set-aside path=\(directory.path.quotedForLog)")
        } catch {
            if !error.isMissing { Log.warning("event=index-not-set-aside error=\"\(error)\"") }
        }
    }

    /// Removes what other Maildirs left here a long time ago.
    package static func removeOld(in cache: [UInt8], except maildir: FileIdentity) {
        guard let parent = try? Directory(path: cache), let names = try? parent.names() else {
            return
        }
        let now = WallTime.now.seconds
        for name in names where name.starts(with: [UInt8]("maildir-")) {
            guard name != Self.name(of: maildir), let old = try? parent.subdirectory(name),
                flock(old.descriptor, LOCK_EX | LOCK_NB) == 0,
                let files = try? old.names(),
                // A file of our own is written to at each start.
                files.allSatisfy({ file in
                    (try? old.status(file)).map {
                        now - $0.modified.seconds > Limits.unusedSecondsMax
                    } ?? true
                })
            else { continue }
            for file in files { try? old.unlink(file) }
            try? parent.removeDirectory(name)
        }
    }
}
