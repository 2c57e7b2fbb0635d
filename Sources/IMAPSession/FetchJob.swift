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
    var look: DetailJob
    /// How each answer begins, one after the other.
    var beginnings = ByteBuffer()
    /// Where each beginning ends, and what is known of the message.
    var messages: [Message] = []

    struct Message: Sendable {
        var begin: Int
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
    /// Records that were made, to be kept.
    var made = DetailBatch()

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
        if records == .none, needsWhole, batch.messages.count > 1 {
            output.bytes.reserveCapacity(budget + budget / 4)
        }
        var fetched = FetchedBatch()
        fetched.messages.reserveCapacity(batch.messages.count)
        var scratch = ByteBuffer()
        let beginnings = batch.beginnings.bytes
        let run = batch.look.run(
            reader,
            budget: budget,
            size: { batch.messages[$0].size >= 0 ? Int(batch.messages[$0].size) : nil },
            isEnough: { answers($1, sizeIsKnown: batch.messages[$0].size >= 0) }
        ) { offset, message in
            let known = batch.messages[offset]
            let beginning = beginnings.span.extracting(known.begin..<known.end)
            var result = FetchedBatch.Message(end: 0)
            if beginning.isEmpty {
                // Expunged by a sibling session: its record may still be there, its row is not.
                result.isMissing = true
            } else if let record = message.record,
                answers(record, sizeIsKnown: known.size >= 0 || message.content?.size != nil)
            {
                result.size = Int64(message.content?.size ?? record.size ?? Int(known.size))
                if let content = message.content {
                    result.date = content.date
                } else if wantsDate, known.date == .min {
                    result.date = batch.look.names.modified(offset) ?? .min
                } else {
                    result.date = known.date
                }
                if wantsDate, result.date == .min {
                    // Renamed meanwhile, or gone.
                    result.isMissing = true
                } else {
                    output.append(beginning)
                    var isFirst = known.isBare
                    SummaryWriter.append(
                        date: wantsDate ? result.date : nil,
                        size: wantsSize ? Int(result.size) : nil,
                        isFirst: &isFirst,
                        to: &output
                    )
                    recordItems.write(record, isFirst: isFirst, utf8: isUTF8, &scratch, to: &output)
                    output.append(")\r\n")
                }
            } else if let content = message.content,
                !wantsSize || content.size != nil || content.isWhole
            {
                write(content, beginning, isBare: known.isBare, &result, to: &output)
            } else {
                result.isMissing = true
            }
            result.end = output.count
            fetched.messages.append(result)
            return output.count < budget
        }
        fetched.made = run.made
        let bytes = max(run.read, output.count)
        let done = fetched.messages.count
        fetched.bytes = output.take()
        return PipelineOutput(value: fetched, done: done, bytes: bytes)
    }

    /// What a job reads, and which records it makes, for this plan.
    func look(
        at names: NameList,
        details: (any DetailStore)?,
        sizesAreKnown: Bool
    ) -> DetailJob {
        let usesRecords = records != .none
        return DetailJob(
            names: names,
            details: usesRecords ? details : nil,
            extent: needsWhole || wantsSize && !sizesAreKnown ? .whole : .header,
            makes: details == nil ? .none : records
        )
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

    @_lifetime(copy bytes)
    init(_ bytes: Span<UInt8>, size: Int?, _ facts: MessageFileFacts) {
        self.init(bytes, size: size, date: facts.date.seconds, isWhole: facts.isWhole)
    }
}
