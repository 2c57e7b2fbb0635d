# SPDX-License-Identifier: ISC
"""martletd --personal: one Maildir, without root or with it."""

import errno
import os
import sys

import martlet
from martlet import Maildir, TestCase, needs_root, status


class Personal(TestCase):
    def test_with_a_password_file(self):
        server = self.server()
        server.maildir.deliver(subject="Mine")
        connection = self.session(server)
        connection.select()
        self.assertEqual(martlet.subjects(connection), ["Mine"])
        self.assertFalse([line for line in server.output() if line.startswith("password:")])

    def test_a_made_password_is_printed(self):
        server = self.server(password=None)
        lines = [line for line in server.output() if line.startswith("password: ")]
        self.assertEqual(len(lines), 1)
        password = lines[0].split(": ", 1)[1]
        self.assertGreaterEqual(len(password), 12)
        self.session(server, password=password).select()
        self.assertNotIn(password, "\n".join(server.log()))

    def test_wrong_user_and_wrong_password(self):
        server = self.server()
        connection = self.connection(server)
        for user, password in ((server.user, "wrong"), ("somebody", server.password),
                               (server.user, ""), ("", server.password)):
            result = connection.authenticate(user, password)
            self.assertIn(result.status, (b"NO", b"BAD"), (user, password))
        self.assertEqual(connection.authenticate(server.user, server.password).status, b"OK")

    def test_the_log_line_is_the_same_as_in_system_mode(self):
        server = self.server()
        self.session(server)
        self.assertRegex(
            server.events(event="auth")[-1]["line"],
            r"^event=auth result=ok user=\S+ method=PLAIN service=imap remote=127\.0\.0\.1:\d+"
            r" local=127\.0\.0\.1:\d+ tls=none session=[0-9a-f]+$")

    def test_a_missing_maildir_is_made(self):
        folder = martlet.scratch("home")
        path = os.path.join(folder, "Maildir")
        server = self.server(maildir=Maildir(path))
        connection = self.session(server)
        connection.select()
        for part in ("cur", "new", "tmp"):
            self.assertTrue(os.path.isdir(os.path.join(path, part)))
        self.assertEqual(os.stat(path).st_mode & 0o077, 0)
        server.maildir.deliver()
        connection.idle()

    def test_special_mailboxes_are_there_and_subscribed(self):
        server = self.server()
        connection = self.session(server)
        listed = repr(connection.ok('LIST (SUBSCRIBED) "" "*" RETURN (SPECIAL-USE)'))
        for use in ("\\\\Drafts", "\\\\Sent", "\\\\Junk", "\\\\Trash", "\\\\Archive"):
            self.assertIn(use, listed)

    def test_flags_and_uids_outlive_the_server(self):
        server = self.server()
        for number in range(3):
            server.maildir.deliver(subject="Message %d" % number)
        with server.login() as connection:
            selected = connection.select()
            validity = selected.matching(rb"UIDVALIDITY")
            connection.ok("STORE 2 +FLAGS (\\Flagged $label1)")
            before = connection.ok("UID FETCH 1:* (FLAGS)").untagged
        server.terminate()
        again = self.server(maildir=server.maildir)
        connection = self.session(again)
        self.assertEqual(connection.select().matching(rb"UIDVALIDITY"), validity)

        def flags(lines):
            return [
                (martlet.re.search(rb"UID (\d+)", line).group(1),
                 set(martlet.re.search(rb"FLAGS \(([^)]*)\)", line).group(1).split())
                 - {b"\\Recent"})
                for line in lines
            ]
        self.assertEqual(
            flags(connection.ok("UID FETCH 1:* (FLAGS)").untagged), flags(before))

    def test_one_process_of_the_user_serves_all_connections(self):
        server = self.server()
        for tls in (False, True, False):
            self.session(server, tls=tls)
        self.assertEqual(len(server.pids("martlet-user")), 1)

    def test_a_second_server_on_the_same_maildir_is_refused(self):
        first = self.server()
        session = self.session(first)
        session.select()
        second = self.server(maildir=first.maildir)
        connection = self.connection(second)
        try:
            result = connection.authenticate(second.user, second.password, 30)
            self.assertEqual(result.status, b"NO")
        except martlet.Closed:
            pass
        self.assertAnswers(session)
        # When the first is gone, the second has it.
        session.close()
        first.terminate()
        self.session(second).select()


# Runs a command under a seccomp filter that answers ENOSYS to the three calls of Landlock.
WITHOUT_LANDLOCK = """
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0)] + [
    each for number in (444, 445, 446) for each in ((0x15, 0, 1, number), (0x06, 0, 0, 0x50026))
] + [(0x06, 0, 0, 0x7FFF0000)]
filter = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))
program = struct.pack("HL", len(code), ctypes.addressof(filter))
prctl = ctypes.CDLL(None, use_errno=True).prctl
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, program, 0, 0):
    sys.exit("no filter")
os.execv(sys.argv[1], sys.argv[1:])
"""


@martlet.unittest.skipUnless(martlet.IS_ROOT, "needs root")
class AsAnOrdinaryUser(TestCase):
    def setUp(self):
        self.owner = self.user()

    def test_with_a_password_file(self):
        server = self.server(as_user=self.owner)
        self.assertEqual(server.user, self.owner.name)
        server.maildir.deliver(subject="Mine")
        for tls in (False, True):
            connection = self.session(server, tls=tls)
            connection.select()
            self.assertEqual(martlet.subjects(connection), ["Mine"])
        self.assertEqual(
            connection.append("INBOX", martlet.message(subject="Mine too")).status, b"OK")

    def test_with_a_made_password(self):
        server = self.server(as_user=self.owner, password=None)
        password = [line for line in server.output() if line.startswith("password: ")][0][10:]
        self.session(server, password=password).select()

    def test_the_default_maildir(self):
        self.owner.maildir.deliver(subject="At home")
        server = martlet.Server(as_user=self.owner, start=False)
        place = server.command.index("--maildir")
        del server.command[place:place + 2]
        self.addCleanup(server.stop)
        server.start()
        connection = self.session(server)
        connection.select()
        self.assertEqual(martlet.subjects(connection), ["At home"])

    def test_nobody_has_more_rights_than_the_user_and_most_have_less(self):
        server = self.server(as_user=self.owner)
        self.session(server, tls=True).select()
        family = martlet.descendants(server.pid) + [server.pid]
        self.assertGreaterEqual(len(family), 5)
        for pid in family:
            fields = status(pid)
            self.assertEqual(fields["Uid"].split(), [str(self.owner.uid)] * 4)
            self.assertEqual(int(fields["CapEff"], 16), 0)
        for role in ("martlet-tls", "martlet-login", "martlet-user"):
            for pid in server.pids(role):
                fields = status(pid)
                self.assertEqual((role, fields["NoNewPrivs"], fields["Seccomp"]), (role, "1", "2"))

    def test_without_landlock(self):
        """As on a kernel that has none: it is said in the log, and seccomp stands alone."""
        server = martlet.Server(as_user=self.owner, start=False)
        place = server.command.index("--") + 1
        server.command[place:place] = [sys.executable, "-c", WITHOUT_LANDLOCK]
        self.addCleanup(server.stop)
        server.start()
        for tls in (False, True):
            connection = self.session(server, tls=tls)
            connection.select()
            self.assertEqual(connection.append("INBOX", martlet.message()).status, b"OK")
        # martlet-tls, martlet-login and martlet-user.
        self.assertEqual(
            [e["errno"] for e in server.events(event="no-landlock")], [str(errno.ENOSYS)] * 3)
        for role in ("martlet-tls", "martlet-login", "martlet-user"):
            for pid in server.pids(role):
                self.assertEqual(status(pid)["Seccomp"], "2")

    def test_nothing_is_left_behind_in_tmp(self):
        before = {name for name in os.listdir("/tmp") if name.startswith("martlet.")}
        server = self.server(as_user=self.owner)
        self.session(server)
        server.terminate()
        after = {name for name in os.listdir("/tmp") if name.startswith("martlet.")}
        self.assertEqual(after - before, set())

    def test_the_certificate_stays_the_same(self):
        """So that an exception that the user confirmed in a client stays good."""
        def fingerprint():
            server = self.server(as_user=self.owner)
            with server.connect(tls=True) as connection:
                shown = connection.socket.getpeercert(True)
            server.terminate()
            return shown
        self.assertEqual(fingerprint(), fingerprint())
