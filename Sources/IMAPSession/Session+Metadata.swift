import Bytes
import IMAPWire
import Maildir
import MailStore

//  METADATA                                                        RFC 5464, RFC 9590, RFC 6154 §4
//
//  Private entries are the user's, and so are shared ones: a Maildir has one user here. One entry is
//  not a note but the mailbox's special use, `/private/specialuse`; setting it moves the use.

extension Session {
    private static var specialUseEntry: [UInt8] { [UInt8]("/private/specialuse") }

    //  getmetadata                                                           RFC 5464 §4.2
    func getMetadata(_ command: GetMetadataCommand) async throws(CommandFailure) -> Completion {
        let path = try annotated(command.mailbox)
        try Self.check(command.entries)
        try await needMetadataRights(path)
        var longest = 0
        try await appendMetadata(path, command, &longest)
        guard longest > 0 else { return Completion("Annotations listed") }
        return Completion("Annotations listed", .metadataLongEntries(UInt32(clamping: longest)))
    }

    //  setmetadata                                                           RFC 5464 §4.3
    func setMetadata(_ command: SetMetadataCommand) async throws(CommandFailure) -> Completion {
        let path = try annotated(command.mailbox)
        try Self.check(command.entries.map(\.name))
        try await needMetadataRights(path)
        var entries: [(name: [UInt8], value: [UInt8]?)] = []
        var use: (value: [UInt8]?, isSet: Bool) = (nil, false)
        for entry in command.entries {
            if path == nil, entry.name == [UInt8]("/shared/admin") {
                throw .refused(.noPermission, "Annotation is set by the administrator")
            }
            if path != nil, entry.name == Self.specialUseEntry {
                use = (entry.value, true)
            } else {
                entries.append((entry.name, entry.value))
            }
        }
        let change = try await checkedUse(path, use)
        do throws(StoreError) {
            if !entries.isEmpty {
                try await store.setAnnotations(of: path, entries, by: annotationChanges)
            }
        } catch {
            throw Self.failure(error)
        }
        if let change, let path { try await setUse(change, path) }
        return Completion("Annotations set")
    }

    /// METADATA lines of a mailbox that LIST returns.                         RFC 9590 §3
    func appendMetadata(
        _ path: MailboxPath,
        _ entries: [[UInt8]],
        _ tree: MailboxTree?
    ) async throws(CommandFailure) {
        let command = GetMetadataCommand(mailbox: MailboxName([]), entries: entries)
        var longest = 0
        try await appendMetadata(path, command, &longest, tree)
    }

    private func appendMetadata(
        _ path: MailboxPath?,
        _ command: GetMetadataCommand,
        _ longest: inout Int,
        _ tree: MailboxTree? = nil
    ) async throws(CommandFailure) {
        var values: [[UInt8]: [UInt8]]
        do throws(StoreError) {
            values = try await store.annotations(of: path, in: tree).values
        } catch {
            throw CommandFailure(error)
        }
        if let path,
            command.entries.contains(where: { Self.covers($0, Self.specialUseEntry, .infinity) }
            )
        {
            values[Self.specialUseEntry] = try await specialUses()[path].map { [UInt8]($0.name) }
        }
        var chosen: [SetMetadataCommand.Entry] = []
        var told: Set<[UInt8]> = []
        for asked in command.entries {
            var names = [asked]
            if command.depth != .zero {
                names = values.keys.filter { Self.covers(asked, $0, command.depth) }
                    .sorted { $0.lexicographicallyPrecedes($1) }
            }
            for name in names where told.insert(name).inserted {
                let value = values[name]
                if let value, let limit = command.maxSize, value.count > Int(limit) {
                    longest = max(longest, value.count)
                } else {
                    chosen.append(SetMetadataCommand.Entry(name: name, value: value))
                }
            }
        }
        guard !chosen.isEmpty else { return }
        output.append(metadata: path.map { store.naming.name(of: $0) } ?? [], chosen, mode)
    }

    /// Whether an entry is the one asked for, or as far below it.            RFC 5464 §4.2.2
    private static func covers(
        _ asked: [UInt8],
        _ name: [UInt8],
        _ depth: GetMetadataCommand.Depth
    ) -> Bool {
        guard name != asked else { return true }
        guard depth != .zero, name.count > asked.count, name.starts(with: asked),
            name[asked.count] == UInt8(ascii: "/")
        else { return false }
        return depth == .infinity || !name[(asked.count + 1)...].contains(UInt8(ascii: "/"))
    }

    /// Nil for the server.
    private func annotated(_ name: MailboxName) throws(CommandFailure) -> MailboxPath? {
        name.bytes.isEmpty ? nil : try path(name)
    }

    private static func check(_ names: [[UInt8]]) throws(CommandFailure) {
        for name in names {
            guard
                ["/private", "/shared"].contains(where: { prefix in
                    name == [UInt8](prefix.utf8) || name.starts(with: Array("\(prefix)/".utf8))
                })
            else { throw .bad("Annotations begin with /private or /shared") }
        }
    }

    /// RFC 5464 §3.3: lookup, which the owner has, and one of these.
    func needMetadataRights(_ path: MailboxPath?) async throws(CommandFailure) {
        guard let path else { return }
        do throws(StoreError) {
            let rights = try await store.rights(of: path)
            if rights.isDisjoint(with: [.read, .seen, .write, .insert, .post]) {
                throw .noPermission
            }
        } catch {
            throw CommandFailure(error)
        }
    }

    private static func failure(_ error: StoreError) -> CommandFailure {
        switch error {
        case .annotation(.valueTooLong):
            .refused(
                .metadataMaxSize(UInt32(AnnotationFile.valueBytesMax)),
                "Annotation is too large"
            )
        case .annotation(.tooMany): .refused(.metadataTooMany, "Too many annotations")
        default: CommandFailure(error)
        }
    }

    // MARK: Special use

    /// The use to give a mailbox (nil inside: none), checked; nil where nothing changes.
    private func checkedUse(
        _ path: MailboxPath?,
        _ asked: (value: [UInt8]?, isSet: Bool)
    ) async throws(CommandFailure) -> SpecialUse?? {
        guard asked.isSet, let path else { return nil }
        let words = (asked.value ?? []).split(separator: .space).map { Array($0) }
        let present = try await specialUses()[path]
        guard let word = words.first else {
            if present == nil { return nil }
            let stored: [MailboxPath: [UInt8]]
            do throws(StoreError) { stored = try await store.storedUses() } catch {
                throw CommandFailure(error)
            }
            guard stored[path] != nil else {
                throw .refused(.useAttribute, "Special use comes with the mailbox's name")
            }
            return .some(nil)
        }
        guard words.count == 1,
            let use = SpecialUse.allCases.first(where: { word.equalsIgnoringCase($0.name) }),
            use.isStorable
        else { throw .refused(.useAttribute, "Special use is not possible here") }
        return use == present ? nil : .some(use)
    }

    /// Gives a mailbox a use; another that had it by an earlier command loses it.
    private func setUse(_ use: SpecialUse?, _ path: MailboxPath) async throws(CommandFailure) {
        let before = try await specialUses()
        do throws(StoreError) {
            let name = use.map { [UInt8]($0.name) }
            if let name {
                for (other, stored) in try await store.storedUses()
                where other != path && stored == name {
                    try await store.setUse(other, nil)
                }
            }
            try await store.setUse(path, name)
            let names = [Self.specialUseEntry]
            store.tellObservers(path, names, by: annotationChanges)
            // RFC 6154 §5.4: the mailbox that had it.
            for (other, old) in before where other != path && old == use {
                let entry = SetMetadataCommand.Entry(name: Self.specialUseEntry, value: nil)
                output.append(metadata: store.naming.name(of: other), [entry], mode)
                store.tellObservers(other, names, by: annotationChanges)
            }
        } catch {
            throw CommandFailure(error)
        }
    }
}
