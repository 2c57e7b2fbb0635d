#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""SEARCH, SORT, THREAD and FETCH beside a plain evaluation, while files are renamed and the index goes away.

    Tests/ProcessTests/answers.py --seconds 60 [--messages 3000] [--seed N] [--calm]

The first messages of a mailbox stay; what is asked about them, the answers are known: the questions are
evaluated here too, on what the messages were made of. Meanwhile other programs rename each of their files
again and again, as flags change, deliver other messages behind them and remove those; the index is
deleted; and the process ends, in order or not. None of it may show in an answer.

THREAD is compared with what was answered when all was quiet; `ThreadModel.swift` says what is right.
"""

import argparse
import base64
import datetime
import glob
import os
import quopri
import random
import re
import shutil
import signal
import sys
import threading
import time
import unicodedata

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import martlet  # noqa: E402

WORDS = ("alder birch cedar elm fir hazel larch maple oak pine rowan willow Ährenfeld naïve café "
         "straße ΣΊΣΥΦΟΣ щит").split()
PEOPLE = ["Ann Alder <ann@example.org>", "bob@example.net", '"Carol, C." <carol@example.com>',
          "Børge <borge@example.org>", "dave@a.example (Dave)", "=?utf-8?q?=C3=89va?= <eva@b.example>"]
LOCAL = ["ann", "bob", "carol", "borge", "dave", "eva"]
PLAIN = ["Ann Alder <ann@example.org>", "bob@example.net", '"Carol, C." <carol@example.com>',
         "Børge <borge@example.org>", "dave@a.example (Dave)", "Éva <eva@b.example>"]
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


class Wrong(Exception):
    """An answer that is not right."""


def folded(text):
    """i;unicode-casemap, near enough for these words.                     RFC 5051 §2"""
    return unicodedata.normalize("NFKD", "".join(each.title() for each in text))


class Message:
    """What a message was made of, and its bytes."""

    def __init__(self, dice, number, earlier):
        self.uid = number
        self.subject = " ".join(dice.sample(WORDS, dice.randint(1, 3)))
        self.base = self.subject
        if earlier and dice.random() < 0.4:
            self.base = dice.choice(earlier[-40:]).base
            self.subject = dice.choice(["Re: ", "Fwd: ", "RE: Re: ", "[list] ", "Re: [list] "]) + self.base
        self.who, self.to = dice.randrange(len(PEOPLE)), dice.randrange(len(PEOPLE))
        self.cc = dice.choice([None, None, dice.randrange(len(PEOPLE))])
        self.tag = dice.choice(WORDS[:6])
        self.body = "\n".join(" ".join(dice.choices(WORDS, k=dice.randint(3, 9)))
                              for _ in range(dice.randint(1, 12)))
        self.sent = datetime.datetime(2019, 1, 1) + datetime.timedelta(
            seconds=dice.randrange(86_400 * 900))
        self.zone = dice.choice([0, 0, 60, -300, 330])
        self.arrived = datetime.datetime(2021, 3, 1) + datetime.timedelta(
            seconds=dice.randrange(86_400 * 60))
        self.flags = "".join(sorted(set(dice.choices("RD", k=dice.randint(0, 2)))))
        self.id = "<%d.%d@example.org>" % (number, dice.randrange(10**6))
        self.references = ""
        if earlier and dice.random() < 0.5:
            parent = dice.choice(earlier[-60:])
            self.references = (parent.references + " " + parent.id).strip()
            self.references = " ".join(self.references.split(" ")[-6:])
        self.searched = self.body
        self.bytes = self.make(dice)
        self.size = len(self.bytes) + self.bytes.count(b"\n")

    def make(self, dice):
        lines = ["From: " + PEOPLE[self.who], "To: " + PEOPLE[self.to]]
        if self.cc is not None:
            lines.append("Cc: " + PEOPLE[self.cc])
        subject = self.subject
        if not subject.isascii() and dice.random() < 0.7:
            subject = "=?utf-8?b?%s?=" % base64.b64encode(subject.encode()).decode()
        lines += ["Subject: " + subject, "Message-ID: " + self.id, "X-Tag: " + self.tag]
        if self.references:
            lines.append("References: " + self.references.replace(" ", "\n "))
        sign = "-" if self.zone < 0 else "+"
        lines.append("Date: %d %s %04d %s %s%02d%02d" % (
            self.sent.day, MONTHS[self.sent.month - 1], self.sent.year,
            self.sent.strftime("%H:%M:%S"), sign, abs(self.zone) // 60, abs(self.zone) % 60))
        encoding = dice.choice(["8bit", "base64", "quoted-printable", "multipart"])
        data = self.body.encode() + b"\n"
        text = b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: %s\n\n%s"
        if encoding == "base64":
            part = text % (b"base64", base64.encodebytes(data))
        elif encoding == "quoted-printable":
            part = text % (b"quoted-printable", quopri.encodestring(data))
        elif encoding == "multipart":
            # Headers of parts are in the body.
            self.searched += (
                "\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
                "Content-Type: application/octet-stream\n\1\2")
            part = (b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" + text % (b"8bit", data)
                    + b"\n--b\nContent-Type: application/octet-stream\n\n\1\2\n--b--\n")
        else:
            part = text % (b"8bit", data)
        return ("\n".join(lines) + "\nMIME-Version: 1.0\n").encode() + part

    @property
    def utc(self):
        return self.sent - datetime.timedelta(minutes=self.zone)


# -- Questions -----------------------------------------------------------------------------------


def literal(text):
    data = text.encode()
    return b"{%d+}\r\n%s" % (len(data), data)


def imap_date(moment):
    return b"%d-%s-%d" % (moment.day, MONTHS[moment.month - 1].encode(), moment.year)


def key(dice, messages, depth=0):
    """A search key and what it means."""
    choice = dice.randrange(18 if depth < 2 else 14)
    word = dice.choice(WORDS)
    start = dice.randrange(len(word) - 1)
    part = word[start:start + dice.randint(2, 5)]
    part = dice.choice([part, part.upper(), part.lower()])
    sought = folded(part)
    some = dice.choice(messages)
    if choice in (0, 1):
        return b"SUBJECT " + literal(part), lambda m: sought in folded(m.subject)
    if choice == 2:
        name = dice.choice(["ann", "example.org", "éva", "Carol", "example", "dave"])
        return b"FROM " + literal(name), lambda m: folded(name) in folded(PLAIN[m.who])
    if choice == 3:
        name = dice.choice(["bob", "a.example", "alder"])
        return b"TO " + literal(name), lambda m: folded(name) in folded(PLAIN[m.to])
    if choice in (4, 5):
        return b"BODY " + literal(part), lambda m: sought in folded(m.searched)
    if choice == 6:
        return b"HEADER X-Tag " + literal(part), lambda m: sought in folded(m.tag)
    if choice == 7:
        size = some.size + dice.randint(-1, 1)
        return (b"LARGER %d" % size, lambda m: m.size > size) if dice.random() < 0.5 else (
            b"SMALLER %d" % size, lambda m: m.size < size)
    if choice == 8:
        day = some.arrived.date()
        return dice.choice([
            (b"SINCE " + imap_date(day), lambda m: m.arrived.date() >= day),
            (b"BEFORE " + imap_date(day), lambda m: m.arrived.date() < day),
            (b"ON " + imap_date(day), lambda m: m.arrived.date() == day)])
    if choice == 9:
        day = some.sent.date()
        return dice.choice([
            (b"SENTSINCE " + imap_date(day), lambda m: m.sent.date() >= day),
            (b"SENTBEFORE " + imap_date(day), lambda m: m.sent.date() < day),
            (b"SENTON " + imap_date(day), lambda m: m.sent.date() == day)])
    if choice == 10:
        return dice.choice([(b"ANSWERED", lambda m: "R" in m.flags),
                            (b"UNDRAFT", lambda m: "D" not in m.flags)])
    if choice == 11:
        low = dice.randint(1, len(messages))
        high = min(len(messages), low + dice.choice([0, 5, 100, 2000]))
        return b"UID %d:%d" % (low, high), lambda m: low <= m.uid <= high
    if choice == 12:
        return b"HEADER Message-ID " + some.id.encode(), lambda m: m.id == some.id
    if choice == 13:
        return b"HEADER Cc \"\"", lambda m: m.cc is not None
    if choice == 14:
        text, test = key(dice, messages, depth + 1)
        return b"NOT " + text, lambda m: not test(m)
    first, second = key(dice, messages, depth + 1), key(dice, messages, depth + 1)
    if choice == 15:
        return b"OR %s %s" % (first[0], second[0]), lambda m: first[1](m) or second[1](m)
    return b"(%s %s)" % (first[0], second[0]), lambda m: first[1](m) and second[1](m)


SORT_KEYS = {
    b"ARRIVAL": lambda m: m.arrived, b"DATE": lambda m: m.utc, b"SIZE": lambda m: m.size,
    b"FROM": lambda m: LOCAL[m.who].upper(), b"TO": lambda m: LOCAL[m.to].upper(),
    b"CC": lambda m: "" if m.cc is None else LOCAL[m.cc].upper(),
    b"SUBJECT": lambda m: folded(m.base),
}


def numbers(text):
    found = []
    for part in text.split(b","):
        low, _, high = part.partition(b":")
        low, high = int(low), int(high or low)
        found += range(low, high + 1) if low <= high else range(low, high - 1, -1)
    return found


class Asker:
    """A connection that asks and compares."""

    def __init__(self, load, number):
        self.load, self.number = load, number
        self.dice = random.Random("%d/asker%d" % (load.seed, number))
        self.wire = None
        self.asked = 0

    def ask(self, command):
        self.asked += 1
        result = self.wire.command(command, 120)
        if result.status != b"OK":
            raise Wrong("%r: %r" % (command, result))
        return result.untagged

    def the(self, untagged, kind):
        found = [each for each in untagged if each.startswith(b"* " + kind)]
        if len(found) != 1:
            raise Wrong("%d answers %s" % (len(found), kind))
        return found[0]

    def step(self):
        messages, dice = self.load.messages, self.dice
        choice = dice.randrange(10)
        text, test = key(dice, messages)
        within = b"UID 1:%d " % len(messages)
        if choice < 4:
            expected = [m.uid for m in messages if test(m)]
            if dice.random() < 0.5:
                command = b"UID SEARCH CHARSET UTF-8 " + within + text
                found = [int(n) for n in self.the(self.ask(command), b"SEARCH").split()[2:]]
            else:
                command = b"UID SEARCH RETURN (MIN MAX COUNT ALL) CHARSET UTF-8 " + within + text
                line = self.the(self.ask(command), b"ESEARCH")
                every = re.search(rb" ALL (\S+)", line)
                found = numbers(every.group(1)) if every else []
                says = [int(re.search(b" %s (\\d+)" % item, line).group(1))
                        for item in ([b"COUNT", b"MIN", b"MAX"] if found else [b"COUNT"])]
                if says != ([len(found), min(found), max(found)] if found else [0]):
                    raise Wrong("%r: %r" % (command, line[:300]))
            self.compare(command, found, expected)
        elif choice < 7:
            expected = [m for m in messages if test(m)]
            criteria = []
            for name in reversed(dice.sample(sorted(SORT_KEYS), dice.randint(1, 3))):
                # Equal ones keep their order in both directions.
                reverse = dice.random() < 0.3
                expected.sort(key=SORT_KEYS[name])
                if reverse:
                    groups = {}
                    for m in expected:
                        groups.setdefault(SORT_KEYS[name](m), []).append(m)
                    expected = [m for value in sorted(groups, reverse=True) for m in groups[value]]
                criteria.insert(0, b"REVERSE " + name if reverse else name)
            command = b"UID SORT (%s) UTF-8 %s" % (b" ".join(criteria), within + text)
            found = [int(n) for n in self.the(self.ask(command), b"SORT").split()[2:]]
            self.compare(command, found, [m.uid for m in expected])
        elif choice == 7:
            command = dice.choice(self.load.thread_commands)
            said = self.the(self.ask(command), b"THREAD")
            expected = self.load.threads.setdefault(command, said)
            if said != expected:
                raise Wrong("%r: %r, and was %r" % (command, said[:400], expected[:400]))
        else:
            low = dice.randint(1, len(messages))
            high = min(len(messages), low + dice.choice([0, 10, 300]))
            command = b"UID FETCH %d:%d (INTERNALDATE RFC822.SIZE ENVELOPE)" % (low, high)
            lines = {}
            for each in self.ask(command):
                uid = re.search(rb"[( ]UID (\d+)", each)
                if uid and b"RFC822.SIZE" in each:
                    lines[int(uid.group(1))] = each
            for m in messages[low - 1:high]:
                line = lines.get(m.uid)
                if line is None:
                    raise Wrong("%r: nothing of %d" % (command, m.uid))
                date = b"%2d-%s-%d %s" % (m.arrived.day, MONTHS[m.arrived.month - 1].encode(),
                                         m.arrived.year, m.arrived.strftime("%H:%M:%S").encode())
                for wanted in (b'INTERNALDATE "%s ' % date, b"RFC822.SIZE %d" % m.size,
                               m.id.encode()):
                    if wanted not in line:
                        raise Wrong("%r: %r is not in %r" % (command, wanted, line))

    def compare(self, command, found, expected):
        if found != expected:
            missing = [uid for uid in expected if uid not in set(found)]
            more = [uid for uid in found if uid not in set(expected)]
            first = next((n for n, pair in enumerate(zip(found, expected)) if pair[0] != pair[1]), -1)
            raise Wrong("%r: missing %s, too many %s, differs at %d: %s for %s" % (
                command, missing[:8], more[:8], first, found[first:first + 6],
                expected[first:first + 6]))

    def connect(self):
        self.wire = self.load.host.login(timeout=120)
        self.wire.select()

    def run(self):
        while not self.load.is_over():
            try:
                if self.wire is None:
                    self.connect()
                self.step()
                if self.dice.random() < 0.02:
                    self.wire.logout()
                    self.wire = None
            except Wrong as error:
                # The answer that a dying process did not finish is none; this one was finished.
                self.load.problems.append("asker %d: %s" % (self.number, error))
                return
            except (martlet.Closed, OSError, AssertionError) as error:
                if not self.load.kills or isinstance(error, TimeoutError):
                    self.load.problems.append("asker %d: %r" % (self.number, error))
                    return
                if self.wire:
                    self.wire.close()
                self.wire = None
                time.sleep(0.05)


class Load:
    def __init__(self, host, seed, count, calm=False, kills=True):
        self.host, self.seed, self.calm = host, seed, calm
        self.kills = kills and not calm
        self.maildir = host.maildir
        self.problems = []
        self.threads = {}
        self.renamed = 0
        dice = random.Random("%d/messages" % seed)
        self.messages = []
        for number in range(1, count + 1):
            message = Message(dice, number, self.messages)
            self.messages.append(message)
            name = self.maildir.put(message.bytes, flags=message.flags)
            path = self.maildir.file(name) if count < 50 else os.path.join(
                self.maildir.folder(), "cur", name + ":2," + message.flags)
            stamp = message.arrived.replace(tzinfo=datetime.timezone.utc).timestamp()
            os.utime(path, (stamp, stamp))
        # UIDs follow the names' order, which is that of delivery.
        self.thread_commands = [
            b"UID THREAD %s UTF-8 UID 1:%d" % (kind, count)
            for kind in (b"REFERENCES", b"ORDEREDSUBJECT", b"REFS")]
        self.end = None

    def is_over(self):
        return time.monotonic() > self.end or bool(self.problems)

    def rename(self):
        """Another program changes \\Seen and \\Flagged of everything, again and again."""
        folder = os.path.join(self.maildir.folder(), "cur")
        dice = random.Random("%d/rename" % self.seed)
        while not self.is_over():
            names = [name for name in os.listdir(folder) if ":2," in name]
            dice.shuffle(names)
            for name in names[:dice.choice([1, 20, 400])]:
                base, _, letters = name.partition(":2,")
                letters = "".join(sorted(set(letters) ^ {dice.choice("FS")}))
                try:
                    os.rename(os.path.join(folder, name),
                              os.path.join(folder, base + ":2," + letters))
                    self.renamed += 1
                except FileNotFoundError:
                    pass
            time.sleep(dice.choice([0, 0.001, 0.02, 0.2]))

    def others(self):
        """Other messages come and go."""
        dice = random.Random("%d/others" % self.seed)
        last = "zzz"
        mine = {os.path.basename(path).split(":")[0] for path in self.maildir.files()}
        while not self.is_over():
            if dice.random() < 0.6:
                self.maildir.deliver(b"Subject: chaff %s\nMessage-ID: <c%d@x>\n\nchaff\n" % (
                    last.encode(), dice.randrange(10**9)))
            else:
                chaff = [path for path in self.maildir.files()
                         if os.path.basename(path).split(":")[0].split(",")[0]
                         not in {each.split(",")[0] for each in mine}]
                for path in dice.sample(chaff, min(len(chaff), 3)):
                    try:
                        os.unlink(path)
                    except FileNotFoundError:
                        pass
            time.sleep(dice.choice([0.005, 0.05, 0.3]))

    def forget(self):
        """The index goes away, with its process or under it."""
        dice = random.Random("%d/forget" % self.seed)
        while not self.is_over():
            time.sleep(dice.uniform(0.5, 3))
            choice = dice.randrange(4)
            if choice < 2:
                for path in glob.glob(os.path.join(self.host.cache, "*")):
                    shutil.rmtree(path, ignore_errors=True)
            if choice and self.kills:
                for pid in self.host.pids("martlet-user"):
                    try:
                        os.kill(pid, dice.choice([signal.SIGKILL, signal.SIGTERM]))
                    except ProcessLookupError:
                        pass

    def run(self, seconds, askers=4):
        self.end = time.monotonic() + seconds
        first = Asker(self, 0)
        first.connect()
        for command in self.thread_commands:
            self.threads[command] = first.the(first.ask(command), b"THREAD")
        first.wire.logout()
        everybody = [Asker(self, number) for number in range(1, askers + 1)]
        work = [each.run for each in everybody]
        if not self.calm:
            work += [self.rename, self.others, self.forget]
        threads = [threading.Thread(target=each, daemon=True) for each in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + 150)
            if thread.is_alive():
                self.problems.append("somebody hangs")
        self.asked = sum(each.asked for each in everybody)
        for each in everybody:
            if each.wire:
                each.wire.close()
        return self.problems


def run(seconds, seed, count=300, calm=False, kills=True, kind="release"):
    host = martlet.Server("personal", kind=kind)
    try:
        load = Load(host, seed, count, calm, kills)
        load.run(seconds)
        load.crashes = [line for line in host.log() if "event=user-ended" in line
                        and re.search(r"signal=(4|5|6|7|8|11)\b", line)]
        return load
    finally:
        host.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--calm", action="store_true", help="nobody disturbs")
    parser.add_argument("--no-kills", action="store_true", help="the process lives")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1_000_000)
    print("seed %d" % seed, flush=True)
    load = run(options.seconds, seed, options.messages, options.calm, not options.no_kills)
    for problem in load.problems + load.crashes:
        print(problem)
    print("%d questions, %d renames, %d problems" % (
        load.asked, load.renamed, len(load.problems)))
    return 1 if load.problems or load.crashes else 0


if __name__ == "__main__":
    sys.exit(main())
