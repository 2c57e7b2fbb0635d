import Glibc

/// Measures that change mail.
extension Bench {
    /// A flag of one message taken away and put back at once, again and again.
    func storeOne() throws(BenchError) {
        let connection = try selected()
        try connection.require("STORE 1 +FLAGS (\\Seen)")
        var change: [Double] = []
        var undo: [Double] = []
        let before = meter.cpuMilliseconds()
        for _ in 0..<40 {
            var began = milliseconds()
            try connection.require("STORE 1 -FLAGS (\\Seen)")
            change.append(milliseconds() - began)
            began = milliseconds()
            try connection.require("STORE 1 +FLAGS (\\Seen)")
            undo.append(milliseconds() - began)
        }
        let used = cpu(since: before, for: 80)
        let one = Distribution(change)
        let other = Distribution(undo)
        report.add(
            "store-one",
            state(0),
            wall: one.median,
            cpu: used,
            n: 40,
            [("p99_ms", text(one.at(0.99)))]
        )
        report.add(
            "store-undone",
            state(0),
            wall: other.median,
            cpu: used,
            n: 40,
            [("p99_ms", text(other.at(0.99)))]
        )
        connection.logout()
    }

    /// All messages, then the opposite.
    func store(_ measure: String, _ what: String) throws(BenchError) {
        let connection = try selected()
        for _ in 0..<options.repeats {
            try timed(measure, "add", connection, "STORE 1:* +\(what)")
            try timed(measure, "remove", connection, "STORE 1:* -\(what)")
        }
        connection.logout()
    }

    /// How long another session of the same user waits meanwhile.
    func storeOthers() throws(BenchError) {
        let connection = try selected()
        let other = try connect()
        let storing = Shared(connection)
        let asking = Shared(other)
        let isOver = Flag()
        let options = options
        // The other session asks once a millisecond, until the STOREs are over.
        let waits = parallel(2) { index -> [Double] in
            guard index == 0 else {
                sleep(milliseconds: 50)
                for _ in 0..<options.repeats {
                    _ = try? storing.value.require("STORE 1:* +FLAGS.SILENT (\\Flagged)")
                    _ = try? storing.value.require("STORE 1:* -FLAGS.SILENT (\\Flagged)")
                }
                isOver.isSet = true
                return []
            }
            var waits: [Double] = []
            while !isOver.isSet {
                let began = milliseconds()
                guard (try? asking.value.require("NOOP")) != nil else { break }
                waits.append(milliseconds() - began)
                sleep(milliseconds: 1)
            }
            return waits
        }
        let walls = waits.flatMap { $0 }
        let all = Distribution(walls)
        report.add(
            "store-others",
            state(0),
            wall: all.at(0.99),
            cpu: nil,
            n: walls.count,
            [("p50_ms", text(all.median)), ("max_ms", text(all.sorted.last ?? .nan))]
        )
        connection.logout()
        other.logout()
    }

    /// COPY of the whole mailbox, MOVE of the copy, EXPUNGE of what was moved.
    func copy() throws(BenchError) {
        for _ in 0..<options.repeats {
            let connection = try selected()
            for name in ["BenchCopy", "BenchMove"] {
                _ = try connection.run("DELETE \(name)")
                try connection.require("CREATE \(name)")
            }
            try timed("copy", state(0), connection, "COPY 1:* BenchCopy")
            try connection.require("SELECT BenchCopy")
            if connection.can("MOVE") {
                try timed("move", state(0), connection, "MOVE 1:* BenchMove")
                try connection.require("SELECT BenchMove")
            }
            try timed(
                "store-deleted",
                state(0),
                connection,
                "STORE 1:* +FLAGS.SILENT (\\Deleted)"
            )
            try timed("expunge", state(0), connection, "EXPUNGE")
            try connection.require("SELECT INBOX")
            for name in ["BenchCopy", "BenchMove"] { _ = try connection.run("DELETE \(name)") }
            connection.logout()
        }
    }

    /// Appends: each connection its share, so many at a time on the way.
    ///
    /// A mailbox that is deleted, as one from the run before, slows the next down on some filesystems:
    /// ext4 without a journal looks at each inode that was freed in the last minutes before it takes a
    /// free one. Where that matters more than a mailbox less, `--leave` leaves it.
    func append() throws(BenchError) {
        let mailbox = options.leavesMail ? "BenchAppend-\(time(nil))-\(getpid())" : "BenchAppend"
        let messages = appendedMessages()
        let sizes = messages.reduce(0) { $0 + $1.count } / messages.count
        let options = options
        var connections: [Shared<Connection>] = []
        for index in 0..<max(options.connections, 1) {
            let connection = try connect(index)
            if index < options.target.users.count {
                if !options.leavesMail { _ = try connection.run("DELETE \(mailbox)") }
                try connection.require("CREATE \(mailbox)")
            }
            connections.append(Shared(connection))
        }
        let ready = connections
        let before = meter.cpuMilliseconds()
        let began = milliseconds()
        let results = parallel(connections.count) { index -> [Double]? in
            let connection = ready[index].value
            return try? Bench.appendAll(connection, mailbox, messages, index, options)
        }
        let wall = milliseconds() - began
        let walls = results.compactMap { $0 }.flatMap { $0 }
        let used = cpu(since: before, for: walls.count)
        guard walls.count == connections.count * options.count else {
            throw BenchError("append: a connection failed")
        }
        let all = Distribution(walls)
        let users = min(options.target.users.count, connections.count)
        report.add(
            "append",
            "c\(connections.count)-u\(users)-p\(options.pipeline)",
            wall: wall / Double(max(walls.count, 1)),
            cpu: used,
            n: walls.count,
            [
                ("per_s", text(Double(walls.count) / wall * 1_000)), ("bytes", "\(sizes)"),
                ("p50_ms", text(all.median)), ("p99_ms", text(all.at(0.99))),
            ]
        )
        for (index, connection) in connections.enumerated() {
            if index < options.target.users.count, !options.leavesMail {
                _ = try connection.value.run("DELETE \(mailbox)")
            }
            connection.value.logout()
        }
    }

    /// About 36 KB on average, with CRLF, as a client sends them.
    private func appendedMessages() -> [[UInt8]] {
        let corpus = Corpus(kind: .mixed, seed: 77)
        var messages: [[UInt8]] = []
        for index in 0..<64 {
            var message: [UInt8] = []
            for byte in corpus.message(index) {
                if byte == 10 { message.append(13) }
                message.append(byte)
            }
            messages.append(message)
        }
        return messages
    }

    private static func appendAll(
        _ connection: Connection,
        _ mailbox: String,
        _ messages: [[UInt8]],
        _ number: Int,
        _ options: Options
    ) throws(BenchError) -> [Double] {
        var walls: [Double] = []
        var onTheWay: [(tag: [UInt8], began: Double)] = []
        var sent = 0
        while walls.count < options.count {
            while sent < options.count, onTheWay.count < max(options.pipeline, 1) {
                let began = milliseconds()
                let message = messages[(number * 7 + sent) % messages.count]
                onTheWay.append((try connection.beginAppend(mailbox, message), began))
                sent += 1
            }
            let first = onTheWay.removeFirst()
            guard try connection.reply(to: first.tag).isOK else {
                throw BenchError("APPEND was refused")
            }
            walls.append(milliseconds() - first.began)
        }
        return walls
    }
}

/// Hands something to a thread that alone uses it from then on.
struct Shared<Value>: @unchecked Sendable {
    let value: Value

    init(_ value: Value) { self.value = value }
}

/// Set once by one thread and looked at by another.
final class Flag: @unchecked Sendable {
    private var lock = pthread_mutex_t()
    private var value = false

    init() { pthread_mutex_init(&lock, nil) }

    var isSet: Bool {
        get {
            pthread_mutex_lock(&lock)
            defer { pthread_mutex_unlock(&lock) }
            return value
        }
        set {
            pthread_mutex_lock(&lock)
            value = newValue
            pthread_mutex_unlock(&lock)
        }
    }
}
