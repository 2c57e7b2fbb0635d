import Bytes
import Glibc
import Maildir
import Posix
import Synchronization
import Testing

@testable import MailStore

extension AllTests {
    @Suite("a pipeline of messages")
    struct MessagePipelineTests {
        /// What was asked for of a pipeline.
        @EventLoop
        private final class Asked {
            var parts: [Range<Int>] = []
        }

        @EventLoop
        private static func mailbox(_ scratch: Scratch) async throws -> (MailStore, Mailbox) {
            try scratch.fill(40)
            let store = try MailStore(
                StoreSettings(
                    root: Array(scratch.path.utf8),
                    processID: ownProcessID,
                    host: Array("host".utf8)
                )
            )
            return (store, try await store.open(.inbox))
        }

        @EventLoop
        private static func pipeline(
            _ inbox: Mailbox,
            _ asked: Asked,
            doneMax: Int
        ) -> MessagePipeline<Range<Int>, Int> {
            MessagePipeline(inbox, count: 40, batchMax: 4, budget: 1 << 20) { part in
                asked.parts.append(part)
                return part
            } work: { part, _ in
                PipelineOutput(value: part.lowerBound, done: min(doneMax, part.count), bytes: 1)
            }
        }

        @Test("gives every message once, in order") func order() async throws {
            let scratch = try Scratch()
            try await EventLoop.test {
                let (store, inbox) = try await Self.mailbox(scratch)
                let pipeline = Self.pipeline(inbox, Asked(), doneMax: 3)
                var next = 0
                while let (range, value) = await pipeline.take() {
                    #expect(range.lowerBound == next && value == next)
                    next = range.upperBound
                }
                #expect(next == 40)
                await store.shutDown()
            }
        }

        /// A session that ends in the middle of FETCH empties its view.
        @Test("asks for nothing more once it is dropped") func dropped() async throws {
            let scratch = try Scratch()
            try await EventLoop.test {
                let (store, inbox) = try await Self.mailbox(scratch)
                let asked = Asked()
                var pipeline: MessagePipeline? = Self.pipeline(
                    inbox,
                    asked,
                    doneMax: 4
                )
                _ = await pipeline?.take()
                await EventLoop.sleep(milliseconds: 50)
                // What is taken now was ready; the batch that begins instead has not had its turn.
                _ = await pipeline?.take()
                let before = asked.parts.count
                #expect(before > 0)
                pipeline = nil
                for _ in 0..<50 { await EventLoop.sleep(milliseconds: 1) }
                #expect(asked.parts.count == before)
                await store.shutDown()
            }
        }

        /// Lets jobs go on, one after the other.
        private final class Gate: Sendable {
            let opened = Atomic<Int>(0)

            func wait(for number: Int) {
                while opened.load(ordering: .acquiring) < number { usleep(1_000) }
            }
        }

        @Test("asks for nothing more once it is dropped, whatever jobs still run")
        func droppedAtWork() async throws {
            let scratch = try Scratch()
            try await EventLoop.test {
                let (store, inbox) = try await Self.mailbox(scratch)
                let (asked, gate) = (Asked(), Gate())
                var pipeline: MessagePipeline? = MessagePipeline(
                    inbox,
                    count: 40,
                    batchMax: 4,
                    budget: 1 << 20
                ) { part in
                    asked.parts.append(part)
                    return part
                } work: { part, _ in
                    // The first batch is taken; of the two behind it one leaves messages over
                    // while the other one is still at work.
                    gate.wait(for: part.lowerBound / 4)
                    return PipelineOutput(value: 0, done: part.lowerBound == 4 ? 2 : 4, bytes: 1)
                }
                _ = await pipeline?.take()
                let before = asked.parts.count
                #expect(before == 3)
                pipeline = nil
                for number in 1...2 {
                    gate.opened.store(number, ordering: .releasing)
                    for _ in 0..<50 { await EventLoop.sleep(milliseconds: 1) }
                }
                #expect(asked.parts.count == before)
                await store.shutDown()
            }
        }
    }
}
