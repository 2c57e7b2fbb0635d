# SPDX-License-Identifier: ISC
"""A real Postfix: SMTP in, `* n EXISTS` out."""

import glob
import os
import re
import shutil
import smtplib
import socket
import subprocess
import time
import unittest

import martlet
from martlet import TestCase

MASTER = """\
127.0.0.1:%d inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A Postfix of our own beside the machine's, on a port of the loopback network."""

    def __init__(self):
        self.folder = martlet.scratch("postfix")
        self.etc = os.path.join(self.folder, "etc")
        for name in ("etc", "queue", "data"):
            os.mkdir(os.path.join(self.folder, name), 0o755)
        shutil.chown(os.path.join(self.folder, "data"), "postfix", "root")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log_path = os.path.join(self.folder, "log")
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": os.path.join(self.folder, "queue"),
            "data_directory": os.path.join(self.folder, "data"),
            "maillog_file": self.log_path,
            "maillog_file_prefixes": self.folder,
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "myhostname": "mail.example.org",
            "mydestination": "example.org, localhost",
            "mynetworks": "127.0.0.0/8",
            "home_mailbox": "Maildir/",
            "mailbox_command": "",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "unix:passwd.byname",
            "default_transport": "error:no mail leaves this test",
            "relay_transport": "error:no mail leaves this test",
            "smtpd_tls_security_level": "none",
            "biff": "no",
        }
        with open(os.path.join(self.etc, "main.cf"), "w") as file:
            for name, value in settings.items():
                file.write("%s = %s\n" % (name, value))
        with open(os.path.join(self.etc, "master.cf"), "w") as file:
            file.write(MASTER % self.port)
        shutil.copy("/etc/postfix/dynamicmaps.cf", self.etc) if os.path.exists(
            "/etc/postfix/dynamicmaps.cf") else None
        self.command("start")

    def command(self, word, check=True):
        # Its master keeps standard error open: a pipe would never end.
        path = os.path.join(self.folder, "output")
        with open(path, "ab") as output:
            done = subprocess.run(["postfix", "-c", self.etc, word], stdin=subprocess.DEVNULL,
                                  stdout=output, stderr=output, timeout=60)
        if check and done.returncode != 0:
            with open(path, errors="replace") as file:
                raise AssertionError("postfix %s: %s%s" % (word, file.read(), self.log()))

    def log(self):
        try:
            with open(self.log_path, errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def stop(self):
        self.command("stop", check=False)

    def send(self, recipient, subject, body="Hello."):
        with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as smtp:
            smtp.sendmail("sender@example.net", [recipient],
                          "From: sender@example.net\r\nTo: %s\r\nSubject: %s\r\n\r\n%s\r\n"
                          % (recipient, subject, body))


@unittest.skipUnless(martlet.IS_ROOT, "needs root")
class SMTPIn(TestCase):
    def setUp(self):
        self.ann, self.ben = self.user(), self.user()
        self.host = self.server("system")
        self.postfix = Postfix()
        self.addCleanup(self.postfix.stop)

    def test_delivered_by_postfix_shown_by_idle(self):
        connection = self.session(self.host, self.ann, tls=True)
        connection.select()
        connection.idle()
        other = self.session(self.host, self.ben)
        other.select()
        other.idle()
        for number in range(1, 4):
            self.postfix.send("%s@example.org" % self.ann.name, "By SMTP %d" % number)
            try:
                connection.read_until(rb"^\* %d EXISTS$" % number)
            except AssertionError as error:
                raise AssertionError("%s\n%s" % (error, self.postfix.log())) from None
        # From the rename of the file to the line: measured by the file's own time.
        connection.done()
        self.assertEqual(martlet.subjects(connection), ["By SMTP 1", "By SMTP 2", "By SMTP 3"])
        self.assertEqual([line for line in other.quiet(0.3) if b"EXISTS" in line], [])
        body = connection.ok("FETCH 1 BODY.PEEK[]").untagged[0]
        self.assertIn(b"Delivered-To: %s@example.org\r\n" % self.ann.name.encode(), body)
        self.assertIn(b"\r\n\r\nHello.\r\n", body)

    def test_a_maildir_that_postfix_makes(self):
        shutil.rmtree(self.ann.maildir.path)
        self.postfix.send("%s@example.org" % self.ann.name, "First")
        # Postfix makes the directories one by one.
        martlet.wait_until(lambda: glob.glob(self.ann.maildir.path + "/new/*"), "a delivery")
        connection = self.session(self.host, self.ann)
        connection.select()
        self.assertEqual(martlet.subjects(connection), ["First"])

    def test_many_at_once(self):
        connection = self.session(self.host, self.ann)
        connection.select()
        connection.idle()
        with smtplib.SMTP("127.0.0.1", self.postfix.port, timeout=20) as smtp:
            for number in range(40):
                smtp.sendmail("s@example.net", ["%s@example.org" % self.ann.name],
                              "Subject: %d\r\n\r\nx\r\n" % number)
        connection.read_until(rb"^\* 40 EXISTS$", 40)
        connection.done()
        self.assertEqual(sorted(map(int, martlet.subjects(connection))), list(range(40)))
