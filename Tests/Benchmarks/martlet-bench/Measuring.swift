import Glibc

/// Milliseconds of the monotonic clock.
func milliseconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) * 1_000 + Double(time.tv_nsec) / 1_000_000
}

func sleep(milliseconds: Int) { usleep(UInt32(milliseconds * 1_000)) }

/// A small file of /proc, whole.
private func contents(_ path: String) -> [UInt8]? {
    let raw = open(path, O_RDONLY | O_CLOEXEC)
    guard raw >= 0 else { return nil }
    defer { close(raw) }
    var bytes = [UInt8](repeating: 0, count: 4_096)
    let count = read(raw, &bytes, bytes.count)
    return count > 0 ? Array(bytes[..<count]) : nil
}

/// CPU and memory of a server's processes: the one named and all below it.
struct ServerMeter: Sendable {
    let root: Int32?

    private static let tickMilliseconds = 1_000.0 / Double(sysconf(Int32(_SC_CLK_TCK)))

    /// `utime` + `stime` of each process, and of those that it has waited for, in steps of a tick.
    func cpuMilliseconds() -> Double {
        var ticks = 0
        for process in processes() { ticks += process.ticks }
        return Double(ticks) * Self.tickMilliseconds
    }

    /// Proportional set size of all of them, and how many they are. Needs root.
    func memory() -> (kilobytes: Int, processes: Int) {
        let list = processes()
        var sum = 0
        for process in list {
            guard let bytes = contents("/proc/\(process.id)/smaps_rollup") else { continue }
            for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n")
            where line.hasPrefix("Pss:") {
                sum += line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
            }
        }
        return (sum, list.count)
    }

    private struct Process {
        let id: Int32
        let parent: Int32
        let ticks: Int
    }

    private func processes() -> [Process] {
        guard let root, let directory = opendir("/proc") else { return [] }
        defer { closedir(directory) }
        var all: [Process] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
            }
            guard let id = Int32(name), let bytes = contents("/proc/\(id)/stat"),
                let close = bytes.lastIndex(of: UInt8(ascii: ")"))
            else { continue }
            let fields = String(decoding: bytes[(close + 1)...], as: UTF8.self)
                .split(separator: " ")
            guard fields.count > 15, let parent = Int32(fields[1]) else { continue }
            let ticks = fields[11...14].reduce(0) { $0 + (Int($1) ?? 0) }
            all.append(Process(id: id, parent: parent, ticks: ticks))
        }
        var members: Set<Int32> = [root]
        var found = 0
        while found != members.count {
            found = members.count
            for process in all where members.contains(process.parent) { members.insert(process.id) }
        }
        return all.filter { members.contains($0.id) }
    }
}

/// Numbers that were measured, in order of size.
struct Distribution {
    let sorted: [Double]

    init(_ values: [Double]) { sorted = values.sorted() }

    func at(_ share: Double) -> Double {
        guard !sorted.isEmpty else { return .nan }
        return sorted[min(Int(Double(sorted.count) * share), sorted.count - 1)]
    }

    var median: Double { at(0.5) }
}

/// Two or three digits that matter, without Foundation.
func text(_ value: Double) -> String {
    guard value.isFinite else { return "-" }
    let places = value < 10 ? 1_000.0 : 100.0
    let rounded = (value * places).rounded() / places
    return "\(rounded)"
}

/// Collects what was measured: a line of `key=value` at once, and a table at the end.
final class Report {
    private var rows: [(name: String, walls: [Double], processors: [Double], more: String)] = []
    var hasTable = true

    /// One result. `wall` and `cpu` are for one of `n` things; `more` has other `key=value`.
    func add(
        _ measure: String,
        _ state: String,
        wall: Double,
        cpu: Double?,
        n: Int,
        _ more: [(String, String)] = []
    ) {
        var line = "measure=\(measure) state=\(state) wall_ms=\(text(wall)) n=\(n)"
        if let cpu { line += " cpu_ms=\(text(cpu))" }
        for (key, value) in more { line += " \(key)=\(value)" }
        print(line)
        fflush(nil)
        let name = "\(measure) \(state)"
        let words = more.map { "\($0.0) \($0.1)" }.joined(separator: ", ")
        if let index = rows.firstIndex(where: { $0.name == name }) {
            rows[index].walls.append(wall)
            if let cpu { rows[index].processors.append(cpu) }
            rows[index].more = words
        } else {
            rows.append((name, [wall], cpu.map { [$0] } ?? [], words))
        }
    }

    /// The table of medians, as comment lines, so that a program may ignore it.
    func printTable() {
        guard hasTable, !rows.isEmpty else { return }
        print("#")
        print("# " + pad("measure", 30) + pad("wall ms", 12) + pad("CPU ms", 12) + "runs  more")
        for row in rows {
            let cpu = row.processors.reduce(0, +) / Double(max(row.processors.count, 1))
            print(
                "# " + pad(row.name, 30) + pad(text(Distribution(row.walls).median), 12)
                    + pad(row.processors.isEmpty ? "-" : text(cpu), 12)
                    + pad("\(row.walls.count)", 6) + row.more
            )
        }
    }

    private func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(width - text.count, 1))
    }
}

// MARK: Threads

private final class Work {
    let body: () -> Void

    init(_ body: @escaping () -> Void) { self.body = body }
}

private func threadMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body() }
    return nil
}

private final class Slot<Value>: @unchecked Sendable { var value: Value? }

/// Runs the body once for each number below `count`, each on a thread of its own.
func parallel<Value: Sendable>(_ count: Int, _ body: @escaping @Sendable (Int) -> Value) -> [Value]
{
    var threads: [pthread_t] = []
    var slots: [Slot<Value>] = []
    for index in 0..<count {
        let slot = Slot<Value>()
        let work = Work { slot.value = body(index) }
        var thread = pthread_t()
        let argument = Unmanaged.passRetained(work).toOpaque()
        guard pthread_create(&thread, nil, threadMain, argument) == 0 else {
            Unmanaged<Work>.fromOpaque(argument).release()
            break
        }
        threads.append(thread)
        slots.append(slot)
    }
    for thread in threads { pthread_join(thread, nil) }
    return slots.compactMap(\.value)
}
