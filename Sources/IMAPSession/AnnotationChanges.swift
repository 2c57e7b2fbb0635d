import IMAPWire
import Maildir
import MailStore
import Posix

//  Annotations that other sessions change                        RFC 5464 §4.4.2, RFC 5465 §5.6, §5.7
//
//  A session that wants to hear of them says so to the store, which tells it the names while the other
//  session's command runs. They are kept until this session may tell them: with NOTIFY between
//  commands, and only those that it asked for; with ENABLE METADATA alone behind a command or in IDLE.

/// What one session has yet to tell.
@EventLoop
final class AnnotationChanges {
    private let store: MailStore
    private let wake: () -> Void
    private let countMax: Int
    private var waiting: [MailboxPath?: Set<[UInt8]>] = [:]
    private var count = 0
    /// More than is kept was changed while the client did not read.
    private(set) var isOverflowing = false

    var isEmpty: Bool { waiting.isEmpty && !isOverflowing }

    /// - Parameter wake: called where something may be to be told.
    init(_ store: MailStore, countMax: Int, wake: @escaping () -> Void) {
        self.store = store
        self.countMax = countMax
        self.wake = wake
    }

    /// Starts to listen; nothing that happened before is told.
    func start() {
        store.annotationObservers[ObjectIdentifier(self)] = { [weak self] path, names in
            self?.note(path, names)
        }
    }

    func stop() { store.annotationObservers[ObjectIdentifier(self)] = nil }

    private func note(_ path: MailboxPath?, _ names: [[UInt8]]) {
        if isOverflowing { return }
        for name in names where waiting[path, default: []].insert(name).inserted { count += 1 }
        if count > countMax {
            isOverflowing = true
            waiting = [:]
        }
        wake()
    }

    /// What there is to tell, the server's first, in a fixed order.
    func take() -> [(path: MailboxPath?, names: [[UInt8]])] {
        defer { (waiting, count) = ([:], 0) }
        return waiting.map { path, names in
            (path: path, names: names.sorted { $0.lexicographicallyPrecedes($1) })
        }.sorted { left, right in
            guard let first = left.path else { return true }
            guard let second = right.path else { return false }
            return store.naming.precedes(first, second)
        }
    }
}

extension Session {
    /// ENABLE METADATA: from here on other sessions' changes are told.         RFC 5464 §4.1
    func enableMetadata() {
        isMetadataEnabled = true
        if notifier == nil { listenForAnnotations() }
    }

    /// From here on annotations are heard of as NOTIFY says, and no longer as ENABLE did.
    func followAnnotations(_ notifier: Notifier) {
        if notifier.wantsAnnotations {
            listenForAnnotations()
        } else {
            annotationChanges?.stop()
            annotationChanges = nil
        }
    }

    private func listenForAnnotations() {
        guard annotationChanges == nil else { return }
        let changes = AnnotationChanges(store, countMax: annotationChangeCountMax) {
            [weak self] in self?.stream.interrupt()
        }
        changes.start()
        annotationChanges = changes
    }

    /// Tells of the annotations that others changed, where the session may know of them.
    ///
    /// Throws where more were changed than are kept: the client cannot be told.
    func tellAnnotations() async throws(CommandFailure) {
        guard let changes = annotationChanges, !changes.isEmpty else { return }
        if changes.isOverflowing {
            throw .refused(.notificationOverflow, "Too many annotations changed")
        }
        for (path, names) in changes.take() {
            if let notifier, !notifier.wantsAnnotations(of: path) { continue }
            // Gone meanwhile, or not to be read: nothing is told.
            do throws(CommandFailure) { try await needMetadataRights(path) } catch {
                if case .closed = error { throw error }
                continue
            }
            output.append(
                metadata: path.map { store.naming.name(of: $0) } ?? [],
                changed: names,
                mode
            )
            try await flushIfLarge()
        }
    }

    /// The same without NOTIFY: a session that cannot say that it says no more ends.
    func tellEnabledAnnotations() async throws(CommandFailure) {
        guard notifier == nil, annotationChanges != nil else { return }
        do throws(CommandFailure) { try await tellAnnotations() } catch {
            if case .closed = error { throw error }
            end("Too many annotations changed")
        }
    }
}
