# SPDX-License-Identifier: ISC
"""What other programs do to a Maildir, shown to clients that wait in IDLE."""

import os
import re
import statistics
import time

import martlet
from martlet import TestCase


class Push(TestCase):
    def setUp(self):
        self.host = self.server()
        self.mail = self.host.maildir

    def waiting(self, mailbox="INBOX", **options):
        connection = self.session(self.host, **options)
        connection.select(mailbox)
        connection.idle()
        return connection

    def test_a_delivery(self):
        connection = self.waiting()
        self.mail.deliver(subject="Just now")
        seen = connection.read_until(rb"^\* 1 EXISTS$", 5)
        self.assertFalse([line for line in seen[:-1] if b"FETCH" in line])
        connection.done()
        self.assertEqual(martlet.subjects(connection), ["Just now"])

    def test_a_delivery_through_tls(self):
        connection = self.waiting(tls=True)
        self.mail.deliver()
        connection.read_until(rb"^\* 1 EXISTS$", 5)

    def test_every_delivery_is_pushed_soon(self):
        connection = self.waiting()
        seconds = []
        for number in range(1, 21):
            began = time.monotonic()
            self.mail.deliver()
            connection.read_until(rb"^\* %d EXISTS$" % number, 5)
            seconds.append(time.monotonic() - began)
        median = statistics.median(seconds)
        print("         median of %d pushes: %.1f ms" % (len(seconds), median * 1000))
        # A few milliseconds on an idle machine; a server that polls would need hundreds.
        self.assertLess(median, 0.15)

    def test_every_session_of_the_user_hears_of_it(self):
        connections = [self.waiting() for _ in range(5)]
        self.mail.deliver()
        for connection in connections:
            connection.read_until(rb"^\* 1 EXISTS$", 5)

    def test_a_burst_loses_nothing(self):
        connection = self.waiting()
        for _ in range(300):
            self.mail.deliver()
        connection.read_until(rb"^\* 300 EXISTS$")
        connection.done()
        uids = [int(re.search(rb"UID (\d+)", each).group(1))
                for each in connection.ok("FETCH 1:* (UID)").untagged if b"FETCH" in each]
        self.assertEqual(len(set(uids)), 300)
        self.assertEqual(uids, sorted(uids))

    def test_what_came_between_two_commands_is_told_at_the_start_of_idle(self):
        connection = self.session(self.host)
        connection.select()
        self.mail.deliver()
        seen = []
        connection.idle_tag = connection.start("IDLE")
        seen = connection.read_until(rb"EXISTS$", 5)
        self.assertTrue([line for line in seen if line == b"* 1 EXISTS"], seen)

    def test_another_mailbox(self):
        self.mail.make("Lists.swift")
        connection = self.waiting("Lists.swift")
        self.mail.deliver(mailbox="Lists.swift")
        connection.read_until(rb"^\* 1 EXISTS$", 5)

    def test_a_copy_that_is_still_being_written_is_announced_when_it_is_whole(self):
        """cp into new/, without a rename."""
        connection = self.waiting()
        path = os.path.join(self.mail.path, "new", "1700000000.cp.host")
        content = martlet.message(subject="Copied", body="x\n" * 1000)
        with open(path, "wb") as file:
            file.write(content[:100])
            file.flush()
            self.assertEqual([l for l in connection.quiet(0.5) if b"EXISTS" in l], [])
            file.write(content[100:])
        self.mail._own(path)
        connection.read_until(rb"^\* 1 EXISTS$", 5)
        connection.done()
        result = connection.ok("FETCH 1 (RFC822.SIZE)")
        size = int(re.search(rb"SIZE (\d+)", b"".join(result.untagged)).group(1))
        self.assertEqual(size, len(content.replace(b"\n", b"\r\n")))

    def test_flags_that_mutt_changes(self):
        name = self.mail.put(subject="Old")
        connection = self.waiting()
        self.mail.set_flags(name, "S")
        line = connection.read_until(rb"^\* 1 FETCH ", 5)[-1]
        self.assertIn(b"\\Seen", line)
        self.mail.set_flags(name, "FRS")
        line = connection.read_until(rb"^\* 1 FETCH ", 5)[-1]
        for flag in (b"\\Flagged", b"\\Answered", b"\\Seen"):
            self.assertIn(flag, line)
        self.mail.set_flags(name, "")
        line = connection.read_until(rb"^\* 1 FETCH ", 5)[-1]
        self.assertNotIn(b"\\Seen", line)
        connection.done()
        self.assertEqual(connection.exists(), 1)

    def test_a_new_message_that_mutt_reads(self):
        """A rename from new/ to cur/ with a flag is no other message."""
        name = self.mail.deliver(subject="New")
        connection = self.waiting()
        self.mail.set_flags(name, "S")
        line = connection.read_until(rb"^\* 1 FETCH ", 5)[-1]
        self.assertIn(b"\\Seen", line)
        self.assertEqual([l for l in connection.quiet(0.5) if b"EXPUNGE" in l or b"EXISTS" in l], [])

    def test_a_message_that_another_program_removes(self):
        names = [self.mail.put(subject="Message %d" % n) for n in range(3)]
        connection = self.waiting()
        os.unlink(self.mail.file(names[1]))
        connection.read_until(rb"^\* 2 EXPUNGE$")
        connection.done()
        self.assertEqual(martlet.subjects(connection), ["Message 0", "Message 2"])

    def test_a_sibling_session(self):
        self.mail.deliver(subject="Shared")
        first, second = self.waiting(), self.session(self.host)
        second.select()
        second.ok("STORE 1 +FLAGS (\\Flagged)")
        self.assertIn(b"\\Flagged", first.read_until(rb"^\* 1 FETCH ", 5)[-1])
        second.append("INBOX", martlet.message())
        first.read_until(rb"^\* 2 EXISTS$", 5)
        second.ok("STORE 1 +FLAGS (\\Deleted)")
        second.ok("EXPUNGE")
        first.read_until(rb"^\* 1 EXPUNGE$", 5)

    def test_the_order_of_what_is_told(self):
        """EXISTS before any FETCH of the new number; no EXPUNGE in between that shifts it."""
        names = [self.mail.put() for _ in range(4)]
        connection = self.waiting()
        for number in range(20):
            self.mail.deliver()
            if number % 5 == 0:
                os.unlink(self.mail.file(names.pop()))
        deadline = time.monotonic() + 20
        count, seen = 4, []
        while time.monotonic() < deadline:
            for line in connection.quiet(0.5):
                seen.append(line)
                exists = re.match(rb"\* (\d+) EXISTS$", line)
                expunge = re.match(rb"\* (\d+) EXPUNGE$", line)
                fetch = re.match(rb"\* (\d+) FETCH ", line)
                if exists:
                    self.assertGreaterEqual(int(exists.group(1)), count, seen)
                    count = int(exists.group(1))
                elif expunge:
                    self.assertLessEqual(int(expunge.group(1)), count, seen)
                    count -= 1
                elif fetch:
                    self.assertLessEqual(int(fetch.group(1)), count, seen)
            if count == 20:
                break
        self.assertEqual(count, 20, seen)
        connection.done()
        self.assertEqual(len(martlet.subjects(connection)), 20)

    def test_a_mailbox_that_is_moved_away(self):
        self.mail.make("Gone")
        self.mail.put(mailbox="Gone")
        connection = self.waiting("Gone")
        os.rename(self.mail.folder("Gone"), os.path.join(self.mail.path, "gone-elsewhere"))
        connection.send("DONE\r\n")
        try:
            connection.finish(connection.idle_tag)
            connection.command("NOOP")
        except martlet.Closed:
            pass
        other = self.session(self.host)
        other.select()
        self.assertAnswers(other)


class IdleRules(TestCase):
    def test_anything_but_done_is_bad(self):
        server = self.server()
        connection = self.session(server)
        connection.select()
        connection.idle()
        connection.send("NOOP\r\n")
        self.assertTrue(connection.read_until(rb" BAD | BYE ", 5))

    def test_done_in_any_case_and_pipelined(self):
        server = self.server()
        connection = self.session(server)
        connection.select()
        connection.send(b"a IDLE\r\ndOnE\r\nb NOOP\r\nc IDLE\r\nDONE\r\nd NOOP\r\n")
        seen = connection.read_until(rb"^d OK", 5)
        tags = [line.split()[0] for line in seen if re.match(rb"[a-d] OK", line)]
        self.assertEqual(tags, [b"a", b"b", b"c", b"d"])
