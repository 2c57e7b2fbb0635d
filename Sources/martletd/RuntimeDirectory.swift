import Bytes
import Configuration
import Glibc
import Posix

/// The empty directory that martlet-tls and martlet-login are locked in: root's, and nothing can
/// be made in it by anybody else.
struct RuntimeDirectory {
    let empty: [UInt8]
    private let temporary: String?

    init(_ plan: Plan) throws(SystemError) {
        if plan.isPersonal {
            // A personal run leaves nothing on the system.
            var template = Array("/tmp/martlet.XXXXXX".utf8).map { CChar(bitPattern: $0) } + [0]
            guard unsafe mkdtemp(&template) != nil else { throw SystemError("mkdtemp") }
            let path = template.dropLast().map { UInt8(bitPattern: $0) }
            temporary = path.text
            empty = path
        } else {
            let path = plan.settings.runtimeDirectory
            try Files.makeDirectory(path + "/empty", mode: 0o755)
            temporary = nil
            empty = Array((path + "/empty").utf8)
        }
        try Self.check(empty)
    }

    private static func check(_ path: [UInt8]) throws(SystemError) {
        var status = stat()
        guard unsafe lstat(path.text, &status) == 0 else { throw SystemError("lstat", path: path) }
        let isDirectory = status.st_mode & S_IFMT == S_IFDIR
        guard isDirectory, status.st_uid == 0, status.st_mode & 0o022 == 0 else {
            throw SystemError("lstat", EPERM, path: path)
        }
    }

    func remove() {
        guard let temporary else { return }
        _ = unsafe rmdir(temporary)
    }
}
