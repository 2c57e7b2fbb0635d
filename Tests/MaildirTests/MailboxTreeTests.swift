import Bytes
import Foundation
import Posix
import Testing

@testable import Maildir

@Suite("MailboxTree")
struct MailboxTreeTests {
    let scratch: Scratch

    init() throws {
        scratch = try Scratch()
        try scratch.makeMailbox(".")
    }

    func tree() throws -> MailboxTree { try MailboxTree(root: scratch.directory) }

    func path(_ name: String) -> MailboxPath {
        MailboxPath(name.isEmpty ? [] : name.split(separator: "/").map { Array($0.utf8) })
    }

    func listed(_ tree: MailboxTree) -> [String] {
        tree.entries.keys.map { $0.components.map(\.text).joined(separator: "/") }.sorted()
    }

    func link(_ name: String, to target: String) throws {
        try FileManager.default.createSymbolicLink(
            atPath: "\(scratch.path)/\(name)",
            withDestinationPath: target
        )
    }

    @Test("lists what is a mailbox") func listing() throws {
        for name in [
            ".Work", ".Work.2024", ".a.b", ".Entw&APw-rfe", "..x", ".a..b", ".c.", "plain",
        ] {
            try scratch.makeMailbox(name)
        }
        try scratch.write(".file", "")
        try FileManager.default.createDirectory(
            atPath: scratch.path + "/.cache",
            withIntermediateDirectories: false
        )
        try link(".gone", to: "nowhere")
        try link(".self", to: ".")
        try link(".same", to: ".Work")
        try link(".loop", to: ".loop")
        let elsewhere = try Scratch()
        try elsewhere.makeMailbox(".")
        try link(".linked", to: elsewhere.path)
        let tree = try tree()
        #expect(listed(tree) == ["", "Entwürfe", "Work", "Work/2024", "a/b", "linked"])
        #expect(tree.hidden.map(\.text).sorted() == [".same", ".self"])
        #expect(tree.isPresent(path("a")))
        #expect(!tree.isPresent(path("c")))
        #expect(tree.below(path("Work")).map(\.path) == [path("Work/2024")])
        let linked = try #require(tree.entries[path("linked")])
        let opened = try MailboxTree.open(linked, root: scratch.directory)
        #expect(try opened.status().identity == elsewhere.directory.status().identity)
        let inbox = try #require(tree.entries[.inbox])
        #expect(try MailboxTree.open(inbox, root: scratch.directory) === scratch.directory)
    }

    @Test("one mailbox has one name, and new ones are named as the others are") func spelling()
        throws
    {
        try scratch.makeMailbox(".Entw&APw-rfe")
        #expect(try tree().encoding == .modifiedUTF7)
        try scratch.makeMailbox(".Entwürfe")
        var tree = try tree()
        #expect(tree.encoding == .utf8)
        #expect(listed(tree) == ["", "Entwürfe"])
        #expect(tree.entries[path("Entwürfe")]?.directoryName.text == ".Entwürfe")
        #expect(tree.hidden.map(\.text) == [".Entw&APw-rfe"])
        let made = try tree.create(
            path("Gelöscht"),
            root: scratch.directory,
            unique: Array("1".utf8)
        )
        #expect(made.directoryName.text == ".Gelöscht")
        tree = try self.tree()
        #expect(tree.entries[path("Gelöscht")] == made)
    }

    @Test("creates a whole mailbox with the root's mode", arguments: [0o700, 0o750])
    func create(_ mode: Int) throws {
        #expect(chmod(scratch.path, mode_t(mode)) == 0)
        let tree = try tree()
        let unique = Array("1.M2".utf8)
        let entry = try tree.create(path("Work/ü"), root: scratch.directory, unique: unique)
        #expect(entry.directoryName.text == ".Work.&APw-")
        #expect(try scratch.names(".Work.&APw-") == ["cur", "maildirfolder", "new", "tmp"])
        for name in ["", "/cur", "/new", "/tmp"] {
            let status = try scratch.directory.status(Array(".Work.&APw-\(name)".utf8))
            #expect(status.permissions == UInt32(mode))
        }
        let file = try scratch.directory.status(Array(".Work.&APw-/maildirfolder".utf8))
        #expect(file.permissions == UInt32(mode & 0o666))
        #expect(try scratch.names().filter { $0.hasPrefix("..") }.isEmpty)
        // The tree is older than the mailbox.
        #expect(throws: MailboxTreeError.exists) {
            try tree.create(path("Work/ü"), root: scratch.directory, unique: Array("2".utf8))
        }
        let later = try self.tree()
        #expect(throws: MailboxTreeError.exists) {
            try later.create(path("Work/ü"), root: scratch.directory, unique: Array("3".utf8))
        }
        #expect(throws: MailboxTreeError.exists) {
            try later.create(.inbox, root: scratch.directory, unique: Array("4".utf8))
        }
        #expect(throws: MailboxTreeError.name(.dot)) {
            try later.create(path("a.b"), root: scratch.directory, unique: Array("5".utf8))
        }
    }

    @Test("deletes a mailbox, not its children and nothing behind a link") func delete() throws {
        let elsewhere = try Scratch()
        try elsewhere.makeMailbox(".", messages: ["kept"])
        try scratch.makeMailbox(".a", messages: ["1:2,S", "2:2,"])
        try scratch.makeMailbox(".a.b", messages: ["3:2,"])
        try link(".a/cur/out", to: elsewhere.path + "/cur")
        try link(".linked", to: elsewhere.path)
        let tree = try tree()
        let staged = try tree.delete(path("a"), root: scratch.directory, unique: Array("1".utf8))
        let name = try #require(staged)
        #expect(listed(try self.tree()) == ["", "a/b", "linked"])
        #expect(try self.tree().leftovers == [name])
        try MailboxTree.remove(name, root: scratch.directory)
        try MailboxTree.remove(name, root: scratch.directory)
        #expect(!scratch.exists(name.text))
        let gone = try tree.delete(path("linked"), root: scratch.directory, unique: Array("2".utf8))
        #expect(gone == nil)
        #expect(elsewhere.exists("cur/kept"))
        #expect(scratch.exists(".a.b/cur/3:2,"))
        for name in ["a", "linked", "x"] {
            #expect(throws: MailboxTreeError.missing) {
                try tree.delete(path(name), root: scratch.directory, unique: Array("3".utf8))
            }
        }
        #expect(throws: MailboxTreeError.impossible) {
            try tree.delete(.inbox, root: scratch.directory, unique: Array("4".utf8))
        }
    }

    @Test("removes directories to the limit, and stops above", arguments: [15, 16])
    func deep(_ depth: Int) throws {
        let name = "..martlet-gone.1" + String(repeating: "/d", count: depth)
        try FileManager.default.createDirectory(
            atPath: "\(scratch.path)/\(name)",
            withIntermediateDirectories: true
        )
        let staged = Array("..martlet-gone.1".utf8)
        if depth == 15 {
            try MailboxTree.remove(staged, root: scratch.directory)
        } else {
            #expect(throws: SystemError.self) {
                try MailboxTree.remove(staged, root: scratch.directory)
            }
        }
        #expect(scratch.exists("..martlet-gone.1") == (depth == 16))
    }

    @Test("removes leftovers once they are old", arguments: [3_590, 3_610])
    func leftovers(_ age: Int64) throws {
        try scratch.makeMailbox("..martlet-gone.1", messages: ["1:2,"])
        try scratch.makeMailbox("..DOVECOT-TRASHED")
        let now = WallTime(seconds: WallTime.now.seconds + age)
        try tree().removeLeftovers(root: scratch.directory, now: now)
        #expect(scratch.exists("..martlet-gone.1") == (age < 3_600))
        #expect(scratch.exists("..DOVECOT-TRASHED"))
    }

    @Test("renames a tree, the parent first") func rename() throws {
        for name in [".a", ".a.b", ".a.b.c", ".a.&AOk-", ".ab", ".x"] {
            try scratch.makeMailbox(name)
        }
        try scratch.directory.makeDirectory([0x2E, 0x61, 0x2E, 0xFF], mode: 0o700)
        try scratch.directory.makeDirectory(
            [0x2E, 0x61, 0x2E, 0xFF] + Array("/cur".utf8),
            mode: 0o700
        )
        let tree = try tree()
        let renamings = try tree.renamings(path("a"), to: path("x/ü"))
        #expect(renamings.first?.old.text == ".a")
        #expect(renamings.first?.new.text == ".x.&APw-")
        #expect(renamings.last?.old.text == ".a.b.c")
        #expect(renamings.contains { $0.new == Array(".x.&APw-.".utf8) + [0xFF] })
        try MailboxTree.rename(renamings, root: scratch.directory)
        #expect(
            listed(try self.tree()) == [
                "", "ab", "x", "x/ü", "x/ü/b", "x/ü/b/c", "x/ü/é", "x/ü/\u{FFFD}",
            ]
        )
        #expect(throws: MailboxTreeError.missing) {
            try MailboxTree.rename(renamings, root: scratch.directory)
        }
    }

    @Test(
        "renamings that cannot be",
        arguments: [
            ("a", "x", .exists), ("a", "p", .exists), ("a", "a", .exists),
            ("a", "a/b/c", .impossible),
            ("", "y", .impossible), ("a", "", .impossible), ("none", "y", .missing),
            ("a", "y.z", .name(.dot)),
        ] as [(String, String, MailboxTreeError)]
    )
    func badRenamings(_ old: String, _ new: String, _ error: MailboxTreeError) throws {
        for name in [".a", ".a.b", ".x", ".p.b"] { try scratch.makeMailbox(name) }
        let tree = try tree()
        #expect(throws: error) { try tree.renamings(path(old), to: path(new)) }
    }

    @Test("a parent that is no mailbox is renamed with its children") func noParent() throws {
        try scratch.makeMailbox(".a.b")
        let renamings = try tree().renamings(path("a"), to: path("c"))
        #expect(renamings.map(\.new.text) == [".c.b"])
    }

    @Test("a new name at the limit and above", arguments: [255, 256])
    func long(_ count: Int) throws {
        try scratch.makeMailbox(".a.b")
        let parent = String(repeating: "n", count: count - 3)
        let tree = try tree()
        if count == 255 {
            let renamings = try tree.renamings(path("a"), to: path(parent))
            #expect(renamings.first?.new.count == 255)
        } else {
            #expect(throws: MailboxTreeError.name(.tooLong)) {
                try tree.renamings(path("a"), to: path(parent))
            }
        }
    }

    @Test("no mail is lost, whichever call fails", arguments: [false, true])
    func faults(_ crashes: Bool) throws {
        var index = 0
        var isDone = false
        while !isDone {
            let scratch = try Scratch()
            try scratch.makeMailbox(".")
            for name in [".a", ".a.b", ".a.c", ".gone"] {
                try scratch.makeMailbox(name, messages: ["\(name):2,S"])
            }
            let faults = Faults(failing: index, andAllAfter: crashes)
            var created = false
            var deleted = false
            Faults.$current.withValue(faults) {
                do {
                    let tree = try MailboxTree(root: scratch.directory)
                    _ = try tree.create(path("n"), root: scratch.directory, unique: Array("1".utf8))
                    created = true
                } catch {}
                do {
                    let tree = try MailboxTree(root: scratch.directory)
                    try MailboxTree.rename(
                        tree.renamings(path("a"), to: path("z")),
                        root: scratch.directory
                    )
                } catch {}
                do {
                    let tree = try MailboxTree(root: scratch.directory)
                    let unique = Array("2".utf8)
                    let name = try tree.delete(
                        path("gone"),
                        root: scratch.directory,
                        unique: unique
                    )
                    deleted = true
                    if let name { try MailboxTree.remove(name, root: scratch.directory) }
                } catch {}
            }
            isDone = faults.calls.count <= index
            index += 1
            let tree = try MailboxTree(root: scratch.directory)
            for suffix in ["", "/b", "/c"] {
                let found = [path("a" + suffix), path("z" + suffix)].filter {
                    tree.entries[$0] != nil
                }
                #expect(found.count == 1)
                for entry in found.compactMap({ tree.entries[$0] }) {
                    #expect(try scratch.names(entry.directoryName.text + "/cur").count == 1)
                }
            }
            if created { #expect(tree.entries[path("n")] != nil) }
            if deleted { #expect(tree.entries[path("gone")] == nil) }
            // What is there is whole, and what is not finished is found.
            for entry in tree.entries.values {
                let names = try scratch.names(entry.directoryName.text)
                #expect(Set(names).isSuperset(of: ["cur", "new", "tmp"]))
            }
            let hidden = try scratch.names().filter { $0.hasPrefix("..") }
            #expect(tree.leftovers.map(\.text).sorted() == hidden)
        }
        #expect(index > 25)
    }
}
