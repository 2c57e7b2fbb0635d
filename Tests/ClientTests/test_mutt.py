# SPDX-License-Identifier: ISC
"""mutt: on the Maildir that is being served, and as a client."""

import os
import pty
import re
import select
import subprocess
import time

import martlet
from martlet import TestCase

COMMON = """\
set folder=~
set header_cache=
set mail_check=1
set timeout=1
set sleep_time=0
set wait_key=no
set beep=no
set quit=yes
set delete=yes
set move=no
set confirmappend=no
set abort_nosubject=no
set mark_old=no
set read_inc=0
set ssl_verify_host=no
unset confirmcreate
unset mail_check_recent
"""


class Mutt(TestCase):
    def setUp(self):
        self.host = self.server()
        self.mail = self.host.maildir
        self.folder = martlet.scratch("mutt")

    def mutt(self, mailbox, keys, settings="", seconds=30):
        """Runs mutt in a terminal of its own: opens a mailbox, types the keys, ends."""
        path = os.path.join(self.folder, "muttrc")
        with open(path, "w") as file:
            file.write(COMMON + settings)
        environment = {"HOME": self.folder, "TERM": "xterm", "LC_ALL": "C.UTF-8",
                       "PATH": os.environ["PATH"]}
        master, slave = pty.openpty()
        process = subprocess.Popen(
            ["mutt", "-n", "-F", path, "-f", mailbox, "-e", "push '%s'" % keys], stdin=slave,
            stdout=slave, stderr=slave, env=environment, start_new_session=True)
        os.close(slave)
        screen = b""
        end = time.monotonic() + seconds
        try:
            while process.poll() is None:
                if time.monotonic() > end:
                    self.fail("mutt did not end; its screen: %r" % screen[-2000:])
                if select.select([master], [], [], 0.1)[0]:
                    try:
                        screen += os.read(master, 65536)
                    except OSError:
                        break
            process.wait(10)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(5)
            os.close(master)
        return screen

    def url(self, tls=False):
        port = (self.host.imaps if tls else self.host.imap)[1]
        # The name that is in the certificate.
        return "%s://%s@localhost:%d/INBOX" % ("imaps" if tls else "imap", self.host.user, port)

    def account(self, extra="", starttls="no"):
        """Settings for this account; the server's certificate is known already."""
        path = os.path.join(self.folder, "certificates")
        with self.host.connect(tls=True) as connection:
            der = connection.socket.getpeercert(True)
        with open(path, "w") as file:
            file.write(martlet.ssl.DER_cert_to_PEM_cert(der))
        return 'set imap_pass="%s"\nset ssl_starttls=%s\nset ssl_force_tls=%s\n' \
            'set certificate_file="%s"\n%s' % (
                self.host.password, starttls, starttls, path, extra)

    def waiting(self):
        connection = self.session(self.host)
        connection.select()
        connection.idle()
        return connection


class OnTheSameMaildir(Mutt):
    def test_a_flag_that_mutt_sets_is_pushed(self):
        self.mail.put(subject="Flag me")
        connection = self.waiting()
        self.mutt(self.mail.path, "<flag-message><sync-mailbox><exit>")
        line = connection.read_until(rb"^\* 1 FETCH ")[-1]
        self.assertIn(b"\\Flagged", line)

    def test_reading_new_mail_with_mutt(self):
        self.mail.deliver(subject="Read me")
        connection = self.waiting()
        self.mutt(self.mail.path, "<display-message><exit><sync-mailbox><exit>")
        line = connection.read_until(rb"^\* 1 FETCH ")[-1]
        self.assertIn(b"\\Seen", line)
        self.assertEqual(
            [l for l in connection.quiet(0.5) if b"EXPUNGE" in l or b"EXISTS" in l], [])

    def test_what_mutt_deletes_is_expunged(self):
        for number in range(3):
            self.mail.put(subject="Message %d" % number)
        connection = self.waiting()
        self.mutt(self.mail.path,
                  "<delete-pattern>~s \"Message 1\"<enter><sync-mailbox><exit>")
        connection.read_until(rb"^\* \d EXPUNGE$")
        connection.done()
        self.assertEqual(sorted(martlet.subjects(connection)), ["Message 0", "Message 2"])

    def test_what_a_client_flags_mutt_sees(self):
        self.mail.put(subject="Flagged over IMAP")
        self.mail.put(subject="Not flagged")
        connection = self.session(self.host)
        connection.select()
        number = martlet.subjects(connection).index("Flagged over IMAP") + 1
        connection.ok("STORE %d +FLAGS (\\Flagged)" % number)
        output = os.path.join(self.folder, "copies")
        self.mutt(self.mail.path,
                  "<tag-pattern>~F<enter><tag-prefix><copy-message>%s<enter>y<exit>" % output)
        with open(output) as file:
            text = file.read()
        self.assertIn("Flagged over IMAP", text)
        self.assertNotIn("Not flagged", text)

    def test_uids_stay_while_mutt_renames(self):
        for number in range(10):
            self.mail.deliver(subject="Message %d" % number)
        connection = self.session(self.host)
        connection.select()

        def uids():
            found = {}
            lines = connection.ok("FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])").untagged
            for line in lines:
                subject = re.search(rb"Subject: ([^\r]*)", line)
                if subject:
                    found[subject.group(1)] = re.search(rb"UID (\d+)", line).group(1)
            return found
        before = uids()
        self.assertEqual(len(before), 10)
        self.mutt(self.mail.path, "<tag-pattern>~A<enter><tag-prefix><flag-message>"
                                  "<sync-mailbox><exit>")
        connection.ok("NOOP")
        self.assertEqual(uids(), before)


class OverIMAP(Mutt):
    def test_read_flag_and_delete(self):
        for number in range(3):
            self.mail.put(subject="Message %d" % number)
        for tls in (False, True):
            settings = self.account()
            keys = ("<delete-pattern>~s \"Message 1\"<enter><flag-message><sync-mailbox><exit>"
                    if not tls else "<display-message><exit><exit>")
            self.mutt(self.url(tls), keys, settings)
        names = [os.path.basename(path) for path in self.mail.files()]
        self.assertEqual(len(names), 2)
        self.assertTrue([name for name in names if "F" in name.rsplit(":2,")[1]])

    def test_starttls(self):
        self.mail.put(subject="Behind STARTTLS")
        output = os.path.join(self.folder, "copy")
        self.mutt(self.url(), "<copy-message>%s<enter>y<exit>" % output,
                  self.account(starttls="yes"))
        with open(output) as file:
            self.assertIn("Behind STARTTLS", file.read())
        self.assertTrue(self.host.events(event="auth")[-1]["tls"].startswith("TLSv1."))

    def test_save_into_another_mailbox(self):
        self.mail.put(subject="To be moved")
        target = self.url().replace("INBOX", "Saved")
        self.mutt(self.url(), "<save-message>%s<enter>y<sync-mailbox><exit>" % target,
                  self.account())
        self.assertEqual(self.mail.files(), [])
        self.assertEqual(len(self.mail.files("Saved")), 1)

    def test_new_mail_arrives_while_mutt_idles(self):
        """mutt is told by IDLE and fetches: seen by its folder hook's copy."""
        self.mail.put(subject="There before")
        output = os.path.join(self.folder, "copies")
        settings = self.account("set imap_idle=yes\n")
        helper = subprocess.Popen(
            ["sh", "-c", "sleep 2; mv '%s' '%s'" % (
                self.prepared("Arrived later"), os.path.join(self.mail.path, "new"))],
            stdin=subprocess.DEVNULL)
        self.addCleanup(helper.wait, 10)
        # <shell-escape> waits while the message arrives.
        keys = ("<shell-escape>sleep 4<enter><imap-fetch-mail><tag-pattern>~A<enter>"
                "<tag-prefix><copy-message>%s<enter>y<exit>" % output)
        self.mutt(self.url(), keys, settings)
        with open(output) as file:
            self.assertIn("Arrived later", file.read())

    def prepared(self, subject):
        name = self.mail.write_tmp(martlet.message(subject=subject))
        return os.path.join(self.mail.path, "tmp", name)
