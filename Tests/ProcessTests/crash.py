#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""kill -9 of martlet-user under load, and what has to be true afterwards.

    Tests/ProcessTests/crash.py --rounds 50 [--seed N] [--messages 2000]

Writers append, copy, move, replace, expunge and flag messages that are theirs alone, so that each knows what
was acknowledged and what was under way. After each kill:

- every acknowledged message is where it was put, once, with its UID, its content and its flags;
- what was expunged stays away; what was under way is done for each message, or not; what was under way by
  MOVE is in one of the two mailboxes at least;
- no UID is given twice, none below a UIDNEXT that was told; UIDVALIDITY stays;
- HIGHESTMODSEQ is not below any MODSEQ that was told; the same MODSEQ of a UID means the same flags;
- SELECT (QRESYNC ...) with what a client knew before leads to what is there now;
- nothing is left in tmp/ for ever, no lock stays, nothing that others delivered is lost.
"""

import argparse
import os
import random
import re
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import martlet  # noqa: E402

MAILBOXES = ["INBOX", "Target", "Third"]
FLAGS = ["\\Seen", "\\Answered", "\\Flagged", "\\Draft", "$Label1", "todo"]


class Wrong(Exception):
    """The server broke a promise."""


def content(name):
    body = ("%s is what it says\r\n" % name) * (len(name) * 7 % 90 + 1)
    return ("Subject: <%s>\r\n\r\n%s" % (name, body)).encode()


def numbers(text):
    found = []
    for part in text.split(","):
        low, _, high = part.partition(":")
        found += range(int(low), int(high or low) + 1)
    return found


class Knowledge:
    """What the server has told, to anybody, in all of its lives."""

    def __init__(self):
        self.lock = threading.Lock()
        self.validity = {}      # mailbox -> UIDVALIDITY
        self.names = {}         # (mailbox, uid) -> name
        self.uid_next = {}      # mailbox -> the highest UIDNEXT told
        self.modseq = {}        # mailbox -> the highest MODSEQ told
        self.flags_of = {}      # (mailbox, uid, modseq) -> flags
        self.delivered = {}     # mailbox -> names that others delivered
        self.count = 0
        self.acknowledged = 0

    def new_name(self):
        with self.lock:
            self.count += 1
            return "m%d" % self.count

    def uid(self, mailbox, validity, uid, name):
        with self.lock:
            if self.validity.setdefault(mailbox, validity) != validity:
                raise Wrong("UIDVALIDITY of %s from %s to %s" % (
                    mailbox, self.validity[mailbox], validity))
            if self.names.setdefault((mailbox, uid), name) != name:
                raise Wrong("UID %d of %s was %s and is %s" % (
                    uid, mailbox, self.names[mailbox, uid], name))

    def heard(self, mailbox, responses):
        """All that names a MODSEQ."""
        for each in responses:
            found = [int(value) for value in re.findall(
                rb"(?:HIGHESTMODSEQ |MODSEQ \(?)(\d+)", each)]
            uid = re.search(rb"[( ]UID (\d+)", each)
            flags = re.search(rb"FLAGS \(([^)]*)\)", each)
            with self.lock:
                if found:
                    self.modseq[mailbox] = max(self.modseq.get(mailbox, 0), *found)
                if found and uid and flags and b" FETCH " in each:
                    now = frozenset(flags.group(1).decode().split()) - {"\\Recent"}
                    old = self.flags_of.setdefault((mailbox, int(uid.group(1)), found[0]), now)
                    # What is being expunged may be told with the flags that it goes with.
                    if old != now and now != {"\\Deleted"}:
                        raise Wrong("UID %s of %s, MODSEQ %d: %s and %s" % (
                            uid.group(1), mailbox, found[0], sorted(old), sorted(now)))


class Copy:
    """One place of a message: a mailbox, the UID if it is known, and what may be so of it."""

    def __init__(self, name, mailbox, uid, flags):
        self.name, self.mailbox, self.uid, self.flags = name, mailbox, uid, flags


class Writer:
    """One connection at a time, and its own messages."""

    def __init__(self, load, seed):
        self.load, self.know = load, load.know
        self.random = random.Random(seed)
        self.copies = []        # that are there for certain
        self.maybe = []         # (name, mailbox) that may be there once more
        self.unsure = []        # Copy that may be gone
        self.either = []        # (Copy, target): in one of them, or both
        self.any_flags = set()  # id of Copy whose flags were being changed
        self.problem = None
        self.wire = None

    def connect(self):
        self.wire = self.load.host.login(timeout=60)
        self.wire.ok("ENABLE QRESYNC")
        self.select(self.random.choice(MAILBOXES))

    def select(self, mailbox):
        self.mailbox = None
        result = self.wire.ok("SELECT %s (CONDSTORE)" % mailbox)
        self.mailbox = mailbox
        text = b"\n".join(result.untagged)
        with self.know.lock:
            told = int(re.search(rb"UIDNEXT (\d+)", text).group(1))
            self.know.uid_next[mailbox] = max(told, self.know.uid_next.get(mailbox, 0))
        self.heard(result)

    def heard(self, result):
        if self.mailbox:
            self.know.heard(self.mailbox, result.untagged + [result.tagged])

    def command(self, text):
        """OK, or NO; the connection's end is an exception."""
        result = self.wire.command(text, 60)
        self.heard(result)
        if result.status == b"BAD":
            raise Wrong("%r: %s" % (text[:100], result))
        if result.status == b"NO" and b"UNAVAILABLE" not in result.tagged:
            raise Wrong("%r: %s" % (text[:100], result))
        self.know.acknowledged += 1
        return result

    def here(self, most=4):
        mine = [copy for copy in self.copies if copy.mailbox == self.mailbox]
        return self.random.sample(mine, min(len(mine), self.random.randint(1, most)))

    @staticmethod
    def set_of(copies):
        return ",".join(str(uid) for uid in sorted(copy.uid for copy in copies))

    def append(self):
        mailbox = self.random.choice(MAILBOXES)
        names = [self.know.new_name() for _ in range(self.random.choice([1, 1, 1, 3]))]
        flags = frozenset(self.random.sample(FLAGS, 2))
        text = b"APPEND " + mailbox.encode()
        for name in names:
            text += (" (%s) {%d+}\r\n" % (" ".join(flags), len(content(name)))).encode()
            text += content(name)
        pending = [(name, mailbox) for name in names]
        self.maybe += pending
        result = self.command(text)
        self.maybe = self.maybe[:-len(pending)]
        found = re.search(rb"APPENDUID (\d+) (\S+)\]", result.tagged)
        for name, uid in zip(names, numbers(found.group(2).decode())):
            self.know.uid(mailbox, int(found.group(1)), uid, name)
            self.copies.append(Copy(name, mailbox, uid, flags))

    def copied(self, text, chosen, target):
        found = re.search(rb"COPYUID (\d+) (\S+) ([^\] ]+)\]", text)
        if not found:
            raise Wrong("no COPYUID: %r" % text)
        by_uid = {copy.uid: copy for copy in chosen}
        made = []
        for old, new in zip(numbers(found.group(2).decode()), numbers(found.group(3).decode())):
            copy = by_uid[old]
            self.know.uid(target, int(found.group(1)), new, copy.name)
            made.append(Copy(copy.name, target, new, copy.flags))
        if len(made) != len(chosen):
            raise Wrong("%d of %d were copied" % (len(made), len(chosen)))
        return made

    def copy(self):
        chosen, target = self.here(), self.random.choice(MAILBOXES)
        if chosen:
            pending = [(copy.name, target) for copy in chosen]
            self.maybe += pending
            result = self.command("UID COPY %s %s" % (self.set_of(chosen), target))
            self.maybe = self.maybe[:-len(pending)]
            self.copies += self.copied(result.tagged, chosen, target)

    def move(self):
        chosen = self.here()
        target = self.random.choice([name for name in MAILBOXES if name != self.mailbox])
        if chosen:
            pending = [(copy, target) for copy in chosen]
            self.either += pending
            self.copies = [copy for copy in self.copies if copy not in chosen]
            result = self.command("UID MOVE %s %s" % (self.set_of(chosen), target))
            self.either = self.either[:-len(pending)]
            self.copies += self.copied(b"\n".join(result.untagged), chosen, target)

    def replace(self):
        chosen = self.here(1)
        if not chosen:
            return
        old, name = chosen[0], self.know.new_name()
        flags = frozenset(self.random.sample(FLAGS, 1))
        self.copies.remove(old)
        self.unsure.append(old)
        self.maybe.append((name, self.mailbox))
        head = "UID REPLACE %d %s (%s) {%d+}\r\n" % (
            old.uid, self.mailbox, " ".join(flags), len(content(name)))
        result = self.command(head.encode() + content(name))
        self.maybe.pop()
        self.unsure.pop()
        found = re.search(rb"APPENDUID (\d+) (\d+)\]", b"\n".join(result.untagged + [result.tagged]))
        self.know.uid(self.mailbox, int(found.group(1)), int(found.group(2)), name)
        self.copies.append(Copy(name, self.mailbox, int(found.group(2)), flags))

    def store(self):
        chosen = self.here(8)
        if chosen:
            flags = frozenset(self.random.sample(FLAGS, self.random.randint(0, 3)))
            before = [(copy, copy.flags) for copy in chosen]
            for copy in chosen:
                # Nobody knows until it is answered.
                copy.flags = (copy.flags, flags)
            self.command("UID STORE %s FLAGS%s (%s)" % (
                self.set_of(chosen), self.random.choice(["", ".SILENT"]), " ".join(flags)))
            for copy, _ in before:
                copy.flags = flags

    def expunge(self):
        chosen = self.here()
        if chosen:
            self.copies = [copy for copy in self.copies if copy not in chosen]
            self.unsure += chosen
            uids = self.set_of(chosen)
            for copy in chosen:
                # \Deleted is seen on those that stay.
                copy.flags = None
            self.command("UID STORE %s +FLAGS.SILENT (\\Deleted)" % uids)
            self.command("UID EXPUNGE " + uids)
            self.unsure = self.unsure[:-len(chosen)]

    def run(self, is_over):
        try:
            try:
                self.connect()
                while not is_over():
                    weights = [(6, self.append), (3, self.copy), (4, self.move), (2, self.replace),
                               (5, self.store), (3, self.expunge),
                               (1, lambda: self.select(self.random.choice(MAILBOXES)))]
                    self.random.choices([a for _, a in weights], [w for w, _ in weights])[0]()
            except (martlet.Closed, OSError):
                pass
            except AssertionError as error:
                # The login of a connection that ended.
                if "login" not in str(error) and "Closed" not in str(error):
                    raise
        except (Wrong, Exception) as error:
            self.problem = "%s: %s" % (type(error).__name__, error)
        finally:
            if self.wire:
                self.wire.close()
            self.wire = None


class Load:
    def __init__(self, host, seed, writers=5, messages=0):
        self.host, self.maildir = host, host.maildir
        self.know = Knowledge()
        self.random = random.Random(seed)
        for mailbox in MAILBOXES[1:]:
            self.maildir.make(mailbox)
        for number in range(messages):
            name = self.know.new_name()
            self.maildir.put(content(name).replace(b"\r\n", b"\n"),
                             mailbox=MAILBOXES[number % 3])
            self.know.delivered.setdefault(MAILBOXES[number % 3], []).append(name)
        self.writers = [Writer(self, "%d/%d" % (seed, n)) for n in range(writers)]
        self.snapshots = {}
        self.twice = 0

    def kill(self):
        for pid in self.host.pids("martlet-user"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            martlet.wait_until(lambda: not martlet.is_alive(pid), "the end of the process")

    def deliver(self):
        name = self.know.new_name()
        mailbox = self.random.choice(MAILBOXES)
        self.maildir.deliver(content(name).replace(b"\r\n", b"\n"), mailbox)
        self.know.delivered.setdefault(mailbox, []).append(name)

    def round(self):
        over = threading.Event()
        threads = [threading.Thread(target=writer.run, args=(over.is_set,), daemon=True)
                   for writer in self.writers]
        for thread in threads:
            thread.start()
        end = time.monotonic() + self.random.choice([0.02, 0.1, 0.3, 0.8, 1.5]) * (
            0.5 + self.random.random())
        while time.monotonic() < end:
            time.sleep(0.03)
            if self.random.random() < 0.3:
                self.deliver()
        over.set()
        self.kill()
        for thread in threads:
            thread.join(90)
            if thread.is_alive():
                raise Wrong("a writer hangs")
        for _ in range(self.random.choice([0, 0, 1, 2])):
            # The next process dies while it looks at what the last one left.
            wire = self.host.connect()
            wire.start("LOGIN %s %s" % (self.host.user, self.host.password))
            wire.start("SELECT INBOX")
            wire.start("STATUS Target (UIDNEXT)")
            time.sleep(self.random.uniform(0, 0.06))
            self.kill()
            wire.close()
        for writer in self.writers:
            if writer.problem:
                raise Wrong(writer.problem)
        self.check()

    # Afterwards

    def read(self, wire, mailbox):
        """UID -> (name, flags, MODSEQ), with all that is true of each alone."""
        know = self.know
        select = b"\n".join(wire.ok("SELECT %s" % mailbox).untagged)
        validity = int(re.search(rb"UIDVALIDITY (\d+)", select).group(1))
        next_told = int(re.search(rb"UIDNEXT (\d+)", select).group(1))
        highest = int(re.search(rb"HIGHESTMODSEQ (\d+)", select).group(1))
        if know.validity.setdefault(mailbox, validity) != validity:
            raise Wrong("UIDVALIDITY of %s from %d to %d" % (
                mailbox, know.validity[mailbox], validity))
        if next_told < know.uid_next.get(mailbox, 0):
            raise Wrong("UIDNEXT of %s from %d to %d" % (
                mailbox, know.uid_next[mailbox], next_told))
        if highest < know.modseq.get(mailbox, 0):
            raise Wrong("HIGHESTMODSEQ of %s is %d, and %d was told" % (
                mailbox, highest, know.modseq[mailbox]))
        found, fresh = {}, next_told
        result = wire.ok("FETCH 1:* (UID FLAGS MODSEQ BODY.PEEK[])", 120) if (
            b" 0 EXISTS" not in select) else None
        for each in result.untagged if result else []:
            uid = re.search(rb"[( ]UID (\d+)", each)
            body = re.search(rb"BODY\[\] \{(\d+)\}\r\n", each)
            if not uid or not body:
                continue
            uid = int(uid.group(1))
            text = each[body.end():body.end() + int(body.group(1))]
            subject = re.search(rb"Subject: <(\S+)>", text)
            if not subject or text != content(subject.group(1).decode()):
                raise Wrong("UID %d of %s is %r" % (uid, mailbox, text[:80]))
            name = subject.group(1).decode()
            flags = re.search(rb"FLAGS \(([^)]*)\)", each).group(1).decode().split()
            modseq = int(re.search(rb"MODSEQ \((\d+)\)", each).group(1))
            known = know.names.get((mailbox, uid))
            if known is None and uid < know.uid_next.get(mailbox, 0) and (
                    name not in self.names_without_uid):
                raise Wrong("UID %d of %s, %s, is new below UIDNEXT %d" % (
                    uid, mailbox, name, know.uid_next[mailbox]))
            know.uid(mailbox, validity, uid, name)
            found[uid] = (name, frozenset(flags) - {"\\Recent"}, modseq)
            fresh = max(fresh, uid + 1)
        know.heard(mailbox, (result.untagged if result else []) + [select])
        know.uid_next[mailbox] = max(fresh, know.uid_next.get(mailbox, 0))
        return found, validity, highest

    def check(self):
        know = self.know
        # Whose UIDs nobody was told.
        self.names_without_uid = {name for names in know.delivered.values() for name in names}
        for writer in self.writers:
            self.names_without_uid |= {name for name, _ in writer.maybe}
            self.names_without_uid |= {copy.name for copy, _ in writer.either}
        wire = self.host.login(timeout=60)
        wire.ok("ENABLE QRESYNC")
        for mailbox, snapshot in self.snapshots.items():
            self.resync(wire, mailbox, *snapshot)
        there = {}
        for mailbox in MAILBOXES:
            there[mailbox], validity, highest = self.read(wire, mailbox)
            self.snapshots[mailbox] = (there[mailbox], validity, highest)
        for mailbox in MAILBOXES:
            self.compare(mailbox, there)
        # From here on all is certain again.
        for writer in self.writers:
            for copy in writer.copies + writer.unsure + [copy for copy, _ in writer.either]:
                entry = there[copy.mailbox].get(copy.uid)
                if entry:
                    copy.flags = entry[1]
            writer.copies += [copy for copy in writer.unsure + [c for c, _ in writer.either]
                              if copy.uid in there[copy.mailbox]]
            mine = {(copy.mailbox, copy.uid) for copy in writer.copies}
            for name, mailbox in writer.maybe + [(c.name, target) for c, target in writer.either]:
                for uid, (other, flags, _) in there[mailbox].items():
                    if other == name and (mailbox, uid) not in mine:
                        writer.copies.append(Copy(name, mailbox, uid, flags))
                        mine.add((mailbox, uid))
            writer.maybe, writer.unsure, writer.either = [], [], []
        wire.logout()
        left = [name for mailbox in MAILBOXES for name in os.listdir(self.maildir.folder(mailbox))
                if name.endswith(".lock")]
        if left:
            raise Wrong("locks are left: %s" % left)

    def resync(self, wire, mailbox, known, validity, highest):
        """A client that was away asks for the difference."""
        result = wire.ok("SELECT %s (QRESYNC (%d %d))" % (mailbox, validity, highest), 60)
        view = {uid: flags for uid, (_, flags, _) in known.items()}
        modseqs = {uid: modseq for uid, (_, _, modseq) in known.items()}
        exists = 0
        for each in result.untagged:
            gone = re.match(rb"\* VANISHED \(EARLIER\) (\S+)", each)
            if gone:
                for uid in numbers(gone.group(1).decode()):
                    view.pop(uid, None)
                    modseqs.pop(uid, None)
            changed = re.match(rb"\* \d+ FETCH .*[( ]UID (\d+)", each)
            if changed:
                uid = int(changed.group(1))
                flags = re.search(rb"FLAGS \(([^)]*)\)", each).group(1).decode().split()
                view[uid] = frozenset(flags) - {"\\Recent"}
                modseqs[uid] = int(re.search(rb"MODSEQ \((\d+)\)", each).group(1))
            if re.match(rb"\* \d+ EXISTS", each):
                exists = int(each.split()[1])
        if len(view) != exists:
            raise Wrong("QRESYNC of %s from %d leads to %d messages of %d" % (
                mailbox, highest, len(view), exists))
        truth = {}
        if exists:
            for each in wire.ok("FETCH 1:* (UID FLAGS)", 60).untagged:
                uid = re.search(rb"[( ]UID (\d+)", each)
                if uid and b" FETCH " in each:
                    flags = re.search(rb"FLAGS \(([^)]*)\)", each).group(1).decode().split()
                    truth[int(uid.group(1))] = frozenset(flags) - {"\\Recent"}
        if view != truth:
            uids = [uid for uid in set(view) | set(truth) if view.get(uid) != truth.get(uid)]
            raise Wrong("QRESYNC of %s from %d: %s, and there is %s" % (
                mailbox, highest, [(uid, view.get(uid)) for uid in uids[:4]],
                [(uid, truth.get(uid)) for uid in uids[:4]]))

    def compare(self, mailbox, there):
        found = there[mailbox]
        left = {}
        for uid, (name, _, _) in found.items():
            left.setdefault(name, set()).add(uid)

        def take(copy):
            if copy.mailbox != mailbox:
                return
            entry = found.get(copy.uid)
            if entry is None or entry[0] != copy.name:
                raise Wrong("%s, UID %d of %s, is lost: %s" % (copy.name, copy.uid, mailbox, entry))
            allowed = copy.flags if isinstance(copy.flags, tuple) else (copy.flags,)
            if entry[1] not in allowed:
                raise Wrong("%s, UID %d of %s, has %s and should have %s" % (
                    copy.name, copy.uid, mailbox, sorted(entry[1]), copy.flags))
            left[copy.name].discard(copy.uid)

        for writer in self.writers:
            for copy in writer.copies:
                take(copy)
            for copy in writer.unsure:
                if copy.mailbox == mailbox:
                    left.get(copy.name, set()).discard(copy.uid)
            for name, target in writer.maybe:
                if target == mailbox and left.get(name):
                    left[name].pop()
            for copy, target in writer.either:
                places = 0
                if copy.uid in there[copy.mailbox]:
                    places += 1
                    if copy.mailbox == mailbox:
                        left[copy.name].discard(copy.uid)
                moved = [uid for uid, entry in there[target].items() if entry[0] == copy.name]
                if moved and target == mailbox and left[copy.name]:
                    left[copy.name].pop()
                if not places and not moved:
                    raise Wrong("%s, UID %d of %s, is lost on its way to %s" % (
                        copy.name, copy.uid, copy.mailbox, target))
                self.twice += bool(places and moved and copy.mailbox == mailbox)
        for name in self.know.delivered.get(mailbox, ()):
            if len(left.get(name, ())) != 1:
                raise Wrong("%s, which was delivered to %s, is there %d times" % (
                    name, mailbox, len(left.get(name, ()))))
            left[name].clear()
        back = {name: uids for name, uids in left.items() if uids}
        if back:
            raise Wrong("nobody put these into %s, or they were expunged: %s" % (
                mailbox, sorted(back.items())[:5]))


def run(rounds, seed, messages=0, kind="release", writers=5):
    """The load; raises what is wrong."""
    host = martlet.Server("personal", kind=kind)
    try:
        load = Load(host, seed, writers, messages)
        load.check()
        for number in range(rounds):
            try:
                load.round()
            except (Wrong, AssertionError, martlet.Closed, TimeoutError) as error:
                raise Wrong("round %d of seed %d: %s: %s\n%s" % (
                    number, seed, type(error).__name__, error, "\n".join(host.log()[-8:])))
        return load
    finally:
        host.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--messages", type=int, default=0, help="that are there before")
    parser.add_argument("--writers", type=int, default=5)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1_000_000)
    print("seed %d" % seed, flush=True)
    try:
        load = run(options.rounds, seed, options.messages, writers=options.writers)
    except Wrong as error:
        print(error)
        return 1
    print("%d rounds, %d commands acknowledged, %d messages made; %d were in both mailboxes of a MOVE" % (
        options.rounds, load.know.acknowledged, load.know.count, load.twice))
    return 0


if __name__ == "__main__":
    sys.exit(main())
