import Bytes

//  THREAD as RFC 5256 §3 words it, slowly: what `ThreadForest` is compared with
//
//  Containers stand in an array and name each other by index. Nothing calls itself: a hostile mailbox
//  can hold a chain of replies as long as it has messages.

/// What threading looks at.
struct ModelMessage: Sendable {
    /// Sequence number or UID, as the answer names it. Ascending in the order of the mailbox.
    var number: UInt32
    /// The sent date in seconds, or the internal date where there is none.
    var date: Int64
    /// The internal date in seconds.
    var received: Int64
    /// Folded base subject.
    var subject: [UInt8]
    var isReply: Bool
    var messageID: [UInt8]?
    /// From the oldest on.
    var references: [[UInt8]]
}

struct ModelForest {
    private struct Container {
        /// Index in `messages`; -1 for a message that is not in the mailbox.
        var message: Int
        var parent = -1
        var children: [Int] = []
    }

    private let messages: [ModelMessage]
    private var containers: [Container] = []
    private var roots: [Int] = []

    // MARK: ORDEREDSUBJECT

    /// Messages of one base subject: the first by date, and all others below it.
    init(orderedSubject messages: [ModelMessage]) {
        self.messages = messages
        containers = messages.indices.map { Container(message: $0) }
        var bySubject: [[UInt8]: [Int]] = [:]
        for index in messages.indices {
            bySubject[messages[index].subject, default: []].append(index)
        }
        for group in bySubject.values {
            let sorted = group.sorted { precedes($0, $1) }
            containers[sorted[0]].children = Array(sorted.dropFirst())
            roots.append(sorted[0])
        }
        roots = sorted(roots)
    }

    // MARK: REFERENCES

    init(references messages: [ModelMessage]) {
        self.messages = messages
        link()
        roots = containers.indices.filter { containers[$0].parent < 0 }
        prune()
        sortRoots()
        gatherSubjects()
        for index in containers.indices where containers[index].children.count > 1 {
            containers[index].children = sorted(containers[index].children)
        }
        roots = sorted(roots)
    }

    // MARK: REFS

    /// As REFERENCES, but subjects join nothing (no step 5), and threads are in the order of their
    /// latest internal date (for step 4): what was written to last comes last.
    init(refs messages: [ModelMessage]) {
        self.messages = messages
        link()
        roots = containers.indices.filter { containers[$0].parent < 0 }
        prune()
        for index in containers.indices where containers[index].children.count > 1 {
            containers[index].children = sorted(containers[index].children)
        }
        roots = roots.map { (root: $0, latest: latest($0)) }
            .sorted { $0.latest < $1.latest }
            .map(\.root)
    }

    /// The last message of a thread to come in, as a key to sort by.
    private func latest(_ root: Int) -> (received: Int64, number: UInt32) {
        var latest: (received: Int64, number: UInt32) = (.min, 0)
        var stack = [root]
        while let index = stack.popLast() {
            stack += containers[index].children
            let message = containers[index].message
            guard message >= 0 else { continue }
            let own = (messages[message].received, messages[message].number)
            if latest < own { latest = own }
        }
        return latest
    }

    /// Step 1: parents by Message-ID.
    private mutating func link() {
        var byID: [[UInt8]: Int] = [:]
        // A message whose ID is missing or taken has one that nobody refers to.
        var own: [Int] = []
        for index in messages.indices {
            containers.append(Container(message: index))
            own.append(containers.count - 1)
            if let id = messages[index].messageID, byID[id] == nil { byID[id] = own[index] }
        }
        for index in messages.indices {
            var previous = -1
            for id in messages[index].references {
                let container: Int
                if let known = byID[id] {
                    container = known
                } else {
                    container = containers.count
                    containers.append(Container(message: -1))
                    byID[id] = container
                }
                if previous >= 0, containers[container].parent < 0, !isBelow(previous, container) {
                    adopt(container, by: previous)
                }
                previous = container
            }
            guard previous >= 0, previous != own[index], !isBelow(previous, own[index]) else {
                continue
            }
            orphan(own[index])
            adopt(own[index], by: previous)
        }
    }

    /// Whether a container is another one or stands below it.
    private func isBelow(_ index: Int, _ other: Int) -> Bool {
        var current = index
        while current >= 0 {
            if current == other { return true }
            current = containers[current].parent
        }
        return false
    }

    private mutating func adopt(_ child: Int, by parent: Int) {
        containers[child].parent = parent
        containers[parent].children.append(child)
    }

    private mutating func orphan(_ child: Int) {
        let parent = containers[child].parent
        guard parent >= 0 else { return }
        containers[parent].children.removeAll { $0 == child }
        containers[child].parent = -1
    }

    /// Step 3: messages that are not there go, and their children take their place; at the top only
    /// where that leaves one thread.
    private mutating func prune() {
        // Children before parents.
        var order: [Int] = []
        var stack = roots
        while let index = stack.popLast() {
            order.append(index)
            stack += containers[index].children
        }
        for index in order.reversed() {
            var kept: [Int] = []
            for child in containers[index].children {
                if containers[child].message >= 0 {
                    kept.append(child)
                } else {
                    for grandchild in containers[child].children {
                        containers[grandchild].parent = index
                        kept.append(grandchild)
                    }
                }
            }
            containers[index].children = kept
        }
        var kept: [Int] = []
        for root in roots {
            if containers[root].message >= 0 || containers[root].children.count > 1 {
                kept.append(root)
            } else if let child = containers[root].children.first {
                containers[child].parent = -1
                kept.append(child)
            }
        }
        roots = kept
    }

    /// Step 4.
    private mutating func sortRoots() {
        for root in roots where containers[root].message < 0 {
            containers[root].children = sorted(containers[root].children)
        }
        roots = sorted(roots)
    }

    /// Step 5: threads of one base subject become one.
    private mutating func gatherSubjects() {
        var table: [[UInt8]: Int] = [:]
        for root in roots {
            let subject = subject(root)
            guard !subject.isEmpty else { continue }
            guard let known = table[subject] else {
                table[subject] = root
                continue
            }
            guard containers[known].message >= 0 else { continue }
            if containers[root].message < 0 || isReply(known) && !isReply(root) {
                table[subject] = root
            }
        }
        var gone: Set<Int> = []
        for root in roots {
            let subject = subject(root)
            guard !subject.isEmpty, let other = table[subject], other != root else { continue }
            let isDummy = containers[root].message < 0
            if containers[other].message < 0, isDummy {
                for child in containers[root].children { adopt(child, by: other) }
                containers[root].children = []
                gone.insert(root)
            } else if containers[other].message < 0 || isReply(root) && !isReply(other) {
                adopt(root, by: other)
                gone.insert(root)
            } else {
                // A new dummy takes the other's place, with both below it.
                var dummy = Container(message: -1)
                dummy.children = [other, root]
                containers.append(dummy)
                let index = containers.count - 1
                containers[other].parent = index
                containers[root].parent = index
                gone.insert(root)
                gone.insert(other)
                table[subject] = index
                added.append(index)
            }
        }
        roots = (roots + added).filter { !gone.contains($0) && containers[$0].parent < 0 }
        added = []
    }

    private var added: [Int] = []

    /// The first message of a thread: itself, or the first child of one that is not there.
    private func first(_ index: Int) -> Int {
        var current = index
        while containers[current].message < 0, let child = containers[current].children.first {
            current = child
        }
        return containers[current].message
    }

    private func subject(_ index: Int) -> [UInt8] {
        let message = first(index)
        return message < 0 ? [] : messages[message].subject
    }

    private func isReply(_ index: Int) -> Bool {
        let message = first(index)
        return message >= 0 && messages[message].isReply
    }

    private func sorted(_ list: [Int]) -> [Int] { list.sorted { precedes($0, $1) } }

    /// By sent date, then by the order of the mailbox.
    private func precedes(_ left: Int, _ right: Int) -> Bool {
        let (first, second) = (first(left), first(right))
        guard first >= 0, second >= 0 else { return first > second }
        let (a, b) = (messages[first], messages[second])
        return a.date != b.date ? a.date < b.date : a.number < b.number
    }

    // MARK: Answer

    //  thread-data    = "THREAD" [SP 1*thread-list]                           RFC 5256 §5
    //  thread-list    = "(" (thread-members / thread-nested) ")"
    //  thread-members = nz-number *(SP nz-number) [SP thread-nested]
    //  thread-nested  = 2*thread-list
    func write(to output: inout ByteBuffer) {
        enum Step {
            case thread(Int)
            case close
        }
        var steps = roots.reversed().map { Step.thread($0) }
        while let step = steps.popLast() {
            guard case .thread(let start) = step else {
                output.append(UInt8(ascii: ")"))
                continue
            }
            output.append(UInt8(ascii: "("))
            var current = start
            var hasNumber = false
            while true {
                let container = containers[current]
                if container.message >= 0 {
                    if hasNumber { output.append(.space) }
                    output.append(decimal: messages[container.message].number)
                    hasNumber = true
                }
                guard container.children.count == 1 else {
                    steps.append(.close)
                    if container.children.count > 1, hasNumber { output.append(.space) }
                    steps += container.children.reversed().map { .thread($0) }
                    break
                }
                current = container.children[0]
            }
        }
    }
}
