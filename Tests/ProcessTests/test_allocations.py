# SPDX-License-Identifier: ISC
"""How often martlet-user asks for memory: a budget for each command, in allocations a message.

The process runs with a library preloaded that counts (`count_allocations.c`). What a command costs once, and for
each batch, is taken off: only the difference between 2,000 and 4,000 messages counts.
"""

import os
import shutil
import struct
import subprocess

import martlet

SMALL, LARGE = 2_000, 4_000

HEADERS = ("(UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID "
           "References Content-Type)])")

# Command, and allocations for each message. What reads no file makes none; batches of records and of
# names are a tenth at most.
BUDGETS = (
    ("FETCH %s (FLAGS)", 0.05),
    ("FETCH %s (UID FLAGS MODSEQ)", 0.05),
    ("FETCH %s (RFC822.SIZE INTERNALDATE)", 0.05),
    ("FETCH %s (ENVELOPE BODYSTRUCTURE)", 0.3),
    ("FETCH %s " + HEADERS, 0.3),
    ("FETCH %s (BODY.PEEK[])", 0.6),
    ("FETCH %s (BODY.PEEK[HEADER])", 0.3),
    ("SEARCH %s UNSEEN", 0.05),
    ("SEARCH %s LARGER 10", 0.05),
    ("SEARCH %s FROM ann3", 0.05),
    ("SEARCH %s SUBJECT many", 0.05),
    ("SEARCH %s SENTSINCE 1-Jan-1990", 0.05),
    ("SEARCH %s HEADER Message-ID 77", 0.3),
    # The parts of its structure.
    ("SEARCH %s BODY hello", 1.5),
    ("SORT (DATE) UTF-8 %s", 0.05),
    ("SORT (SUBJECT) UTF-8 %s", 0.05),
    ("THREAD REFERENCES UTF-8 %s", 0.1),
    # The two names of a rename.
    ("STORE %s +FLAGS.SILENT (\\Flagged)", 2.3),
    ("STORE %s -FLAGS.SILENT (\\Flagged)", 2.3),
    ("STORE %s +FLAGS (\\Flagged)", 2.3),
    ("STORE %s -FLAGS (\\Flagged)", 2.3),
)


class Allocations(martlet.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = martlet.scratch("allocations")
        cls.count_path = os.path.join(cls.folder, "count")
        cls.make_executables()
        cls.server = martlet.Server(start=False)
        cls.server.command[0] = os.path.join(cls.folder, "martletd")
        for number in range(LARGE):
            name = "%d.M%dP1.host:2,%s" % (1_000_000_000 + number, number, "S" if number % 3 else "")
            with open(os.path.join(cls.server.maildir.path, "cur", name), "w") as file:
                file.write(
                    "From: Ann %d <ann%d@x.example>\nTo: b@x.example\nSubject: number %d of many\n"
                    "Date: Mon, 7 Feb 1994 21:52:25 -0800\nMessage-ID: <%d@x>\nReferences: <%d@x>\n"
                    "Content-Type: text/plain\n\nhello %d\n"
                    % (number, number, number, number, max(number - 1, 0), number))
        cls.server.start()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    @classmethod
    def make_executables(cls):
        """The executables in a folder, with something before martlet-user that preloads the counter."""
        library = os.path.join(cls.folder, "count.so")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "count_allocations.c")
        compiler = shutil.which("clang") or shutil.which("cc")
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source], check=True)
        release = martlet.executables("release")
        shutil.copy(os.path.join(release, "martletd"), cls.folder)
        for name in ("martlet-auth", "martlet-login", "martlet-tls"):
            os.symlink(os.path.join(release, name), os.path.join(cls.folder, name))
        script = os.path.join(cls.folder, "martlet-user")
        with open(script, "w") as file:
            file.write("#!/bin/sh\nMARTLET_ALLOCATIONS=%s LD_PRELOAD=%s exec %s/martlet-user\n"
                       % (cls.count_path, library, release))
        os.chmod(script, 0o755)

    def allocations(self):
        with open(self.count_path, "rb") as file:
            return struct.unpack("Q", file.read(8))[0]

    def measure(self, connection, command, count):
        before = self.allocations()
        connection.ok(command % ("1:%d" % count))
        return self.allocations() - before

    def prepare(self, connection, command):
        """What it is done to is as it was, and the index has what it asks for."""
        if command.startswith("STORE"):
            opposite = {"+": "-", "-": "+"}[command[len("STORE %s ")]]
            connection.ok("STORE 1:* %sFLAGS.SILENT (\\Flagged)" % opposite)
        else:
            connection.ok(command % "1:*")

    def test_budgets(self):
        connection = self.server.connect()
        self.addCleanup(connection.close)
        self.assertEqual(connection.authenticate(self.server.user, self.server.password).status, b"OK")
        connection.ok("SELECT INBOX")
        for command, budget in BUDGETS:
            with self.subTest(command):
                # Something may be written for later, or a table may grow, while one of them runs.
                needed = []
                for _ in range(3):
                    self.prepare(connection, command)
                    small = self.measure(connection, command, SMALL)
                    self.prepare(connection, command)
                    large = self.measure(connection, command, LARGE)
                    self.assertGreater(large, 0, "nothing is counted")
                    needed.append((large - small) / (LARGE - SMALL))
                    if needed[-1] <= budget:
                        break
                print("         %5.2f of %4.2f  %s" % (min(needed), budget, command[:50]))
                self.assertLessEqual(min(needed), budget)
