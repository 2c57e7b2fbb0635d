# SPDX-License-Identifier: ISC
"""The Maildir that packaging/try makes: the same each time, and served whole."""

import filecmp
import os
import re

import martlet
from martlet import Maildir, TestCase

MAKER = os.path.join(martlet.ROOT, "packaging", "sample-maildir")


class Sample(TestCase):
    def make(self):
        path = os.path.join(martlet.scratch("sample"), "Maildir")
        martlet.run(["python3", MAKER, path])
        return path

    def test_it_is_the_same_each_time(self):
        def differences(comparison):
            found = comparison.left_only + comparison.right_only + comparison.diff_files
            for each in comparison.subdirs.values():
                found += differences(each)
            return found
        self.assertEqual(differences(filecmp.dircmp(self.make(), self.make())), [])

    def test_every_message_is_served(self):
        path = self.make()
        files = sum(
            len(names) for folder, _, names in os.walk(path)
            if os.path.basename(folder) in ("cur", "new"))
        server = self.server(maildir=Maildir(path))
        connection = self.session(server, tls=True)
        names = [
            re.search(rb'"\." "?([^"]*)"?$', line).group(1).decode()
            for line in connection.ok('LIST "" "*"').untagged if b"Noselect" not in line
        ]
        for name in ("INBOX", "Projects.2024.Alpha", "B&APw-ro.Rechnungen", "&ZcWITA- &- Fotos"):
            self.assertIn(name, names)
        count = 0
        for name in names:
            if connection.exists(name) == 0:
                continue
            connection.select(name)
            lines = connection.ok(
                "UID FETCH 1:* (FLAGS RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])").untagged
            for line in lines:
                count += 1
                size = int(re.search(rb"RFC822.SIZE (\d+)", line).group(1))
                self.assertEqual(size, int(re.search(rb"BODY\[\] \{(\d+)\}", line).group(1)))
        self.assertEqual(count, files)

    def test_an_attachment_and_a_search(self):
        server = self.server(maildir=Maildir(self.make()))
        connection = self.session(server)
        connection.select()
        found = connection.ok('SEARCH SUBJECT "picture and"').untagged[-1].split()[-1].decode()
        part = connection.ok("FETCH %s BODY.PEEK[2]" % found).untagged[0]
        encoded = part.split(b"\r\n", 1)[1]
        self.assertTrue(martlet.base64.b64decode(encoded[:76]).startswith(b"\x89PNG"))
        # Decoded words, decoded bodies, and the text within an attachment.
        for key, expected in (("SUBJECT \"grüße\"", 1), ("TEXT \"façade\"", 1),
                              ("BODY \"Nur ein Beispiel\"", 1), ("FROM \"übermut\"", 1)):
            literal = key.split('"')[1].encode()
            command = key.split('"')[0].encode()
            result = connection.command(
                b"SEARCH CHARSET UTF-8 " + command + b"{%d+}\r\n" % len(literal) + literal)
            self.assertEqual(result.status, b"OK", result)
            numbers = result.matching(rb"^\* SEARCH")[0].split()[2:]
            self.assertGreaterEqual(len(numbers), expected, key)

    def test_delivering_into_it(self):
        path = self.make()
        server = self.server(maildir=Maildir(path))
        connection = self.session(server)
        before = connection.exists()
        connection.select()
        connection.idle()
        martlet.run(["python3", MAKER, "--deliver", path])
        connection.read_until(rb"^\* %d EXISTS$" % (before + 1), 5)
