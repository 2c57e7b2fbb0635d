import Glibc

//  A load such as a house full of Thunderbirds makes: each connection does one thing after the
//  other, without a pause, by shares that are fixed and dice that are seeded.

extension Bench {
    private enum Operation: String, CaseIterable {
        case select, fetchFlags, fetchHeaders, fetchBody, store, noop, status, search, append
        case copy, idle, list

        /// How many of a hundred.
        var share: Int {
            switch self {
            case .select: 6
            case .fetchFlags: 8
            case .fetchHeaders: 13
            case .fetchBody: 22
            case .store: 10
            case .noop: 12
            case .status: 8
            case .search: 3
            case .append: 3
            case .copy: 3
            case .idle: 7
            case .list: 5
            }
        }
    }

    private struct Tally: Sendable {
        var walls: [String: [Double]] = [:]
        var failures = 0
        var bytes = 0
    }

    func mixed() throws(BenchError) {
        let options = options
        let users = options.target.users.count
        for user in 0..<users {
            let connection = try connect(user)
            for name in ["BenchSent", "BenchTrash"] { _ = try connection.run("CREATE \(name)") }
            connection.logout()
        }
        let total = users * max(options.connections, 1)
        var connections: [Shared<Connection>] = []
        for index in 0..<total { connections.append(Shared(try connect(index))) }
        let ready = connections
        let before = meter.cpuMilliseconds()
        let began = milliseconds()
        let end = began + Double(options.seconds) * 1_000
        let corpus = Corpus(kind: .small, seed: 78)
        let messages = (0..<32).map { corpus.message($0) }
        let tallies = parallel(total) { index in
            Bench.load(ready[index].value, seed: UInt64(index), until: end, messages)
        }
        let wall = milliseconds() - began
        let used = cpu(since: before)
        var all = Tally()
        for tally in tallies {
            all.walls.merge(tally.walls) { $0 + $1 }
            all.failures += tally.failures
            all.bytes += tally.bytes
        }
        let count = all.walls.values.reduce(0) { $0 + $1.count }
        report.add(
            "mixed",
            "all",
            wall: wall / Double(max(count, 1)),
            cpu: used.map { $0 / Double(max(count, 1)) },
            n: count,
            [
                ("per_s", text(Double(count) / wall * 1_000)), ("failures", "\(all.failures)"),
                ("bytes", "\(all.bytes)"),
            ]
        )
        for operation in Operation.allCases {
            guard let walls = all.walls[operation.rawValue] else { continue }
            let times = Distribution(walls)
            report.add(
                "mixed",
                operation.rawValue,
                wall: times.median,
                cpu: nil,
                n: walls.count,
                [("p99_ms", text(times.at(0.99)))]
            )
        }
        for user in 0..<users {
            for name in ["BenchSent", "BenchTrash"] {
                _ = try ready[user].value.run("DELETE \(name)")
            }
        }
    }

    private static func load(
        _ connection: Connection,
        seed: UInt64,
        until end: Double,
        _ messages: [[UInt8]]
    ) -> Tally {
        var tally = Tally()
        var random = SeededRandom(seed: seed)
        let deck = Operation.allCases.flatMap { Array(repeating: $0, count: $0.share) }
        guard let reply = try? connection.run("SELECT INBOX"), reply.isOK else {
            tally.failures += 1
            return tally
        }
        while milliseconds() < end {
            let operation = random.pick(deck)
            let began = milliseconds()
            guard let reply = try? perform(operation, connection, &random, messages) else {
                tally.failures += 1
                return tally
            }
            tally.walls[operation.rawValue, default: []].append(milliseconds() - began)
            tally.bytes += reply.bytes
            if !reply.isOK { tally.failures += 1 }
        }
        return tally
    }

    private static func perform(
        _ operation: Operation,
        _ connection: Connection,
        _ random: inout SeededRandom,
        _ messages: [[UInt8]]
    ) throws(BenchError) -> Reply {
        // Mailboxes of the mixed load have a hundred messages at least.
        let number = 1 + random.below(100)
        let sign = random.isOne(of: 50) ? "+" : "-"
        switch operation {
        case .select: return try connection.run("SELECT INBOX")
        case .fetchFlags: return try connection.run("UID FETCH 1:* (FLAGS)")
        case .fetchHeaders:
            return try connection.run("FETCH \(number):\(number + 20) \(thunderbirdHeaders)")
        case .fetchBody:
            return try connection.run("FETCH \(number) (UID RFC822.SIZE BODY.PEEK[])")
        case .store: return try connection.run("STORE \(number) \(sign)FLAGS (\\Flagged)")
        case .noop: return try connection.run("NOOP")
        case .status: return try connection.run("STATUS BenchSent (UIDNEXT MESSAGES UNSEEN RECENT)")
        case .search: return try connection.run("SEARCH SUBJECT \"rhubarb\"")
        case .append:
            let tag = try connection.beginAppend("BenchSent", random.pick(messages))
            return try connection.reply(to: tag)
        case .copy: return try connection.run("COPY \(number) BenchTrash")
        case .idle:
            let tag = connection.begin("IDLE")
            while try connection.line().first != UInt8(ascii: "+") {}
            connection.send("DONE\r\n")
            return try connection.reply(to: tag)
        case .list: return try connection.run("LIST \"\" \"*\"")
        }
    }
}
