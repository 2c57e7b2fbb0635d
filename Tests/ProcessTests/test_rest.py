# SPDX-License-Identifier: ISC
"""What a server costs while nobody does anything: no processor time, and no memory that can be had again."""

import re
import time

import martlet
from martlet import TestCase, status

# Until everything is written and given back that the last command left.
SETTLE_SECONDS = 8


def switches(pids):
    return {pid: int(status(pid)["voluntary_ctxt_switches"]) for pid in pids}


def mapped_kib(pid, name):
    """What of a file is in the memory of a process; nil where it is not mapped."""
    found = None
    is_of_file = False
    with open("/proc/%d/smaps" % pid) as smaps:
        for line in smaps:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                is_of_file = line.rstrip().endswith("/" + name)
            elif is_of_file and line.startswith("Rss:"):
                found = (found or 0) + int(line.split()[1])
    return found


class Rest(TestCase):
    def test_sessions_in_idle_cost_nothing(self):
        server = self.server()
        for number in range(50):
            server.maildir.deliver(subject="Message %d" % number)
        sessions = [self.session(server) for _ in range(10)] + [self.session(server, tls=True)]
        for session in sessions:
            session.select()
            session.ok("FETCH 1:* (FLAGS ENVELOPE)")
            session.idle()
        user = server.pids("martlet-user")[0]
        self.assertGreater(mapped_kib(user, "index"), 0)
        time.sleep(SETTLE_SECONDS)
        self.assertEqual(mapped_kib(user, "index"), 0)
        family = [server.pid] + martlet.descendants(server.pid)
        before = switches(family)
        time.sleep(4)
        self.assertEqual(switches(family), before)
        server.maildir.deliver(subject="pushed")
        for session in sessions:
            session.read_until(rb"51 EXISTS")
        time.sleep(SETTLE_SECONDS)
        self.assertEqual(mapped_kib(user, "index"), 0)
        for session in sessions:
            session.done()
            self.assertIn(b"pushed", session.ok("FETCH 51 ENVELOPE").untagged[-1])
