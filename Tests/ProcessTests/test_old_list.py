# SPDX-License-Identifier: ISC
"""Another dovecot-uidlist of the same UIDVALIDITY is put in place: no message is shown as another."""

import os
import re
import shutil
import time

import martlet
from martlet import TestCase

ENVELOPE = "UID FETCH 1:* (ENVELOPE)"
CONTENT = "UID FETCH 1:* (BODY.PEEK[])"


class OldList(TestCase):
    def subjects(self, connection):
        """The subject of each UID as it is answered from records, which must be the file's."""
        found = [{}, {}]
        for number, question in enumerate((CONTENT, ENVELOPE)):
            for line in connection.ok(question).untagged:
                if b" FETCH " in line:
                    uid = int(re.search(rb"UID (\d+)", line)[1])
                    found[number][uid] = re.search(rb"subject-(\w+)", line)[1].decode()
        self.assertEqual(found[0], found[1])
        for uid, word in found[0].items():
            self.assertEqual([b"* SEARCH %d" % uid],
                             connection.ok("UID SEARCH SUBJECT subject-" + word).untagged)
        return found[0]

    def start(self, words):
        """A server whose index has records of messages with these subjects."""
        host = self.server()
        for word in words:
            host.maildir.put(martlet.message("subject-" + word))
        return host

    def ask(self, host):
        with self.session(host) as connection:
            connection.select()
            found = self.subjects(connection)
            # Records are written a moment later.
            time.sleep(0.3)
            self.assertEqual(found, self.subjects(connection))
            connection.logout()
        return found

    def test_what_was_given_is_not_given_again(self):
        host = self.start(["kept"])
        lists = os.path.join(host.maildir.path, "dovecot-uidlist")
        self.assertEqual({1: "kept"}, self.ask(host))
        shutil.copy2(lists, lists + ".old")
        gone = host.maildir.put(martlet.message("subject-gone"))
        self.assertEqual({1: "kept", 2: "gone"}, self.ask(host))
        host.terminate()
        os.unlink(host.maildir.file(gone))
        os.replace(lists + ".old", lists)
        host.maildir.put(martlet.message("subject-come"))
        host.start()
        self.assertEqual({1: "kept", 3: "come"}, self.ask(host))

    def test_another_list_of_the_same_validity(self):
        host = self.start(["one", "two"])
        before = self.ask(host)
        self.assertEqual({"one", "two"}, set(before.values()))
        host.terminate()
        self.exchange(host)
        for _ in range(3):
            host.start()
            self.assertEqual({1: before[2], 2: before[1]}, self.ask(host))
            host.terminate()

    def test_another_list_under_a_session(self):
        host = self.start(["one", "two"])
        before = self.ask(host)
        with self.session(host) as connection:
            connection.select()
            self.exchange(host)
            host.maildir.put(martlet.message("subject-three"))
            expected = {1: before[2], 2: before[1], 3: "three"}

            def told():
                connection.ok("NOOP")
                return b"* SEARCH 1 2 3" in connection.ok("UID SEARCH ALL").untagged
            martlet.wait_until(told, "the third message")
            self.assertEqual(expected, self.subjects(connection))

    def exchange(self, host):
        """The first two UIDs are each other's."""
        lists = os.path.join(host.maildir.path, "dovecot-uidlist")
        with open(lists) as file:
            lines = file.read().split("\n")
        one, two = lines[1].split(" ", 1)[1], lines[2].split(" ", 1)[1]
        with open(lists + ".new", "w") as file:
            file.write("\n".join([lines[0], "1 " + two, "2 " + one] + lines[3:]))
        os.replace(lists + ".new", lists)
