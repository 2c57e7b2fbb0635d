import Bytes
package import Maildir
import Posix

//  Annotations are read from their file whenever they are asked for, and written one change at a time;
//  see AnnotationFile.swift.

extension MailStore {
    /// The annotations of a mailbox, or of the server where `path` is nil.
    ///
    /// - Parameter tree: where the caller has just looked.
    package func annotations(
        of path: MailboxPath?,
        in tree: MailboxTree? = nil
    ) async throws(StoreError) -> AnnotationFile {
        let (directory, name) = try await annotationPlace(path, tree)
        do throws(MaildirError) {
            let file = try await context.pool.run { () throws(MaildirError) in
                try AnnotationFile.load(name, in: directory)
            }
            if file.isDamaged {
                Log.warning("event=annotations-damaged path=\(directory.path.quotedForLog)")
            }
            return file
        } catch {
            context.logFailure(error, directory)
            throw StoreError(error)
        }
    }

    /// Sets entries, all or none; durable on return.
    ///
    /// - Parameter observer: who sets them, and is not told.
    package func setAnnotations(
        of path: MailboxPath?,
        _ entries: [(name: [UInt8], value: [UInt8]?)],
        by observer: AnyObject? = nil
    ) async throws(StoreError) {
        await annotationChanges.enter()
        defer { annotationChanges.leave() }
        var file = try await annotations(of: path)
        let changed: [[UInt8]]
        do throws(AnnotationFile.Refusal) { changed = try file.set(entries) } catch {
            throw .annotation(error)
        }
        guard !changed.isEmpty else { return }
        try await writeAnnotations(file, of: path)
        tellObservers(path, changed, by: observer)
    }

    /// Tells sessions, but for the one that did it, that annotations are not what they were.
    package func tellObservers(_ path: MailboxPath?, _ names: [[UInt8]], by observer: AnyObject?) {
        let own = observer.map(ObjectIdentifier.init)
        for (id, tell) in annotationObservers where id != own { tell(path, names) }
    }

    /// RENAME of INBOX leaves its annotations and gives them to the new mailbox.  RFC 5464 §4.1
    package func copyAnnotations(
        from path: MailboxPath,
        to target: MailboxPath
    ) async throws(StoreError) {
        let file = try await annotations(of: path)
        if !file.values.isEmpty { try await writeAnnotations(file, of: target) }
    }

    private func writeAnnotations(
        _ file: AnnotationFile,
        of path: MailboxPath?
    ) async throws(StoreError) {
        let (directory, name) = try await annotationPlace(path, nil)
        do throws(MaildirError) {
            try await context.pool.run { () throws(MaildirError) in
                try file.store(name, in: directory)
            }
        } catch {
            context.logFailure(error, directory)
            throw StoreError(error)
        }
    }

    private func annotationPlace(
        _ path: MailboxPath?,
        _ tree: MailboxTree?
    ) async throws(StoreError) -> (Directory, [UInt8]) {
        guard let path else { return (root, AnnotationFile.serverName) }
        return (try await directory(of: path, in: tree), AnnotationFile.name)
    }
}
