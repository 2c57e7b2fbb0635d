import Glibc

/// The command line of martlet-bench.
struct Options: Sendable {
    var target = Target()
    var measures: [String] = []
    var mailbox = "INBOX"
    var repeats = 3
    var states: [String] = ["warm"]
    var connections = 1
    var pipeline = 1
    var count = 200
    var seconds = 10
    var gap = 1_000
    var maildir = ""
    var note = ""
    var server: Int32?
    var hasTable = true
    /// Mailboxes that were filled stay.
    var leavesMail = false

    // Of `corpus`.
    var seed: UInt64 = 1
    var messages = 10_000
    var kind = Corpus.Kind.mixed
    var out = ""
    var owner: (uid: uid_t, gid: gid_t)?

    static let help = """
        martlet-bench: measures an IMAP server from outside.

        usage: martlet-bench run --host HOST --port PORT [--tls] --user USER[,USER...]
                                 --password PASSWORD [options] MEASURE...
               martlet-bench corpus --seed N --messages N --out DIR [--small] [--owner UID:GID]

        It prints one line a result, `measure=... state=... wall_ms=... n=...`, and at the end a
        table of medians, whose lines begin with "#". With --server-pid (on the server's host, as
        root) lines have `cpu_ms=` too: utime and stime of that process and all below it.

        measures that only read one mailbox (--mailbox):
          select           SELECT in fresh connections, then `reselect`, SELECT again in one
          fetch-flags      UID FETCH 1:* (FLAGS)
          envelope         FETCH 1:* (ENVELOPE INTERNALDATE RFC822.SIZE BODYSTRUCTURE)
          tb-headers       the header fetch of Thunderbird
          bodies           FETCH 1:* (UID BODY.PEEK[])
          search-from search-subject search-body search-text search-unseen search-since
          sort-date sort-subject thread-refs     where the server offers them
          status           STATUS from outside
        measures that change mail, and then undo it:
          store-one        40 times -FLAGS (\\Seen), +FLAGS (\\Seen) of one message
          store-flags store-keyword store-silent     STORE 1:*, and the opposite
          store-others     NOOP in another connection of the user during such a STORE
          copy             COPY 1:*, MOVE 1:* of the copy, STORE \\Deleted, EXPUNGE
          append           --connections, --pipeline, --count each; mailbox BenchAppend
        measures of connections:
          greet            connect to greeting, --count times
          login            connect, LOGIN, LOGOUT with --connections at a time, for --seconds
          idle             --connections sessions in IDLE: memory of the server's processes
          notify           the same, and --count deliveries into --maildir of the first user
          mixed            --connections of each user, for --seconds

        options:
          --mailbox NAME       default INBOX
          --repeat N           default 3
          --states A,B,...     names of the first, second ... repetition (the last for all more)
          --note WORD          put behind the state in the results of login
          --connections N --pipeline N --count N --seconds N
          --gap MS             between deliveries, default 1000
          --maildir DIR        where deliveries go (new/ is in it)
          --server-pid PID     whose CPU and memory to read
          --leave              append: fill a new mailbox, BenchAppend-TIME, and leave it there
          --no-table           lines for programs only

        """

    /// Nil where the line is wrong; `wrong` is then the word.
    static func parse(_ arguments: ArraySlice<String>, wrong: inout String) -> Options? {
        var options = Options()
        var rest = arguments
        while let argument = rest.popFirst() {
            wrong = argument
            guard argument.hasPrefix("--") else {
                options.measures.append(argument)
                continue
            }
            switch argument {
            case "--tls": options.target.isTLS = true
            case "--no-table": options.hasTable = false
            case "--leave": options.leavesMail = true
            case "--small": options.kind = .small
            default:
                guard let value = rest.popFirst(), options.set(argument, value) else { return nil }
            }
        }
        return options
    }

    private mutating func set(_ name: String, _ value: String) -> Bool {
        /// Everything that counts is bounded, so that a slip of the finger ends.
        func number(_ place: WritableKeyPath<Options, Int>, max: Int) -> Bool {
            guard let number = Int(value), (0...max).contains(number) else { return false }
            self[keyPath: place] = number
            return true
        }
        switch name {
        case "--host": target.host = value
        case "--port":
            guard let port = UInt16(value) else { return false }
            target.port = port
        case "--user": target.users = value.split(separator: ",").map(String.init)
        case "--password": target.password = value
        case "--mailbox": mailbox = value
        case "--states": states = value.split(separator: ",").map(String.init)
        case "--maildir": maildir = value
        case "--note": note = "-" + value
        case "--out": out = value
        case "--repeat": return number(\.repeats, max: 1_000)
        case "--connections": return number(\.connections, max: 20_000)
        case "--pipeline": return number(\.pipeline, max: 1_000)
        case "--count": return number(\.count, max: 1_000_000)
        case "--seconds": return number(\.seconds, max: 3_600)
        case "--gap": return number(\.gap, max: 600_000)
        case "--messages": return number(\.messages, max: 10_000_000)
        case "--seed":
            guard let number = UInt64(value) else { return false }
            seed = number
        case "--server-pid":
            guard let number = Int32(value) else { return false }
            server = number
        case "--owner":
            let parts = value.split(separator: ":").compactMap { UInt32($0) }
            guard parts.count == 2 else { return false }
            owner = (parts[0], parts[1])
        default: return false
        }
        return true
    }
}
