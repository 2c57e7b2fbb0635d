# SPDX-License-Identifier: ISC
"""curl: imap:// and imaps://."""

import os

import martlet
from martlet import TestCase


class Curl(TestCase):
    def setUp(self):
        self.host = self.server()
        self.mail = self.host.maildir

    def curl(self, path, *options, scheme="imap", check=True):
        host, port = self.host.imap if scheme == "imap" else self.host.imaps
        url = "%s://%s:%d/%s" % (scheme, host, port, path)
        return martlet.run(
            ["curl", "--silent", "--show-error", "--insecure", "--max-time", "20", "--user",
             "%s:%s" % (self.host.user, self.host.password), url, *options], check=check)

    def test_list(self):
        self.mail.make("Lists.swift")
        for scheme in ("imap", "imaps"):
            text = self.curl("", scheme=scheme).stdout
            self.assertIn("INBOX", text)
            self.assertIn("Lists.swift", text)

    def test_fetch(self):
        content = martlet.message(subject="For curl", body="Line\n" * 2000)
        self.mail.put(content)
        for scheme in ("imap", "imaps"):
            text = self.curl("INBOX/;MAILINDEX=1", scheme=scheme).stdout
            self.assertEqual(text.replace("\r\n", "\n").encode(), content)
        text = self.curl("INBOX/;UID=1;SECTION=HEADER.FIELDS%20(SUBJECT)").stdout
        self.assertIn("Subject: For curl", text)
        self.assertNotEqual(self.curl("INBOX/;UID=999", check=False).returncode, 0)

    def test_append(self):
        path = os.path.join(martlet.scratch("curl"), "message")
        with open(path, "wb") as file:
            file.write(martlet.message(subject="Uploaded", body="x\n" * 3000)
                       .replace(b"\n", b"\r\n"))
        for scheme in ("imap", "imaps"):
            self.curl("INBOX", "--upload-file", path, scheme=scheme)
        self.assertEqual(len(self.mail.files()), 2)
        connection = self.session(self.host)
        connection.select()
        self.assertEqual(martlet.subjects(connection), ["Uploaded", "Uploaded"])

    def test_search_and_store(self):
        self.mail.put(subject="needle")
        self.mail.put(subject="hay")
        text = self.curl("INBOX?SUBJECT%20needle").stdout
        self.assertRegex(text, r"\* SEARCH \d")
        self.curl("INBOX", "--request", "STORE 1 +FLAGS (\\Flagged)")
        self.assertEqual(len([path for path in self.mail.files() if path.endswith("F")]), 1)

    def test_starttls(self):
        text = self.curl("INBOX", "--ssl-reqd", "--request", "STATUS INBOX (MESSAGES)").stdout
        self.assertIn("MESSAGES 0", text)
        self.assertTrue(self.host.events(event="auth")[-1]["tls"].startswith("TLSv1."))

    def test_a_verified_certificate(self):
        if not martlet.IS_ROOT:
            self.skipTest("needs root")
        ann = self.user(password="curl-password")
        server = self.server("system")
        host, port = server.imaps
        done = martlet.run(
            ["curl", "--silent", "--show-error", "--max-time", "20", "--cacert",
             server.certificate[0], "--user", "%s:%s" % (ann.name, ann.password),
             "imaps://localhost:%d/" % port])
        self.assertIn("INBOX", done.stdout)

    def test_wrong_password(self):
        self.host.password = "wrong"
        done = self.curl("", check=False)
        self.assertEqual(done.returncode, 67, done.stderr)
