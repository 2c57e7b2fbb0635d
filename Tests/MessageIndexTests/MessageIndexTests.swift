import Bytes
import Foundation
import Posix
import Testing

@testable import MessageIndex

@Suite struct MessageIndexTests {
    @Test func aDetailComesBackAfterReopening() throws {
        let scratch = try Scratch()
        var index = try scratch.index()
        var mailbox = try index.mailbox(scratch)
        mailbox.writeDetails([(1, [1, 2, 3]), (5, []), (9, [9])])
        #expect(mailbox.details(1...10) == [1: [1, 2, 3], 5: [], 9: [9]])
        index.close()
        index = try scratch.index()
        mailbox = try index.mailbox(scratch)
        #expect(mailbox.details([9, 1]) == [1: [1, 2, 3], 9: [9]])
        mailbox.removeDetails([1, 2])
        #expect(mailbox.details(1...10) == [5: [], 9: [9]])
        index.close()
        #expect(scratch.read("state") == "martlet-index 1\nclean\n")
    }
}
