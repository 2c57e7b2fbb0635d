import Foundation
import Posix
import Testing

@testable import MessageIndex

/// What the file holds comes back, or is not there; nothing that happens to it is more than that.
@Suite struct MessageIndexTests {
    @Test func aDetailComesBackAfterReopening() throws {
        let scratch = try Scratch()
        var index = try scratch.index()
        var mailbox = try index.mailbox(scratch)
        mailbox.writeDetails([(1, [1, 2, 3]), (5, []), (9, [9])])
        #expect(mailbox.details(1...10) == [1: [1, 2, 3], 5: [], 9: [9]])
        index.close()
        #expect(mailbox.details(1...10) == [:])
        index = try scratch.index()
        mailbox = try index.mailbox(scratch)
        #expect(mailbox.details([9, 1]) == [1: [1, 2, 3], 9: [9]])
        mailbox.removeDetails([1, 2])
        #expect(mailbox.details(1...10) == [5: [], 9: [9]])
        index.close()
        #expect(scratch.read("state") == "martlet-index 1\nclean\n")
    }

    @Test func atRestNothingOfTheFileIsHeldInMemory() throws {
        let scratch = try Scratch()
        let index = try scratch.index()
        let mailbox = try index.mailbox(scratch)
        mailbox.writeDetails((1...1_000).map { ($0, [UInt8](repeating: 7, count: 1_000)) })
        #expect(mailbox.details(1...1_000).count == 1_000)
        #expect(try scratch.mappedKilobytes() > 500)
        index.rest()
        #expect(try scratch.mappedKilobytes() == 0)
        #expect(mailbox.details(1...1_000).count == 1_000)
        mailbox.writeDetails([(1_001, [1])])
        index.rest()
        #expect(mailbox.details([1_001]) == [1_001: [1]])
        index.close()
        index.rest()
        #expect(scratch.read("state") == "martlet-index 1\nclean\n")
    }

    @Test func aDetailHasALimit() throws {
        let scratch = try Scratch()
        let mailbox = try scratch.index().mailbox(scratch)
        let full = [UInt8](repeating: 7, count: Limits.detailBytesMax)
        mailbox.writeDetails([(1, full), (2, full + [7]), (3, [3])])
        #expect(mailbox.details(1...3) == [1: full, 3: [3]])
    }

    @Test func anotherUIDValidityHasNothingOfTheFirst() throws {
        let scratch = try Scratch()
        let index = try scratch.index()
        try index.mailbox(scratch, uidValidity: 7).writeDetails([(1, [1])])
        let second = try index.mailbox(scratch, uidValidity: 8)
        #expect(second.details([1]) == [:])
        second.writeDetails([(1, [2])])
        #expect(try index.mailbox(scratch, uidValidity: 8).details([1]) == [1: [2]])
        #expect(try index.mailbox(scratch, uidValidity: 7).details([1]) == [:])
    }

    @Test func aCopyOfAMailboxHasRecordsOfItsOwn() throws {
        let scratch = try Scratch()
        let index = try scratch.index()
        try index.mailbox(scratch).writeDetails([(1, [1])])
        let copy = try index.mailbox(
            id: scratch.guid,
            directory: FileIdentity(device: 1, inode: 99),
            uidValidity: 7
        )
        #expect(copy.details([1]) == [:])
    }

    @Test func columnsComeBackBlockByBlock() throws {
        let scratch = try Scratch()
        var index = try scratch.index()
        let seed = index.seed
        let mailbox = try index.mailbox(scratch, uidValidity: 7)
        let full = [UInt8](repeating: 7, count: Limits.columnBlockBytesMax)
        let places: [MailboxIndex.ColumnPlace] = [
            .init(column: 1, block: 0), .init(column: 1, block: 4_194_303),
            .init(column: 2, block: 0), .init(column: 255, block: 9),
        ]
        mailbox.writeColumns([(places[0], [1]), (places[1], [2, 2]), (places[3], full)])
        #expect(mailbox.columns(places) == [0: [1], 1: [2, 2], 3: full])
        mailbox.writeColumns([(places[0], []), (places[2], [3]), (places[3], full + [7])])
        #expect(mailbox.columns(places) == [1: [2, 2], 2: [3]])
        index.close()
        #expect(mailbox.columns(places) == [:])
        index = try scratch.index()
        #expect(index.seed == seed)
        #expect(try index.mailbox(scratch, uidValidity: 7).columns(places) == [1: [2, 2], 2: [3]])
        #expect(try index.mailbox(scratch, uidValidity: 8).columns(places) == [:])
        #expect(try index.mailbox(scratch, uidValidity: 7).columns(places) == [:])
    }

    // MARK: What may be believed

    enum Change: CaseIterable {
        case none, boot, noBoot, maildir, stateMissing, version, noise, empty, truncated
    }

    /// - Note: After a process that ended without closing.
    @Test(arguments: Change.allCases)
    func anIndexIsBelievedOnlyIfItIsTheSame(_ change: Change) throws {
        let scratch = try Scratch()
        do {
            let index = try scratch.index()
            let mailbox = try index.mailbox(scratch)
            mailbox.writeDetails((1...500).map { ($0, [UInt8](repeating: 1, count: 1_000)) })
            index.close(isWhole: false)
        }
        switch change {
        case .stateMissing: try scratch.remove("state")
        case .version: try scratch.write("state", Array("martlet-index 2\nclean\n".utf8))
        case .noise:
            try scratch.write("index", (0..<40_000).map { UInt8(truncatingIfNeeded: $0 * 7) })
        case .empty: try scratch.write("index", [])
        case .truncated: truncate(scratch.path + "/index", 65_536)
        case .none, .boot, .noBoot, .maildir: break
        }
        let boot = change == .boot ? "boot-2" : change == .noBoot ? "" : "boot-1"
        let index = try scratch.index(boot: boot, inode: change == .maildir ? 2 : 1)
        let mailbox = try index.mailbox(scratch)
        #expect(mailbox.details(1...500).count == (change == .none ? 500 : 0))
        if change == .none { #expect(index.ages.epoch == 2) }
        mailbox.writeDetails([(501, [5])])
        #expect(mailbox.details([501]) == [501: [5]])
    }

    @Test func aStampDecides() throws {
        let scratch = try Scratch()
        var index = try scratch.index()
        index.setStamp([1, 2, 3])
        try index.mailbox(scratch).writeDetails([(1, [1])])
        index.close()
        index = try scratch.index { $0 == [1, 2, 3] }
        #expect(try index.mailbox(scratch).details([1]) == [1: [1]])
        index.close()
        index = try scratch.index { $0 == [1, 2, 4] }
        #expect(try index.mailbox(scratch).details([1]) == [:])
    }

    @Test func aSecondProcessIsRefused() throws {
        let scratch = try Scratch()
        let index = try scratch.index()
        #expect(throws: IndexError.inUse) { try scratch.index() }
        index.close()
        _ = try scratch.index()
    }

    @Test func aLinkOrADirectoryOfOthersIsRefused() throws {
        let scratch = try Scratch()
        symlink("/etc/passwd", scratch.path + "/index")
        #expect(throws: IndexError.untrusted) { try scratch.index() }
        try scratch.remove("index")
        chmod(scratch.path, 0o777)
        #expect(throws: IndexError.untrusted) { try scratch.index() }
        chmod(scratch.path, 0o700)
        if geteuid() == 0 {
            chown(scratch.path, 12_345, 12_345)
            #expect(throws: IndexError.untrusted) { try scratch.index() }
        }
    }

    // MARK: What others do to the file while it is open

    @Test func deletedWhileOpen() throws {
        let scratch = try Scratch()
        let mailbox = try scratch.index().mailbox(scratch)
        mailbox.writeDetails([(1, [1])])
        try scratch.remove("index")
        try scratch.remove("state")
        #expect(mailbox.details([1]) == [1: [1]])
        mailbox.writeDetails([(2, [2])])
        #expect(mailbox.details(1...2) == [1: [1], 2: [2]])
    }

    @Test(arguments: [0, 1, 4_096, 8_192, 20_000, 500_000])
    func truncatedWhileOpen(_ size: Int) throws {
        let scratch = try Scratch()
        let index = try scratch.index()
        let mailbox = try index.mailbox(scratch)
        let records = (UInt32(1)...2_000).map {
            ($0, [UInt8](repeating: UInt8($0 % 251), count: 700))
        }
        mailbox.writeDetails(records)
        truncate(scratch.path + "/index", off_t(size))
        let found = mailbox.details(1...2_000)
        #expect(found.allSatisfy { $0.value == records[Int($0.key) - 1].1 })
        #expect(found.count < 2_000)
        #expect(!index.isUsable)
        mailbox.writeDetails([(1, [1])])
        #expect(mailbox.details([1]) == [:])
        #expect(!scratch.exists("index"))
    }

    /// Whatever bytes change, each record is as it was written or not there.
    @Test(arguments: 0..<60)
    func bytesChangeWhileOpen(_ seed: Int) throws {
        let scratch = try Scratch()
        var generator = Generator(state: UInt64(seed + 1))
        let index = try scratch.index()
        let mailbox = try index.mailbox(scratch)
        var expected: [UInt32: [UInt8]] = [:]
        func write(_ uids: ClosedRange<UInt32>) {
            let records = uids.map { uid in
                (uid, [UInt8](repeating: UInt8(uid % 251), count: Int(uid * 37 % 6_000)))
            }
            for record in records { expected[record.0] = record.1 }
            mailbox.writeDetails(records)
        }
        write(1...800)
        let file = open(scratch.path + "/index", O_RDWR)
        defer { close(file) }
        let size = lseek(file, 0, SEEK_END)
        for round in 0..<4 {
            for _ in 0..<(1 << (seed % 8)) {
                var noise = (0..<Int.random(in: 1...64, using: &generator)).map { _ in
                    UInt8.random(in: 0...255, using: &generator)
                }
                // The pages behind the two heads: those are read from the file only at the start.
                pwrite(file, &noise, noise.count, .random(in: 8_192..<size, using: &generator))
            }
            let found = mailbox.details(1...800)
            #expect(found.allSatisfy { $0.value == expected[$0.key] }, "seed \(seed)")
            write(801...UInt32(810 + round))
        }
    }

    @Test func theMapGrowsUpToALimit() throws {
        let scratch = try Scratch()
        let index = try scratch.index(mapBytesMax: Limits.mapBytesMin * 2)
        let mailbox = try index.mailbox(scratch)
        let other = try index.mailbox(
            id: scratch.guid,
            directory: FileIdentity(device: 3, inode: 3),
            uidValidity: 1
        )
        other.writeDetails([(1, [1])])
        let large = [UInt8](repeating: 1, count: 60_000)
        var next: UInt32 = 1
        // More than the first map, less than the second.
        while next < 1_500 {
            mailbox.writeDetails((next..<next + 100).map { ($0, large) })
            next += 100
        }
        #expect(mailbox.details(1..<next).count == Int(next - 1))
        while next < 2_500 {
            mailbox.writeDetails((next..<next + 100).map { ($0, large) })
            next += 100
        }
        // It had more than there is room for: it began anew, the other did not, nothing is broken.
        #expect(mailbox.details(1..<next).count < 1_600)
        #expect(other.details([1]) == [1: [1]])
        #expect(index.isUsable)
    }

    @Test func oldIndexesOfOtherMaildirsAreRemoved() throws {
        let scratch = try Scratch()
        let cache = Array(scratch.path.utf8)
        let gone = FileIdentity(device: 1, inode: 5)
        let fresh = FileIdentity(device: 1, inode: 6)
        for identity in [gone, fresh] {
            let directory = try IndexDirectory.open(in: cache, for: identity)
            try directory.replaceFile([0x61], via: [0x62], with: [1], mode: 0o600)
        }
        let own = FileIdentity(device: 1, inode: 7)
        let old = try IndexDirectory.open(in: cache, for: gone)
        try old.setModified([0x61], WallTime(seconds: WallTime.now.seconds - 91 * 86_400))
        IndexDirectory.removeOld(in: cache, except: own)
        #expect(!scratch.exists("maildir-1-5"))
        #expect(scratch.exists("maildir-1-6"))
    }
}

struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
