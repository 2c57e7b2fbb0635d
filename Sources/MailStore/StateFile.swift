import Bytes
import Glibc
import Maildir
import Posix

//  martlet-state: what no other file of the Maildir can say
//
//      martlet-state 1
//      defaults made
//      names courier                       mailboxes are named as Courier named them: `INBOX.` before each
//      cache 5f0c…                         whose cache is this Maildir's: 32 hex digits
//      opened 17 30ab8d8a-babb-…           incarnation, and the boot it was opened in
//      modseq 1790000000000000             the ceiling: no client was told a modseq above it
//      ended 1789913600000000              the newest modseq; only where the process ended in order
//      use \Archive Old.Mail               special use, storage name in modified UTF-7
//
//  In the root of the Maildir. Written by this process alone (`martlet-lock`), replaced as a whole by
//  way of `martlet-state.tmp` and synced: a crash leaves the old file or the new one. Lines that are
//  not understood are kept.
//
//  Modseqs (see `ModseqClock`) that this process gives are told only once the incarnation was counted up
//  here, `ended` is gone and the ceiling is a day ahead. A process that comes after one that ended in order
//  goes on above `ended`; after any other, above the ceiling: so what was given before it may be told at
//  once.
//
//  Where the file is lost or damaged, what clients have seen can only be guessed: the time in µs at
//  most, unless the clock was ahead of it: by a day for each crash, by this very rule, by a date that was
//  wrong. So a new file begins a year ahead, and the clock counts on by one until time has caught up.
//  A restored, older Maildir has an older ceiling: then the cache knows better (`CacheTrust`), and where
//  it was lost too, time has gone on since, since the clock is no more than a day ahead of it as long as
//  nothing crashed. What is lost else is which mailbox is which, and nothing more.

struct StateFile: Equatable, Sendable {
    var uses: [MailboxPath: [UInt8]] = [:]
    var hasDefaults = false
    /// The Maildir came from Courier. Its own files say so only until the first dovecot-uidlist, and
    /// names that clients have learned must not change after that.
    var isNamedByCourier = false
    /// Empty before the first open.
    private(set) var cacheID: [UInt8] = []
    private(set) var incarnation: UInt64 = 0
    private(set) var bootID: [UInt8] = []
    /// Nil where it was never written, or is lost.
    private(set) var ceiling: UInt64?
    private(set) var ended: UInt64?
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
            guard let first = words.first else { continue }
            if !take(Array(first).text, words.dropFirst().map { Array($0) }) {
                otherLines.append(Array(line))
            }
        }
    }

    private mutating func take(_ key: String, _ words: [[UInt8]]) -> Bool {
        switch key {
        case "martlet-state": break
        case "defaults": hasDefaults = true
        case "names":
            guard words == [[UInt8]("courier")] else { return false }
            isNamedByCourier = true
        case "cache":
            guard words.count == 1, words[0].count == 32,
                words[0].allSatisfy({ [UInt8]("0123456789abcdef").contains($0) })
            else {
                return true
            }
            cacheID = words[0]
        case "opened":
            guard words.count == 2, let number = Self.number(words[0]) else { return true }
            incarnation = number
            bootID = words[1]
        case "modseq": ceiling = words.first.flatMap(Self.number)
        case "ended": ended = words.first.flatMap(Self.number)
        case "use":
            guard words.count == 2, let path = MailboxPath(storageName: words[1][...]) else {
                return false
            }
            uses[path] = words[0]
        default: return false
        }
        return true
    }

    /// A number that one of ours can be.
    private static func number(_ word: [UInt8]) -> UInt64? {
        guard let number = UInt64(word.text), number > 0, number < ModseqClock.limit else {
            return nil
        }
        return number
    }

    var file: [UInt8] {
        var buffer = ByteBuffer()
        buffer.append("martlet-state 1\n")
        if hasDefaults { buffer.append("defaults made\n") }
        if isNamedByCourier { buffer.append("names courier\n") }
        if !cacheID.isEmpty {
            buffer.append("cache ")
            buffer.append(cacheID)
            buffer.append("\nopened ")
            buffer.append(decimal: incarnation)
            buffer.append(.space)
            buffer.append(bootID)
            buffer.append(.lf)
        }
        if let ceiling {
            buffer.append("modseq ")
            buffer.append(decimal: ceiling)
            buffer.append(.lf)
        }
        if let ended {
            buffer.append("ended ")
            buffer.append(decimal: ended)
            buffer.append(.lf)
        }
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

    // MARK: Opening and ending

    /// How far ahead a clock begins of which nothing is known: a year in microseconds.
    static let lostClockLead = 365 * ModseqClock.reserve

    /// A process begins: the next incarnation, with the clock that it goes on with.
    mutating func open(bootID: [UInt8], now: WallTime) -> (past: StatePast, clock: ModseqClock) {
        let past = StatePast(
            stamp: CacheStamp(id: cacheID, incarnation: incarnation),
            isUnbroken: ceiling != nil && (ended != nil || !bootID.isEmpty && bootID == self.bootID)
        )
        let now = min(UInt64(max(now.microseconds, 0)), ModseqClock.limit / 2)
        let last: UInt64
        switch (ceiling, ended) {
        case (nil, _): last = now + Self.lostClockLead
        case (let ceiling?, nil): last = ceiling
        case (let ceiling?, let ended?): last = min(ended, ceiling)
        }
        // As long as the file says this, every process goes on above it.
        let durable = ceiling == nil ? 0 : last
        if cacheID.isEmpty { cacheID = Self.newID() }
        incarnation += 1
        self.bootID = bootID.isEmpty ? [UInt8]("-") : bootID
        ended = nil
        ceiling = max(last, now) + ModseqClock.reserve
        let clock = ModseqClock(last: last, ceiling: ceiling ?? last, durableCeiling: durable)
        return (past, clock)
    }

    /// Reserves a day more for the clock.
    mutating func reserve(_ clock: ModseqClock, now: WallTime) {
        let now = min(UInt64(max(now.microseconds, 0)), ModseqClock.limit / 2)
        ceiling = max(ceiling ?? 0, max(clock.last, now) + ModseqClock.reserve)
    }

    /// The process ends, and told nothing above this.
    mutating func end(_ clock: ModseqClock) { ended = clock.last }

    private static func newID() -> [UInt8] {
        var id = ByteBuffer()
        for _ in 0..<32 { id.append(hexDigit(UInt8.random(in: 0..<16))) }
        return id.bytes
    }
}

// MARK: The cache

/// What a cache has to hold beside what it caches, to be told from one of another time.
package struct CacheStamp: Hashable, Sendable {
    package var id: [UInt8]
    package var incarnation: UInt64

    package init(id: [UInt8], incarnation: UInt64) {
        self.id = id
        self.incarnation = incarnation
    }
}

/// What may be taken from a cache.
package enum CacheTrust: Hashable, Sendable {
    /// Everything: it was written by the process before this one, and nothing was lost.
    case current
    /// What follows from a message's content. Flags and modseqs may be old: a power cut, another host,
    /// an older cache. Every message gets a new modseq.
    case contentOnly
    /// The Maildir is older than the cache: it was restored. As `contentOnly`, but UIDNEXT is the larger
    /// of both, a message that the cache does not know gets a new UID, and modseqs go on above the
    /// cache's.
    case maildirRestored
    /// It is another Maildir's.
    case foreign
}

/// What `martlet-state` said when this process came.
package struct StatePast: Hashable, Sendable {
    let stamp: CacheStamp
    /// The process before ended in order, or crashed without the machine.
    let isUnbroken: Bool

    package func trust(in cache: CacheStamp?) -> CacheTrust {
        guard let cache, !cache.id.isEmpty, cache.id == stamp.id else { return .foreign }
        if cache.incarnation > stamp.incarnation { return .maildirRestored }
        return cache.incarnation == stamp.incarnation && isUnbroken ? .current : .contentOnly
    }
}
