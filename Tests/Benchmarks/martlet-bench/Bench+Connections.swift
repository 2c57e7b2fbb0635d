import Glibc

/// Measures of connecting, of being idle, and of hearing of new mail.
extension Bench {
    func greet() throws(BenchError) {
        let kind = options.target.isTLS ? "tls" : "plain"
        var walls: [Double] = []
        var connections: [Connection] = []
        let before = meter.cpuMilliseconds()
        for _ in 0..<max(options.count, 1) {
            let began = milliseconds()
            connections.append(try Connection(options.target))
            walls.append(milliseconds() - began)
            if connections.count == 16 { connections.removeAll() }
        }
        let used = cpu(since: before, for: walls.count)
        let all = Distribution(walls)
        report.add(
            "greet",
            kind,
            wall: all.median,
            cpu: used,
            n: walls.count,
            [("p99_ms", text(all.at(0.99)))]
        )
    }

    /// Connect, greeting, LOGIN, LOGOUT.
    func login() throws(BenchError) {
        let options = options
        let before = meter.cpuMilliseconds()
        let began = milliseconds()
        let end = began + Double(options.seconds) * 1_000
        let results = parallel(max(options.connections, 1)) { index -> [Double] in
            var walls: [Double] = []
            while milliseconds() < end, walls.count < options.count {
                let began = milliseconds()
                let users = options.target.users
                guard let connection = try? Connection(options.target),
                    (try? connection.require(
                        "LOGIN \(Connection.quoted(users[index % users.count])) "
                            + Connection.quoted(options.target.password)
                    )) != nil
                else { break }
                walls.append(milliseconds() - began)
                connection.logout()
            }
            return walls
        }
        let wall = milliseconds() - began
        let walls = results.flatMap { $0 }
        let used = cpu(since: before, for: walls.count)
        guard results.allSatisfy({ !$0.isEmpty }) else { throw BenchError("login: refused") }
        let all = Distribution(walls)
        report.add(
            "login",
            "c\(results.count)" + (options.target.isTLS ? "-tls" : "") + options.note,
            wall: wall / Double(max(walls.count, 1)),
            cpu: used,
            n: walls.count,
            [
                ("per_s", text(Double(walls.count) / wall * 1_000)), ("p50_ms", text(all.median)),
                ("p99_ms", text(all.at(0.99))),
            ]
        )
    }

    /// Sessions that have said IDLE.
    private func openIdle() throws(BenchError) -> [Connection] {
        let options = options
        let openers = min(4, max(options.connections, 1))
        let opened = parallel(openers) { opener -> [Shared<Connection>] in
            var list: [Shared<Connection>] = []
            for index in stride(from: opener, to: max(options.connections, 1), by: openers) {
                let users = options.target.users
                guard let connection = try? Connection(options.target),
                    (try? connection.login(users[index % users.count], options.target.password))
                        != nil,
                    (try? connection.require("SELECT \(Connection.quoted(options.mailbox))")) != nil
                else { break }
                _ = connection.begin("IDLE")
                guard let line = try? connection.line(), line.first == UInt8(ascii: "+") else {
                    break
                }
                list.append(Shared(connection))
            }
            return list
        }
        // In the order of their numbers, so that the first user's are known.
        var connections: [Connection] = []
        for index in 0..<max(options.connections, 1) {
            let list = opened[index % openers]
            guard index / openers < list.count else {
                throw BenchError("idle: session \(index + 1) was refused")
            }
            connections.append(list[index / openers].value)
        }
        return connections
    }

    func idle() throws(BenchError) {
        let atRest = meter.memory()
        let before = meter.cpuMilliseconds()
        let began = milliseconds()
        let connections = try openIdle()
        let wall = milliseconds() - began
        let used = cpu(since: before)
        // Who puts sessions to sleep after a few seconds has done so by then.
        sleep(milliseconds: 8_000)
        let memory = meter.memory()
        let idleBefore = meter.cpuMilliseconds()
        sleep(milliseconds: 2_000)
        let idleCPU = cpu(since: idleBefore, for: 2)
        report.add(
            "idle",
            "c\(connections.count)" + (options.target.isTLS ? "-tls" : ""),
            wall: wall,
            cpu: used,
            n: connections.count,
            [
                ("pss_kb", "\(memory.kilobytes)"), ("pss_kb_before", "\(atRest.kilobytes)"),
                ("processes", "\(memory.processes)"),
                ("idle_cpu_ms_per_s", idleCPU.map { text($0) } ?? "-"),
            ]
        )
    }

    /// Delivers as an MTA does, and waits until every session of the user has heard of it.
    func notify() throws(BenchError) {
        guard !options.maildir.isEmpty else { throw BenchError("notify: --maildir is missing") }
        let connections = try openIdle()
        let users = min(options.target.users.count, connections.count)
        let watchers = stride(from: 0, to: connections.count, by: users).map { connections[$0] }
        sleep(milliseconds: 2_000)
        let corpus = Corpus(kind: .small, seed: 99)
        var each: [Double] = []
        var missed = 0
        let before = meter.cpuMilliseconds()
        for index in 0..<max(options.count, 1) {
            let name = "\(time(nil)).Vfe01I\(index)M\(getpid()).bench"
            let temporary = "\(options.maildir)/tmp/\(name)"
            try deliver(corpus.message(index), temporary)
            let began = milliseconds()
            guard rename(temporary, "\(options.maildir)/new/\(name)") == 0 else {
                throw BenchError("\(options.maildir)/new: \(String(cString: strerror(errno)))")
            }
            let heard = waitForExists(watchers, since: began)
            each += heard
            missed += watchers.count - heard.count
            sleep(milliseconds: options.gap)
        }
        let used = cpu(since: before, for: options.count)
        let all = Distribution(each)
        report.add(
            "notify",
            "c\(connections.count)-w\(watchers.count)",
            wall: all.median,
            cpu: used,
            n: each.count,
            [("p99_ms", text(all.at(0.99))), ("missed", "\(missed)")]
        )
    }

    private func deliver(_ message: [UInt8], _ path: String) throws(BenchError) {
        let file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw BenchError("\(path): \(String(cString: strerror(errno)))") }
        defer { close(file) }
        guard write(file, message, message.count) == message.count else {
            throw BenchError("\(path): not written")
        }
        // The mail belongs to whom the Maildir belongs.
        var status = stat()
        if stat(options.maildir, &status) == 0 { fchown(file, status.st_uid, status.st_gid) }
    }

    /// How long each of them took to hear of it; those that did not in 70 s are left out.
    private func waitForExists(_ watchers: [Connection], since began: Double) -> [Double] {
        var heard: [Double] = []
        var waiting = watchers
        let end = began + 70_000
        while !waiting.isEmpty, milliseconds() < end {
            var polls = waiting.map {
                pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0)
            }
            poll(&polls, nfds_t(polls.count), 1_000)
            let now = milliseconds()
            var left: [Connection] = []
            for (connection, entry) in zip(waiting, polls) {
                var isDone = false
                if entry.revents != 0 || connection.hasInput {
                    repeat {
                        guard let line = try? connection.line() else { break }
                        let text = String(decoding: line, as: UTF8.self)
                        isDone = isDone || text.hasSuffix(" EXISTS")
                    } while connection.hasInput
                }
                if isDone { heard.append(now - began) } else { left.append(connection) }
            }
            waiting = left
        }
        return heard
    }
}
