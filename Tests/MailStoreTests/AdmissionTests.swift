import Foundation
import Maildir
import Posix
import Testing

@testable import MailStore

extension AllTests {
    @Suite("Admissions")
    struct AdmissionTests {
        let scratch: Scratch

        init() throws { scratch = try Scratch() }

        /// One line, complete, with no file yet.
        private static func item(_ inbox: Mailbox) async throws -> MailboxDisk.Admission {
            let staged = try await inbox.stage()
            try await inbox.write([UInt8]("Subject: x\r\n"), to: staged)
            try await inbox.finish(staged, date: nil)
            return MailboxDisk.Admission(
                source: .message(staged),
                base: staged.base,
                flags: [],
                keywords: []
            )
        }

        @Test("a message that is still being synced holds up its own session only")
        func order() async throws {
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                var slow: [PendingAdmission] = []
                for isReady in [false, true] {
                    let item = try await Self.item(inbox)
                    slow.append(PendingAdmission([item], replacing: nil, by: 1))
                    slow[slow.count - 1].isReady = isReady
                }
                inbox.admissions = slow
                #expect(!inbox.hasAdmissible)
                let others = try await inbox.admit([try await Self.item(inbox)], by: 2)
                #expect(others == [1] && inbox.admissions.count == 2)
                slow[0].isReady = true
                inbox.work()
                let first = try await slow[0].wait().get()
                let second = try await slow[1].wait().get()
                #expect(first == [2] && second == [3])
                _ = store
            }
        }
    }
}
