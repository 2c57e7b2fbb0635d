import Glibc
import Posix

@testable import MailStore

extension MailStore {
    /// Opens a Maildir for a test. Waits where other processes of the user have all of its inotify
    /// instances: without one a store polls, and tests would wait for it.
    @EventLoop
    static func forTest(
        _ root: String,
        separator: UInt8 = UInt8(ascii: "."),
        prefix: [UInt8]? = [],
        cache: String? = nil
    ) async throws -> MailStore {
        let settings = StoreSettings(
            root: Array(root.utf8),
            separator: separator,
            prefix: prefix,
            processID: getpid(),
            host: Array("test".utf8),
            userName: Array("ann".utf8),
            bootID: Array("test".utf8),
            cacheDirectory: cache.map { Array($0.utf8) }
        )
        for _ in 0..<600 {
            let store = try MailStore(settings)
            store.context.stampAgeMilliseconds = 20
            if store.context.inotify != nil { return store }
            store.close()
            await EventLoop.sleep(milliseconds: 100)
        }
        return try MailStore(settings)
    }
}
