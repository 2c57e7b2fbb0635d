package import Posix

//  Jobs ahead of the writer
//
//  Messages are worked on in batches, some of them while the results of those before are sent: one
//  core reads and renders, the other one writes. What is ahead is bounded by `ahead` batches of
//  `budget` bytes each: a job stops when it has used up its budget, and what is left of its batch
//  becomes the next one.
//
//  Where somebody asks for a message or two, and they are small and in the page cache, waking a thread
//  and being woken by it costs more than the work. So that is tried on the loop first, with system calls
//  that fail where they would have to wait for a disk.

/// What a job made of the first messages of its batch.
package struct PipelineOutput<Value: Sendable>: Sendable {
    package var value: Value
    /// How many messages that were; at least one.
    package var done: Int
    /// Bytes read or made, to size the batches that follow.
    package var bytes: Int

    package init(value: Value, done: Int, bytes: Int) {
        self.value = value
        self.done = done
        self.bytes = bytes
    }
}

/// Runs over a number of messages, in order. Whoever takes the batches holds it.
@EventLoop
package final class MessagePipeline<Input: Sendable, Value: Sendable> {
    package typealias Work = @Sendable (Input, MessageReader) -> PipelineOutput<Value>

    private let pool: JobPool
    private let count: Int
    private let ahead: Int
    private let batchMax: Int
    private let budget: Int
    private let readsFilesOnly: Bool
    private let prepare: @EventLoop (Range<Int>) -> Input
    private let work: Work
    private var slots: [Slot] = []
    private var next = 0
    private var readers: [MessageReader] = []
    private var doneCount = 0
    private var doneBytes = 0

    /// A batch whose job runs or has run.
    @EventLoop
    private final class Slot {
        var range: Range<Int>
        var value: Value?
        let finished = Signal()

        init(_ range: Range<Int>) { self.range = range }
    }

    /// - Parameters:
    ///   - count: of messages; batches are ranges of `0..<count`.
    ///   - ahead: how many batches may be ready that nobody has taken.
    ///   - readsFilesOnly: whether the work waits for nothing but the message files, which it reads with
    ///     the reader that it gets.
    ///   - prepare: makes what a job needs, just before it starts.
    package init(
        _ mailbox: Mailbox,
        count: Int,
        ahead: Int = 2,
        batchMax: Int,
        budget: Int,
        readsFilesOnly: Bool = false,
        prepare: @escaping @EventLoop (Range<Int>) -> Input,
        work: @escaping Work
    ) {
        pool = mailbox.context.pool
        self.count = count
        self.ahead = ahead
        self.batchMax = batchMax
        self.budget = budget
        self.readsFilesOnly = readsFilesOnly
        self.prepare = prepare
        self.work = work
    }

    /// The next batch and what was made of it; nil at the end.
    package func take() async -> (range: Range<Int>, value: Value)? {
        while slots.count <= ahead, next < count { startNext() }
        guard let slot = slots.first else { return nil }
        while slot.value == nil { await slot.finished.wait() }
        slots.removeFirst()
        while slots.count < ahead, next < count { startNext() }
        guard let value = slot.value else { return nil }
        return (slot.range, value)
    }

    private func startNext() {
        // The first batches are small: nothing is known of the messages, and the client waits.
        let mean = doneCount == 0 ? budget / 8 : max(doneBytes / doneCount, 1)
        let size = max(1, min(batchMax, budget / mean))
        let slot = Slot(next..<min(next + size, count))
        next = slot.range.upperBound
        slots.append(slot)
        start(slot)
    }

    /// Nothing begins any more once the pipeline is dropped: what `prepare` looks at may be gone with
    /// the command that was waiting for it. So its task does not hold it while the job runs: that would
    /// keep it for whatever begins meanwhile.
    private func start(_ slot: Slot) {
        let (pool, work) = (pool, work)
        Task { [weak self] in
            guard let (input, reader, made) = self?.begin(slot) else { return }
            if let made {
                self?.end(slot, made, reader)
                return
            }
            let output = await pool.run { () -> PipelineOutput<Value> in work(input, reader) }
            self?.end(slot, output, reader)
        }
    }

    /// What the job of a batch needs, and its output where that came without waiting.
    private func begin(_ slot: Slot) -> (Input, MessageReader, PipelineOutput<Value>?) {
        let input = prepare(slot.range)
        let reader = readers.popLast() ?? MessageReader()
        return (input, reader, workOnLoop(input, reader))
    }

    private func end(_ slot: Slot, _ output: PipelineOutput<Value>, _ reader: MessageReader) {
        readers.append(reader)
        doneCount += output.done
        doneBytes += output.bytes
        let end = slot.range.lowerBound + max(1, min(output.done, slot.range.count))
        if end < slot.range.upperBound,
            let place = slots.firstIndex(where: { $0 === slot })
        {
            let rest = Slot(end..<slot.range.upperBound)
            slots.insert(rest, at: place + 1)
            start(rest)
        }
        slot.range = slot.range.lowerBound..<end
        slot.value = output.value
        slot.finished.fire()
    }

    private func workOnLoop(_ input: Input, _ reader: MessageReader) -> PipelineOutput<Value>? {
        guard readsFilesOnly, count <= Limits.loopMessagesMax else { return nil }
        reader.isCachedOnly = true
        reader.wouldWait = false
        defer { reader.isCachedOnly = false }
        let output = work(input, reader)
        return reader.wouldWait ? nil : output
    }
}

extension Mailbox {
    /// Where the files of messages are now, for a job.
    package func names(of uids: ArraySlice<UInt32>) -> NameList { NameList(disk, table, uids) }
}
