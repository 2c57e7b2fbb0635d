import Bytes
package import Posix

extension Subscriptions {
    package static let name = [UInt8]("subscriptions")

    /// Reads the file in the root of a Maildir; the empty list where there is none.
    package static func load(root: Directory) throws(MaildirError) -> Subscriptions {
        let file = try ifThere { () throws(SystemError) in
            try root.readFile(name, max: Limits.subscriptionsBytesMax)
        }
        guard let list = Subscriptions(file: file ?? []) else { throw .unsupportedSubscriptions }
        return list
    }

    /// Replaces the file by way of the lock, which is given up. The list must have been read under
    /// this lock. After an error the caller releases it.
    package func store(_ lock: DotLock) throws(MaildirError) {
        precondition(lock.name == Self.name, "the lock protects another file")
        let status = try system { () throws(SystemError) in try lock.directory.status() }
        try lock.replaceProtected(with: file, MailboxPermissions(of: status))
    }
}
