#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""A random load on the real server, and clients that believe nothing.

    Tests/ProcessTests/stress.py --seconds 120 --seed 7 [--kill] [--delay 50] [--system]
    Tests/ProcessTests/stress.py --seconds 300 --messages 20000

Many sessions at once append, flag, copy, move, expunge, search, fetch, idle and select, while another
program delivers, renames and removes files. Each session keeps its own picture of its mailbox, made
only of what it was told, and checks each response against it:

- EXISTS never shrinks; EXPUNGE names a message that is there, and comes only where it may;
- UIDs ascend, stay with their message, and never come back after an EXPUNGE;
- a UID's content, size and date are the same for everybody, for ever (`Truth`);
- with QRESYNC, VANISHED comes in place of EXPUNGE, and a message's MODSEQ never goes back;
- APPENDUID and COPYUID are true; nothing is BAD; NO comes only for what others expunged;
- UID FETCH and FETCH answer for every message that the session knows of;
- with UIDONLY there are no message numbers, and what is told by UID is as consistent;
- with NOTIFY what is told of other mailboxes is their state in the end;
- annotations are what was set last, and mailboxes that are made, filled, renamed and deleted are there
  with their mail and UIDVALIDITY, or not.

At the end, when all is quiet: what each session was told of flags is what FETCH says; all sessions of
one mailbox agree with each other, with STATUS and with the files on the disk; and no message that
nobody removed is missing. The parser is this file's own.
"""

import argparse
import os
import random
import re
import shutil
import signal
import socket
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import martlet  # noqa: E402

MAILBOXES = ["INBOX", "Work", "Play", "Work.Old"]
SYSTEM_FLAGS = ["\\Seen", "\\Answered", "\\Flagged", "\\Draft", "\\Deleted"]
KEYWORDS = ["$Junk", "$Label1", "todo"]
LETTERS = {"S": "\\Seen", "R": "\\Answered", "F": "\\Flagged", "D": "\\Draft", "T": "\\Deleted"}


class Wrong(Exception):
    """The server broke a promise."""


class Gone(Exception):
    """The connection ended."""


# -- Messages ------------------------------------------------------------------------------------


def content(name):
    """The message of a name, which holds its size: `k12-3400` is kept, `d13-20` may be removed."""
    size = int(name.split("-")[1])
    line = ("%s " % name) * 6
    body = (line + "\r\n") * (size // (len(line) + 2) + 1)
    return ("From: a@example.org\r\nSubject: <%s>\r\n\r\n%s" % (name, body)).encode()


class Truth:
    """What is known of messages by all sessions together."""

    def __init__(self):
        self.lock = threading.Lock()
        self.names = {}     # (mailbox, validity, uid) -> name
        self.dates = {}
        self.kept = {}      # name -> set of (mailbox, validity, uid) that must stay
        self.count = 0
        self.problems = []
        self.commands = 0

    def new_name(self, keeps, size):
        with self.lock:
            self.count += 1
            return "%s%d-%d" % ("k" if keeps else "d", self.count, size)

    def learn(self, key, name):
        with self.lock:
            old = self.names.setdefault(key, name)
        if old != name:
            raise Wrong("%s was %s and is %s" % (key, old, name))

    def date(self, key, date):
        with self.lock:
            old = self.dates.setdefault(key, date)
        if old != date:
            raise Wrong("the date of %s was %s and is %s" % (key, old, date))

    def keep(self, name, key):
        if name.startswith("k"):
            with self.lock:
                self.kept.setdefault(name, set()).add(key)

    def name(self, key):
        with self.lock:
            return self.names.get(key)


# -- The wire ------------------------------------------------------------------------------------


class Wire:
    """Bytes to responses: lists of atoms, strings (bytes) and lists."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.last = []

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            raise Gone()

    def _more(self, timeout):
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(65536)
        except socket.timeout:
            raise
        except OSError:
            raise Gone()
        if not data:
            raise Gone()
        self.buffer += data

    def line(self, timeout=60):
        """One response with its literals: pieces of text and literals by turns."""
        pieces = []
        start = 0
        while True:
            end = self.buffer.find(b"\r\n", start)
            if end < 0:
                self._more(timeout)
                continue
            text = bytes(self.buffer[start:end])
            match = re.search(rb"\{(\d+)\}$", text)
            if not match:
                pieces.append(text)
                del self.buffer[:end + 2]
                self.last = (self.last + [b" ".join(pieces)[:200]])[-12:]
                return pieces
            size = int(match.group(1))
            while len(self.buffer) < end + 2 + size:
                self._more(timeout)
            pieces.append(text[:match.start()])
            pieces.append(bytes(self.buffer[end + 2:end + 2 + size]))
            start = end + 2 + size


TOKEN = re.compile(rb'\s*(\(|\)|"((?:[^"\\]|\\.)*)"|[^\s()"\[]+(?:\[[^\]]*\](?:<\d+>)?)?)')


def parse(pieces):
    """A response as nested lists; strings are `bytes`, atoms `str`."""
    root = []
    stack = [root]
    for index, piece in enumerate(pieces):
        if index % 2:
            stack[-1].append(piece)
            continue
        position = 0
        while position < len(piece):
            match = TOKEN.match(piece, position)
            if not match:
                if piece[position:].strip():
                    raise Wrong("cannot parse %r" % piece[position:position + 80])
                break
            position = match.end()
            token = match.group(1)
            if token == b"(":
                inner = []
                stack[-1].append(inner)
                stack.append(inner)
            elif token == b")":
                if len(stack) == 1:
                    raise Wrong("a parenthesis too many: %r" % piece[:200])
                stack.pop()
            elif token.startswith(b'"'):
                stack[-1].append(re.sub(rb"\\(.)", rb"\1", match.group(2)))
            else:
                stack[-1].append(token.decode("utf-8", "replace"))
    if len(stack) != 1:
        raise Wrong("a parenthesis too few: %r" % pieces)
    return root


def numbers(text):
    """The numbers of a set in its order."""
    found = []
    for part in text.split(","):
        low, _, high = part.partition(":")
        low, high = int(low), int(high or low)
        if low == 0 or high < low:
            raise Wrong("the set %s" % text)
        found += range(low, high + 1)
    return found


# -- A session -----------------------------------------------------------------------------------


class Message:
    __slots__ = ("uid", "flags", "modseq")

    def __init__(self):
        self.uid = None
        self.flags = None
        self.modseq = 0


class Session:
    """One connection, and what it was told."""

    def __init__(self, index, load, seed):
        self.index = index
        self.load = load
        self.truth = load.truth
        self.random = random.Random(seed)
        self.is_rev2 = index % 2 == 1
        self.wire = None
        self.tag = 0
        self.history = []
        self.dead = {}      # (mailbox, validity) -> UIDs whose EXPUNGE was told to this session
        self.annotations = {}   # (mailbox, entry) -> value
        self.own = None     # a mailbox of this session alone: [name, UIDVALIDITY, messages]
        self.is_own_known = True

    # Connection

    def connect(self):
        self.mailbox = None
        self.validity = None
        self.messages = []
        self.wire = Wire(self.load.address)
        self.wire.line()
        answer = self.command("LOGIN %s %s" % (self.load.user, self.load.quoted_password))
        self.has_vanished = False
        if " QRESYNC " in answer and self.index % 4 > 1:
            self.command("ENABLE QRESYNC")
            self.has_vanished = True
        if self.is_rev2:
            self.command("ENABLE IMAP4rev2")
        self.fetched_uids = {}
        self.told_status = {}   # what NOTIFY told of mailboxes
        self.asks_status = None
        self.notifies = self.index % 5 == 2
        if self.notifies:
            # Expunges wait, since this client uses message numbers.      RFC 5465 §6.1.2
            self.command(
                "NOTIFY SET STATUS (selected-delayed (MessageNew (UID) MessageExpunge FlagChange))"
                " (personal (MessageNew MessageExpunge FlagChange MailboxName"
                " SubscriptionChange MailboxMetadataChange ServerMetadataChange))")
        elif self.index % 5 == 4:
            self.command("ENABLE METADATA")

    def close(self):
        if self.wire:
            self.wire.socket.close()
        self.wire = None

    # Commands

    def command(self, text, may_fail=(), literal=None):
        """Runs one command to its end; its tagged answer. Checks all that comes."""
        return self.commands([(text, literal)], may_fail)[-1]

    def commands(self, texts, may_fail=()):
        """Several at once, without waiting in between."""
        tags = []
        data = b""
        for text, literal in texts:
            self.tag += 1
            tags.append("t%d" % self.tag)
            data += ("%s %s" % (tags[-1], text)).encode()
            if literal is not None:
                data += b" {%d+}\r\n" % len(literal) + literal
            data += b"\r\n"
            self.history = (self.history + ["%s %s" % (tags[-1], text)])[-8:]
        self.wire.send(data)
        answers = []
        for tag, (text, _) in zip(tags, texts):
            answers.append(self.finish(tag, text, may_fail))
        self.truth.commands += len(texts)
        return answers

    def finish(self, tag, text, may_fail):
        words = text.split(" ")
        forbids = words[0] in ("FETCH", "STORE", "SEARCH")
        self.search = None
        self.fetched = {}
        self.told = set()
        self.list_lines = 0
        while True:
            pieces = self.wire.line()
            if pieces[0].startswith(b"* "):
                self.untagged(pieces, forbids, tag, words)
                continue
            if pieces[0].startswith(b"+"):
                raise Wrong("a continuation: %r" % pieces)
            answer = pieces[0].decode()
            if not answer.startswith(tag + " "):
                raise Wrong("not %s: %r" % (tag, answer))
            status = answer.split(" ")[1]
            if status != "OK" and not (status == "NO" and any(code in answer for code in may_fail)):
                raise Wrong("%r: %s" % (text[:200], answer))
            return answer

    def untagged(self, pieces, forbids_expunge, tag, words):
        first = pieces[0]
        match = re.match(rb"\* (\d+) (EXISTS|EXPUNGE|RECENT)$", first)
        if match:
            number = int(match.group(1))
            kind = match.group(2)
            if kind == b"EXISTS":
                self.exists(number)
            elif kind == b"EXPUNGE":
                if self.has_vanished:
                    raise Wrong("EXPUNGE with QRESYNC")
                self.expunge(number, forbids_expunge)
            elif self.is_rev2:
                raise Wrong("RECENT in rev2")
            elif number > len(self.messages):
                raise Wrong("%d RECENT of %d" % (number, len(self.messages)))
            return
        if re.match(rb"\* \d+ FETCH ", first):
            response = parse(pieces)
            self.fetch(int(response[1]), response[3], words)
        elif first.startswith(b"* SEARCH"):
            if self.is_rev2:
                raise Wrong("SEARCH in rev2")
            self.search = [int(each) for each in first.split(b" (MODSEQ")[0].split()[2:]]
        elif first.startswith(b"* ESEARCH"):
            response = parse(pieces)
            if response[2] != ["TAG", tag.encode()]:
                raise Wrong("ESEARCH for another: %r" % first)
            text = first.decode()
            found = re.search(r" ALL (\S+)", text)
            self.search = numbers(found.group(1)) if found else []
        elif first.startswith(b"* VANISHED"):
            if not self.has_vanished:
                raise Wrong("VANISHED without QRESYNC: %r" % first)
            self.vanished(numbers(first.split()[-1].decode()), forbids_expunge)
        elif first.startswith(b"* BYE"):
            raise Gone()
        elif first.startswith(b"* OK [CLOSED]"):
            self.mailbox = None
            self.messages = []
        elif first.startswith(b"* OK [UIDVALIDITY "):
            self.validity = int(re.search(rb"\d+", first).group(0))
        elif first.startswith(b"* LIST"):
            if words[0] not in ("SELECT", "EXAMINE") or parse(pieces)[-1] == self.mailbox.encode():
                self.list_lines += 1
        elif first.startswith(b"* STATUS"):
            response = parse(pieces)
            name, values = response[2].decode(), response[3]
            status = {values[i]: int(values[i + 1]) for i in range(0, len(values), 2)}
            if name == self.asks_status:
                self.status = status
            elif not self.notifies:
                raise Wrong("nobody asked for %r" % first)
            if self.notifies and "UNSEEN" in status and "UIDVALIDITY" in status:
                if status["UNSEEN"] > status["MESSAGES"]:
                    raise Wrong("STATUS %s" % status)
                before = self.told_status.get(name)
                if before and before["UIDVALIDITY"] == status["UIDVALIDITY"] and (
                        status["UIDNEXT"] < before["UIDNEXT"]):
                    raise Wrong("UIDNEXT of %s from %s to %s" % (name, before, status))
                self.told_status[name] = status
        elif first.startswith(b"* METADATA"):
            response = parse(pieces)
            if isinstance(response[3], list):
                values = response[3]
                self.metadata = {values[i]: values[i + 1] for i in range(0, len(values), 2)}
            elif not (self.notifies or self.index % 5 == 4):
                raise Wrong("nobody asked for %r" % first)
        elif first.startswith(b"* OK [COPYUID"):
            self.copy_uid = first.decode()
        elif re.match(rb"\* (FLAGS|OK|ENABLED|CAPABILITY) ", first):
            pass
        else:
            raise Wrong("what is %r" % first)

    # What is told of the mailbox

    def exists(self, number):
        if number < len(self.messages):
            raise Wrong("EXISTS from %d to %d" % (len(self.messages), number))
        while len(self.messages) < number:
            self.messages.append(Message())

    def expunge(self, number, is_forbidden):
        if is_forbidden:
            raise Wrong("EXPUNGE in between")
        if not 1 <= number <= len(self.messages):
            raise Wrong("%d EXPUNGE of %d" % (number, len(self.messages)))
        message = self.messages.pop(number - 1)
        if message.uid is not None:
            self.dead.setdefault((self.mailbox, self.validity), set()).add(message.uid)

    def vanished(self, uids, is_forbidden):
        if is_forbidden:
            raise Wrong("VANISHED in between")
        gone = set(uids)
        known = {message.uid for message in self.messages}
        self.messages = [message for message in self.messages if message.uid not in gone]
        # Of those whose UIDs are not known yet as many have gone.
        for uid in sorted(gone - known):
            if uid in self.dead.get((self.mailbox, self.validity), ()):
                raise Wrong("VANISHED %d again" % uid)
            # It stood between the known ones below and above it. Which of several it was does not
            # show: what was told of each by its number is not known any more.
            places = [
                index for index, message in enumerate(self.messages)
                if message.uid is None and all(
                    other.uid is None or (other.uid < uid) == (place < index)
                    for place, other in enumerate(self.messages))
            ]
            if not places:
                raise Wrong("VANISHED %d, of which nobody has heard" % uid)
            if len(places) > 1:
                for index in places:
                    self.messages[index] = Message()
            del self.messages[places[0]]
        self.dead.setdefault((self.mailbox, self.validity), set()).update(gone)

    def key(self, uid):
        return (self.mailbox, self.validity, uid)

    def fetch(self, number, items, words):
        if not 1 <= number <= len(self.messages):
            raise Wrong("%d FETCH of %d" % (number, len(self.messages)))
        message = self.messages[number - 1]
        values = {}
        for index in range(0, len(items), 2):
            values[items[index]] = items[index + 1]
        self.fetched[number] = values
        asked = "FETCH" in words[:2] or "STORE" in words[:2]
        if "UID" in values:
            self.check_uid(number, int(values["UID"]))
            self.told.add(message.uid)
        elif self.is_rev2 and not asked:
            raise Wrong("FETCH unasked without UID: %r" % items)
        elif words[0] == "UID":
            if asked:
                raise Wrong("UID FETCH without UID: %r" % items)
        if "MODSEQ" in values:
            modseq = int(values["MODSEQ"][0])
            if modseq < message.modseq:
                raise Wrong("MODSEQ of %d from %d to %d" % (number, message.modseq, modseq))
            message.modseq = modseq
        if "FLAGS" in values:
            flags = values["FLAGS"]
            if self.is_rev2 and "\\Recent" in flags:
                raise Wrong("\\Recent in rev2")
            message.flags = frozenset(flags) - {"\\Recent"}
        if message.uid is None:
            return
        key = self.key(message.uid)
        name = None
        body = values.get("BODY[]")
        if body is not None:
            subject = re.search(rb"Subject: <(\S+)>", body)
            if not subject:
                raise Wrong("no subject in %r" % body[:200])
            name = subject.group(1).decode()
            if "BODY.PEEK[]" in " ".join(words) and body != content(name):
                raise Wrong("the content of %s" % name)
            self.truth.learn(key, name)
        if "RFC822.SIZE" in values:
            name = name or self.truth.name(key)
            if name and int(values["RFC822.SIZE"]) != len(content(name)):
                raise Wrong("the size of %s is %s" % (name, values["RFC822.SIZE"]))
        if "INTERNALDATE" in values:
            self.truth.date(key, values["INTERNALDATE"])

    def check_uid(self, number, uid):
        message = self.messages[number - 1]
        if message.uid is not None:
            if message.uid != uid:
                raise Wrong("the UID of %d was %d and is %d" % (number, message.uid, uid))
            return
        for other in range(number - 2, -1, -1):
            if self.messages[other].uid is not None:
                if self.messages[other].uid >= uid:
                    raise Wrong("%d has UID %d and %d has %d" % (
                        other + 1, self.messages[other].uid, number, uid))
                break
        for other in range(number, len(self.messages)):
            if self.messages[other].uid is not None:
                if self.messages[other].uid <= uid:
                    raise Wrong("%d has UID %d and %d has %d" % (
                        other + 1, self.messages[other].uid, number, uid))
                break
        if uid in self.dead.get((self.mailbox, self.validity), ()):
            raise Wrong("UID %d of %s is back" % (uid, self.mailbox))
        message.uid = uid

    # The load

    def select(self, mailbox=None, read_only=False):
        mailbox = mailbox or self.random.choice(MAILBOXES)
        previous = self.mailbox
        self.status = {}
        # What comes behind CLOSED is of the new mailbox.
        if previous is None:
            self.messages = []
            self.mailbox = mailbox
        self.tag += 1
        tag = "t%d" % self.tag
        text = "%s %s" % ("EXAMINE" if read_only else "SELECT", mailbox)
        self.history = (self.history + ["%s %s" % (tag, text)])[-8:]
        self.wire.send(("%s %s\r\n" % (tag, text)).encode())
        seen_closed = False
        self.list_lines = 0
        self.fetched, self.told = {}, set()
        while True:
            pieces = self.wire.line()
            if pieces[0].startswith(b"* OK [CLOSED]"):
                seen_closed = True
                self.messages = []
                self.mailbox = mailbox
                continue
            if pieces[0].startswith(b"* "):
                self.untagged(pieces, True, tag, text.split(" "))
                continue
            answer = pieces[0].decode()
            if not answer.startswith(tag + " OK"):
                raise Wrong("%s: %s" % (text, answer))
            break
        if previous is not None and not seen_closed:
            raise Wrong("no CLOSED")
        if self.is_rev2 and self.list_lines != 1:
            raise Wrong("%d LIST at SELECT" % self.list_lines)
        self.mailbox = mailbox
        self.read_only = read_only
        if self.messages:
            self.fetch_all()

    def fetch_all(self):
        self.command("FETCH 1:* (UID FLAGS)", ["EXPUNGEISSUED"])

    def some_range(self):
        low = self.random.randint(1, len(self.messages))
        high = min(len(self.messages), low + self.random.choice([0, 0, 1, 3, 10, 1000]))
        return low, high

    def known(self):
        return [message.uid for message in self.messages if message.uid is not None]

    def removable(self):
        """UIDs of messages that may be removed, by what is known of them."""
        return [uid for uid in self.known()
                if (self.truth.name(self.key(uid)) or "k").startswith("d")]

    def some_uids(self, uids, most=5):
        uids = self.random.sample(uids, min(len(uids), self.random.randint(1, most)))
        return ",".join(map(str, sorted(uids)))

    def step(self):
        if self.mailbox is None:
            return self.select()
        actions = [
            (10, self.do_noop), (10, self.do_fetch), (6, self.do_uid_fetch), (8, self.do_body),
            (12, self.do_store), (8, self.do_append), (6, self.do_search), (4, self.do_idle),
            (4, self.do_copy), (4, self.do_move), (5, self.do_delete), (5, self.do_expunge),
            (3, self.do_select), (2, self.do_status), (1, self.do_close), (3, self.do_pipeline),
            (1, self.do_list), (3, self.do_own), (2, self.do_metadata),
        ]
        total = sum(weight for weight, _ in actions)
        choice = self.random.uniform(0, total)
        for weight, action in actions:
            choice -= weight
            if choice <= 0:
                return action()

    def do_noop(self):
        self.command("NOOP")

    def do_fetch(self):
        if not self.messages:
            return
        low, high = self.some_range()
        items = self.random.choice(["FLAGS", "(UID FLAGS)", "(UID RFC822.SIZE INTERNALDATE)",
                                    "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])"])
        answer = self.command("FETCH %d:%d %s" % (low, high, items), ["EXPUNGEISSUED"])
        if " OK " in answer:
            missing = [n for n in range(low, high + 1) if n not in self.fetched]
            if missing:
                raise Wrong("FETCH %d:%d does not answer %s" % (low, high, missing[:5]))

    def do_uid_fetch(self):
        known = self.known()
        if not known:
            return
        low = self.random.choice(known)
        before = set(uid for uid in known if uid >= low)
        answer = self.command("UID FETCH %d:* FLAGS" % low, ["EXPUNGEISSUED"])
        if " OK " in answer:
            missing = before - self.told - self.dead.get((self.mailbox, self.validity), set())
            if missing:
                raise Wrong("UID FETCH %d:* does not answer %s" % (low, sorted(missing)[:5]))

    def do_body(self):
        known = self.known()
        if known:
            self.command("UID FETCH %s (BODY.PEEK[] RFC822.SIZE INTERNALDATE)"
                         % self.some_uids(known, 3), ["EXPUNGEISSUED"])

    def do_store(self):
        if self.read_only or not self.messages:
            return
        flags = self.random.sample(SYSTEM_FLAGS[:4] + KEYWORDS, self.random.randint(1, 3))
        sign = self.random.choice("+-")
        silent = self.random.choice(["", ".SILENT"])
        if self.random.random() < 0.5 and self.known():
            self.command("UID STORE %s %sFLAGS%s (%s)" % (
                self.some_uids(self.known()), sign, silent, " ".join(flags)), ["EXPUNGEISSUED"])
            self.forget_flags(silent)
            return
        low, high = self.some_range()
        answer = self.command("STORE %d:%d %sFLAGS%s (%s)" % (
            low, high, sign, silent, " ".join(flags)), ["EXPUNGEISSUED"])
        self.forget_flags(silent)
        if " OK " in answer and not silent:
            # One that was expunged right behind the change need not be told of.
            missing = [self.messages[number - 1] for number in range(low, high + 1)
                       if "FLAGS" not in self.fetched.get(number, {})]
            if missing:
                self.command("NOOP")
                if any(message in self.messages for message in missing):
                    raise Wrong("STORE %d:%d does not answer for all" % (low, high))

    def forget_flags(self, silent):
        """After .SILENT the client has to compute flags itself; this one asks again later."""
        if silent:
            for message in self.messages:
                message.flags = None

    def do_append(self):
        size = self.random.choice([10, 300, 3000, 3000, 20000, 200000])
        name = self.truth.new_name(self.random.random() < 0.3, size)
        mailbox = self.random.choice(MAILBOXES)
        flags = " ".join(self.random.sample(SYSTEM_FLAGS[:4] + KEYWORDS, 2))
        answer = self.command("APPEND %s (%s)" % (mailbox, flags), literal=content(name))
        match = re.search(r"APPENDUID (\d+) (\d+)", answer)
        if not match:
            raise Wrong("APPEND without APPENDUID: " + answer)
        key = (mailbox, int(match.group(1)), int(match.group(2)))
        self.truth.learn(key, name)
        self.truth.keep(name, key)

    def do_search(self):
        if not self.messages:
            return
        text = self.random.choice([
            "SEARCH ALL", "UID SEARCH UNSEEN", "SEARCH KEYWORD todo", "UID SEARCH FLAGGED SEEN",
            "SEARCH SUBJECT k1", "UID SEARCH LARGER 5000", "SEARCH NOT DELETED"])
        count = len(self.messages)
        uids = set(self.known())
        # What goes with this answer may still be in it.
        dead = set(self.dead.get((self.mailbox, self.validity), ()))
        self.command(text)
        if self.search is None:
            raise Wrong("no answer to " + text)
        if text.startswith("SEARCH"):
            if any(not 1 <= number <= len(self.messages) for number in self.search):
                raise Wrong("%s of %d: %s" % (text, count, self.search[-3:]))
        else:
            back = (set(self.search) - uids) & (dead - uids)
            if back:
                raise Wrong("%s finds what was expunged: %s" % (text, sorted(back)[:5]))

    def do_idle(self):
        self.tag += 1
        tag = "t%d" % self.tag
        self.history = (self.history + [tag + " IDLE"])[-8:]
        self.wire.send(b"%s IDLE\r\n" % tag.encode())
        end = time.monotonic() + self.random.uniform(0, 1.0)
        while True:
            try:
                pieces = self.wire.line(max(0.001, end - time.monotonic()))
            except socket.timeout:
                break
            if pieces[0].startswith(b"* "):
                self.untagged(pieces, False, tag, ["IDLE"])
            elif not pieces[0].startswith(b"+"):
                raise Wrong("in IDLE: %r" % pieces)
        self.wire.send(b"DONE\r\n")
        while True:
            pieces = self.wire.line()
            if pieces[0].startswith(b"* "):
                self.untagged(pieces, False, tag, ["IDLE"])
            elif pieces[0].startswith(b"%s OK" % tag.encode()):
                return
            elif not pieces[0].startswith(b"+"):
                raise Wrong("IDLE ends with %r" % pieces)

    def check_copy(self, text, target):
        match = re.search(r"COPYUID (\d+) (\S+) ([^\] ]+)\]", text)
        if not match:
            return
        source, copies = numbers(match.group(2)), numbers(match.group(3))
        if len(source) != len(copies):
            raise Wrong("COPYUID %s" % text)
        for uid, copy in zip(source, copies):
            name = self.truth.name(self.key(uid))
            if name:
                key = (target, int(match.group(1)), copy)
                self.truth.learn(key, name)
                self.truth.keep(name, key)

    def do_copy(self):
        known = self.known()
        if not known:
            return
        target = self.random.choice(MAILBOXES)
        self.copy_uid = ""
        answer = self.command("UID COPY %s %s" % (self.some_uids(known), target),
                              ["EXPUNGEISSUED"])
        self.check_copy(answer, target)

    def do_move(self):
        uids = self.removable()
        if self.read_only or not uids:
            return
        target = self.random.choice([name for name in MAILBOXES if name != self.mailbox])
        self.copy_uid = ""
        self.command("UID MOVE %s %s" % (self.some_uids(uids), target), ["EXPUNGEISSUED"])
        self.check_copy(self.copy_uid, target)

    def do_delete(self):
        uids = self.removable()
        if not self.read_only and uids:
            self.command("UID STORE %s +FLAGS (\\Deleted)" % self.some_uids(uids),
                         ["EXPUNGEISSUED"])

    def do_expunge(self):
        if self.read_only:
            return
        uids = self.removable()
        if uids and self.random.random() < 0.5:
            self.command("UID EXPUNGE " + self.some_uids(uids))
        else:
            self.command("EXPUNGE")

    def do_select(self):
        self.select(read_only=self.random.random() < 0.2)

    def ask_status(self, mailbox, items, may_fail=()):
        self.asks_status = mailbox
        self.status = None
        answer = self.command("STATUS %s (%s)" % (mailbox, items), may_fail)
        self.asks_status = None
        if " OK " in answer and self.status is None:
            raise Wrong("STATUS %s is not answered" % mailbox)
        return answer

    def do_own(self):
        """Makes a mailbox of its own, fills, renames and deletes it."""
        names = ["Own%d" % self.index, "Own%d-b" % self.index]
        if not self.is_own_known:
            # The connection ended while it was changed.
            for name in names:
                self.command("DELETE " + name, ["NONEXISTENT"])
            self.own, self.is_own_known = None, True
        self.is_own_known = False
        if self.own is None:
            self.command("CREATE " + names[0])
            self.ask_status(names[0], "MESSAGES UIDVALIDITY")
            if self.status["MESSAGES"]:
                raise Wrong("a new mailbox has %s" % self.status)
            self.own = [names[0], self.status["UIDVALIDITY"], 0]
            self.is_own_known = True
            return
        name, validity, count = self.own
        choice = self.random.random()
        known = self.known()
        if choice < 0.3:
            other = names[name == names[0]]
            self.command("RENAME %s %s" % (name, other))
            self.own[0] = other
            self.ask_status(name, "MESSAGES", ["NONEXISTENT"])
            if self.status is not None:
                raise Wrong("%s is still there" % name)
        elif choice < 0.5:
            self.command("DELETE " + name)
            self.own = None
            self.annotations = {
                key: value for key, value in self.annotations.items() if key[0] not in names}
            self.ask_status(name, "MESSAGES", ["NONEXISTENT"])
            if self.status is not None:
                raise Wrong("%s is still there" % name)
        elif choice < 0.8 and known:
            answer = self.command("UID COPY %s %s" % (self.some_uids(known), name),
                                  ["EXPUNGEISSUED"])
            match = re.search(r"COPYUID (\d+) \S+ ([^\] ]+)\]", answer)
            if match:
                if int(match.group(1)) != validity:
                    raise Wrong("UIDVALIDITY of %s was %d: %s" % (name, validity, answer))
                self.own[2] += len(numbers(match.group(2)))
        else:
            new = self.truth.new_name(False, 300)
            self.command("APPEND " + name, literal=content(new))
            self.own[2] += 1
        if self.own:
            name, validity, count = self.own
            self.ask_status(name, "MESSAGES UIDVALIDITY")
            if (self.status["MESSAGES"], self.status["UIDVALIDITY"]) != (count, validity):
                raise Wrong("%s should have %d, UIDVALIDITY %d: %s" % (
                    name, count, validity, self.status))
        self.is_own_known = True

    def do_metadata(self):
        """Sets an entry that no other session sets, or reads one."""
        mailbox = self.random.choice(MAILBOXES + ['""'])
        entry = "/private/s%d-%d" % (self.index, self.random.randint(1, 3))
        if self.random.random() < 0.5:
            value = self.random.choice([None, b"", b"a value", b"with \"quotes\"", b"x" * 3000])
            self.annotations[mailbox, entry] = "?"
            text = "NIL" if value is None else '"%s"' % value.decode().replace('"', '\\"')
            self.command("SETMETADATA %s (%s %s)" % (mailbox, entry, text))
            self.annotations[mailbox, entry] = value
            return
        self.metadata = None
        self.command("GETMETADATA %s %s" % (mailbox, entry))
        found = (self.metadata or {}).get(entry)
        expected = self.annotations.get((mailbox, entry))
        # The connection may have ended before the answer.
        if expected != "?" and (None if found == "NIL" else found) != expected:
            raise Wrong("%s of %s is %r, and was set to %r" % (
                entry, mailbox, found and found[:40], expected and expected[:40]))

    def do_status(self):
        mailbox = self.random.choice(MAILBOXES)
        items = "MESSAGES UIDNEXT UIDVALIDITY UNSEEN"
        self.ask_status(mailbox, items)
        if self.status["UNSEEN"] > self.status["MESSAGES"]:
            raise Wrong("STATUS %s" % self.status)

    def do_close(self):
        self.command(self.random.choice(["CLOSE", "UNSELECT"]))
        self.mailbox = None
        self.messages = []

    def do_list(self):
        self.command('LIST "" "*"')
        if self.list_lines < len(MAILBOXES):
            raise Wrong("%d mailboxes" % self.list_lines)

    def do_pipeline(self):
        known = self.known()
        if known:
            some = self.some_uids(known)
            store = "NOOP" if self.read_only else "UID STORE %s +FLAGS (\\Seen)" % some
            self.commands([(text, None) for text in (
                "UID FETCH %s FLAGS" % some, "NOOP", store,
                "UID FETCH %s (FLAGS RFC822.SIZE)" % some)], ["EXPUNGEISSUED"])

    # The thread

    def run(self):
        while not self.load.is_over():
            try:
                if self.wire is None:
                    self.connect()
                self.step()
            except (Gone, ConnectionError, socket.timeout, OSError) as error:
                self.close()
                if isinstance(error, socket.timeout):
                    self.report("no answer in time")
                    return
                if not self.load.may_die():
                    self.report("the connection ended")
                    return
                time.sleep(0.05)
            except Wrong as error:
                self.report(str(error))
                return
            except Exception:
                self.report(traceback.format_exc())
                return

    def report(self, text):
        last = self.wire.last if self.wire else []
        with self.truth.lock:
            self.truth.problems.append("session %d (%s, %s, %d messages): %s\n  sent: %s\n  came: %s" % (
                self.index, "rev2" if self.is_rev2 else "rev1", self.mailbox, len(self.messages),
                text, "\n        ".join(self.history),
                "\n        ".join(repr(each) for each in last)))

    # When all is quiet

    def fetch_uids(self):
        self.command("FETCH 1:* UID")

    def check_told(self, mailbox, status):
        """What NOTIFY told of a mailbox last, or tells within a moment, is its state."""
        items = ("MESSAGES", "UIDNEXT", "UNSEEN", "UIDVALIDITY")
        end = time.monotonic() + 20
        while True:
            told = self.told_status.get(mailbox)
            if told and all(told[item] == status[item] for item in items):
                return
            if time.monotonic() > end:
                raise Wrong("NOTIFY told of %s %s, and it has %s" % (mailbox, told, status))
            self.command("NOOP")
            time.sleep(0.05)

    def settle(self, mailbox):
        """Selects, unless it is selected; what it knows is complete then."""
        if self.wire is None:
            self.connect()
        if self.mailbox != mailbox:
            self.select(mailbox, read_only=True)
        for _ in range(2):
            self.command("NOOP")
        if self.messages:
            self.fetch_uids()
        told = {message.uid: message.flags for message in self.messages}
        if self.messages:
            self.fetch_all()
        found = {}
        for number, message in enumerate(self.messages, 1):
            if number not in self.fetched:
                raise Wrong("in the end, %d of %d does not answer" % (number, len(self.messages)))
            found[message.uid] = message.flags
        for uid, flags in told.items():
            if flags is not None and flags != found.get(uid):
                raise Wrong("in the end, UID %s of %s: told %s, found %s" % (
                    uid, mailbox, sorted(flags), sorted(found.get(uid, ["none"]))))
        return found


class UIDOnlySession(Session):
    """One that has given up message numbers.                             RFC 9586

    `messages` has those whose UIDs are known, ascending, and then the others that EXISTS counts.
    """

    def connect(self):
        super().connect()
        self.command("ENABLE UIDONLY")
        self.has_vanished = True

    def untagged(self, pieces, forbids_expunge, tag, words):
        match = re.match(rb"\* (\d+) UIDFETCH ", pieces[0])
        if match:
            return self.uid_fetch(int(match.group(1)), parse(pieces)[3], words)
        if re.match(rb"\* \d+ (FETCH|EXPUNGE)", pieces[0]):
            raise Wrong("a message number: %r" % pieces[0])
        super().untagged(pieces, forbids_expunge, tag, words)

    def uid_fetch(self, uid, items, words):
        if "UID" in items[::2]:
            raise Wrong("UID in UIDFETCH: %r" % items)
        known = self.known()
        if uid not in known:
            if uid in self.dead.get((self.mailbox, self.validity), ()):
                raise Wrong("UID %d of %s is back" % (uid, self.mailbox))
            if len(known) == len(self.messages):
                raise Wrong("UIDFETCH %d, and EXISTS said %d" % (uid, len(known)))
            message = Message()
            message.uid = uid
            place = sum(each < uid for each in known)
            self.messages.insert(place, message)
            self.messages.pop()
        number = 1 + self.known().index(uid)
        self.fetch(number, ["UID", str(uid)] + items, words)
        # By UID: numbers move.
        self.fetched_uids[uid] = self.fetched.pop(number)

    def finish(self, tag, text, may_fail):
        self.fetched_uids = {}
        return super().finish(tag, text, may_fail)

    def vanished(self, uids, is_forbidden):
        for uid in uids:
            if uid in self.dead.get((self.mailbox, self.validity), ()):
                raise Wrong("VANISHED %d again" % uid)
            place = next((i for i, each in enumerate(self.messages) if each.uid == uid), None)
            if place is None and (not self.messages or self.messages[-1].uid is not None):
                raise Wrong("VANISHED %d, of which nobody has heard" % uid)
            del self.messages[-1 if place is None else place]
        self.dead.setdefault((self.mailbox, self.validity), set()).update(uids)

    def fetch_all(self):
        self.command("UID FETCH 1:* FLAGS", ["EXPUNGEISSUED"])
        self.fetched = {number: self.fetched_uids[message.uid]
                        for number, message in enumerate(self.messages, 1)
                        if message.uid in self.fetched_uids}

    def fetch_uids(self):
        self.command("UID FETCH 1:* RFC822.SIZE", ["EXPUNGEISSUED"])

    def do_fetch(self):
        self.do_uid_fetch()

    def do_store(self):
        if self.read_only or not self.known():
            return
        flags = self.random.sample(SYSTEM_FLAGS[:4] + KEYWORDS, self.random.randint(1, 3))
        silent = self.random.choice(["", ".SILENT"])
        self.command("UID STORE %s %sFLAGS%s (%s)" % (
            self.some_uids(self.known()), self.random.choice("+-"), silent, " ".join(flags)),
            ["EXPUNGEISSUED"])
        self.forget_flags(silent)

    def do_search(self):
        uids = set(self.known())
        dead = set(self.dead.get((self.mailbox, self.validity), ()))
        self.command(self.random.choice(["UID SEARCH ALL", "UID SEARCH UNSEEN LARGER 5000"]))
        back = (set(self.search) - uids) & (dead - uids)
        if back:
            raise Wrong("SEARCH finds what was expunged: %s" % sorted(back)[:5])


# -- Others --------------------------------------------------------------------------------------


class Disruptor:
    """Other programs on the same Maildir."""

    def __init__(self, load, seed):
        self.load = load
        self.random = random.Random(seed)

    def run(self):
        mail, truth = self.load.maildir, self.load.truth
        while not self.load.is_over():
            time.sleep(self.random.uniform(0.005, 0.1))
            mailbox = self.random.choice(MAILBOXES)
            try:
                choice = self.random.random()
                if choice < 0.5:
                    name = truth.new_name(self.random.random() < 0.2,
                                          self.random.choice([10, 3000]))
                    mail.deliver(content(name).replace(b"\r\n", b"\n"), mailbox)
                    if name.startswith("k"):
                        with truth.lock:
                            truth.kept.setdefault(name, set()).add((mailbox, None, None))
                    continue
                files = mail.files(mailbox)
                if not files:
                    continue
                path = self.random.choice(files)
                with open(path, "rb") as file:
                    head = file.read(200)
                may_go = b"Subject: <d" in head
                base = os.path.basename(path).split(":")[0]
                if choice < 0.6 and may_go:
                    os.unlink(path)
                elif "/cur/" in path:
                    info = set(path.rpartition(":2,")[2]) if ":2," in path else set()
                    info ^= set(self.random.sample("SRFD", 1))
                    os.rename(path, os.path.join(mail.folder(mailbox), "cur",
                                                 base + ":2," + "".join(sorted(info))))
            except FileNotFoundError:
                pass


class Load:
    """All of it."""

    def __init__(self, server, maildir, address, user, password, sessions, seed, seconds,
                 kill=None):
        self.truth = Truth()
        self.server, self.maildir, self.address = server, maildir, address
        self.user = user
        self.quoted_password = '"%s"' % password.replace("\\", "\\\\").replace('"', '\\"')
        self.kill = kill
        self.end = None
        self.seconds = seconds
        kinds = [UIDOnlySession if i % 10 == 9 else Session for i in range(sessions)]
        self.sessions = [kind(i, self, "%d/%d" % (seed, i)) for i, kind in enumerate(kinds)]
        self.disruptor = Disruptor(self, "%d/others" % seed)
        self.killed_at = 0

    def is_over(self):
        return time.monotonic() > self.end or bool(self.truth.problems)

    def may_die(self):
        return self.kill is not None

    def killing(self):
        chooser = random.Random(self.seconds)
        while not self.is_over():
            time.sleep(chooser.uniform(2, 6))
            if not self.is_over():
                self.kill()

    def run(self):
        """The problems found."""
        self.end = time.monotonic() + self.seconds
        work = [session.run for session in self.sessions] + [self.disruptor.run]
        if self.kill:
            work.append(self.killing)
        threads = [threading.Thread(target=each, daemon=True) for each in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(self.seconds + 120)
            if thread.is_alive():
                self.truth.problems.append("a session hangs")
        if not self.truth.problems:
            self.kill = None
            for mailbox in MAILBOXES:
                self.compare(mailbox)
        if not self.truth.problems:
            self.compare_told()
        for session in self.sessions:
            session.close()
        return self.truth.problems

    def compare(self, mailbox):
        pictures = []
        for session in self.sessions:
            try:
                pictures.append((session, session.settle(mailbox)))
            except (Wrong, Gone, socket.timeout) as error:
                session.report("%s: %r" % (mailbox, error))
                return
        first, picture = pictures[0]
        for session, other in pictures[1:]:
            if other != picture:
                uids = [uid for uid in set(picture) | set(other)
                        if picture.get(uid) != other.get(uid)]
                session.report("in the end, %s differs from session 0 at %s: %s, %s" % (
                    mailbox, uids[:5], [picture.get(u) for u in uids[:5]],
                    [other.get(u) for u in uids[:5]]))
                return
        try:
            self.compare_with_disk(mailbox, first, picture)
        except (Wrong, Gone) as error:
            first.report("%s: %s" % (mailbox, error))

    def compare_told(self):
        first = self.sessions[0]
        for session in self.sessions:
            try:
                for mailbox in MAILBOXES:
                    if session.notifies and session.mailbox != mailbox:
                        first.ask_status(mailbox, "MESSAGES UNSEEN UIDNEXT UIDVALIDITY")
                        session.check_told(mailbox, first.status)
            except (Wrong, Gone, socket.timeout) as error:
                session.report(repr(error))
                return

    def compare_with_disk(self, mailbox, session, picture):
        session.ask_status(mailbox, "MESSAGES UNSEEN UIDNEXT UIDVALIDITY")
        unseen = sum("\\Seen" not in flags for flags in picture.values())
        if (session.status["MESSAGES"], session.status["UNSEEN"]) != (len(picture), unseen):
            raise Wrong("STATUS %s for %d messages, %d unseen" % (
                session.status, len(picture), unseen))
        if picture and session.status["UIDNEXT"] <= max(picture):
            raise Wrong("UIDNEXT %s" % session.status)
        if picture:
            session.command("UID FETCH 1:* (BODY.PEEK[] RFC822.SIZE INTERNALDATE)")
        told = sorted(
            (self.truth.name(session.key(uid)), tuple(sorted(flags & set(SYSTEM_FLAGS))))
            for uid, flags in picture.items())
        there = []
        for path in self.maildir.files(mailbox):
            with open(path, "rb") as file:
                name = re.search(rb"Subject: <(\S+)>", file.read(200)).group(1).decode()
            info = path.rpartition(":2,")[2] if ":2," in path else ""
            there.append((name, tuple(sorted(LETTERS[c] for c in info if c in LETTERS))))
        if told != sorted(there):
            differing = set(told) ^ set(there)
            raise Wrong("in the end the disk differs: %s" % sorted(differing)[:6])
        names = {}
        for uid in picture:
            names.setdefault(self.truth.name(session.key(uid)), set()).add(uid)
        for name, places in self.truth.kept.items():
            for box, validity, uid in places:
                if box != mailbox:
                    continue
                if uid is None and name not in names:
                    raise Wrong("%s is lost" % name)
                if uid is not None and validity == session.validity and uid not in picture:
                    raise Wrong("%s, UID %d, is lost" % (name, uid))
        left = self.maildir.files(mailbox, ("tmp",))
        if left and not self.killed_at:
            raise Wrong("left in tmp/: %s" % left[:5])


def run(seconds, seed, sessions=20, kill=False, delay=None, system=False, kind=None, messages=0):
    """Starts a server and loads it; the load, with its problems."""
    kind = kind or ("debug" if delay else "release")
    environment = {"MARTLET_TEST_FSYNC_DELAY_MS": str(delay)} if delay else {}
    owner = None
    if system:
        owner = martlet.User(password="a long pass word")
        server = martlet.Server("system", kind=kind,
                                environment=environment)
        maildir, user, password = owner.maildir, owner.name, owner.password
    else:
        server = martlet.Server("personal", kind=kind, environment=environment)
        maildir, user, password = server.maildir, server.user, server.password
    for mailbox in MAILBOXES[1:]:
        maildir.make(mailbox)

    def end_user_process():
        for pid in server.pids("martlet-user"):
            load.killed_at = time.monotonic()
            os.kill(pid, signal.SIGKILL)

    load = Load(server, maildir, server.imap, user, password, sessions, seed, seconds,
                end_user_process if kill else None)
    for number in range(messages):
        # Large mailboxes show what small ones hide.
        name = load.truth.new_name(number % 3 == 0, 10 + number % 50)
        mailbox = MAILBOXES[number % 2]
        maildir.put(content(name).replace(b"\r\n", b"\n"), "SRFD"[number % 5:][:1], mailbox)
        if name.startswith("k"):
            load.truth.kept.setdefault(name, set()).add((mailbox, None, None))
    try:
        load.run()
        log = server.log()
        load.crashes = [line for line in log if "event=user-ended" in line and "signal" in line
                        and not kill]
        if load.truth.problems:
            print("\n".join(log[-15:]))
    finally:
        server.stop()
        if owner:
            owner.end_processes()
            owner.remove()
    return load


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--messages", type=int, default=0, help="that two mailboxes begin with")
    parser.add_argument("--kill", action="store_true", help="kill -9 of martlet-user now and then")
    parser.add_argument("--delay", type=int, help="milliseconds of each fsync (debug build)")
    parser.add_argument("--system", action="store_true", help="in system mode, as root")
    parser.add_argument("--debug", action="store_true", help="the debug build")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1_000_000)
    print("seed %d" % seed, flush=True)
    load = run(options.seconds, seed, options.sessions, options.kill, options.delay,
               options.system, "debug" if options.debug else None, options.messages)
    for problem in load.truth.problems:
        print(problem)
    print("%d commands, %d messages made, %d problems" % (
        load.truth.commands, load.truth.count, len(load.truth.problems)))
    return 1 if load.truth.problems else 0


if __name__ == "__main__":
    sys.exit(main())
