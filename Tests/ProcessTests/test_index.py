# SPDX-License-Identifier: ISC
"""The index is a cache: whatever happens to it, clients are answered the same."""

import glob
import os
import random
import re
import shutil
import signal
import unittest

import martlet
from martlet import TestCase, needs_root, wait_until

COUNT = 60
PEOPLE = ["Ann <ann@example.org>", "Børge <b@example.net>", "carol@example.com"]

QUESTIONS = [
    "UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)",
    "UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (From To Cc Subject Date Message-ID References)])",
    "UID SEARCH FROM ann",
    "UID SEARCH SUBJECT plan BODY number",
    "UID SORT (SUBJECT REVERSE DATE) UTF-8 ALL",
    "UID THREAD REFERENCES UTF-8 ALL",
    "STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN SIZE)",
]


def fill(maildir, salt=""):
    """Mail in threads, from several people, with flags."""
    for number in range(COUNT):
        fields = {"Message-ID": "<%d%s@example.org>" % (number, salt)}
        if number % 4:
            fields["References"] = "<%d%s@example.org>" % (number - number % 4, salt)
        maildir.put(
            martlet.message("Plan %d%s" % (number // 4, salt), "Number %d.\n" % number,
                            sender=PEOPLE[number % 3], **fields),
            flags="S" if number % 5 else "")


def answers(connection):
    """What the server says to all of the questions; asked twice, since the second time is warm."""
    said = []
    for question in QUESTIONS * 2:
        said.append(sorted(connection.ok(question).untagged))
    half = len(QUESTIONS)
    assert said[:half] == said[half:], "asked twice, answered twice"
    return said[:half]


class IndexTest(TestCase):
    """A server in personal mode, with mail, and an index of it."""

    def make(self, salt=""):
        host = self.server()
        fill(host.maildir, salt)
        return host

    def index(self, host):
        """The path of the index, when it has the mailbox in it."""
        def look():
            found = glob.glob(os.path.join(host.cache, "**", "index"), recursive=True)
            return found[0] if found and os.path.getsize(found[0]) > 8_192 else None
        return wait_until(look, "index of the Maildir")

    def ask(self, host):
        connection = self.session(host)
        connection.select()
        said = answers(connection)
        connection.logout()
        return said

    def modseq(self, host):
        connection = self.session(host)
        status = connection.ok("STATUS INBOX (HIGHESTMODSEQ)").untagged[0]
        return int(re.search(rb"HIGHESTMODSEQ (\d+)", status)[1])

    def restart(self, host):
        host.terminate()
        host.start()

    def assertNoCrash(self, host):
        for event in host.events(event="user-ended"):
            self.assertNotIn("signal", event, event)


def write(path, offset, content):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)


class Damage(IndexTest):
    """To the file under a server that uses it, and under the next one."""

    def check(self, damage):
        host = self.make()
        expected = self.ask(host)
        index = self.index(host)
        before = self.session(host)
        before.select()
        damage(index)
        self.assertEqual(answers(before), expected)
        name = host.maildir.deliver(subject="After the damage")
        wait_until(lambda: before.ok("NOOP").matching(rb"EXISTS") or before.exists() == COUNT + 1,
                   "the new message")
        # The server moves it to cur/ meanwhile.
        wait_until(lambda: before.exists() and "/cur/" in host.maildir.file(name), "its move")
        os.unlink(host.maildir.file(name))
        wait_until(lambda: before.exists() == COUNT, "its end")
        expected = answers(before)
        self.assertEqual(self.ask(host), expected)
        self.restart(host)
        self.assertEqual(self.ask(host), expected)
        self.assertNoCrash(host)

    def test_removed(self):
        self.check(lambda index: shutil.rmtree(os.path.dirname(index)))

    def test_emptied(self):
        self.check(lambda index: os.truncate(index, 0))

    def test_cut_short(self):
        self.check(lambda index: os.truncate(index, os.path.getsize(index) // 2 + 100))

    def test_first_pages_overwritten(self):
        self.check(lambda index: write(index, 0, b"\xa5" * 12_288))

    def test_all_overwritten(self):
        self.check(lambda index: write(index, 0, random.Random(1).randbytes(os.path.getsize(index))))

    def test_a_byte_here_and_there(self):
        def damage(index):
            dice = random.Random(2)
            for offset in range(4_096, os.path.getsize(index) - 8, 512):
                write(index, offset + dice.randrange(500), dice.randbytes(1))
        self.check(damage)


class Ends(IndexTest):
    """Of processes that did not say goodbye."""

    def end(self, host, number):
        pid = host.pids("martlet-user")[0]
        os.kill(pid, number)
        wait_until(lambda: not martlet.is_alive(pid), "the end of the process")

    def test_killed(self):
        host = self.make()
        expected = self.ask(host)
        self.index(host)
        highest = self.modseq(host)
        self.end(host, signal.SIGKILL)
        self.assertEqual(self.ask(host), expected)
        # What a client was told may be lost, and must never come again for something else.
        self.assertGreater(self.modseq(host), highest)
        self.assertEqual(host.events(event="index-set-aside"), [])

    def test_crashed_soon_after_the_start(self):
        host = self.make()
        expected = self.ask(host)
        index = self.index(host)
        self.end(host, signal.SIGSEGV)
        host.wait_for_event(event="user-ended")
        self.assertEqual(self.ask(host), expected)
        host.wait_for_event(event="index-set-aside")
        self.assertTrue(os.path.exists(index + ".aside"))
        # Once: the process after it uses the new one.
        self.index(host)
        self.restart(host)
        self.assertEqual(self.ask(host), expected)
        self.assertEqual(len(host.events(event="index-set-aside")), 1)


class Foreign(IndexTest):
    def test_index_of_another_maildir(self):
        one, other = self.make("a"), self.make("b")
        self.ask(one)
        expected = self.ask(other)
        theirs, ours = self.index(one), self.index(other)
        one.terminate()
        other.terminate()
        shutil.copyfile(theirs, ours)
        other.start()
        self.assertEqual(self.ask(other), expected)

    def test_restored_copy(self):
        """A Maildir and its index are put back as they were some changes ago."""
        host = self.make()
        self.ask(host)
        self.index(host)
        host.terminate()
        kept = martlet.scratch("kept")
        run = ["cp", "-a", host.maildir.path, host.cache, kept]
        martlet.run(run)
        host.start()
        connection = self.session(host)
        connection.select()
        connection.ok("UID STORE 1:20 +FLAGS (\\Flagged)")
        connection.ok("UID STORE 30 +FLAGS (\\Deleted)")
        connection.ok("EXPUNGE")
        connection.logout()
        told = self.modseq(host)
        host.terminate()
        for name in ["cur", "new", "dovecot-uidlist"]:
            martlet.run(["rm", "-rf", os.path.join(host.maildir.path, name)])
            martlet.run(["cp", "-a", os.path.join(kept, "Maildir", name), host.maildir.path])
        host.start()
        connection = self.session(host)
        connection.select()
        self.assertEqual(connection.exists(), COUNT)
        # The client that saw the changes is told that the flags are others now.
        changed = connection.ok("UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d)" % told).untagged
        for number in range(1, 21):
            line = [line for line in changed if line.startswith(b"* %d FETCH" % number)]
            self.assertEqual(len(line), 1, changed)
            self.assertNotIn(b"\\Flagged", line[0])


@needs_root
class NoRoom(IndexTest):
    """The disk with the indexes is full, from the start or at some time."""

    def test_full_disk(self):
        host = martlet.Server(start=False)
        self.addCleanup(host.stop)
        os.makedirs(host.cache)
        martlet.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", host.cache])
        self.addCleanup(martlet.run, ["umount", "-l", host.cache])
        fill(host.maildir)
        host.start()
        expected = self.ask(host)
        with open(os.path.join(host.cache, "filler"), "wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4_096):
                    pass
            except OSError:
                pass
        connection = self.session(host)
        connection.select()
        for number in range(200):
            host.maildir.put(martlet.message("More %d" % number))
        wait_until(lambda: connection.exists() == COUNT + 200, "the new messages")
        connection.ok("UID FETCH 1:* (ENVELOPE BODYSTRUCTURE)")
        connection.ok("UID STORE 1:200 +FLAGS (\\Answered)")
        connection.ok("UID STORE 1:200 -FLAGS (\\Answered)")
        host.wait_for_event(event="index-not-written")
        connection.ok("UID STORE %d:* +FLAGS.SILENT (\\Deleted)" % (COUNT + 1))
        connection.ok("EXPUNGE")
        again = answers(connection)
        # UIDNEXT has moved on.
        self.assertEqual(again[:-1], expected[:-1])
        self.assertNoCrash(host)
        self.restart(host)
        self.assertEqual(self.ask(host)[:-1], expected[:-1])
        self.assertNoCrash(host)


@needs_root
class AtHome(IndexTest):
    def test_in_the_home_directory(self):
        user = self.user()
        fill(user.maildir)
        host = self.server(mode="system", settings={"cache_directory": "~/.cache/martlet"})
        connection = self.session(host, user)
        connection.select()
        expected = answers(connection)
        connection.logout()
        pattern = os.path.join(user.home, ".cache", "martlet", "**", "index")
        found = wait_until(lambda: glob.glob(pattern, recursive=True), "index at home")
        status = os.stat(found[0])
        self.assertEqual((status.st_uid, status.st_mode & 0o077), (user.uid, 0))
        self.restart(host)
        connection = self.session(host, user)
        connection.select()
        self.assertEqual(answers(connection), expected)


if __name__ == "__main__":
    unittest.main()
