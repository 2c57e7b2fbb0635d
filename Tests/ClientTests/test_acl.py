# SPDX-License-Identifier: ISC
"""`dovecot-acl` beside a live Dovecot with its acl plugin: each reads what the other has written."""

import os
import re
import shutil
import socket
import subprocess
import unittest

import martlet
from martlet import TestCase

DOVECOT = "/usr/lib/dovecot/imap"
PLUGIN = "/usr/lib/dovecot/modules/lib02_imap_acl_plugin.so"
NOBODY = 65534

# What is said to both. Dovecot lets nobody but an administrator name `anyone`.
CHANGES = [
    ("chris", "lrswi"), ("$team", "lr"), ("-david", "w"), ("!$boss", "lrs"), ("-$team", "e"),
    ('"jo ann"', "lrstea"), ("all", "lrswipkxteacd"), ("old", "lrswicd"), ("chris", "+xte"),
    ("chris", "-s"), ("gone", "lr"), ("gone", '""'), ("none", '""'),
]


class Dovecot(martlet.IMAP):
    """Dovecot's imap process with the acl plugin, logged in already as a user's name."""

    def __init__(self, maildir, folder, user):
        configuration = os.path.join(folder, "dovecot.conf")
        with open(configuration, "w") as file:
            file.write("\n".join([
                "base_dir = " + folder, "state_dir = " + folder, "log_path = /dev/stderr",
                "ssl = no", "mail_location = maildir:" + maildir, "protocols = imap",
                "first_valid_uid = 1", "default_login_user = nobody",
                "default_internal_user = nobody", "default_internal_group = nogroup",
                "mail_plugins = acl", "protocol imap {", "  mail_plugins = acl imap_acl", "}",
                "plugin {", "  acl = vfile", "}", ""]))
        self.socket, end = socket.socketpair()
        rights = {}
        if martlet.IS_ROOT:
            for path, _, names in os.walk(folder):
                for each in [path] + [os.path.join(path, name) for name in names]:
                    os.chown(each, NOBODY, NOBODY)
            rights = dict(user=NOBODY, group=NOBODY, extra_groups=[])
        self.process = subprocess.Popen(
            [DOVECOT, "-c", configuration], stdin=end, stdout=end, stderr=subprocess.DEVNULL,
            env={"HOME": folder, "USER": user, "PATH": os.environ["PATH"]}, **rights)
        end.close()
        self.timeout, self.buffer, self.tag_count = 60, b"", 0
        self.greeting = self.response()

    def end(self):
        self.socket.close()
        self.process.kill()
        self.process.wait()


def rights(connection, mailbox):
    """{identifier: letters in order}; without entries that give nothing."""
    line = connection.ok("GETACL " + mailbox).matching(rb"^\* ACL ")[0].decode()
    words = re.findall(r'"[^"]*"|\S+', line)[3:]
    return {name.strip('"'): "".join(sorted(letters.strip('"')))
            for name, letters in zip(words[::2], words[1::2]) if letters != '""'}


def my_rights(connection, mailbox):
    line = connection.ok("MYRIGHTS " + mailbox).matching(rb"^\* MYRIGHTS ")[0].decode()
    return "".join(sorted(line.split()[-1]))


@unittest.skipUnless(os.path.exists(PLUGIN), "dovecot-imapd cannot be installed here")
class BesideDovecot(TestCase):
    def setUp(self):
        self.host = self.server()
        self.ours = self.session(self.host)
        for mailbox in ("Ours", "Theirs", "Mixed", "Owned"):
            self.ours.ok("CREATE " + mailbox)
        self.folder = martlet.scratch("dovecot")
        self.copy = os.path.join(self.folder, "Maildir")
        self.theirs = None

    def tearDown(self):
        if self.theirs:
            self.theirs.end()
        super().tearDown()

    def start_dovecot(self):
        shutil.copytree(self.host.maildir.folder(), self.copy)
        self.theirs = Dovecot(self.copy, self.folder, self.host.user)

    def file(self, mailbox):
        return os.path.join(self.host.maildir.folder(mailbox), "dovecot-acl")

    def take_theirs(self, mailbox):
        """What Dovecot has written becomes Martlet's."""
        source = os.path.join(self.copy, "." + mailbox, "dovecot-acl")
        shutil.copyfile(source, self.file(mailbox) + ".new")
        shutil.copystat(os.path.dirname(self.file(mailbox)) + "/cur", self.file(mailbox) + ".new")
        os.rename(self.file(mailbox) + ".new", self.file(mailbox))

    def change(self, connection, mailbox, changes):
        for identifier, letters in changes:
            connection.ok("SETACL %s %s %s" % (mailbox, identifier, letters))

    def test_each_reads_what_the_other_wrote(self):
        self.change(self.ours, "Ours", CHANGES)
        self.change(self.ours, "Mixed", CHANGES[:7])
        self.start_dovecot()
        self.change(self.theirs, "Theirs", CHANGES)
        self.assertEqual(rights(self.ours, "Ours"), rights(self.theirs, "Ours"))
        self.assertEqual(my_rights(self.ours, "Ours"), my_rights(self.theirs, "Ours"))
        # The rest on what we wrote: Dovecot changes the lines of our file.
        self.change(self.theirs, "Mixed", CHANGES[7:])
        for mailbox in ("Theirs", "Mixed"):
            self.take_theirs(mailbox)
            self.assertEqual(rights(self.ours, mailbox), rights(self.theirs, mailbox), mailbox)
            self.assertEqual(rights(self.ours, mailbox), rights(self.ours, "Ours"), mailbox)
        # And we change the lines of theirs.
        self.ours.ok("SETACL Theirs chris -w")
        self.ours.ok("DELETEACL Theirs all")
        left = rights(self.ours, "Theirs")
        self.assertNotIn("all", left)
        self.assertNotIn("w", left["chris"])
        self.assertEqual(left["$team"], "lr")

    def test_what_the_owner_may_do(self):
        cases = ["owner lr", "user=%s lrws" % self.host.user, "owner lrs\n-owner s", "anyone lrwstipekxa",
                 "owner lrwstipekxa\n-user=%s wt" % self.host.user]
        for number, text in enumerate(cases):
            self.ours.ok("CREATE Case%d" % number)
            with open(self.file("Case%d" % number), "w") as file:
                file.write(text + "\n")
            shutil.chown(file.name, os.stat(self.host.maildir.folder()).st_uid)
        self.start_dovecot()
        message = b"Subject: x\n\nx\n"
        for number, text in enumerate(cases):
            mailbox = "Case%d" % number
            theirs = set(my_rights(self.theirs, mailbox))
            # The owner keeps lookup and administer here, so that he cannot lock himself out.
            self.assertEqual(set(my_rights(self.ours, mailbox)), theirs | set("la"), text)
            for connection in (self.ours, self.theirs):
                said = connection.append(mailbox, message).status
                self.assertEqual(said, b"OK" if "i" in theirs else b"NO", text)


if __name__ == "__main__":
    unittest.main()
