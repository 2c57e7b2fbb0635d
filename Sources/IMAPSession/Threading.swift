import Bytes
import IMAPWire
import InternetMessage
import MailStore

//  THREAD, as a pure function                       RFC 5256 §3, §4, draft-ietf-morg-inthread §5
//
//  Containers stand in columns and name each other by number; children are a list through them.
//  Nothing calls itself: a hostile mailbox can hold a chain of replies as long as it has messages.
//  Message-IDs are compared by hashes of 64 bits, whose seed nobody knows who sends mail.

/// What threading looks at, in columns.
struct ThreadMessages: Sendable {
    /// Sequence number or UID, as the answer names it. Ascending in the order of the mailbox.
    private(set) var numbers: [UInt32] = []
    /// The sent date in seconds, or the internal date where there is none.
    private(set) var dates: [Int64] = []
    /// The internal date in seconds.
    private(set) var received: [Int64] = []
    /// Messages have one number if their folded base subjects are the same; 0 for the empty one.
    private(set) var subjects: [UInt32] = []
    private(set) var isReply: [Bool] = []
    /// Of the Message-ID, 0 where there is none.
    private(set) var ids: [UInt64] = []
    /// Where the references of each end.
    private(set) var ends: [Int] = []
    /// From the oldest on.
    private(set) var references: [UInt64] = []

    var count: Int { numbers.count }

    func references(_ index: Int) -> Range<Int> { (index == 0 ? 0 : ends[index - 1])..<ends[index] }

    init() {}

    static func columns(for algorithm: ThreadCommand.Algorithm) -> [MessageColumn] {
        algorithm == .orderedSubject ? [.sent, .subjectKey] : [.sent, .subjectKey, .references]
    }

    /// - Parameter seed: of the table of subjects, which whoever sends mail must not know.
    init(_ messages: SortMessages, _ numbers: [UInt32], seed: UInt64) {
        let rows = messages.rows
        let sent = rows[.sent]
        let keys = rows[.subjectKey]
        let links = rows[.references]
        var names = SubjectNumbers(count: numbers.count, seed: seed)
        for (offset, number) in numbers.enumerated() where rows.isThere[offset] {
            let date = messages.date(offset, sent)
            guard date != .min else { continue }
            self.numbers.append(number)
            dates.append(date)
            received.append(messages.dates[offset] == .min ? date : messages.dates[offset])
            subjects.append(names.number(of: offset, keys))
            let cell = links.count == 0 ? 0..<0 : links.range(offset)
            isReply.append(!cell.isEmpty && links.word(cell.lowerBound) & 1 != 0)
            ids.append(cell.isEmpty ? 0 : links.word(cell.lowerBound + 8))
            for place in stride(from: cell.lowerBound + 16, to: cell.upperBound, by: 8) {
                references.append(links.word(place))
            }
            ends.append(references.count)
        }
    }
}

/// Numbers texts from 1 on, equal ones alike.
private struct SubjectNumbers {
    private var slots: [UInt32]
    /// The first message with the text of each number.
    private var firsts: [Int] = []
    private let seed: UInt64

    init(count: Int, seed: UInt64) {
        slots = Array(repeating: 0, count: 16 + 2 * count)
        self.seed = seed
    }

    mutating func number(of index: Int, _ cells: ColumnCells) -> UInt32 {
        let range = cells.range(index)
        if range.isEmpty { return 0 }
        let bytes = cells.bytes
        let span = bytes.span
        let text = span.extracting(range)
        var slot = slots.slot(text.hash(seed: seed))
        while slots[slot] != 0 {
            let first = firsts[Int(slots[slot]) - 1]
            if span.extracting(cells.range(first)).equals(text) { return slots[slot] }
            slot = slot + 1 == slots.count ? 0 : slot + 1
        }
        firsts.append(index)
        slots[slot] = UInt32(firsts.count)
        return slots[slot]
    }
}

/// Containers by the hash of their Message-ID.
private struct ContainersByID {
    private var hashes: [UInt64]
    private var containers: [Int32]

    /// - Parameter count: of IDs that will be put in, at most.
    init(count: Int) {
        hashes = Array(repeating: 0, count: 16 + count + count / 2)
        containers = Array(repeating: -1, count: hashes.count)
    }

    /// The container of an ID, which is not 0, or else `new`, which it gets.
    mutating func container(_ hash: UInt64, orNew new: Int32) -> Int32 {
        var slot = hashes.slot(hash)
        while hashes[slot] != 0 {
            if hashes[slot] == hash { return containers[slot] }
            slot = slot + 1 == hashes.count ? 0 : slot + 1
        }
        hashes[slot] = hash
        containers[slot] = new
        return new
    }
}

extension Array {
    /// The place of a hash in a table.
    fileprivate func slot(_ hash: UInt64) -> Int {
        Int(truncatingIfNeeded: hash.multipliedFullWidth(by: UInt64(count)).high)
    }
}

struct ThreadForest {
    private let messages: ThreadMessages
    /// Below this number a container is the message of that number; from it on one that is not in
    /// the mailbox.
    private let count: Int32
    private var parents: [Int32] = []
    private var firstChildren: [Int32] = []
    private var lastChildren: [Int32] = []
    private var previous: [Int32] = []
    private var next: [Int32] = []
    private var roots: [Int32] = []

    init(_ algorithm: ThreadCommand.Algorithm, _ messages: ThreadMessages) {
        self.messages = messages
        count = Int32(messages.count)
        for _ in 0..<messages.count { addContainer() }
        switch algorithm {
        case .orderedSubject: gatherInOrder()
        case .references:
            link()
            roots = parents.indices.filter { parents[$0] < 0 }.map { Int32($0) }
            prune()
            sortRoots()
            gatherSubjects()
            sortAllChildren()
            roots = sorted(roots)
        case .refs:
            // As REFERENCES, but subjects join nothing (no step 5), and threads are in the order of
            // their latest internal date (for step 4): what was written to last comes last.
            link()
            roots = parents.indices.filter { parents[$0] < 0 }.map { Int32($0) }
            prune()
            sortAllChildren()
            roots = roots.map { (root: $0, latest: latest($0)) }
                .sorted { $0.latest < $1.latest }
                .map(\.root)
        case .unknown: break
        }
    }

    // MARK: Containers

    @discardableResult
    private mutating func addContainer() -> Int32 {
        parents.append(-1)
        firstChildren.append(-1)
        lastChildren.append(-1)
        previous.append(-1)
        next.append(-1)
        return Int32(parents.count - 1)
    }

    private func children(_ container: Int32) -> [Int32] {
        var list: [Int32] = []
        var child = firstChildren[Int(container)]
        while child >= 0 {
            list.append(child)
            child = next[Int(child)]
        }
        return list
    }

    private func hasSeveralChildren(_ container: Int32) -> Bool {
        firstChildren[Int(container)] != lastChildren[Int(container)]
    }

    private mutating func setChildren(_ container: Int32, _ list: [Int32]) {
        firstChildren[Int(container)] = list.first ?? -1
        lastChildren[Int(container)] = list.last ?? -1
        var before: Int32 = -1
        for child in list {
            previous[Int(child)] = before
            next[Int(child)] = -1
            if before >= 0 { next[Int(before)] = child }
            before = child
        }
    }

    private mutating func adopt(_ child: Int32, by parent: Int32) {
        parents[Int(child)] = parent
        let last = lastChildren[Int(parent)]
        previous[Int(child)] = last
        next[Int(child)] = -1
        if last >= 0 { next[Int(last)] = child } else { firstChildren[Int(parent)] = child }
        lastChildren[Int(parent)] = child
    }

    private mutating func orphan(_ child: Int32) {
        let parent = parents[Int(child)]
        guard parent >= 0 else { return }
        let (before, after) = (previous[Int(child)], next[Int(child)])
        if before >= 0 { next[Int(before)] = after } else { firstChildren[Int(parent)] = after }
        if after >= 0 { previous[Int(after)] = before } else { lastChildren[Int(parent)] = before }
        parents[Int(child)] = -1
    }

    /// Whether a container is another one or stands below it.
    private func isBelow(_ container: Int32, _ other: Int32) -> Bool {
        if container == other { return true }
        // Nearly always: a message comes before those that answer it.
        if firstChildren[Int(other)] < 0 { return false }
        var current = parents[Int(container)]
        while current >= 0 {
            if current == other { return true }
            current = parents[Int(current)]
        }
        return false
    }

    // MARK: ORDEREDSUBJECT

    /// Messages of one base subject: the first by date, and all others below it.
    private mutating func gatherInOrder() {
        var heads: [UInt32: Int32] = [:]
        for message in sorted((0..<count).map { $0 }) {
            let subject = messages.subjects[Int(message)]
            if let head = heads[subject] {
                adopt(message, by: head)
            } else {
                heads[subject] = message
                roots.append(message)
            }
        }
    }

    // MARK: REFERENCES

    /// Step 1: parents by Message-ID.
    private mutating func link() {
        var byID = ContainersByID(count: messages.count + messages.references.count)
        // A message whose ID is missing or taken has one that nobody refers to.
        for message in 0..<count where messages.ids[Int(message)] != 0 {
            _ = byID.container(messages.ids[Int(message)], orNew: message)
        }
        for message in 0..<count {
            var previous: Int32 = -1
            for place in messages.references(Int(message)) {
                let new = Int32(parents.count)
                let container = byID.container(messages.references[place], orNew: new)
                if container == new { addContainer() }
                if previous >= 0, parents[Int(container)] < 0, !isBelow(previous, container) {
                    adopt(container, by: previous)
                }
                previous = container
            }
            guard previous >= 0, !isBelow(previous, message) else { continue }
            orphan(message)
            adopt(message, by: previous)
        }
    }

    /// Step 3: messages that are not there go, and their children take their place; at the top only
    /// where that leaves one thread.
    private mutating func prune() {
        // Children before parents.
        var order: [Int32] = []
        var stack = roots
        while let container = stack.popLast() {
            order.append(container)
            var child = firstChildren[Int(container)]
            while child >= 0 {
                stack.append(child)
                child = next[Int(child)]
            }
        }
        for container in order.reversed() {
            var hasGone = false
            var child = firstChildren[Int(container)]
            while child >= 0, !hasGone {
                hasGone = child >= count
                child = next[Int(child)]
            }
            guard hasGone else { continue }
            var kept: [Int32] = []
            for child in children(container) {
                guard child >= count else {
                    kept.append(child)
                    continue
                }
                for grandchild in children(child) {
                    parents[Int(grandchild)] = container
                    kept.append(grandchild)
                }
                setChildren(child, [])
            }
            setChildren(container, kept)
        }
        var kept: [Int32] = []
        for root in roots {
            if root < count || hasSeveralChildren(root) {
                kept.append(root)
            } else if firstChildren[Int(root)] >= 0 {
                let child = firstChildren[Int(root)]
                setChildren(root, [])
                parents[Int(child)] = -1
                kept.append(child)
            }
        }
        roots = kept
    }

    /// Step 4.
    private mutating func sortRoots() {
        for root in roots where root >= count { setChildren(root, sorted(children(root))) }
        roots = sorted(roots)
    }

    private mutating func sortAllChildren() {
        for container in Int32(0)..<Int32(parents.count) where hasSeveralChildren(container) {
            setChildren(container, sorted(children(container)))
        }
    }

    /// Step 5: threads of one base subject become one.
    private mutating func gatherSubjects() {
        var table: [UInt32: Int32] = [:]
        for root in roots {
            let subject = subject(root)
            guard subject != 0 else { continue }
            guard let known = table[subject] else {
                table[subject] = root
                continue
            }
            guard known < count else { continue }
            if root >= count || isReply(known) && !isReply(root) { table[subject] = root }
        }
        var gone: Set<Int32> = []
        var added: [Int32] = []
        for root in roots {
            let subject = subject(root)
            guard subject != 0, let other = table[subject], other != root else { continue }
            if other >= count, root >= count {
                for child in children(root) { adopt(child, by: other) }
                setChildren(root, [])
                gone.insert(root)
            } else if other >= count || isReply(root) && !isReply(other) {
                adopt(root, by: other)
                gone.insert(root)
            } else {
                // A new dummy takes the other's place, with both below it.
                let dummy = addContainer()
                adopt(other, by: dummy)
                adopt(root, by: dummy)
                gone.insert(root)
                gone.insert(other)
                table[subject] = dummy
                added.append(dummy)
            }
        }
        roots = (roots + added).filter { !gone.contains($0) && parents[Int($0)] < 0 }
    }

    /// The first message of a thread: itself, or the first child of one that is not there.
    private func first(_ container: Int32) -> Int32 {
        var current = container
        while current >= count {
            current = firstChildren[Int(current)]
            if current < 0 { return -1 }
        }
        return current
    }

    private func subject(_ container: Int32) -> UInt32 {
        let message = first(container)
        return message < 0 ? 0 : messages.subjects[Int(message)]
    }

    private func isReply(_ container: Int32) -> Bool {
        let message = first(container)
        return message >= 0 && messages.isReply[Int(message)]
    }

    // MARK: Order

    /// By sent date, then by the order of the mailbox.
    private func sorted(_ list: [Int32]) -> [Int32] {
        if list.count < 2 { return list }
        // What has no message at all comes last.
        let firsts = list.map { first($0) }
        let places = KeySort.places(list.count)
        var order = KeySort(places)
        order.sort { firsts[Int($0)] < 0 ? .max : Int64(firsts[Int($0)]) }
        order.sort { firsts[Int($0)] < 0 ? .max : messages.dates[Int(firsts[Int($0)])] }
        return order.items.map { list[Int($0)] }
    }

    /// The last message of a thread to come in, as a key to sort by.
    private func latest(_ root: Int32) -> (received: Int64, number: UInt32) {
        var latest: (received: Int64, number: UInt32) = (.min, 0)
        var stack = [root]
        while let container = stack.popLast() {
            stack += children(container)
            guard container < count else { continue }
            let own = (messages.received[Int(container)], messages.numbers[Int(container)])
            if latest < own { latest = own }
        }
        return latest
    }

    // MARK: Answer

    //  thread-data    = "THREAD" [SP 1*thread-list]                           RFC 5256 §5
    //  thread-list    = "(" (thread-members / thread-nested) ")"
    //  thread-members = nz-number *(SP nz-number) [SP thread-nested]
    //  thread-nested  = 2*thread-list
    func write(to output: inout ByteBuffer) {
        // A container, or -1 for a bracket that closes.
        var steps = Array(roots.reversed())
        while let start = steps.popLast() {
            guard start >= 0 else {
                output.append(UInt8(ascii: ")"))
                continue
            }
            output.append(UInt8(ascii: "("))
            var current = start
            var hasNumber = false
            while true {
                if current < count {
                    if hasNumber { output.append(.space) }
                    output.append(decimal: messages.numbers[Int(current)])
                    hasNumber = true
                }
                let child = firstChildren[Int(current)]
                guard child >= 0, child == lastChildren[Int(current)] else {
                    if child < 0 {
                        output.append(UInt8(ascii: ")"))
                    } else {
                        if hasNumber { output.append(.space) }
                        steps.append(-1)
                        var last = lastChildren[Int(current)]
                        while last >= 0 {
                            steps.append(last)
                            last = previous[Int(last)]
                        }
                    }
                    break
                }
                current = child
            }
        }
    }
}
