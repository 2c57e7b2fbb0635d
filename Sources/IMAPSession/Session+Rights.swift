import Bytes
import IMAPWire
import Maildir
import MailStore

//  ACL                                                                       RFC 4314, RFC 8440
//
//  Rights on one's own mailboxes, as `dovecot-acl` has them. The user's own name and `owner` are one
//  identifier here. Identifiers are named as Dovecot names them: `$NAME` is a group, `!$NAME` one that
//  overrides, a dash in front takes rights away. What others are granted is for the servers that
//  serve others.

extension Session {
    // MARK: What commands need

    /// Opens a mailbox on which the user must have rights.
    func open(
        _ path: MailboxPath,
        needing rights: MailboxRights,
        outlineSuffices: Bool = false
    ) async throws(CommandFailure) -> Mailbox {
        let mailbox = try await open(path, outlineSuffices: outlineSuffices)
        try need(rights, mailbox)
        return mailbox
    }

    func need(_ rights: MailboxRights, _ mailbox: Mailbox) throws(CommandFailure) {
        guard mailbox.rights.isSuperset(of: rights) else {
            throw .refused(.noPermission, "Rights on the mailbox do not suffice")
        }
    }

    /// Who may add to a mailbox but not select it learns no UIDs: neither APPENDUID nor COPYUID.
    ///                                                                       RFC 4315 §3
    func maySelect(_ mailbox: Mailbox) -> Bool { mailbox.rights.contains(.read) }

    /// STORE fails only where not one of its flags may be changed.            RFC 4314 §4
    func needRight(
        toStore command: StoreCommand,
        _ view: SelectedMailbox
    ) throws(CommandFailure) {
        let rights = view.mailbox.rights
        let mayStore =
            command.operation == .replace || command.flags.isEmpty
            ? !rights.isDisjoint(with: [.seen, .write, .deleteMessages])
            : command.flags.contains { rights.allows($0) }
        guard mayStore else {
            throw .refused(.noPermission, "Rights on the mailbox do not suffice")
        }
    }

    /// For mailboxes that are not opened. Of one that does not exist the operation itself tells.
    func need(_ rights: MailboxRights, _ path: MailboxPath) async throws(StoreError) {
        do throws(StoreError) {
            guard try await store.rights(of: path).isSuperset(of: rights) else {
                throw .noPermission
            }
        } catch {
            if error != .noSuchMailbox { throw error }
        }
    }

    /// CREATE and RENAME need a right on the nearest mailbox above the new name.
    func needRightAbove(_ path: MailboxPath) async throws(CommandFailure) {
        do throws(StoreError) {
            guard let parent = try await store.nearestParent(of: path) else { return }
            try await need(.createMailbox, parent)
        } catch {
            throw CommandFailure(error)
        }
    }

    // MARK: Commands

    //  getacl = "GETACL" SP mailbox                                          RFC 4314 §3.3
    func getACL(_ name: MailboxName) async throws(CommandFailure) -> Completion {
        let path = try path(name)
        let acl: ACLFile
        do throws(StoreError) { acl = try await store.acl(of: path) } catch {
            throw CommandFailure(error)
        }
        var entries: [(identifier: [UInt8], rights: [UInt8])] = []
        if !acl.entries.contains(where: { $0.identifier == .owner }) {
            let rights = acl.ownerRights(store.userName)
            entries.append((ownName, Self.letters(rights)))
        }
        for entry in acl.entries {
            let rights =
                entry.identifier == .owner ? entry.rights.union(.ofOwner) : entry.rights
            entries.append((wireName(entry.identifier), Self.letters(rights)))
        }
        output.append(acl: store.naming.name(of: path), entries, mode)
        return Completion("Rights listed")
    }

    //  myrights = "MYRIGHTS" SP mailbox                                      RFC 4314 §3.5
    func myRights(_ name: MailboxName) async throws(CommandFailure) -> Completion {
        let path = try path(name)
        do throws(StoreError) { try await appendMyRights(path) } catch {
            throw CommandFailure(error)
        }
        return Completion("Rights listed")
    }

    func appendMyRights(
        _ path: MailboxPath,
        _ tree: MailboxTree? = nil
    ) async throws(StoreError) {
        let rights = try await store.rights(of: path, in: tree)
        output.append(myRights: store.naming.name(of: path), Self.letters(rights), mode)
    }

    //  listrights = "LISTRIGHTS" SP mailbox SP identifier                    RFC 4314 §3.4
    func listRights(
        _ name: MailboxName,
        _ identifier: [UInt8]
    ) async throws(CommandFailure) -> Completion {
        let path = try path(name)
        let meant = try storedIdentifier(identifier)
        // It must exist.
        do throws(StoreError) { _ = try await store.acl(of: path) } catch {
            throw CommandFailure(error)
        }
        let required: MailboxRights = meant == .owner ? .ofOwner : .none
        let optional = MailboxRights.all.subtracting(required).letters
        output.append(
            listRights: store.naming.name(of: path),
            identifier: identifier,
            required: required.letters,
            optional: (optional + [UInt8]("cd")).map { [$0] },
            mode
        )
        return Completion("Rights listed")
    }

    //  setacl = "SETACL" SP mailbox SP identifier SP mod-rights              RFC 4314 §3.1
    func setACL(
        _ name: MailboxName,
        _ identifier: [UInt8],
        _ change: RightsChange
    ) async throws(CommandFailure) -> Completion {
        let path = try path(name)
        let meant = try storedIdentifier(identifier)
        guard let rights = Self.rights(change.rights) else { throw .bad("Right is not supported") }
        let asked: ACLFile.Change =
            switch change.operation {
            case .replace: .replace(meant == .owner ? rights.union(.ofOwner) : rights)
            case .add: .add(rights)
            case .remove: .remove(meant == .owner ? rights.subtracting(.ofOwner) : rights)
            }
        try await changeACL(path, meant, asked)
        return Completion("Rights set")
    }

    //  deleteacl = "DELETEACL" SP mailbox SP identifier                      RFC 4314 §3.2
    func deleteACL(
        _ name: MailboxName,
        _ identifier: [UInt8]
    ) async throws(CommandFailure) -> Completion {
        try await changeACL(try path(name), try storedIdentifier(identifier), .delete)
        return Completion("Rights deleted")
    }

    private func changeACL(
        _ path: MailboxPath,
        _ identifier: ACLFile.Identifier,
        _ change: ACLFile.Change
    ) async throws(CommandFailure) {
        do throws(StoreError) {
            try await store.changeACL(
                of: path,
                identifier,
                change,
                base: identifier == .owner ? .all : .none
            )
        } catch {
            throw CommandFailure(error)
        }
        // RFC 4314 §5.1.1: what may be changed now.
        if let selected, selected.mailbox.path == path { selected.appendFlagLists(to: &output) }
    }

    // MARK: Letters and names

    /// The letters, with the obsolete `c` and `d` where one of theirs is among them.  §2.1.1
    private static func letters(_ rights: MailboxRights) -> [UInt8] {
        var letters = rights.letters
        if !rights.isDisjoint(with: .create) { letters.append(UInt8(ascii: "c")) }
        if !rights.isDisjoint(with: .delete) { letters.append(UInt8(ascii: "d")) }
        return letters
    }

    /// Nil where a letter is not known.
    private static func rights(_ letters: [UInt8]) -> MailboxRights? {
        var rights = MailboxRights.none
        var standard: [UInt8] = []
        for letter in letters {
            switch letter {
            case UInt8(ascii: "c"): rights.formUnion(.create)
            case UInt8(ascii: "d"): rights.formUnion(.delete)
            default: standard.append(letter)
            }
        }
        return MailboxRights(letters: standard).map { rights.union($0) }
    }

    private var ownName: [UInt8] {
        store.userName.isEmpty ? [UInt8]("owner") : store.userName
    }

    private func wireName(_ identifier: ACLFile.Identifier) -> [UInt8] {
        var name = identifier.text
        if identifier.text == ACLFile.Identifier.owner.text {
            name = ownName
        } else {
            for (prefix, mark) in Self.prefixes where name.starts(with: prefix) {
                name = mark + name.dropFirst(prefix.count)
                break
            }
        }
        return (identifier.isNegative ? [UInt8(ascii: "-")] : []) + name
    }

    private static let prefixes: [(stored: [UInt8], wire: [UInt8])] = [
        ([UInt8]("user="), []), ([UInt8]("group="), [UInt8]("$")),
        ([UInt8]("group-override="), [UInt8]("!$")),
    ]

    private func storedIdentifier(_ name: [UInt8]) throws(CommandFailure) -> ACLFile.Identifier {
        let isNegative = name.first == UInt8(ascii: "-")
        let plain = isNegative ? Array(name.dropFirst()) : name
        guard !plain.isEmpty, plain[0] != UInt8(ascii: "#"),
            plain.count <= ACLFile.identifierBytesMax - 20
        else { throw .bad("Identifier is not valid") }
        let text: [UInt8]
        if plain == store.userName {
            text = ACLFile.Identifier.owner.text
        } else if ["anyone", "authenticated", "owner"].contains(where: { plain == [UInt8]($0.utf8) }
        ) {
            text = plain
        } else if let (stored, mark) = Self.prefixes.last(where: {
            !$0.wire.isEmpty && plain.starts(with: $0.wire) && plain.count > $0.wire.count
        }) {
            text = stored + plain.dropFirst(mark.count)
        } else {
            text = [UInt8]("user=") + plain
        }
        guard ACLFile.isIdentifier(text) else { throw .bad("Identifier is not valid") }
        return ACLFile.Identifier(text, isNegative: isNegative)
    }
}

extension MailboxRights {
    /// RFC 2086's `c` and `d`.                                               RFC 4314 §2.1.1
    static let create: MailboxRights = [.createMailbox, .deleteMailbox]
    static let delete: MailboxRights = [.deleteMessages, .expunge]

    /// Whether there is anything that a session may change in the mailbox.   RFC 4314 §5.2
    var allowChanges: Bool {
        !isDisjoint(with: [.insert, .expunge, .seen, .write, .deleteMessages])
    }

    /// Whether a flag may be changed.                                        RFC 4314 §4
    func allows(_ flag: Flag) -> Bool {
        switch flag {
        case .system(.seen): contains(.seen)
        case .system(.deleted): contains(.deleteMessages)
        case .system, .keyword: contains(.write)
        }
    }
}
