# SPDX-License-Identifier: ISC
"""Any bytes end in OK, NO, BAD or BYE, and in the death of nobody."""

import contextlib
import glob
import os
import random
import re
import socket

import martlet
from martlet import Closed, TestCase

PIECES = [
    b"a ", b"b", b"LOGIN", b"SELECT", b"FETCH", b"UID", b"SEARCH", b"STORE", b"APPEND", b"IDLE",
    b"DONE", b"INBOX", b"(", b")", b"((", b"))", b"[", b"]", b"<0.", b">", b"{", b"}", b"{5}",
    b"{5+}", b"~{3+}", b"{4294967296}", b"{99999999999999999999}", b"{-1}", b"\r\n", b"\n", b"\r",
    b"\0", b"\xff", b"\x80", b'"', b"\\", b"*", b"%", b":", b",", b"1", b"0", b"4294967295",
    b"4294967296", b"99999999999999999999", b"$", b" ", b"  ", b"BODY", b"BODY.PEEK",
    b"HEADER.FIELDS", b"NOT", b"OR", b"OR", b"NOT", b"+FLAGS", b"\\Seen", b"\\", b"&", b"&AAA-",
    b"RETURN", b"ENABLE", b"AUTHENTICATE", b"PLAIN", b"STARTTLS", b"+", b"=", b"UTF8", b"ALL",
    b"LIST", b"CREATE", b"RENAME", b"MOVE", b"COPY", b"STATUS", b"NAMESPACE", b"ID", b"NIL",
]

LINES = [
    b"",
    b" ",
    b"a",
    b"a ",
    b"* NOOP",
    b"+ NOOP",
    b"a\tNOOP",
    b"a NOOP ",
    b"a  NOOP",
    b"\xff\xfe\xfd",
    b"a " + b"(" * 5_000,
    b"a FETCH 1 " + b"(" * 5_000,
    b"a SEARCH " + b"(" * 3_000 + b"ALL" + b")" * 3_000,
    b"a SEARCH " + b"NOT " * 1_900 + b"ALL",
    b"a SEARCH " + b"OR ALL " * 1_000 + b"ALL",
    b"a LIST " + b"(" * 4_000,
    b"a LIST \"\" " + b"%*" * 2_000,
    b"a LIST \"\" \"" + b"*a" * 1_500 + b"b\"",
    b"a FETCH " + b"1," * 3_900 + b"1 FLAGS",
    b"a FETCH 4294967296 FLAGS",
    b"a FETCH 0 FLAGS",
    b"a FETCH 1:4294967295 FLAGS",
    b"a FETCH * FLAGS",
    b"a UID FETCH 4294967295:1 FLAGS",
    b"a FETCH 1 BODY[" + b"1." * 3_000 + b"1]",
    b"a FETCH 1 BODY[]<18446744073709551615.18446744073709551615>",
    b"a FETCH 1 BODY[]<0.0>",
    b"a FETCH 1 BODY[HEADER.FIELDS ()]",
    b"a STORE 1 +FLAGS (" + b"k " * 3_000 + b"k)",
    b"a STORE 1 FLAGS (\\Recent)",
    b"a SELECT " + b"x" * 7_900,
    b"a SELECT \"" + b"&" * 5_000 + b"\"",
    b"a SELECT \"\x00\"",
    b"a CREATE \"" + b"a." * 3_000 + b"b\"",
    b"a CREATE \"..\"",
    b"a CREATE \"&2AA-\"",
    b"a CREATE \"\xff\xfe\"",
    b"a RENAME INBOX INBOX",
    b"a DELETE INBOX",
    b"a SEARCH CHARSET X-UNKNOWN TEXT x",
    b"a SEARCH SINCE 99-Xyz-0000",
    b"a SEARCH SINCE 31-Feb-2023",
    b"a SEARCH LARGER 99999999999999999999",
    b"a SEARCH UID 4294967296",
    b"a STATUS INBOX ()",
    b"a STATUS INBOX (" + b"MESSAGES " * 800 + b"MESSAGES)",
    b"a ID (" + b"\"a\" \"b\" " * 100 + b"\"a\" NIL)",
    b"a ID " + b"(" * 1_000,
    b"a ENABLE " + b"X " * 3_000 + b"X",
    b"a AUTHENTICATE PLAIN " + b"A" * 7_900,
    b"a AUTHENTICATE PLAIN =",
    b"a AUTHENTICATE PLAIN AAAA",
    b"a LOGIN {99999999999}",
    b"a LOGIN {0+}\r\n {0+}\r\n",
    b"a LOGIN \"\\",
    b"a APPEND INBOX {0+}\r\n",
    b"a APPEND INBOX \"99-Xyz-9999 99:99:99 +9999\" {1+}\r\nx",
    b"a APPEND INBOX (" + b"\\Seen " * 1_000 + b") {1+}\r\nx",
    b"a APPEND INBOX {18446744073709551616}",
    b"a APPEND INBOX {9223372036854775807+}",
    b"a APPEND nosuch {3+}\r\nabc",
    b"a COPY 1:* INBOX",
    b"a MOVE 1:* nosuch",
    b"a UID",
    b"a UID UID FETCH 1 FLAGS",
    b"a IDLE x",
    b"a DONE",
]


VALUES = [
    "0", "1", "2", "*", "$", "4294967295", "4294967296", "9223372036854775807",
    "9223372036854775808", "18446744073709551616", "-1", "1:*", "*:1", "5:2", "1:4294967295", "()",
    "(", ")", "NIL", '""', '"INBOX"', "INBOX", "{3+}\r\nabc", "~{3+}\r\na\0b", "\\Seen", "x", "é",
]


def lines_of_the_transcripts():
    """What clients say in Tests/Transcripts, without tags."""
    found = []
    pattern = os.path.join(martlet.ROOT, "Tests", "Transcripts", "**", "*.imap")
    for path in sorted(glob.glob(pattern, recursive=True)):
        with open(path, encoding="utf-8") as file:
            found += re.findall(r"^[A-Z][12]?> \S+ (.+)$", file.read(), flags=re.M)
    # Not what ends or changes the connection or the rights, nor what waits for more.
    left_out = re.compile(r"LOGOUT|COMPRESS|LOGIN|AUTHENTICATE|ACL|IDLE|\}\s*$", re.I)
    return [line for line in found if not left_out.search(line)]


class Hostile(TestCase):
    """One process of each kind serves the attacker and somebody else."""

    @classmethod
    def setUpClass(cls):
        if martlet.IS_ROOT:
            cls.ann, cls.ben = martlet.User(), martlet.User()
            for user in (cls.ann, cls.ben):
                cls.addClassCleanup(user.remove)
                cls.addClassCleanup(user.end_processes)
            cls.host = martlet.Server("system", settings={"login_processes": "1"})
        else:
            cls.ann = cls.ben = None
            cls.host = martlet.Server()
        cls.addClassCleanup(cls.host.stop)
        maildir = cls.ann.maildir if cls.ann else cls.host.maildir
        for number in range(5):
            maildir.put(subject="Message %d" % number)

    def setUp(self):
        self.random = random.Random(self.id())
        # Another session of the same user, and one of another: both must live.
        self.sibling = self.session(self.host, self.ann)
        self.sibling.select()
        self.stranger = self.session(self.host, self.ben, tls=True)
        self.pids = {role: self.host.pids(role) for role in martlet.EXECUTABLES[1:]}

    def tearDown(self):
        self.assertEqual({role: self.host.pids(role) for role in martlet.EXECUTABLES[1:]},
                         self.pids, "a process died")
        self.sibling.ok("NOOP")
        self.stranger.ok("NOOP")
        with self.host.login(self.ann) as connection:
            connection.select()
        super().tearDown()

    def attack(self, data, logged_in, chunk=None, tls=False, seconds=4):
        """Sends bytes and reads until there is an end of it."""
        connection = (self.host.login(self.ann, tls=tls) if logged_in
                      else self.host.connect(tls=tls))
        with connection:
            if logged_in:
                connection.select()
            connection.socket.settimeout(10)
            try:
                if chunk:
                    for at in range(0, len(data), chunk):
                        connection.send(data[at:at + chunk])
                else:
                    connection.send(data)
            except OSError:
                pass  # The server has had enough, and said so.
            # The only answers are IMAP: a line that begins with a tag, * or +.
            try:
                connection.send(b"\r\nDONE\r\nzz LOGOUT\r\n")
            except OSError:
                pass
            end = martlet.time.monotonic() + seconds
            lines = []
            with contextlib.suppress(Closed, TimeoutError, OSError):
                while martlet.time.monotonic() < end:
                    lines.append(connection.response(max(0.01, end - martlet.time.monotonic())))
                    if lines[-1].startswith(b"zz "):
                        break
            return lines

    def test_lines_before_login(self):
        for line in LINES:
            with self.subTest(line=line[:60]):
                self.attack(line, logged_in=False, seconds=1)

    def test_lines_after_login(self):
        for line in LINES:
            with self.subTest(line=line[:60]):
                lines = self.attack(line, logged_in=True, seconds=1.5)
                tagged = [each for each in lines if each.startswith((b"a ", b"* BAD", b"* BYE"))]
                # A literal that never comes has no answer; all else has.
                if not line.rstrip(b"\r\n").endswith((b"}", b"x", b"+}")):
                    self.assertTrue(tagged or line in (b"", b" "), (line[:80], lines[-3:]))
        self.sibling.ok("NOOP")

    def test_random_bytes_before_login(self):
        for _ in range(15):
            self.attack(self.random.randbytes(self.random.randrange(1, 20_000)), False, seconds=1)

    def test_random_bytes_after_login(self):
        for _ in range(15):
            self.attack(self.random.randbytes(self.random.randrange(1, 20_000)), True, seconds=1)

    def grammar_noise(self):
        out = b""
        for _ in range(self.random.randrange(5, 120)):
            out += self.random.choice(PIECES) + self.random.choice([b" ", b" ", b"", b"\r\na "])
        return out

    def test_pieces_of_the_grammar_before_login(self):
        for _ in range(40):
            self.attack(self.grammar_noise(), False, seconds=0.6)

    def test_pieces_of_the_grammar_after_login(self):
        for _ in range(60):
            self.attack(self.grammar_noise(), True, seconds=0.6)
        # The attacker is the user: mail may be gone, but not in somebody else's mailbox.
        self.stranger.ok('STATUS "INBOX" (MESSAGES)')

    def changed(self, line, lines):
        """The line with up to three of its words left out, doubled or put in the place of others."""
        for _ in range(self.random.randrange(4)):
            words = re.split(r"([ ()<>\[\].:,])", line)
            at = self.random.randrange(len(words))
            other = re.split(r"([ ()])", self.random.choice(lines))
            words[at:at + self.random.randrange(2)] = self.random.choice([
                [], [self.random.choice(VALUES)], [self.random.choice(words)],
                [self.random.choice(other)]])
            line = "".join(words)
        return line

    def test_lines_of_the_transcripts_changed(self):
        lines = lines_of_the_transcripts()
        self.assertGreater(len(lines), 1_000, "the transcripts could not be read")
        answered = 0
        for _ in range(40):
            said = (self.changed(self.random.choice(lines), lines) for _ in range(30))
            # A line that ends like a literal would eat the next.
            data = "".join("a " + line + "\r\n" for line in said if not line.rstrip().endswith("}"))
            answered += len(self.attack(data.encode(), True, seconds=2))
        self.assertGreater(answered, 1_000)

    def test_a_line_without_end_before_login(self):
        lines = self.attack(b"a" * 3_000_000, False)
        self.assertTrue([line for line in lines if b"BYE" in line or b"BAD" in line] or not lines)

    def test_a_line_without_end_after_login(self):
        self.attack(b"a SEARCH TEXT " + b"a" * 10_000_000, True)

    def test_a_large_literal_before_login(self):
        for size in (4_097, 1_000_000, 2**31, 2**32, 2**63, 2**64):
            self.attack(b"a LOGIN {%d}\r\n" % size, False, seconds=0.5)
            self.attack(b"a LOGIN {%d+}\r\n" % size + b"x" * 100_000, False, seconds=0.5)

    def test_an_append_that_is_too_large_is_refused_before_it_is_sent(self):
        with self.host.login(self.ann) as connection:
            limit = [word for word in connection.ok("CAPABILITY").untagged[0].split()
                     if word.startswith(b"APPENDLIMIT=")]
            self.assertTrue(limit)
            size = int(limit[0].split(b"=")[1]) + 1
            connection.send(b"a APPEND INBOX {%d}\r\n" % size)
            self.assertRegex(connection.response(), rb"^a NO \[TOOBIG\]")
            connection.ok("NOOP")

    def test_single_bytes(self):
        self.attack(b"a NOOP\r\nb CAPABILITY\r\nc LOGIN x {3+}\r\nabc\r\n", False, chunk=1)
        self.attack(b"a NOOP\r\nb FETCH 1:* (FLAGS BODY[])\r\nc SEARCH TEXT {3+}\r\nabc\r\n", True,
                    chunk=1)

    def test_noise_on_the_tls_port(self):
        for length in (1, 5, 300, 20_000):
            raw = socket.create_connection(self.host.imaps, 10)
            with raw:
                with contextlib.suppress(OSError):
                    raw.sendall(b"\x16\x03\x01" + self.random.randbytes(length))
                    raw.shutdown(socket.SHUT_WR)
                    while raw.recv(4096):
                        pass

    def test_other_protocols(self):
        for text in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"EHLO x\r\n", b"USER x\r\nPASS y\r\n",
                     b"SSH-2.0-x\r\n"):
            lines = self.attack(text, False, seconds=1)
            self.assertFalse([line for line in lines if b"x" == line])

    def test_too_many_bad_commands_before_login(self):
        connection = self.connection(self.host)
        connection.send(b"".join(b"t%d FROB\r\n" % n for n in range(200)))
        text = connection.read_to_end()
        self.assertIn(b"* BYE", text)
        self.assertLess(text.count(b" BAD "), 100)

    def test_many_connections_that_say_nothing(self):
        silent = [socket.create_connection(self.host.imap, 20) for _ in range(300)]
        silent += [socket.create_connection(self.host.imaps, 20) for _ in range(100)]
        try:
            with self.host.login(self.ann) as connection:
                connection.select()
            with self.host.login(self.ann, tls=True) as connection:
                connection.select()
        finally:
            for each in silent:
                each.close()

    def test_a_client_that_does_not_read(self):
        """It asks for a gigabyte and reads none: the sibling is answered, memory stays small."""
        pid = (self.host.user_pid(self.ann.uid) if self.ann
               else self.host.pids("martlet-user")[0])
        maildir = self.ann.maildir if self.ann else self.host.maildir
        maildir.make("Big")
        for _ in range(4):
            maildir.put(martlet.message(body="y" * 70 + "\n") + (b"z" * 70 + b"\n") * 60_000,
                        mailbox="Big")
        greedy = self.session(self.host, self.ann)
        greedy.select("Big")
        for _ in range(60):
            greedy.start("FETCH 1:* BODY.PEEK[]")
        martlet.time.sleep(1.5)
        worst = 0
        for _ in range(10):
            began = martlet.time.monotonic()
            self.sibling.ok("NOOP")
            worst = max(worst, martlet.time.monotonic() - began)
        self.assertLess(worst, 2)
        resident = int(martlet.status(pid)["VmRSS"].split()[0])
        self.assertLess(resident, 200_000, "kilobytes")
        greedy.close()
        self.sibling.ok("NOOP")


class HostileMail(TestCase):
    """Messages that no mail program would write, by way of every command that reads them."""

    CONTENTS = [
        b"",
        b"\n",
        b"no header at all",
        b"\0" * 1_000,
        b"Subject: nul \0 inside\n\nbody \0 nul\n",
        b"Subject: x\r\rbody\r\n",
        b"From: " + b"a@b, " * 5_000 + b"\n\nx\n",
        b"From: " + b"(" * 5_000 + b"\n\nx\n",
        b"From: <" + b"@x:" * 3_000 + b"\n\nx\n",
        b"Subject: " + b"=?utf-8?B?" * 2_000 + b"\n\nx\n",
        b"Subject: " + b"x" * 500_000 + b"\n\nx\n",
        b"X: y\n" * 50_000 + b"\nx\n",
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n" * 20_000,
        b"Content-Type: multipart/mixed; boundary=\"\"\n\n--\n--\n",
        b"Content-Type: multipart/mixed\n\nno boundary\n",
        b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n)
                 for n in range(2_000)) + b"deep\n",
        b"Content-Type: message/rfc822\n\n" * 2_000 + b"Subject: deep\n\nx\n",
        b"Content-Type: " + b"a/" * 1_000 + b"; " + b"x=y; " * 5_000 + b"\n\nx\n",
        b"Content-Transfer-Encoding: base64\n\n" + b"=" * 10_000 + b"\n",
        b"Content-Transfer-Encoding: quoted-printable\n\n" + b"=" * 10_000 + b"\n",
        b"Date: " + b"9" * 1_000 + b"\nMessage-ID: " + b"<" * 1_000 + b"\n\nx\n",
        b"Content-Type: text/plain; charset=\xff\xfe\n\n\xff\xfe\xfd\n",
        b"To: group:" + b"a@b," * 1_000 + b"\n\nx\n",
        b"\xff" * 100_000,
        bytes(range(256)) * 100,
    ]

    def test_every_command_reads_every_message(self):
        server = self.server()
        for content in self.CONTENTS:
            server.maildir.put(content)
        pids = None
        connection = self.session(server)
        connection.select()
        pids = server.pids("martlet-user")
        for command in (
            "FETCH 1:* (FLAGS UID INTERNALDATE RFC822.SIZE)",
            "FETCH 1:* ENVELOPE",
            "FETCH 1:* BODYSTRUCTURE",
            "FETCH 1:* BODY",
            "FETCH 1:* BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE)]",
            "FETCH 1:* (BODY.PEEK[1] BODY.PEEK[1.1] BODY.PEEK[1.MIME] BODY.PEEK[TEXT])",
            "FETCH 1:* (BODY.PEEK[1.1.1.1.1.1.1.1.1.1.1.1] BODY.PEEK[2] BODY.PEEK[1000])",
            "FETCH 1:* BODY.PEEK[]",
            "FETCH 1:* BODY.PEEK[]<10.20>",
            "SEARCH TEXT needle",
            "SEARCH BODY needle",
            "SEARCH OR SUBJECT x FROM y",
            "SEARCH SENTSINCE 1-Jan-2000",
            "SEARCH HEADER X y",
        ):
            connection.ok(command, 60)
        sizes = connection.ok("FETCH 1:* (RFC822.SIZE BODY.PEEK[])", 60).untagged
        for line in sizes:
            size = int(martlet.re.search(rb"RFC822.SIZE (\d+)", line).group(1))
            body = martlet.re.search(rb"BODY\[\] (?:\{(\d+)\}|\"\")", line)
            self.assertEqual(int(body.group(1) or 0), size)
        self.assertEqual(server.pids("martlet-user"), pids)
        self.assertAnswers(connection)

    def test_files_that_are_no_messages(self):
        server = self.server()
        cur = martlet.os.path.join(server.maildir.path, "cur")
        martlet.os.mkdir(martlet.os.path.join(cur, "1700000001.folder.host:2,S"))
        martlet.os.mkfifo(martlet.os.path.join(cur, "1700000002.fifo.host:2,S"))
        martlet.os.symlink("/etc/hostname", martlet.os.path.join(cur, "1700000003.link.host:2,S"))
        martlet.os.symlink("/nowhere", martlet.os.path.join(cur, "1700000004.dangling.host:2,S"))
        for name in (".hidden", "no-info", "x" * 255, "a:b:c:2,S", "a,S=99,W=1:2,ZZZzzz",
                     "\udcff\udcfe:2,", "tab\tname:2,S", "new\nline:2,S", ":2,S", "a:1,x", "a:2",
                     "a;2,S"):
            with open(martlet.os.path.join(cur, name), "wb") as file:
                file.write(martlet.message(subject="odd"))
        server.maildir.put(subject="Good")
        connection = self.session(server)
        connection.select()
        # What cannot be read is an error; all else is shown.
        result = connection.command("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])", 30)
        self.assertIn(result.status, (b"OK", b"NO"))
        self.assertIn("Subject: Good", repr(result))
        connection.command("FETCH 1:* (FLAGS RFC822.SIZE BODY.PEEK[])", 30)
        self.assertIn(
            connection.command("STORE 1:* +FLAGS (\\Flagged)", 30).status, (b"OK", b"NO"))
        self.assertEqual(len([path for path in server.maildir.files()
                              if path.split(":2,")[-1].startswith("F")]) > 5, True)
        self.assertAnswers(connection)
