# SPDX-License-Identifier: ISC
"""Python's imaplib: a tour of all that a simple client does."""

import imaplib
import re
import time

import martlet
from martlet import TestCase


class Tour(TestCase):
    def setUp(self):
        self.host = self.server()
        self.mail = self.host.maildir

    def client(self, tls=False, starttls=False):
        if tls:
            client = imaplib.IMAP4_SSL(*self.host.imaps, timeout=20,
                                       ssl_context=martlet.client_context())
        else:
            client = imaplib.IMAP4(*self.host.imap, timeout=20)
        if starttls:
            client.starttls(martlet.client_context())
        self.addCleanup(self.end, client)
        client.login(self.host.user, self.host.password)
        return client

    def end(self, client):
        try:
            client.shutdown()
        except OSError:
            pass

    def ok(self, answer):
        status, data = answer
        self.assertEqual(status, "OK", data)
        return data

    def test_select_and_fetch(self):
        content = martlet.message(subject="First", body="One\nTwo\n")
        self.mail.deliver(content)
        self.mail.put(subject="Second", flags="S")
        client = self.client()
        self.assertEqual(self.ok(client.select()), [b"2"])
        # Files that were never listed before: which comes first is the server's choice.
        data = self.ok(client.fetch("1:2", "(FLAGS UID RFC822.SIZE BODY.PEEK[])"))
        bodies = [each for each in data if isinstance(each, tuple)]
        self.assertEqual(len(bodies), 2)
        first = next(each for each in bodies if b"Subject: First" in each[1])
        self.assertEqual(first[1], content.replace(b"\n", b"\r\n"))
        size = int(re.search(rb"RFC822.SIZE (\d+)", first[0]).group(1))
        self.assertEqual(size, len(first[1]))
        data = self.ok(client.fetch("1", "(ENVELOPE BODYSTRUCTURE INTERNALDATE)"))
        self.assertIn(b'"TEXT" "PLAIN"', data[0].upper())

    def test_store(self):
        self.mail.put()
        client = self.client()
        client.select()
        data = self.ok(client.store("1", "+FLAGS", "(\\Seen \\Flagged $label1)"))
        for flag in (b"\\Seen", b"\\Flagged", b"$label1"):
            self.assertIn(flag, data[0])
        data = self.ok(client.store("1", "-FLAGS", "\\Flagged"))
        self.assertNotIn(b"\\Flagged", data[0])
        data = self.ok(client.store("1", "FLAGS", "()"))
        self.assertIn(b"FLAGS ()", data[0].replace(b"\\Recent", b""))
        self.assertTrue(self.mail.files()[0].endswith(":2,"))

    def test_append(self):
        client = self.client(tls=True)
        content = b"From: a@b\r\nSubject: Appended\r\n\r\nBody\r\n"
        date = imaplib.Time2Internaldate(1_600_000_000)
        data = self.ok(client.append("INBOX", "(\\Seen)", date, content))
        self.assertRegex(data[0], rb"\[APPENDUID \d+ \d+\]")
        client.select()
        data = self.ok(client.fetch("1", "(FLAGS INTERNALDATE BODY.PEEK[])"))
        self.assertEqual(data[0][1], content)
        self.assertIn(b"\\Seen", data[0][0] + data[1])
        shown = imaplib.Internaldate2tuple(data[0][0])
        self.assertEqual(time.mktime(shown), 1_600_000_000)
        status, data = client.append("Nowhere", None, None, content)
        self.assertEqual(status, "NO")
        self.assertIn(b"[TRYCREATE]", data[0])

    def test_copy_and_expunge(self):
        for number in range(4):
            self.mail.put(subject="Message %d" % number)
        client = self.client()
        client.select()
        self.ok(client.create("Copies"))
        self.ok(client.copy("1:2", "Copies"))
        self.assertRegex(client.untagged_responses.get("COPYUID", [b""])[0] or
                         repr(client.untagged_responses).encode(), rb".")
        self.ok(client.store("1:2", "+FLAGS.SILENT", "\\Deleted"))
        self.assertEqual(self.ok(client.expunge()), [b"1", b"1"])
        self.assertEqual(self.ok(client.select()), [b"2"])
        self.assertEqual(self.ok(client.select("Copies")), [b"2"])
        self.assertEqual(len(self.mail.files()), 2)
        self.assertEqual(len(self.mail.files("Copies")), 2)

    def test_move(self):
        self.mail.put(subject="Moved")
        client = self.client()
        client.select()
        self.ok(client.create("Target"))
        self.ok(client._simple_command("MOVE", "1", "Target")
                if "MOVE" in imaplib.Commands else self.move(client))
        self.assertEqual(self.mail.files(), [])
        self.assertEqual(len(self.mail.files("Target")), 1)

    def move(self, client):
        imaplib.Commands["MOVE"] = ("SELECTED",)
        return client._simple_command("MOVE", "1", "Target")

    def test_close_expunges(self):
        for _ in range(2):
            self.mail.put()
        client = self.client()
        client.select()
        self.ok(client.store("1", "+FLAGS", "\\Deleted"))
        self.ok(client.close())
        self.assertEqual(len(self.mail.files()), 1)
        self.ok(client.select())
        self.ok(client.unselect())

    def test_search(self):
        self.mail.put(subject="Apples", sender="ann@example.org", flags="S")
        self.mail.put(subject="=?UTF-8?B?%s?=" % martlet.base64.b64encode(
            "Größe und Maß".encode()).decode(), sender="ben@example.net", flags="F")
        self.mail.put(subject="Pears", body="A needle in here.\n")
        client = self.client()
        client.select()
        data = self.ok(client.fetch("1:3", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
        place = {
            name: str(number) for number, each in enumerate(
                [each for each in data if isinstance(each, tuple)], 1)
            for name in (b"Apples", b"UTF-8", b"Pears") if name in each[1]
        }

        def found(*criteria, charset=None):
            return self.ok(client.search(charset, *criteria))[0].decode().split()
        self.assertEqual(found("ALL"), ["1", "2", "3"])
        self.assertEqual(found("SUBJECT", "apple"), [place[b"Apples"]])
        self.assertEqual(found("FROM", "ben@"), [place[b"UTF-8"]])
        self.assertEqual(found("SEEN"), [place[b"Apples"]])
        self.assertEqual(found("FLAGGED"), [place[b"UTF-8"]])
        self.assertEqual(found("BODY", "needle"), [place[b"Pears"]])
        self.assertEqual(found("SUBJECT", "nothing"), [])
        self.assertEqual(len(found("NOT", "SEEN")), 2)
        self.assertEqual(len(found("OR", "SEEN", "FLAGGED")), 2)
        self.assertEqual(len(found("SENTON", "6-Nov-2023")), 3)
        client.literal = "größe".encode()
        self.assertEqual(found("SUBJECT", charset="UTF-8"), [place[b"UTF-8"]])
        # UIDs and numbers are the same in a mailbox that nothing left.
        status, data = client.uid("SEARCH", "SUBJECT", "Pears")
        self.assertEqual((status, data[0].decode()), ("OK", place[b"Pears"]))

    def test_mailboxes(self):
        client = self.client()
        self.ok(client.create("Work"))
        self.ok(client.create("Work.2024"))
        self.ok(client.create("Work.2024.Alpha"))
        self.ok(client.create("B&APw-cher"))
        status, data = client.create("Work")
        self.assertEqual(status, "NO")
        self.assertIn(b"[ALREADYEXISTS]", data[0])
        listed = b"\n".join(self.ok(client.list()))
        for name in (b"INBOX", b"Work", b"Work.2024", b"Work.2024.Alpha", b"B&APw-cher"):
            self.assertRegex(listed, rb'"\." "?%s"?(\n|$)' % re.escape(name))
        self.ok(client.subscribe("Work"))
        self.assertIn(b"Work", b"\n".join(self.ok(client.lsub())))
        self.ok(client.unsubscribe("Work"))
        self.ok(client.append("Work.2024.Alpha", None, None, b"Subject: x\r\n\r\nx\r\n"))
        self.ok(client.rename("Work", "Job"))
        listed = b"\n".join(self.ok(client.list()))
        self.assertNotIn(b"Work", listed)
        self.assertIn(b"Job.2024.Alpha", listed)
        self.assertEqual(self.ok(client.select("Job.2024.Alpha")), [b"1"])
        self.ok(client.unselect())
        self.ok(client.delete("Job.2024.Alpha"))
        self.assertEqual(client.select("Job.2024.Alpha")[0], "NO")
        status, data = client.delete("Nothing")
        self.assertEqual(status, "NO")
        self.assertIn(b"[NONEXISTENT]", data[0])
        self.assertEqual(client.delete("INBOX")[0], "NO")
        data = self.ok(client.status("INBOX", "(MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN)"))
        self.assertRegex(data[0], rb"MESSAGES 0 .*UIDVALIDITY [1-9]")

    def test_read_only(self):
        self.mail.put()
        client = self.client()
        self.ok(client.select(readonly=True))
        self.ok(client.fetch("1", "(BODY[])"))
        self.assertNotIn(b"\\Seen", self.ok(client.fetch("1", "(FLAGS)"))[0])
        with self.assertRaises(imaplib.IMAP4.error):
            client.store("1", "+FLAGS", "\\Seen")
            client.expunge()
            raise imaplib.IMAP4.error("refused as it should be") if not self.mail.files()[
                0].endswith("S") else AssertionError("written")

    def test_namespace_noop_check_and_capabilities(self):
        client = self.client(starttls=True)
        self.assertRegex(self.ok(client.namespace())[0], rb'\(\("" "\."\)\) NIL NIL')
        self.ok(client.noop())
        self.ok(client.enable("UTF8=ACCEPT"))
        client.select()
        self.ok(client.check())
        self.ok(client.capability())
        for name in ("IMAP4REV1", "IDLE", "MOVE", "UIDPLUS", "NAMESPACE", "SPECIAL-USE"):
            self.assertIn(name, self.ok(client.capability())[0].decode().upper().split())

    def test_utf8(self):
        client = self.client()
        self.ok(client.enable("UTF8=ACCEPT"))
        self.ok(client.create('"Bücher"'))
        self.ok(client.select('"Bücher"'))
        self.assertIn("Bücher".encode(), b"\n".join(self.ok(client.list())))
        self.assertTrue(martlet.os.path.isdir(self.mail.path + "/.B&APw-cher"))
        content = "From: ä@example.org\r\nSubject: Größe\r\n\r\nx\r\n".encode()
        self.ok(client.append('"Bücher"', None, None, content))
        self.assertEqual(self.ok(client.select('"Bücher"')), [b"1"])

    def test_idle_by_hand(self):
        client = self.client()
        client.select()
        client.send(b"x1 IDLE\r\n")
        line = client.readline()
        while not line.startswith(b"+"):
            line = client.readline()
        self.mail.deliver()
        line = client.readline()
        while b"EXISTS" not in line:
            line = client.readline()
        self.assertEqual(line, b"* 1 EXISTS\r\n")
        client.send(b"DONE\r\n")
        line = client.readline()
        while not line.startswith(b"x1 "):
            line = client.readline()
        self.assertTrue(line.startswith(b"x1 OK"))

    def test_wrong_password(self):
        client = imaplib.IMAP4(*self.host.imap, timeout=20)
        self.addCleanup(self.end, client)
        with self.assertRaises(imaplib.IMAP4.error) as caught:
            client.login(self.host.user, "wrong")
        self.assertIn("AUTHENTICATIONFAILED", str(caught.exception))
        client.login(self.host.user, self.host.password)

    def test_logout(self):
        client = self.client()
        status, data = client.logout()
        self.assertEqual(status, "BYE")


class ManyMessages(TestCase):
    def test_five_hundred(self):
        server = self.server()
        for number in range(500):
            server.maildir.put(subject="Message %d" % number, body="x\n" * (number % 50))
        client = imaplib.IMAP4_SSL(*server.imaps, timeout=60,
                                   ssl_context=martlet.client_context())
        client.login(server.user, server.password)
        self.assertEqual(client.select(), ("OK", [b"500"]))
        status, data = client.uid("FETCH", "1:*", "(UID RFC822.SIZE FLAGS BODY.PEEK[])")
        bodies = [each for each in data if isinstance(each, tuple)]
        self.assertEqual(len(bodies), 500)
        for head, body in bodies:
            self.assertEqual(int(re.search(rb"RFC822.SIZE (\d+)", head).group(1)), len(body))
        self.assertEqual(len({re.search(rb"Subject: (.*)\r", body).group(1)
                              for _, body in bodies}), 500)
        self.assertEqual(client.store("1:*", "+FLAGS.SILENT", "\\Seen")[0], "OK")
        self.assertEqual(client.create("Away")[0], "OK")
        self.assertEqual(client.copy("1:*", "Away")[0], "OK")
        self.assertEqual(client.store("1:*", "+FLAGS.SILENT", "\\Deleted")[0], "OK")
        status, data = client.expunge()
        self.assertEqual((status, len(data)), ("OK", 500))
        self.assertEqual(client.select("Away"), ("OK", [b"500"]))
        client.logout()
