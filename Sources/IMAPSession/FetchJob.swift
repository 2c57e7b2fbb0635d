import Bytes
import IMAPWire
import InternetMessage
import MailStore
import Posix

//  FETCH of what is in message files, a batch at a time
//
//  The loop writes how each answer begins (number, UID, flags) from memory, a job reads the files and
//  writes the whole answers behind one another, and the loop sends them as they are.

/// What a job needs to answer FETCH for some messages.
struct FetchBatch: Sendable {
    var names: NameList
    /// How each answer begins, one after the other.
    var beginnings = ByteBuffer()
    /// Where each beginning ends, and what is known of the message.
    var messages: [Message] = []

    struct Message: Sendable {
        var end: Int
        /// Whether nothing stands behind the parenthesis yet.
        var isBare: Bool
        /// -1 where not known.
        var size: Int64
        /// `.min` where not known.
        var date: Int64
    }
}

/// The answers for the first messages of a batch.
struct FetchedBatch: Sendable {
    var bytes: [UInt8] = []
    var messages: [Message] = []

    struct Message: Sendable {
        /// Where its answer ends in `bytes`.
        var end: Int
        /// Its file was not where it was expected: there is no answer.
        var isMissing = false
        var hasUnknownEncoding = false
        /// -1 where it was not found out.
        var size: Int64 = -1
        var date: Int64 = .min
    }
}

extension FetchPlan {
    /// Reads and answers until the budget is used up.
    func answer(
        _ batch: FetchBatch,
        _ reader: MessageReader,
        budget: Int
    ) -> PipelineOutput<FetchedBatch> {
        var output = ByteBuffer()
        if needsWhole, batch.messages.count > 1 {
            output.bytes.reserveCapacity(budget + budget / 4)
        }
        var fetched = FetchedBatch()
        fetched.messages.reserveCapacity(batch.messages.count)
        var read = 0
        var beginning = 0
        for (index, message) in batch.messages.enumerated() {
            let end = message.end
            defer { beginning = end }
            let begin = beginning..<end
            var result = FetchedBatch.Message(end: output.count)
            let entry = batch.names.entries[index]
            let isSizeKnown =
                !wantsSize || message.size >= 0 || batch.names.claimsWireSize(entry)
            var extent = needsWhole || !isSizeKnown ? MessageExtent.whole : .header
            while true {
                var isShort = false
                let isThere = reader.read(
                    entry,
                    of: batch.names,
                    extent,
                    hasHeader: { HeaderBlock.endIfComplete(in: $0) != nil }
                ) { span, facts in
                    read += span.count
                    let size = message.size >= 0 ? Int(message.size) : facts.namedSize
                    if wantsSize, size == nil, !facts.isWhole {
                        isShort = true
                        return
                    }
                    let loaded = MessageInMemory(
                        span,
                        size: size,
                        date: facts.date.seconds,
                        isWhole: facts.isWhole
                    )
                    write(
                        loaded,
                        batch.beginnings.bytes.span.extracting(begin),
                        isBare: message.isBare,
                        &result,
                        to: &output
                    )
                }
                result.isMissing = !isThere
                guard isShort else { break }
                extent = .whole
            }
            result.end = output.count
            fetched.messages.append(result)
            if read >= budget || output.count >= budget { break }
        }
        let done = fetched.messages.count
        let bytes = max(read, output.count)
        fetched.bytes = output.take()
        return PipelineOutput(value: fetched, done: done, bytes: bytes)
    }

    /// Writes the answer for one message.
    private func write(
        _ message: MessageInMemory,
        _ beginning: Span<UInt8>,
        isBare: Bool,
        _ result: inout FetchedBatch.Message,
        to output: inout ByteBuffer
    ) {
        let start = output.count
        var message = message
        if wantsSize, message.size == nil { message.size = MessageText.crlfSize(of: message.bytes) }
        while true {
            let told = message.size
            output.append(beginning)
            var isFirst = isBare
            SummaryWriter.append(
                date: wantsDate ? message.date : nil,
                size: wantsSize ? told : nil,
                isFirst: &isFirst,
                to: &output
            )
            let itemsStart = output.count
            result.hasUnknownEncoding = write(&message, isFirst: isFirst, to: &output)
            if isFirst, output.count == itemsStart {
                // All that was asked for has an unknown encoding: there is nothing to tell.
                output.bytes.removeSubrange(start...)
                break
            }
            // A file name may tell a wrong size.
            guard wantsSize, message.size != told else { break }
            output.bytes.removeSubrange(start...)
        }
        if output.count > start { output.append(")\r\n") }
        result.size = Int64(message.size ?? -1)
        result.date = message.date
    }
}

/// A message, or its header, as a job has read it.
struct MessageInMemory: ~Escapable {
    let bytes: Span<UInt8>
    /// RFC822.SIZE, where it is known.
    var size: Int?
    let date: Int64
    let isWhole: Bool

    @_lifetime(copy bytes)
    init(_ bytes: Span<UInt8>, size: Int?, date: Int64, isWhole: Bool) {
        self.bytes = bytes
        self.size = size
        self.date = date
        self.isWhole = isWhole
    }
}
