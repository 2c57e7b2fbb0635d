# SPDX-License-Identifier: ISC
"""Every response that a transcript states is one of the grammar (`imap_grammar`)."""

import pathlib
import re
import unittest

import imap_grammar

ESCAPE = re.compile(rb"\\x([0-9A-Fa-f]{2})")
TRANSCRIPTS = pathlib.Path(__file__).resolve().parent.parent / "Transcripts"


def responses(text):
    """The responses that a transcript expects: line number and octets."""
    pieces, start, block = None, 0, None
    for number, line in enumerate(text.split(b"\n") + [b""], 1):
        if block is not None:
            if line[:1] == b"|":
                block.append(line[2:])
                continue
            content = b"\r\n".join(block + [b""])
            content = re.sub(rb"\\\r\n$", b"", content)
            content = ESCAPE.sub(lambda found: bytes([int(found.group(1), 16)]), content)
            pieces[-1] = pieces[-1].replace(b"{}", b"{%d}" % len(content)) + b"\r\n" + content
            block = None
        found = re.match(rb"(?:unordered )?([A-Z])([12]?)<(\.\.\.)? ?(.*)$", line)
        if found and found.group(3):
            pieces.append(found.group(4))
        else:
            if pieces:
                yield start, b"".join(pieces) + b"\r\n"
            pieces = [found.group(4)] if found else None
            start = number
        if found and re.search(rb"\{\d*\}$", line):
            block = []


def filled(response):
    """With something where a transcript leaves open what is there; None where too much is open."""
    response = ESCAPE.sub(lambda found: bytes([int(found.group(1), 16)]), response)
    response = re.sub(rb"(?<![\"\w])<[a-z][a-z0-9-]*>", b"7", response)
    if not response.endswith(b"*\r\n"):
        return response
    if re.match(rb"(?:\S+ (?:OK|NO|BAD|BYE)|\+) (?:\[.*\] )?[^\[]*$", response, re.DOTALL):
        return response[:-3] + b"text\r\n"
    return None


class Grammar(unittest.TestCase):
    def test_transcripts(self):
        wrong, count = [], 0
        for path in sorted(TRANSCRIPTS.rglob("*.imap")):
            for number, response in responses(path.read_bytes()):
                response = filled(response)
                if response is None:
                    continue
                count += 1
                try:
                    imap_grammar.check(response)
                except imap_grammar.Wrong as error:
                    wrong.append("%s:%d: %s" % (path.relative_to(TRANSCRIPTS), number, error))
        self.assertGreater(count, 4000)
        self.assertEqual(wrong, [])

    def test_what_is_wrong_is_found(self):
        for response in WRONG:
            with self.assertRaises(imap_grammar.Wrong, msg=response):
                imap_grammar.check(response + b"\r\n")


# One mistake each.
WRONG = [
    b"a1 OK",
    b"a1 OK ",
    b"a1 OK [READ-WRITE]",
    b"a1 OK [MADE-UP] text",
    b"a1 OK [UIDNEXT 0] text",
    b"a1 OK [COPYUID 1 2:3 4] text",
    b"a1 NO [BADCHARSET ()] text",
    b"a+1 OK text",
    b"* OK caf\xc3\xa9",
    b"* CAPABILITY IDLE",
    b"* CAPABILITY IMAP4rev1 IDLE idle",
    b"* FLAGS (\\Seen \\*)",
    b"* FLAGS (\\Foo)",
    b"* LIST (\\HasNoChildren) \".\" a b",
    b"* LIST () \"..\" INBOX",
    b"* LIST () \".\" \"a\"b\"",
    b"* LIST () \".\" {4}\r\nabc",
    b"* LIST () \".\" \"\xff\"",
    b"* STATUS INBOX (MESSAGES)",
    b"* STATUS INBOX (UIDNEXT 0)",
    b"* SEARCH 0",
    b"* SEARCH 1:2",
    b"* SEARCH 1 ",
    b"* ESEARCH (TAG \"a\") UID ALL",
    b"* ESEARCH (TAG \"a\") COUNT 1 COUNT 1",
    b"* ESEARCH (TAG \"a\") ALL 1:*",
    b"* THREAD (1)(2 (3))",
    b"* THREAD ()",
    b"* VANISHED 1:*",
    b"* VANISHED EARLIER 1",
    b"* 0 EXPUNGE",
    b"* 01 EXISTS",
    b"* 4294967296 EXISTS",
    b"* 1 FETCH ()",
    b"* 1 FETCH (UID 0)",
    b"* 1 FETCH (UID 1  FLAGS ())",
    b"* 1 FETCH (UID 1 UID 1)",
    b"* 1 FETCH (INTERNALDATE \"1-Jan-2020 00:00:00 +0000\")",
    b"* 1 FETCH (BODY[TEXT.1] NIL)",
    b"* 1 FETCH (BODY[MIME] NIL)",
    b"* 1 FETCH (BODY[]<0.5> NIL)",
    b"* 1 FETCH (BODY[] {3}\r\na\0b)",
    b"* 1 FETCH (ENVELOPE (NIL NIL () NIL NIL NIL NIL NIL NIL NIL))",
    b"* 1 FETCH (ENVELOPE (NIL NIL NIL NIL NIL NIL NIL NIL NIL))",
    b"* 1 FETCH (BODY (\"text\" \"plain\" NIL NIL NIL \"7bit\" 3))",
    b"* 1 FETCH (BODY (\"text\" \"plain\" (\"charset\") NIL NIL \"7bit\" 3 1))",
    b"* 1 FETCH (BODY (\"text\" \"plain\" NIL NIL NIL \"7bit\" 3 1 NIL))",
    b"* 1 FETCH (BODY ((\"text\" \"plain\" NIL NIL NIL \"7bit\" 3 1)))",
    b"* METADATA INBOX (/shared/comment)",
    b"* ACL INBOX anyone",
    b"* MYRIGHTS INBOX LR",
    b"* ID (\"name\")",
    b"* NAMESPACE NIL NIL",
]


if __name__ == "__main__":
    unittest.main()
