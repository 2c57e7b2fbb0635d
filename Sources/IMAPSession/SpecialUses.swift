import Bytes
import IMAPWire
import Maildir
import MailStore
import Posix

//  Which mailbox is for drafts, sent mail, junk, trash, archive               RFC 6154
//
//  A use that CREATE set stands in `martlet-state` and wins. Otherwise the mailbox has the use whose
//  name it bears, in one of the names that clients have given it in several languages; where several
//  do, the one that comes first in the list. One mailbox a use.

enum MailboxAliases {
    /// Names in lower case, the default first.
    static let names: [(use: SpecialUse, names: [String])] = [
        (
            .drafts,
            [
                "drafts", "draft", "entwürfe", "entwurf", "brouillons", "borradores", "bozze",
                "concepten", "rascunhos", "kladder", "utkast", "luonnokset", "szkice",
                "wersje robocze", "koncepty", "черновики", "草稿", "草稿箱", "下書き",
            ]
        ),
        (
            .sent,
            [
                "sent", "sent items", "sent messages", "sent mail", "sent-mail", "gesendet",
                "gesendete elemente", "gesendete objekte", "envoyés", "messages envoyés",
                "éléments envoyés", "enviados", "elementos enviados", "inviati", "posta inviata",
                "verzonden", "verzonden items", "itens enviados", "sendt", "sendte elementer",
                "skickat", "skickade objekt", "lähetetyt", "wysłane", "odeslané", "elküldött",
                "отправленные", "已发送", "已发送邮件", "送信済み", "送信済みトレイ",
            ]
        ),
        (
            .junk,
            [
                "junk", "spam", "junk e-mail", "junk email", "junk mail", "bulk mail",
                "unerwünscht", "junk-e-mail", "spamverdacht", "indésirables",
                "courrier indésirable", "pourriel", "correo no deseado", "no deseado",
                "posta indesiderata", "indesiderata", "ongewenste e-mail", "lixo eletrônico",
                "skräppost", "søppelpost", "uønsket", "roskaposti", "niechciane",
                "nevyžádaná pošta",
                "спам", "垃圾邮件", "迷惑メール",
            ]
        ),
        (
            .trash,
            [
                "trash", "deleted", "deleted items", "deleted messages", "bin", "papierkorb",
                "gelöscht", "gelöschte elemente", "gelöschte objekte", "corbeille",
                "éléments supprimés", "papelera", "elementos eliminados", "cestino",
                "posta eliminata", "prullenbak", "verwijderde items", "lixeira",
                "itens excluídos", "papirkurv", "slettet", "papperskorgen", "borttagna objekt",
                "roskakori", "kosz", "koš", "lomtár", "удаленные", "корзина", "已删除", "ゴミ箱",
            ]
        ),
        (
            .archive,
            [
                "archive", "archives", "archiv", "archivio", "archivo", "archief", "arquivo",
                "arkiv", "arkisto", "archiwum", "архив", "存档", "归档", "アーカイブ",
            ]
        ),
    ]

    /// The name under which each is made where it is missing.
    static func defaultName(_ use: SpecialUse) -> [UInt8] {
        switch use {
        case .drafts: [UInt8]("Drafts")
        case .sent: [UInt8]("Sent")
        case .junk: [UInt8]("Junk")
        case .trash: [UInt8]("Trash")
        default: [UInt8]("Archive")
        }
    }

    /// How near a mailbox is to a use by its name: the place in the list, or nil.
    static func rank(_ path: MailboxPath, _ names: [String]) -> Int? {
        guard path.components.count == 1 || isBelowInbox(path), let last = path.components.last
        else { return nil }
        let name = String(decoding: last, as: UTF8.self).lowercased()
        return names.firstIndex(of: name)
    }

    /// `INBOX.Sent`, as Courier's users have it where no prefix hides it.
    private static func isBelowInbox(_ path: MailboxPath) -> Bool {
        path.components.count == 2 && path.components[0].equalsIgnoringCase("INBOX")
    }
}

extension Session {
    /// The special use of each mailbox that has one.
    func specialUses() async throws(CommandFailure) -> [MailboxPath: SpecialUse] {
        do throws(StoreError) {
            return Self.uses(try await store.tree(), stored: try await store.storedUses())
        } catch {
            throw CommandFailure(error)
        }
    }

    /// One mailbox a use; the same one every time.
    nonisolated static func uses(
        _ tree: MailboxTree,
        stored: [MailboxPath: [UInt8]]
    ) -> [MailboxPath: SpecialUse] {
        var uses: [MailboxPath: SpecialUse] = [:]
        for (path, name) in stored where tree.entries[path] != nil {
            uses[path] = SpecialUse.allCases.first { name.equalsIgnoringCase($0.name) }
        }
        for (use, names) in MailboxAliases.names where !uses.values.contains(use) {
            let candidates = tree.entries.keys.filter { uses[$0] == nil }
            let best = candidates.compactMap { path in
                MailboxAliases.rank(path, names).map { (rank: $0, path: path) }
            }
            .min { left, right in
                let (first, second) = (left.path.components, right.path.components)
                if (left.rank, first.count) != (right.rank, second.count) {
                    return (left.rank, first.count) < (right.rank, second.count)
                }
                return first.lexicographicallyPrecedes(second) {
                    $0.lexicographicallyPrecedes($1)
                }
            }
            if let best { uses[best.path] = use }
        }
        return uses
    }

    /// At the first login: makes and subscribes the mailboxes that every client looks for, unless
    /// there is one of that use under any known name.
    func makeDefaultMailboxes() async {
        await store.firstLogin.enter()
        defer { store.firstLogin.leave() }
        do throws(StoreError) {
            guard try await store.isFirstLogin() else { return }
            let tree = try await store.tree()
            let uses = Self.uses(tree, stored: try await store.storedUses())
            // Clients show what is subscribed; a Maildir without the file shows all it has.
            let isFresh = try await store.subscriptions().mailboxes.isEmpty
            let present = tree.entries.values.sorted {
                $0.directoryName.lexicographicallyPrecedes($1.directoryName)
            }
            var shown = isFresh ? present.map(\.path) : []
            for (use, _) in MailboxAliases.names where !uses.values.contains(use) {
                let name = store.naming.prefix + MailboxAliases.defaultName(use)
                guard let path = try? store.naming.path(of: name) else { continue }
                do throws(StoreError) { try await store.create(path) } catch {
                    guard error == .mailboxExists else { throw error }
                }
                shown.append(path)
            }
            try await store.setSubscribed(shown, true)
            try await store.noteDefaultsMade()
        } catch {
            // The user can read mail all the same; the next login tries again.
            Log.warning("event=no-default-mailboxes user=\(identity.user) error=\"\(error)\"")
        }
    }
}
