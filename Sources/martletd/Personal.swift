import Bytes
import Configuration
import Glibc
import Posix
import Privsep

/// Personal mode: whoever starts martletd serves one Maildir to themselves.
struct Personal {
    private let imap: [ListenAddress]
    private let imaps: [ListenAddress]
    private let maildir: [UInt8]?
    private let passwordFile: String?

    /// Looks at the options, and ends the run where they cannot be.
    init(_ options: Options.Personal) {
        imap = Self.addresses(options.listenIMAP, "--listen-imap")
        imaps = Self.addresses(options.listenIMAPS, "--listen-imaps")
        if imap.isEmpty, imaps.isEmpty {
            complain([
                "martletd: --listen-imap and --listen-imaps are both none; nobody could connect"
            ])
            exit(2)
        }
        maildir = options.maildir.map(Self.absolute)
        passwordFile = options.passwordFile
    }

    func apply(to plan: inout Plan) {
        plan.settings.listenIMAP = imap
        plan.settings.listenIMAPS = imaps
        if let maildir { plan.personalMaildir = maildir }
        plan.personalPassword = Self.password(passwordFile)
    }

    private static func addresses(_ text: String, _ option: String) -> [ListenAddress] {
        if text == "none" { return [] }
        do throws(ValueError) {
            return try [ListenAddress.parse(text)]
        } catch {
            complain(["martletd: \(option): \(error.message)"])
            exit(2)
        }
    }

    private static func absolute(_ path: String) -> [UInt8] {
        var bytes = Array(path.utf8)
        if bytes.first != UInt8(ascii: "/") {
            var room = [CChar](repeating: 0, count: 4_096)
            guard unsafe getcwd(&room, room.count) != nil else {
                complain(["martletd: --maildir: the working directory is gone"])
                exit(1)
            }
            let directory = room.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            bytes = directory + [UInt8(ascii: "/")] + bytes
        }
        while bytes.count > 1, bytes.last == UInt8(ascii: "/") { bytes.removeLast() }
        // Said now, and not at the first login to a client.
        let wrong = wrongWithMaildir(bytes)
        if let wrong {
            complain(["martletd: --maildir: \(wrong)"])
            exit(1)
        }
        return bytes
    }

    /// Nil where it is a directory, or can be one: it is made at the first login.
    private static func wrongWithMaildir(_ path: [UInt8]) -> String? {
        var status = stat()
        let isThere = unsafe stat(path.text, &status) == 0
        if isThere {
            return status.st_mode & S_IFMT == S_IFDIR ? nil : "\(path.text) is no directory"
        }
        guard errno == ENOENT, let cut = path.lastIndex(of: UInt8(ascii: "/")) else {
            return "\(SystemError("stat", path: path))"
        }
        let parent = cut == 0 ? "/" : Array(path[..<cut]).text
        return unsafe stat(parent, &status) == 0
            ? nil : "\(SystemError("stat", path: Array(parent.utf8)))"
    }

    private static func password(_ file: String?) -> Password {
        guard let file else {
            let made = makePassword()
            print("password: \(made.text)")
            return Password(Secret(made))
        }
        do throws(SystemError) {
            let text = try Files.read(file, max: 65_536)
            var line = Array(text.prefix { $0 != .lf })
            if line.last == .cr { line.removeLast() }
            guard !line.isEmpty, line.count <= FieldLimits.passwordBytesMax, !line.contains(0)
            else {
                complain(["martletd: \(file): its first line is no password"])
                exit(1)
            }
            return Password(Secret(line))
        } catch {
            complain(["martletd: --password-file: \(error)"])
            exit(1)
        }
    }

    /// Twenty letters and digits that nobody mistakes for one another: 98 bits.
    private static func makePassword() -> [UInt8] {
        let alphabet = Array("abcdefghjkmnpqrstuvwxyz23456789".utf8)
        var generator = SystemRandomNumberGenerator()
        return (0..<20).map { _ in
            alphabet[Int.random(in: alphabet.indices, using: &generator)]
        }
    }
}
