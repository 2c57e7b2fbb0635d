import Bytes
import Glibc
import Maildir
import Posix

//  martlet-state: what no other file of the Maildir can say
//
//      martlet-state 1
//      defaults made
//      use \Archive Old.Mail               special use, storage name in modified UTF-7
//
//  In the root of the Maildir. Written by this process alone (`martlet-lock`), replaced as a whole by
//  way of `martlet-state.tmp`: a crash leaves the old file or the new one. Lines that are not
//  understood are kept. Without the file nothing is lost but which mailbox is which.

struct StateFile: Equatable, Sendable {
    var uses: [MailboxPath: [UInt8]] = [:]
    var hasDefaults = false
    private var otherLines: [[UInt8]] = []

    static let name = [UInt8]("martlet-state")

    static func load(root: Directory) throws(SystemError) -> StateFile {
        do throws(SystemError) {
            return StateFile(try root.readFile(name, max: Limits.stateBytesMax))
        } catch {
            if error.isMissing { return StateFile([]) }
            throw error
        }
    }

    init(_ file: [UInt8]) {
        for line in file.split(separator: .lf) {
            let words = line.split(separator: .space, maxSplits: 2)
            switch words.first.map({ Array($0).text }) {
            case "martlet-state": continue
            case "defaults": hasDefaults = true
            case "use":
                guard words.count == 3, let path = MailboxPath(storageName: words[2]) else {
                    fallthrough
                }
                uses[path] = Array(words[1])
            default: otherLines.append(Array(line))
            }
        }
    }

    var file: [UInt8] {
        var buffer = ByteBuffer()
        buffer.append("martlet-state 1\n")
        if hasDefaults { buffer.append("defaults made\n") }
        var lines: [[UInt8]] = []
        for (path, use) in uses {
            guard let name = try? path.storageName(.modifiedUTF7) else { continue }
            lines.append([UInt8]("use ") + use + [.space] + name)
        }
        lines.sort { $0.lexicographicallyPrecedes($1) }
        for line in lines + otherLines {
            buffer.append(line)
            buffer.append(.lf)
        }
        return buffer.bytes
    }

    func store(root: Directory) throws(SystemError) {
        let mode = try root.status().permissions & 0o666 | 0o600
        try root.replaceFile(
            Self.name,
            via: Self.name + [UInt8](".tmp"),
            with: file,
            mode: mode
        )
    }
}
