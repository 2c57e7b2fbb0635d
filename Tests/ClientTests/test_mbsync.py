# SPDX-License-Identifier: ISC
"""mbsync, both ways: what changes on one side changes on the other."""

import os
import re

import martlet
from martlet import Maildir, TestCase

CONFIGURATION = """\
IMAPAccount martlet
Host 127.0.0.1
Port %(port)d
User %(user)s
Pass %(password)s
SSLType %(ssl)s
AuthMechs PLAIN
%(certificate)s

IMAPStore remote
Account martlet

MaildirStore local
Path %(local)s/
Inbox %(local)s/INBOX
SubFolders Verbatim

Channel all
Far :remote:
Near :local:
Patterns *
Create Both
Remove Both
Expunge Both
CopyArrivalDate yes
SyncState *
"""


class Sync(TestCase):
    ssl = "None"

    def setUp(self):
        self.host = self.server()
        self.mail = self.host.maildir
        self.folder = martlet.scratch("mbsync")
        self.local_path = os.path.join(self.folder, "mail")
        os.mkdir(self.local_path)
        self.local = Maildir(os.path.join(self.local_path, "INBOX"))
        self.configuration = os.path.join(self.folder, "mbsyncrc")
        certificate = ""
        port = self.host.imap[1]
        if self.ssl != "None":
            path = os.path.join(self.folder, "certificate.pem")
            if self.ssl == "IMAPS":
                port = self.host.imaps[1]
            with self.host.connect(tls=True) as connection:
                der = connection.socket.getpeercert(True)
            with open(path, "w") as file:
                file.write(martlet.ssl.DER_cert_to_PEM_cert(der))
            certificate = "CertificateFile %s" % path
        with open(self.configuration, "w") as file:
            file.write(CONFIGURATION % {
                "port": port, "user": self.host.user, "password": self.host.password,
                "ssl": self.ssl, "certificate": certificate, "local": self.local_path})

    def sync(self):
        return martlet.run(["mbsync", "-c", self.configuration, "-a"], timeout=60)

    def other(self, mailbox):
        """A mailbox of the near side other than INBOX."""
        return Maildir(os.path.join(self.local_path, mailbox))

    def subjects_on_disk(self, maildir, mailbox="INBOX"):
        found = []
        for path in maildir.files(mailbox):
            with open(path, "rb") as file:
                found.append(re.search(rb"Subject: ([^\r\n]*)", file.read()).group(1).decode())
        return sorted(found)

    def flags_on_disk(self, maildir, subject, mailbox="INBOX"):
        for path in maildir.files(mailbox):
            with open(path, "rb") as file:
                if b"Subject: " + subject.encode() in file.read():
                    return re.sub("[a-z]", "", path.rsplit(":2,", 1)[1]) if ":2," in path else ""
        self.fail("no message %s" % subject)

    def local_add(self, maildir, **fields):
        name = maildir.write_tmp(martlet.message(**fields))
        os.rename(os.path.join(maildir.path, "tmp", name),
                  os.path.join(maildir.path, "new", name))

    def test_new_mail_both_ways(self):
        for number in range(20):
            self.mail.deliver(subject="Far %d" % number)
        self.sync()
        self.assertEqual(len(self.local.files()), 20)
        self.local_add(self.local, subject="Near")
        self.mail.deliver(subject="Far, later")
        self.sync()
        expected = sorted(["Far %d" % n for n in range(20)] + ["Near", "Far, later"])
        self.assertEqual(self.subjects_on_disk(self.mail), expected)
        self.assertEqual(self.subjects_on_disk(self.local), expected)
        # Once more changes nothing.
        self.sync()
        self.assertEqual(self.subjects_on_disk(self.mail), expected)
        self.assertEqual(self.subjects_on_disk(self.local), expected)

    def test_flags_both_ways(self):
        self.mail.put(subject="One")
        self.mail.put(subject="Two", flags="S")
        self.sync()
        self.assertEqual(self.flags_on_disk(self.local, "Two"), "S")
        near = [path for path in self.local.files()
                if b"Subject: One" in open(path, "rb").read()][0]
        base = re.sub(r":2,.*", "", os.path.basename(near))
        os.rename(near, os.path.join(self.local.path, "cur", base + ":2,FS"))
        with self.host.login() as connection:
            connection.select()
            number = martlet.subjects(connection).index("Two") + 1
            connection.ok("STORE %d +FLAGS (\\Answered)" % number)
        self.sync()
        self.assertEqual(self.flags_on_disk(self.mail, "One"), "FS")
        self.assertEqual(self.flags_on_disk(self.local, "Two"), "RS")

    def test_deletions_both_ways(self):
        for name in ("Keep", "Far goes", "Near goes"):
            self.mail.put(subject=name)
        self.sync()
        near = [path for path in self.local.files()
                if b"Subject: Near goes" in open(path, "rb").read()][0]
        os.unlink(near)
        with self.host.login() as connection:
            connection.select()
            number = martlet.subjects(connection).index("Far goes") + 1
            connection.ok("STORE %d +FLAGS (\\Deleted)" % number)
            connection.ok("EXPUNGE")
        self.sync()
        self.assertEqual(self.subjects_on_disk(self.mail), ["Keep"])
        self.assertEqual(self.subjects_on_disk(self.local), ["Keep"])

    def test_new_mailboxes_both_ways(self):
        self.mail.make("Made far")
        self.mail.put(subject="In far", mailbox="Made far")
        self.sync()
        self.assertEqual(self.subjects_on_disk(self.other("Made far")), ["In far"])
        near = self.other("Made near").make()
        self.local_add(near, subject="In near")
        self.sync()
        self.assertEqual(self.subjects_on_disk(self.mail, "Made near"), ["In near"])

    def test_the_arrival_date_survives(self):
        name = self.mail.put(subject="Old")
        os.utime(self.mail.file(name), (1_500_000_000, 1_500_000_000))
        self.sync()
        self.assertEqual(int(os.stat(self.local.files()[0]).st_mtime), 1_500_000_000)

    def test_large_and_odd_messages_arrive_whole(self):
        contents = [
            martlet.message(subject="Large", body="x" * 70 + "\n") + b"y" * 3_000_000 + b"\n",
            "Subject: UTF-8 ü\n\nüöä €\n".encode(),
            b"Subject: no end of line\n\nlast",
            b"Subject: dots\n\n.\n..\n.\n",
        ]
        for content in contents:
            self.mail.put(content)
        self.sync()
        found = []
        for path in self.local.files():
            with open(path, "rb") as file:
                found.append(re.sub(rb"X-TUID: .*\n", b"", file.read()).replace(b"\r\n", b"\n"))
        self.assertEqual(sorted(found), sorted(contents))


class SyncOverTLS(Sync):
    ssl = "IMAPS"


class SyncOverSTARTTLS(Sync):
    ssl = "STARTTLS"
