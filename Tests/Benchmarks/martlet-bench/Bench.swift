import Glibc

/// One run against one server.
final class Bench {
    let options: Options
    let meter: ServerMeter
    let report = Report()

    init(_ options: Options) {
        self.options = options
        meter = ServerMeter(root: options.server)
        report.hasTable = options.hasTable
    }

    /// The header fields that Thunderbird asks for.
    static let thunderbirdHeaders =
        "(UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID "
        + "Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To Received)])"

    func run(_ measure: String) throws(BenchError) {
        switch measure {
        case "select": try select()
        case "status": try status()
        case "fetch-flags": try read(measure, "UID FETCH 1:* (FLAGS)")
        case "envelope":
            try read(measure, "FETCH 1:* (ENVELOPE INTERNALDATE RFC822.SIZE BODYSTRUCTURE)")
        case "tb-headers": try read(measure, "UID FETCH 1:* \(Self.thunderbirdHeaders)")
        case "bodies": try read(measure, "FETCH 1:* (UID BODY.PEEK[])")
        case "search-from": try read(measure, "SEARCH FROM \"quillon\"")
        case "search-subject": try read(measure, "SEARCH SUBJECT \"rhubarb\"")
        case "search-body": try read(measure, "SEARCH BODY \"quixotry\"")
        case "search-text": try read(measure, "SEARCH TEXT \"zephyrine\"")
        case "search-unseen": try read(measure, "SEARCH UNSEEN")
        case "search-since": try read(measure, "SEARCH SENTSINCE 1-Dec-2023")
        case "sort-date": try read(measure, "SORT (DATE) US-ASCII ALL", needs: "SORT")
        case "sort-subject": try read(measure, "SORT (SUBJECT) US-ASCII ALL", needs: "SORT")
        case "thread-refs":
            try read(
                measure,
                "THREAD REFERENCES US-ASCII ALL",
                needs: "THREAD=REFERENCES"
            )
        case "store-one": try storeOne()
        case "store-flags": try store(measure, "FLAGS (\\Flagged)")
        case "store-keyword": try store(measure, "FLAGS (BenchWord)")
        case "store-silent": try store(measure, "FLAGS.SILENT (\\Flagged)")
        case "store-others": try storeOthers()
        case "copy": try copy()
        case "append": try append()
        case "greet": try greet()
        case "login": try login()
        case "idle": try idle()
        case "notify": try notify()
        case "mixed": try mixed()
        default: throw BenchError("\(measure): no such measure")
        }
    }

    // MARK: Tools

    /// A connection that is logged in.
    func connect(_ user: Int = 0) throws(BenchError) -> Connection {
        let connection = try Connection(options.target)
        let users = options.target.users
        try connection.login(users[user % users.count], options.target.password)
        return connection
    }

    func selected() throws(BenchError) -> Connection {
        let connection = try connect()
        try connection.require("SELECT \(Connection.quoted(options.mailbox))")
        return connection
    }

    func state(_ repetition: Int) -> String {
        options.states.isEmpty
            ? "warm" : options.states[min(repetition, options.states.count - 1)]
    }

    /// CPU used since `before`, for one of `count` things; nil where no process was named.
    func cpu(since before: Double, for count: Int = 1) -> Double? {
        guard meter.root != nil else { return nil }
        return (meter.cpuMilliseconds() - before) / Double(max(count, 1))
    }

    /// Runs a command that must succeed and reports it.
    @discardableResult
    func timed(
        _ measure: String,
        _ state: String,
        _ connection: Connection,
        _ command: String
    ) throws(BenchError) -> Reply {
        let before = meter.cpuMilliseconds()
        let began = milliseconds()
        let reply = try connection.require(command)
        let wall = milliseconds() - began
        let used = cpu(since: before)
        report.add(
            measure,
            state,
            wall: wall,
            cpu: used,
            n: reply.lines,
            [("bytes", "\(reply.bytes)")]
        )
        return reply
    }

    // MARK: Reading one mailbox

    private func select() throws(BenchError) {
        let command = "SELECT \(Connection.quoted(options.mailbox))"
        // All log in first: a login costs more than a SELECT.
        var connections: [Connection] = []
        for _ in 0..<max(options.repeats, 1) { connections.append(try connect()) }
        var walls: [Double] = []
        let before = meter.cpuMilliseconds()
        for connection in connections {
            let began = milliseconds()
            try connection.require(command)
            walls.append(milliseconds() - began)
        }
        let used = cpu(since: before, for: walls.count)
        report.add(
            "select",
            state(0),
            wall: Distribution(walls).median,
            cpu: used,
            n: walls.count
        )
        guard state(0) == "warm" else { return }
        var again: [Double] = []
        let beforeAgain = meter.cpuMilliseconds()
        for _ in 0..<20 {
            let began = milliseconds()
            try connections[0].require(command)
            again.append(milliseconds() - began)
        }
        let usedAgain = cpu(since: beforeAgain, for: again.count)
        report.add(
            "reselect",
            state(0),
            wall: Distribution(again).median,
            cpu: usedAgain,
            n: again.count
        )
        for connection in connections { connection.logout() }
    }

    private func status() throws(BenchError) {
        let connection = try connect()
        let command =
            "STATUS \(Connection.quoted(options.mailbox)) (MESSAGES UIDNEXT UNSEEN RECENT)"
        try connection.require(command)
        var walls: [Double] = []
        let before = meter.cpuMilliseconds()
        for _ in 0..<20 {
            let began = milliseconds()
            try connection.require(command)
            walls.append(milliseconds() - began)
        }
        let used = cpu(since: before, for: walls.count)
        report.add("status", state(0), wall: Distribution(walls).median, cpu: used, n: walls.count)
        connection.logout()
    }

    /// One command over the whole mailbox, each time in a fresh connection.
    private func read(_ measure: String, _ command: String, needs name: String? = nil)
        throws(BenchError)
    {
        for repetition in 0..<options.repeats {
            let connection = try selected()
            if let name, !connection.can(name) {
                print("# \(measure): the server does not offer \(name)")
                return
            }
            try timed(measure, state(repetition), connection, command)
            connection.logout()
        }
    }
}
