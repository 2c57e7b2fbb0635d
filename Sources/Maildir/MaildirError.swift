package import Posix

/// Why a file of a Maildir could not be read or changed. For the log and for the caller's next step;
/// what a client learns is decided elsewhere.
package enum MaildirError: Error, Equatable {
    /// The machine refused. Whatever was to be written may or may not be on disk: read again.
    case system(SystemError)
    case uidList(UIDListError)
    case keywords(KeywordsError)
    /// `subscriptions` of a version that is not known here.
    case unsupportedSubscriptions
    /// Another process took the lock for stale and removed it. Nothing was written after that.
    case lockLost
    /// Another process changed the file after it was read. Read again, under the lock.
    case stale
    /// A name has no UIDVALIDITY to take: the counter's files disagree more than ten times.
    case noUIDValidity
}

/// Runs system calls, giving their errors the type of this layer.
func system<Result: ~Copyable>(
    _ body: () throws(SystemError) -> Result
) throws(MaildirError) -> Result {
    do throws(SystemError) { return try body() } catch { throw .system(error) }
}

/// Runs system calls; nil where the file is not there.
func ifThere<Result: ~Copyable>(
    _ body: () throws(SystemError) -> Result
) throws(MaildirError) -> Result? {
    do throws(SystemError) { return try body() } catch {
        if error.isMissing { return nil }
        throw .system(error)
    }
}
