import Glibc

/// The command line of martletd.
struct Options: Equatable {
    struct Personal: Equatable {
        var maildir: String?
        var listenIMAP = "127.0.0.1:1143"
        var listenIMAPS = "127.0.0.1:1993"
        var passwordFile: String?
    }

    var configurationFile: String?
    var checksOnly = false
    var isVerbose = false
    var personal: Personal?

    static let usage = """
        usage: martletd [-nv] [-c file]
               martletd --personal [-nv] [-c file] [--maildir dir] [--listen-imap addr:port]
                        [--listen-imaps addr:port] [--password-file file]

        """

    /// Nil where the line is wrong; `wrong` is then the word.
    static func parse(_ arguments: [String], wrong: inout String) -> Options? {
        var options = Options()
        var rest = arguments[...]
        if rest.contains("--personal") { options.personal = Personal() }
        while let argument = rest.popFirst() {
            wrong = argument
            switch argument {
            case "-n": options.checksOnly = true
            case "-v": options.isVerbose = true
            case "-nv", "-vn": (options.checksOnly, options.isVerbose) = (true, true)
            case "--personal": break
            case "-c":
                guard let file = rest.popFirst() else { return nil }
                options.configurationFile = file
            case "--maildir", "--listen-imap", "--listen-imaps", "--password-file":
                guard var personal = options.personal, let value = rest.popFirst(), !value.isEmpty
                else { return nil }
                switch argument {
                case "--maildir": personal.maildir = value
                case "--listen-imap": personal.listenIMAP = value
                case "--listen-imaps": personal.listenIMAPS = value
                default: personal.passwordFile = value
                }
                options.personal = personal
            default: return nil
            }
        }
        return options
    }
}
