# SPDX-License-Identifier: ISC
"""Slow disks, full disks, and mailboxes that cannot be read."""

import contextlib
import os
import re
import shutil
import time
import unittest

import martlet
from martlet import TestCase, needs_root

DELAY = {"MARTLET_TEST_FSYNC_DELAY_MS": "200"}


class SlowDisk(TestCase):
    """Every fsync takes 200 ms: whoever does not ask for one does not wait for one."""

    def setUp(self):
        self.host = self.server(kind="debug", environment=DELAY)
        self.mail = self.host.maildir
        # The first login makes mailboxes, and the first SELECT a list: both sync.
        self.busy = self.session(self.host)
        self.busy.select()
        self.other = self.session(self.host)
        self.other.select()
        self.idle = self.session(self.host)
        self.idle.select()

    def while_it_waits(self, command, deliver_to="INBOX"):
        """Runs a command that syncs; meanwhile the others are answered, and pushed to."""
        before = self.idle.exists()
        self.idle.idle()
        began = time.monotonic()
        tag = self.busy.start(command)
        answered = slow = slowest = 0
        self.mail.deliver()
        while True:
            try:
                tagged = self.busy.response(0.001)
            except TimeoutError:
                sent = time.monotonic()
                self.other.ok("NOOP")
                slowest = max(slowest, time.monotonic() - sent)
                slow += time.monotonic() - sent > 0.15
                answered += 1
                if answered == 1:
                    self.idle.read_until(rb"^\* %d EXISTS" % (before + 1), 5)
                    pushed = time.monotonic()
                continue
            if tagged.startswith(tag + b" "):
                break
        seconds = time.monotonic() - began
        self.assertTrue(tagged.startswith(tag + b" OK"), tagged)
        print("         %.2f s; %d answers meanwhile, the slowest after %.0f ms; pushed after"
              " %.0f ms" % (seconds, answered, slowest * 1000, (pushed - began) * 1000))
        self.assertGreater(seconds, 0.2, "the delay is not in force")
        self.assertGreaterEqual(answered, 3)
        # A loop that waits for the disk is slow at each sync; a machine that stalls is so once.
        self.assertLessEqual(slow, 1)
        self.assertLess(pushed - began, 0.18)

    def test_append(self):
        content = martlet.message(body="x\n" * 100).replace(b"\n", b"\r\n")
        self.while_it_waits(b"APPEND INBOX {%d+}\r\n" % len(content) + content)

    def test_copy(self):
        for _ in range(3):
            self.mail.put()
        self.mail.make("Target")
        self.busy.ok("NOOP")
        self.while_it_waits("COPY 1:* Target")

    def test_move(self):
        for _ in range(3):
            self.mail.put()
        self.mail.make("Target")
        self.busy.ok("NOOP")
        self.while_it_waits("UID MOVE 1:* Target")

    def test_create(self):
        try:
            self.while_it_waits("CREATE Made")
        except AssertionError as error:
            # CREATE need not sync; if it does, nobody waits.
            if "not in force" not in str(error):
                raise

    def test_what_is_acknowledged_has_been_synced(self):
        began = time.monotonic()
        self.assertEqual(self.busy.append("INBOX", martlet.message()).status, b"OK")
        self.assertGreater(time.monotonic() - began, 0.2)


@unittest.skipUnless(martlet.IS_ROOT, "needs root")
class FullDisk(TestCase):
    """The Maildir on a filesystem of two megabytes."""

    def setUp(self):
        self.owner = self.user()
        self.mail = self.owner.maildir
        shutil.rmtree(self.mail.path)
        os.mkdir(self.mail.path)
        mounted = martlet.run([
            "mount", "-t", "tmpfs", "-o",
            "size=2m,mode=700,uid=%d,gid=%d" % (self.owner.uid, self.owner.gid), "martlet-test",
            self.mail.path], check=False)
        if mounted.returncode != 0:
            # As in a container that has root but not all of its rights.
            self.skipTest("needs the right to mount: " + mounted.stderr.strip())
        self.addCleanup(self.unmount)
        self.mail.make()
        self.host = self.server("system")
        self.addCleanup(self.host.stop)

    def unmount(self):
        self.host.stop()
        self.owner.end_processes()
        martlet.wait_until(
            lambda: martlet.run(["umount", self.mail.path], check=False).returncode == 0,
            "umount")

    def fill(self, connection, size):
        """Appends until there is no room: subject and UID of each that was acknowledged."""
        acknowledged = {}
        for number in range(200):
            subject = "Message %d of %d bytes" % (number, size)
            content = martlet.message(subject=subject, body=("%063d\n" % number) * (size // 64))
            result = connection.append("INBOX", content)
            if result.status != b"OK":
                self.assertEqual(result.status, b"NO", result)
                return acknowledged, result
            uid = re.search(rb"APPENDUID \d+ (\d+)", result.tagged)
            acknowledged[int(uid.group(1))] = content.replace(b"\n", b"\r\n")
        self.fail("the disk never filled up")

    def bodies(self, connection):
        found = {}
        for line in connection.ok("UID FETCH 1:* (UID BODY.PEEK[])", 30).untagged:
            uid = re.search(rb"UID (\d+)", line)
            body = re.search(rb"BODY\[\] \{(\d+)\}\r\n", line)
            if uid and body:
                found[int(uid.group(1))] = line[body.end():body.end() + int(body.group(1))]
        return found

    def test_nothing_that_was_acknowledged_is_lost(self):
        self.mail.deliver(subject="Before")
        connection = self.session(self.host, self.owner)
        connection.select()
        acknowledged, refusal = self.fill(connection, 100_000)
        self.assertGreater(len(acknowledged), 5)
        # Down to the last kilobyte.
        more, _ = self.fill(connection, 1_000)
        acknowledged.update(more)
        more, _ = self.fill(connection, 100)
        acknowledged.update(more)
        found = self.bodies(connection)
        for uid, content in acknowledged.items():
            self.assertEqual(found.get(uid), content)
        self.assertEqual(len(found), len(acknowledged) + 1)
        # Other commands answer, one way or the other, and the session lives.
        for command in ("STORE 1 +FLAGS (\\Seen)", "STORE 1 +FLAGS (rare_keyword)",
                        "CREATE Another", "SUBSCRIBE Another", "CHECK",
                        "STATUS INBOX (MESSAGES UIDNEXT)", "UID FETCH 1 (FLAGS)"):
            self.assertIn(connection.command(command).status, (b"OK", b"NO"), command)
        # Nothing is left of what was refused, and no lock.
        self.assertEqual(self.mail.files(parts=("tmp",)), [])
        self.assertEqual([name for name in os.listdir(self.mail.path) if ".lock" in name], [])

        # The same with a process that starts anew on the full disk.
        os.kill(self.host.user_pid(self.owner.uid), martlet.signal.SIGKILL)
        self.assertTrue(connection.is_closed_within(10))
        martlet.wait_until(lambda: self.host.events(event="user-ended"), "the end of the process")
        connection = self.session(self.host, self.owner)
        connection.select()
        found = self.bodies(connection)
        for uid, content in acknowledged.items():
            self.assertEqual(found.get(uid), content)

        # With room, all is as before.
        uids = sorted(acknowledged)[:5]
        connection.ok("UID STORE %s +FLAGS (\\Deleted)" % ",".join(map(str, uids)))
        connection.ok("EXPUNGE")
        result = connection.append("INBOX", martlet.message(subject="After"))
        self.assertEqual(result.status, b"OK", result)
        uid = int(re.search(rb"APPENDUID \d+ (\d+)", result.tagged).group(1))
        self.assertGreater(uid, max(acknowledged))
        found = self.bodies(connection)
        for number, content in acknowledged.items():
            if number not in uids:
                self.assertEqual(found.get(number), content)
        self.assertIn(uid, found)
        connection.ok("STORE 1 +FLAGS (rare_keyword)")
        connection.ok("SUBSCRIBE Another")

    def test_new_mail_is_seen_although_the_list_cannot_be_written(self):
        connection = self.session(self.host, self.owner)
        connection.select()
        name = self.mail.write_tmp(martlet.message(subject="Last"))
        filler = os.open(os.path.join(self.mail.path, "filler"), os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while True:
                os.write(filler, b"x" * 4096)
        os.close(filler)
        os.rename(os.path.join(self.mail.path, "tmp", name),
                  os.path.join(self.mail.path, "new", name))
        result = connection.command("NOOP")
        self.assertIn(result.status, (b"OK", b"NO"))
        os.unlink(os.path.join(self.mail.path, "filler"))

        def is_there():
            connection.command("NOOP")
            return connection.command("UID SEARCH ALL").matching(rb"SEARCH \d+")
        martlet.wait_until(is_there, "the message, once there is room")
        self.assertEqual(martlet.subjects(connection), ["Last"])


class Unreadable(TestCase):
    def check_log(self, server, path, owner):
        def look():
            return [line for line in server.log()
                    if path in line and re.search(r"\bowner=%d\b" % owner, line)
                    and re.search(r"mode=0?700\b|mode=0?0?000\b", line)]
        martlet.wait_until(look, "a log line with path, owner and mode", 5)

    @needs_root
    def test_a_mailbox_that_belongs_to_somebody_else(self):
        ann = self.user()
        server = self.server("system")
        ann.maildir.make("Closed")
        folder = ann.maildir.folder("Closed")
        for path in [folder] + [os.path.join(folder, part) for part in ("cur", "new", "tmp")]:
            os.chown(path, 0, 0)
        connection = self.session(server, ann)
        connection.no("SELECT Closed")
        self.assertIn(connection.command("STATUS Closed (MESSAGES)").status, (b"NO",))
        self.assertEqual(connection.append("Closed", martlet.message()).status, b"NO")
        connection.select()
        connection.ok('LIST "" "*"')
        self.check_log(server, folder, 0)

    @needs_root
    def test_a_maildir_that_belongs_to_somebody_else(self):
        ann = self.user()
        server = self.server("system")
        for path in [ann.maildir.path] + [
                os.path.join(ann.maildir.path, part) for part in ("cur", "new", "tmp")]:
            os.chown(path, 0, 0)
        connection = self.connection(server)
        result = connection.authenticate(ann.name, ann.password, 30)
        if result.status == b"OK":
            result = connection.command("SELECT INBOX")
        self.assertEqual(result.status, b"NO", result)
        self.check_log(server, ann.maildir.path, 0)
        # When it is mended, the next login works.
        for path in [ann.maildir.path] + [
                os.path.join(ann.maildir.path, part) for part in ("cur", "new", "tmp")]:
            os.chown(path, ann.uid, ann.gid)
        self.session(server, ann).select()

    @needs_root
    def test_one_message_that_cannot_be_read(self):
        ann = self.user()
        server = self.server("system")
        for number in range(3):
            name = ann.maildir.put(subject="Message %d" % number)
            if number == 1:
                path = ann.maildir.file(name)
                os.chown(path, 0, 0)
                os.chmod(path, 0o600)
        connection = self.session(server, ann)
        connection.select()
        result = connection.command("FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]")
        self.assertIn(result.status, (b"NO", b"OK"))
        text = repr(result)
        self.assertIn("Message 0", text)
        self.assertIn("Message 2", text)
        self.assertTrue([line for line in server.log() if os.path.basename(path) in line],
                        "no line in the log names it")
        self.assertAnswers(connection)

    @needs_root
    def test_a_home_that_is_not_there(self):
        ann = self.user()
        server = self.server("system")
        os.rename(ann.home, ann.home + ".away")
        self.addCleanup(lambda: os.path.exists(ann.home + ".away")
                        and os.rename(ann.home + ".away", ann.home))
        connection = self.connection(server)
        result = connection.authenticate(ann.name, ann.password, 30)
        if result.status == b"OK":
            result = connection.command("SELECT INBOX")
        self.assertEqual(result.status, b"NO", result)
        self.assertFalse(os.path.exists(ann.home), "a home was made")
        os.rename(ann.home + ".away", ann.home)
        self.session(server, ann).select()

    @needs_root
    def test_a_user_without_a_maildir_gets_one(self):
        ann = self.user()
        shutil.rmtree(ann.maildir.path)
        server = self.server("system")
        self.session(server, ann).select()
        self.assertEqual(os.stat(ann.maildir.path).st_uid, ann.uid)
        self.assertEqual(os.stat(ann.maildir.path).st_mode & 0o077, 0)
        ann.maildir.deliver()


class MailLocation(TestCase):
    @needs_root
    def test_a_path_with_the_user_name(self):
        ann = self.user()
        spool = martlet.scratch("spool")
        mail = martlet.Maildir(os.path.join(spool, ann.name), ann.uid, ann.gid).make()
        mail.deliver(subject="In the spool")
        server = self.server("system", settings={"mail_location": spool + "/%u"})
        connection = self.session(server, ann)
        connection.select()
        self.assertEqual(martlet.subjects(connection), ["In the spool"])

    @needs_root
    def test_directories_between_the_home_and_the_maildir_are_made(self):
        ann = self.user()
        server = self.server("system", settings={"mail_location": "~/mail/of/%u"})
        self.session(server, ann).select()
        path = os.path.join(ann.home, "mail")
        self.assertEqual((os.stat(path).st_uid, os.stat(path).st_mode & 0o777), (ann.uid, 0o700))
        self.assertTrue(os.path.isdir(os.path.join(path, "of", ann.name, "cur")))

    @needs_root
    def test_directories_elsewhere_are_not_made(self):
        ann = self.user()
        spool = martlet.scratch("spool")
        os.chown(spool, ann.uid, ann.gid)
        server = self.server("system", settings={"mail_location": spool + "/not-mounted/%u"})
        connection = self.connection(server)
        result = connection.authenticate(ann.name, ann.password)
        self.assertRegex(result.tagged, rb"NO \[UNAVAILABLE\]")
        self.assertEqual(os.listdir(spool), [])
        self.assertTrue(server.events(event="mailbox-unavailable"))

    @needs_root
    def test_a_maildir_from_courier(self):
        """Its mailboxes keep their names when a later process serves it."""
        ann = self.user()
        ann.maildir.make("Sent")
        ann.maildir.deliver()
        for name, text in (("courierimapuiddb", "/1 1700000000 2\n"),
                           ("courierimapsubscribed", "INBOX\nINBOX.Sent\n")):
            path = os.path.join(ann.maildir.path, name)
            with open(path, "w") as file:
                file.write(text)
            os.chown(path, ann.uid, ann.gid)
        server = self.server("system", settings={"user_process_linger": "0"})
        seen = []
        for _ in range(2):
            with server.login(ann) as connection:
                connection.select()
                connection.select("INBOX.Sent")
                seen.append(repr(connection.ok("NAMESPACE")) + repr(connection.ok('LSUB "" "*"')))
            server.wait_for_pids("martlet-user", 0)
        self.assertIn('(("INBOX." "."))', seen[0])
        self.assertEqual(seen[0].replace("t4", "t"), seen[1].replace("t4", "t"))
        self.assertTrue(os.path.exists(os.path.join(ann.maildir.path, "dovecot-uidlist")))

    @needs_root
    def test_separator_and_prefix(self):
        ann = self.user()
        ann.maildir.make("Lists.swift")
        server = self.server("system", settings={
            "hierarchy_separator": "/", "namespace_prefix": "INBOX/"})
        connection = self.session(server, ann)
        listed = repr(connection.ok('LIST "" "*"'))
        self.assertIn('INBOX/Lists/swift', listed)
        self.assertIn('(("INBOX/" "/"))', repr(connection.ok("NAMESPACE")))
        connection.select("INBOX/Lists/swift")
