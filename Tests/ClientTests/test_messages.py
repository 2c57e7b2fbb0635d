# SPDX-License-Identifier: ISC
"""What is told of a message's structure, compared with Debian's Dovecot and Python's email.

The corpus of Tests/Messages and messages made by seed are served by both servers, each from its own
copy. Every difference stands in `differences-from-dovecot.txt` beside this file, with its reason; one
that is not there fails, and so does one that is there and does not come any more. With
MARTLET_DIFFERENCES=rewrite the file is written anew; reasons are kept, new ones are to be filled in.
"""

import email
import email.policy
import hashlib
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import unittest

import martlet
from martlet import TestCase

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = HERE.parent / "Messages"
LIST = HERE / "differences-from-dovecot.txt"
DOVECOT = "/usr/lib/dovecot/imap"
NOBODY = 65534
SEEDS = 40


class Dovecot(martlet.IMAP):
    """Dovecot's imap process, logged in already, on a Maildir."""

    def __init__(self, maildir, folder):
        configuration = os.path.join(folder, "dovecot.conf")
        with open(configuration, "w") as file:
            file.write("\n".join([
                "base_dir = " + folder, "state_dir = " + folder, "log_path = /dev/stderr",
                "ssl = no", "mail_location = maildir:" + maildir, "protocols = imap",
                "first_valid_uid = 1", "default_login_user = nobody",
                "default_internal_user = nobody", "default_internal_group = nogroup", ""]))
        self.socket, end = socket.socketpair()
        rights = {}
        if martlet.IS_ROOT:
            for path, _, names in os.walk(folder):
                for each in [path] + [os.path.join(path, name) for name in names]:
                    os.chown(each, NOBODY, NOBODY)
            rights = dict(user=NOBODY, group=NOBODY, extra_groups=[])
        self.process = subprocess.Popen(
            [DOVECOT, "-c", configuration], stdin=end, stdout=end, stderr=subprocess.DEVNULL,
            env={"HOME": folder, "USER": "nobody", "PATH": os.environ["PATH"]}, **rights)
        end.close()
        self.timeout, self.buffer, self.tag_count = 60, b"", 0
        self.greeting = self.response()

    def end(self):
        self.socket.close()
        self.process.kill()
        self.process.wait()


def parse(text):
    """An IMAP response as nested lists; a quoted string and a literal are the same bytes."""
    stack, index = [[]], 0
    while index < len(text):
        byte = text[index:index + 1]
        if byte == b"(":
            stack.append([])
            index += 1
        elif byte == b")":
            done = stack.pop()
            stack[-1].append(done)
            index += 1
        elif byte == b'"':
            value, index = b"", index + 1
            while text[index:index + 1] != b'"':
                index += text[index:index + 1] == b"\\"
                value += text[index:index + 1]
                index += 1
            stack[-1].append(value)
            index += 1
        elif byte in b" \r\n":
            index += 1
        elif literal := re.match(rb"~?\{(\d+)\}\r\n", text[index:index + 24]):
            start = index + literal.end()
            index = start + int(literal.group(1))
            stack[-1].append(text[start:index])
        else:
            atom = re.compile(rb"(?:\[[^\]]*\]|[^\s()\"])+").match(text, index)
            stack[-1].append(atom.group().decode("latin-1"))
            index = atom.end()
    return stack[0]


def part_numbers(structure, prefix="", is_root=True):
    """The section numbers of all parts of a BODY."""
    if structure and isinstance(structure[0], list):
        for number, part in enumerate((each for each in structure if isinstance(each, list)), 1):
            name = "%s%d" % (prefix, number)
            yield name, part
            yield from part_numbers(part, name + ".", False)
        return
    if is_root:
        yield prefix + "1", structure
        prefix += "1."
    if [each.lower() for each in structure[:2] if isinstance(each, bytes)] == [b"message", b"rfc822"]:
        inner = structure[8]
        if inner and isinstance(inner[0], list):
            yield from part_numbers(inner, prefix, False)
        else:
            yield prefix + "1", inner


def fetch(client, uid, items):
    """The items as a dictionary, and how the command ended."""
    result = client.command("UID FETCH %d (%s)" % (uid, items), timeout=120)
    told = {}
    for response in result.untagged:
        values = parse(response)
        if len(values) > 3 and values[2] == "FETCH":
            told.update(zip(values[3][::2], values[3][1::2]))
    told.pop("UID", None)
    told.pop("FLAGS", None)
    return told, bytes(result.tagged).split(b" ")[1]


def look(client, uid, has_structure, is_huge=False):
    """All that is compared of one message; not the octets of one that is huge."""
    items = "RFC822.SIZE BODY.PEEK[TEXT]"
    if not is_huge:
        items += " BODY.PEEK[] BODY.PEEK[HEADER]"
    if has_structure:
        items += " ENVELOPE BODY BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (SUBJECT TO)]"
    told, status = fetch(client, uid, items)
    told["status"] = status
    return told


def look_into(client, uid, body):
    """What is compared of the parts of a message, where both have the same."""
    told = {}
    numbers = [name for name, _ in part_numbers(body)]
    if len(numbers) > 40:
        numbers = numbers[:20] + numbers[-20:]
    for name in numbers:
        sections, _ = fetch(client, uid, " ".join(
            "BODY.PEEK[%s%s]" % (name, what) for what in ("", ".MIME", ".HEADER", ".TEXT")))
        told.update(sections)
        # Alone, since one that cannot be decoded fails the whole command.
        binary, status = fetch(client, uid, "BINARY.SIZE[%s]" % name)
        told.update(binary)
        told["BINARY[%s] status" % name] = status
    return told


def is_by_rule(item, mine, other):
    """Differences that come with every message.

    BODY[n.HEADER] and BODY[n.TEXT] are for parts that are messages (RFC 3501 §6.4.5); of others
    there is no such section, which is NIL and not an empty string.
    """
    return re.fullmatch(r"BODY\[[\d.]+\.(HEADER|TEXT)\]", item) and mine == "NIL" and other == b""


def random_message(seed):
    """A message with many ways to be wrong."""
    dice = random.Random(seed)
    names = ["b", "bb", "b--", "x y", "=_1", ""]

    def header(depth):
        lines = []
        for _ in range(dice.randrange(5)):
            lines.append(dice.choice([
                "Subject: =?utf-8?q?a=C3=A9?= =?x?", "From: a@b, (c) d <e@f>, g: h@i;, <j", "To: ",
                "To: \"q\\\"uoted\" <x@y>", "Cc: undisclosed:;", "Date: Mon, 1 Jan 2024",
                "Message-ID: <a@b> ", "Content-ID: <part>", "Content-Description: (x) y",
                "Content-Disposition: attachment; filename*0=\"a\"; filename*1=b",
                "Content-Language: de, en", "Content-Transfer-Encoding: base64",
                "Content-Transfer-Encoding: 8bit", "In-Reply-To: <x@y>\n <z@w>", "no field",
                "X-Long: " + "y" * dice.randrange(2_000)]))
        kind = dice.randrange(6) if depth < 5 else 5
        boundary = dice.choice(names)
        if kind < 3:
            kind_of = dice.choice(["mixed", "digest", "alternative"])
            lines.append('Content-Type: multipart/%s; boundary="%s"' % (kind_of, boundary))
        elif kind == 3:
            lines.append("Content-Type: message/rfc822")
        elif kind == 4:
            lines.append(dice.choice(["Content-Type: text/html; charset=utf-8", "Content-Type: x",
                                      "Content-Type: image/png; name=\"a b\""]))
        return lines, kind, boundary

    def body(depth):
        lines, kind, boundary = header(depth)
        if dice.randrange(8):
            lines.append("")
        if kind < 3:
            for _ in range(dice.randrange(4)):
                lines += ["--" + boundary + dice.choice(["", "", " ", "x"])] + body(depth + 1)
            if dice.randrange(3):
                lines += ["--" + boundary + "--", "epilogue"]
        elif kind == 3:
            lines += body(depth + 1)
        else:
            lines += ["text"] * dice.randrange(3)
        return lines

    end = dice.choice(["\n", "\r\n"])
    return end.join(body(0) + ([""] if dice.randrange(2) else [])).encode()


def generated():
    def multipart(boundary, parts):
        head = b'Subject: large\nContent-Type: multipart/mixed; boundary="%s"\n\n' % boundary
        return head + b"".join(b"--%s\n\n%d\n" % (boundary, each) for each in range(parts)) \
            + b"--%s--\n" % boundary

    deep = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (each, each)
        for each in range(10_000)) + b"\ninnermost\n"
    messages = {
        "generated 9999 parts": multipart(b"b", 9_999),
        "generated 10001 parts": multipart(b"b", 10_001),
        "generated depth 10000": deep,
        "generated header 10 MB": b"Subject: " + b"y\n " * 3_500_000 + b"\nTo: a@b\n\nbody\n",
        "huge header 100 MB": b"X-Field: " + b"y\n " * 33_400_000 + b"\nSubject: last\nTo: a@b\n\nbody\n",
        "generated 100000 fields": b"X-Field: value\n" * 100_000 + b"Subject: last\n\nbody\n",
    }
    for seed in range(SEEDS):
        messages["generated seed %d" % seed] = random_message(seed)
    return messages


def shown(value):
    text = ascii(value)
    if len(text) <= 700:
        return text
    return "%s ... %s" % (text[:100], hashlib.sha256(text.encode()).hexdigest())


def read_list():
    """{(message, item): (reason, martlet, dovecot)}"""
    known, reason = {}, ""
    if not LIST.exists():
        return known
    entry = None
    for line in LIST.read_text().splitlines():
        if line.startswith("#") or not line:
            continue
        if line.startswith("  martlet "):
            entry[1] = line[10:]
        elif line.startswith("  dovecot "):
            known[entry[0]] = (reason, entry[1], line[10:])
        elif line.startswith("= "):
            reason = line[2:]
        else:
            message, item = line.split(" | ")
            entry = [(message, item), None]
    return known


def write_list(found, known):
    reasons = {}
    for key, values in found.items():
        reason = known.get(key, ("?",))[0]
        reasons.setdefault(reason, []).append((key, values))
    lines = ["# What Martlet and Debian's Dovecot tell differently of the same message, and why.",
             "# Read and checked by test_messages.py: a reason (=), then what it is the reason of.", ""]
    for reason, entries in sorted(reasons.items()):
        lines.append("= " + reason)
        for (message, item), (ours, theirs) in entries:
            lines += ["%s | %s" % (message, item), "  martlet " + ours, "  dovecot " + theirs]
        lines.append("")
    LIST.write_text("\n".join(lines))


class Messages(TestCase):
    def setUp(self):
        self.messages = {path.name: path.read_bytes() for path in sorted(CORPUS.glob("*.eml"))}

    def serve(self, messages):
        """A Maildir with the messages under UIDs from 1 on, and a client of Martlet on it."""
        host = self.server()
        names = []
        for number, content in enumerate(messages.values(), 1):
            name = "%d.M%dP1.test" % (1_700_000_000 + number, number)
            path = os.path.join(host.maildir.folder(), "cur", name + ":2,S")
            with open(path, "wb") as file:
                file.write(content)
            names.append("%d :%s\n" % (number, name))
        listing = os.path.join(host.maildir.folder(), "dovecot-uidlist")
        with open(listing, "w") as file:
            file.write("3 V1700000000 N%d Gf0e1d2c3b4a5968778695a4b3c2d1e0f\n" % (len(names) + 1))
            file.writelines(names)
        self.copy = martlet.scratch("dovecot")
        shutil.copytree(host.maildir.folder(), os.path.join(self.copy, "Maildir"))
        client = self.session(host)
        client.command("SELECT INBOX")
        return client

    @unittest.skipUnless(os.path.exists(DOVECOT), "dovecot-imapd cannot be installed here")
    def test_dovecot_tells_the_same(self):
        messages = dict(self.messages, **generated())
        ours = self.serve(messages)
        theirs = Dovecot(os.path.join(self.copy, "Maildir"), self.copy)
        self.addCleanup(theirs.end)
        theirs.command("SELECT INBOX")
        found = {}
        for uid, name in enumerate(messages, 1):
            # The structure of random noise is anybody's guess; what it is made of is not.
            has_structure = "seed" not in name
            is_huge = name.startswith("huge")
            mine, other = (look(each, uid, has_structure, is_huge) for each in (ours, theirs))
            if has_structure and not is_huge and mine["BODY"] == other["BODY"]:
                mine.update(look_into(ours, uid, mine["BODY"]))
                other.update(look_into(theirs, uid, mine["BODY"]))
            for item in list(mine) + [each for each in other if each not in mine]:
                pair = mine.get(item), other.get(item)
                if pair[0] != pair[1] and not is_by_rule(item, *pair):
                    found[name, item] = shown(pair[0]), shown(pair[1])
        known = read_list()
        if os.environ.get("MARTLET_DIFFERENCES") == "rewrite":
            return write_list(found, known)
        wrong = []
        for key in sorted(set(found) | set(known)):
            if key not in known or found.get(key) != known[key][1:]:
                wrong.append("%s | %s\n  now   %s\n  known %s" % (
                    key + (found.get(key), known.get(key))))
        self.assertEqual(wrong, [], "\n".join(wrong))
        self.assertNotIn("?", [reason for reason, _, _ in known.values()], "without a reason")

    def test_python_finds_the_same_parts(self):
        """The leaves of well-formed messages, decoded, are those of Python's email."""
        names = ["alternative.eml", "attachment.eml", "deep.eml",
                 "nested-rfc822.eml", "digest.eml", "plain-crlf.eml", "plain-lf.eml",
                 "mailing-list.eml", "empty-parts.eml", "utf-16-body.eml"]
        messages = {name: self.messages[name] for name in names}
        client = self.serve(messages)
        for uid, (name, content) in enumerate(messages.items(), 1):
            told, _ = fetch(client, uid, "BODY")
            mine = []
            for number, part in part_numbers(told["BODY"]):
                is_leaf = not isinstance(part[0], list) and [
                    each.lower() for each in part[:2]] != [b"message", b"rfc822"]
                if is_leaf:
                    binary, _ = fetch(client, uid, "BINARY.PEEK[%s]" % number)
                    mine.append(binary["BINARY[%s]" % number])
            theirs = []
            for part in email.message_from_bytes(content, policy=email.policy.compat32).walk():
                if not part.is_multipart():
                    text = part.get_payload(decode=True) or b""
                    encoded = str(part.get("Content-Transfer-Encoding", "")).lower() == "base64"
                    theirs.append(text if encoded else re.sub(rb"\r?\n", b"\r\n", text))
            self.assertEqual(mine, theirs, name)
