# SPDX-License-Identifier: ISC
"""The responses of an IMAP server, read strictly by the ABNF of RFC 9051 §9 and of the extensions.

`check(response)` throws `Wrong` with the place where a whole response, literals included, leaves the
grammar. It is written from the RFCs alone and shares nothing with the server's writers.
"""

import re

CODES_BARE = set(
    "ALERT ALREADYEXISTS AUTHENTICATIONFAILED AUTHORIZATIONFAILED CANNOT CLIENTBUG CLOSED"
    " CONTACTADMIN CORRUPTION EXPIRED EXPUNGEISSUED HASCHILDREN INUSE LIMIT NONEXISTENT NOPERM"
    " OVERQUOTA PARSE PRIVACYREQUIRED READ-ONLY READ-WRITE SERVERBUG TRYCREATE UIDNOTSTICKY"
    " UNAVAILABLE UNKNOWN-CTE"  # RFC 9051
    " NOMODSEQ TOOBIG UIDREQUIRED USEATTR NOTSAVED COMPRESSIONACTIVE NOTIFICATIONOVERFLOW".split()
)
SYSTEM_FLAGS = {b"answered", b"flagged", b"deleted", b"seen", b"draft", b"recent"}
CODES_NUMBER = {"UIDNEXT", "UIDVALIDITY", "UNSEEN", "HIGHESTMODSEQ", "APPENDLIMIT"}
NUMBER_MAX, MODSEQ_MAX = 2**32 - 1, 2**63 - 1
ATOM = rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+"  # ATOM-CHAR
ASTRING = rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+"  # and resp-specials
NZ = rb"[1-9][0-9]*"
SET = rb"(?:%s)(?::%s)?(?:,%s(?::%s)?)*" % (NZ, NZ, NZ, NZ)
SECTION_NUMBERS = rb"%s(?:\.%s)*" % (NZ, NZ)
BASE64 = rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
DATE_TIME = (
    rb'"(?: [1-9]|[12][0-9]|3[01])-(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-[0-9]{4}'
    rb' [0-2][0-9]:[0-5][0-9]:[0-6][0-9] [+-][0-9]{4}"'
)


class Wrong(Exception):
    pass


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def wrong(self, what):
        around = self.data[max(0, self.at - 50):self.at], self.data[self.at:self.at + 50]
        raise Wrong("%s expected: %r <here> %r" % ((what,) + around))

    def match(self, pattern, flags=re.IGNORECASE):
        found = re.compile(pattern, flags | re.DOTALL).match(self.data, self.at)
        if found:
            self.at = found.end()
        return found and found.group()

    def need(self, pattern, what=None):
        found = self.match(pattern)
        if found is None:
            self.wrong(what or repr(pattern))
        return found

    def has(self, text):
        return self.match(re.escape(text)) is not None

    def want(self, text):
        if not self.has(text):
            self.wrong(repr(text))

    def sp(self):
        self.want(b" ")

    def is_next(self, text):
        return self.data[self.at:self.at + len(text)].upper() == text

    # Numbers

    def number(self, low=0, high=NUMBER_MAX):
        value = int(self.need(rb"0|[1-9][0-9]*", "number"))
        if not low <= value <= high:
            self.wrong("number from %d to %d" % (low, high))
        return value

    def modseq(self):
        return self.number(0, MODSEQ_MAX)

    def set(self):
        text = self.need(SET, "set of numbers")
        for each in re.split(rb"[:,]", text):
            if int(each) > NUMBER_MAX:
                self.wrong("nz-number")
        return text

    # Strings

    def quoted(self):
        # Octets above 127 are QUOTED-CHAR of RFC 9051 only as UTF-8.
        text = self.need(rb'"(?:[^"\\\r\n\x00]|\\["\\])*"', "quoted")
        self.utf8(text)
        return text

    def utf8(self, text):
        try:
            text.decode("utf-8")
        except UnicodeDecodeError:
            self.wrong("UTF-8")

    def literal(self, is_binary=False):
        size = int(self.need(rb"(?:~(?=\{))?\{(?:0|[1-9][0-9]*)\}\r\n", "literal").strip(b"~{}\r\n"))
        text = self.data[self.at:self.at + size]
        if len(text) != size:
            self.wrong("%d octets" % size)
        self.at += size
        return text

    def string(self):
        if self.is_next(b'"'):
            return self.quoted()
        if self.is_next(b"~"):
            self.wrong("string")
        text = self.literal()
        if b"\0" in text:
            self.wrong("CHAR8 in a literal")
        return text

    def nstring(self):
        return None if self.has(b"NIL") else self.string()

    def nstring8(self):
        if self.is_next(b"~{"):
            return self.literal()
        return self.nstring()

    def astring(self):
        return self.match(ASTRING) or self.string()

    def atom(self):
        return self.need(ATOM, "atom")

    mailbox = astring

    def list(self, item, low=0):
        """`(item SP item)`."""
        self.want(b"(")
        count = 0
        while not self.has(b")"):
            if count:
                self.sp()
            item()
            count += 1
        if count < low:
            self.wrong("at least %d" % low)

    def flag(self, also=()):
        if self.has(b"\\"):
            if b"*" in also and self.has(b"*"):
                return
            if self.atom().lower() not in SYSTEM_FLAGS:
                self.wrong("system flag that an RFC has")
        else:
            self.atom()

    def flags(self):
        self.list(lambda: self.flag((b"*",)))

    # Response text

    def text(self):
        # Servers of RFC 9051 may say more only after LANGUAGE; ours speaks English.
        self.need(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]+(?=\r\n)", "text")

    def resp_text(self):
        if self.has(b"["):
            self.code()
            self.want(b"]")
            self.sp()
        self.text()

    def code(self):
        name = self.atom_of_code()
        if name in CODES_BARE:
            return
        if name in CODES_NUMBER:
            self.sp()
            if name in ("UNSEEN", "UIDVALIDITY", "UIDNEXT"):
                self.number(1)
            else:
                self.number(1, MODSEQ_MAX)
        elif name in ("BADCHARSET", "BADEVENT"):
            if self.has(b" "):
                self.list(self.astring if name == "BADCHARSET" else self.atom, 1)
        elif name == "CAPABILITY":
            self.capabilities()
        elif name == "PERMANENTFLAGS":
            self.sp()
            self.list(lambda: self.flag((b"*",)))
        elif name == "APPENDUID":
            self.sp(), self.number(1), self.sp(), self.set()
        elif name == "COPYUID":
            self.sp(), self.number(1), self.sp()
            source = self.set()
            self.sp()
            if size(source) != size(self.set()):
                self.wrong("as many UIDs as in the first set")
        elif name == "MODIFIED":
            self.sp(), self.set()
        elif name == "NOUPDATE":
            self.sp(), self.string()
        elif name == "BADURL":
            self.sp(), self.need(rb"[^\]\r\n]+")
        elif name == "MAILBOXID":
            self.sp(), self.object_id_list()
        elif name == "METADATA":
            self.sp()
            if self.has(b"LONGENTRIES ") or self.has(b"MAXSIZE "):
                self.number()
            elif not (self.has(b"TOOMANY") or self.has(b"NOPRIVATE")):
                self.wrong("code of METADATA")
        elif name == "INPROGRESS":
            if self.has(b" ("):
                if not self.has(b"NIL"):
                    self.quoted()
                for _ in range(2):
                    self.sp()
                    if not self.has(b"NIL"):
                        self.number()
                self.want(b")")
        else:
            self.wrong("response code that an RFC has")

    def atom_of_code(self):
        return self.need(rb"[A-Z][A-Z0-9-]*", "response code").decode().upper()

    def object_id_list(self):
        self.want(b"("), self.need(rb"[A-Za-z0-9_-]{1,255}", "objectid"), self.want(b")")

    def capabilities(self):
        names = []
        while self.has(b" "):
            names.append(self.atom().upper())
        if not {b"IMAP4REV1", b"IMAP4REV2"} & set(names):
            self.wrong("IMAP4rev1 or IMAP4rev2")
        if len(names) != len(set(names)):
            self.wrong("each capability once")

    # FETCH

    def fetch(self):
        seen = []

        def item():
            name = self.need(rb"[A-Z][A-Z0-9.]*", "name of a FETCH item").upper().decode()
            start = self.at
            if name == "BODY" and self.is_next(b"["):
                self.section()
                if self.has(b"<"):
                    self.number(), self.want(b">")
                key = name + self.data[start:self.at].decode("latin1")
                self.sp(), self.nstring()
            elif name == "BINARY":
                self.binary_section()
                if self.has(b"<"):
                    self.number(), self.want(b">")
                key = name + self.data[start:self.at].decode("latin1")
                self.sp(), self.nstring8()
            elif name == "BINARY.SIZE":
                self.binary_section()
                key = name + self.data[start:self.at].decode("latin1")
                self.sp(), self.number()
            else:
                key = name
                self.sp()
                if name == "FLAGS":
                    self.list(self.flag)
                elif name == "UID":
                    self.number(1)
                elif name == "INTERNALDATE":
                    self.need(DATE_TIME, "date-time")
                elif name == "SAVEDATE":
                    if not self.has(b"NIL"):
                        self.need(DATE_TIME, "date-time")
                elif name == "RFC822.SIZE":
                    self.number(0, MODSEQ_MAX)
                elif name in ("RFC822", "RFC822.HEADER", "RFC822.TEXT"):
                    self.nstring()
                elif name == "ENVELOPE":
                    self.envelope()
                elif name == "BODY":
                    self.body(False)
                elif name == "BODYSTRUCTURE":
                    self.body(True)
                elif name == "MODSEQ":
                    self.want(b"("), self.number(1, MODSEQ_MAX), self.want(b")")
                elif name == "EMAILID":
                    self.object_id_list()
                elif name == "THREADID":
                    if not self.has(b"NIL"):
                        self.object_id_list()
                elif name == "PREVIEW":
                    self.nstring()
                else:
                    self.wrong("FETCH item that an RFC has")
            if key in seen:
                self.wrong("each item once, not %s again," % key)
            seen.append(key)

        self.list(item, 1)

    def section(self):
        self.want(b"[")
        numbers = self.match(SECTION_NUMBERS)
        if (numbers is None and not self.is_next(b"]")) or (numbers and self.has(b".")):
            if self.has(b"HEADER.FIELDS.NOT ") or self.has(b"HEADER.FIELDS "):
                self.list(self.astring, 1)
            elif not (self.has(b"HEADER") or self.has(b"TEXT") or (numbers and self.has(b"MIME"))):
                self.wrong("section-text")
        self.want(b"]")

    def binary_section(self):
        self.want(b"["), self.match(SECTION_NUMBERS), self.want(b"]")

    def envelope(self):
        self.want(b"(")
        self.nstring(), self.sp(), self.nstring()
        for _ in range(6):
            self.sp(), self.addresses()
        self.sp(), self.nstring(), self.sp(), self.nstring(), self.want(b")")

    def addresses(self):
        if self.has(b"NIL"):
            return
        self.want(b"(")
        while True:
            self.want(b"("), self.nstring()
            for _ in range(3):
                self.sp(), self.nstring()
            self.want(b")")
            if self.has(b")"):
                return

    def body(self, is_extensible):
        self.want(b"(")
        if self.is_next(b"("):
            while self.is_next(b"("):
                self.body(is_extensible)
            self.sp(), self.string()
            if is_extensible and self.has(b" "):
                self.parameters()
                self.extension()
        else:
            kind = self.string().strip(b'"').lower()
            self.sp()
            subtype = self.string().strip(b'"').lower()
            self.sp(), self.parameters()
            self.sp(), self.nstring(), self.sp(), self.nstring(), self.sp(), self.string()
            self.sp(), self.number()
            if kind == b"text":
                self.sp(), self.number(0, MODSEQ_MAX)
            elif kind == b"message" and subtype in (b"rfc822", b"global"):
                self.sp(), self.envelope(), self.sp(), self.body(is_extensible)
                self.sp(), self.number(0, MODSEQ_MAX)
            if is_extensible and self.has(b" "):
                self.nstring()  # MD5
                self.extension()
        self.want(b")")

    def extension(self):
        """Disposition, language, location, after what comes before them."""
        if not self.has(b" "):
            return
        if not self.has(b"NIL"):
            self.want(b"("), self.string(), self.sp(), self.parameters(), self.want(b")")
        if not self.has(b" "):
            return
        if self.is_next(b"("):
            self.list(self.string, 1)
        else:
            self.nstring()
        if self.has(b" "):
            self.nstring()

    def parameters(self):
        if self.has(b"NIL"):
            return
        count = 0

        def one():
            nonlocal count
            self.string()
            count += 1

        self.list(one, 2)
        if count % 2:
            self.wrong("a value")

    # The other untagged responses

    def mailbox_list(self):
        self.sp()
        self.list(lambda: (self.want(b"\\"), self.atom()))
        self.sp()
        if not self.has(b"NIL"):
            self.need(rb'"(?:[^"\\\r\n]|\\["\\])"', "QUOTED-CHAR")
        self.sp(), self.mailbox()
        if self.has(b" "):
            self.list(self.extended_item, 1)

    def extended_item(self):
        tag = self.astring().strip(b'"').upper()
        self.sp()
        if tag == b"CHILDINFO":
            self.list(self.quoted, 1)
        elif tag == b"OLDNAME":
            self.want(b"("), self.mailbox(), self.want(b")")
        else:
            self.wrong("extended item that an RFC has")

    def status(self):
        self.sp(), self.mailbox(), self.sp()

        def item():
            name = self.atom().upper().decode()
            self.sp()
            if name in ("MESSAGES", "RECENT", "UNSEEN", "DELETED"):
                self.number()
            elif name in ("UIDNEXT", "UIDVALIDITY"):
                self.number(1)
            elif name in ("SIZE", "HIGHESTMODSEQ", "DELETED-STORAGE"):
                self.modseq()
            elif name == "APPENDLIMIT":
                if not self.has(b"NIL"):
                    self.number()
            elif name == "MAILBOXID":
                self.object_id_list()
            else:
                self.wrong("STATUS item that an RFC has")

        self.list(item)

    def search(self):
        while self.has(b" "):
            if self.has(b"(MODSEQ "):
                self.number(1, MODSEQ_MAX), self.want(b")")
                return
            self.number(1)

    def sort(self):
        self.search()

    def esearch(self):
        mailbox = False
        if self.has(b" ("):
            names = set()
            while True:
                name = self.need(rb"TAG|MAILBOX|UIDVALIDITY").upper()
                if name in names:
                    self.wrong("each correlator once")
                names.add(name)
                self.sp()
                if name == b"TAG":
                    self.string()
                elif name == b"MAILBOX":
                    self.mailbox()
                else:
                    self.number(1)
                if self.has(b")"):
                    break
                self.sp()
            mailbox = b"MAILBOX" in names
        is_uid = self.has(b" UID")
        if mailbox and not is_uid:
            self.wrong("UID")
        seen = set()
        while self.has(b" "):
            name = self.need(rb"[A-Z]+", "name of a result").upper()
            # RFC 5267 has ADDTO and REMOVEFROM as often as need be.
            if name in seen and name not in (b"ADDTO", b"REMOVEFROM"):
                self.wrong("each result once")
            seen.add(name)
            self.sp()
            if name in (b"MIN", b"MAX"):
                self.number(1)
            elif name == b"COUNT":
                self.number()
            elif name == b"ALL":
                self.set()
            elif name == b"MODSEQ":
                self.number(1, MODSEQ_MAX)
            elif name == b"PARTIAL":
                self.want(b"("), self.need(rb"-?%s:-?%s" % (NZ, NZ)), self.sp()
                if not self.has(b"NIL"):
                    self.set()
                self.want(b")")
            elif name in (b"ADDTO", b"REMOVEFROM"):
                def change():
                    self.number(), self.sp(), self.set()
                self.list(change, 1)
            else:
                self.wrong("result that an RFC has")

    def thread(self):
        if self.has(b" "):
            self.thread_list()
            while self.is_next(b"("):
                self.thread_list()

    def thread_list(self):
        self.want(b"(")
        if not self.is_next(b"("):
            self.number(1)
            while self.has(b" "):
                if self.is_next(b"("):
                    break
                self.number(1)
        if self.is_next(b"("):
            count = 0
            while self.is_next(b"("):
                self.thread_list()
                count += 1
            if count < 2:
                self.wrong("thread-nested: two lists or more")
        self.want(b")")

    def vanished(self):
        self.has(b" (EARLIER)")
        self.sp(), self.set()

    def enabled(self):
        while self.has(b" "):
            self.atom()

    def namespace(self):
        for _ in range(3):
            self.sp()
            if self.has(b"NIL"):
                continue
            self.want(b"(")
            while not self.has(b")"):
                self.want(b"("), self.string(), self.sp()
                if not self.has(b"NIL"):
                    self.need(rb'"(?:[^"\\\r\n]|\\["\\])"', "QUOTED-CHAR")
                while self.has(b" "):
                    self.string(), self.sp(), self.list(self.string, 1)
                self.want(b")")

    def id(self):
        self.sp()
        if self.has(b"NIL"):
            return
        count = 0

        def one():
            nonlocal count
            if count % 2:
                self.nstring()
            else:
                self.string()
            count += 1

        self.list(one)
        if count % 2 or count > 60:
            self.wrong("up to 30 pairs")

    def quota(self):
        self.sp(), self.astring(), self.sp()

        def resource():
            self.atom(), self.sp(), self.modseq(), self.sp(), self.modseq()

        self.list(resource)

    def quotaroot(self):
        self.sp(), self.mailbox()
        while self.has(b" "):
            self.astring()

    def acl(self):
        self.sp(), self.mailbox()
        while self.has(b" "):
            self.astring(), self.sp(), self.rights()

    def rights(self):
        if re.search(rb"[^a-z0-9]", self.astring().strip(b'"')):
            self.wrong("rights in lower case")

    def listrights(self):
        self.sp(), self.mailbox(), self.sp(), self.astring(), self.sp(), self.rights()
        while self.has(b" "):
            self.rights()

    def myrights(self):
        self.sp(), self.mailbox(), self.sp(), self.rights()

    def metadata(self):
        self.sp(), self.mailbox(), self.sp()
        if self.has(b"("):
            while True:
                self.entry(), self.sp(), self.nstring8()
                if self.has(b")"):
                    return
                self.sp()
        self.entry()
        while self.has(b" "):
            self.entry()

    def entry(self):
        name = self.astring().strip(b'"')
        if not name.startswith(b"/") or name.endswith(b"/") or re.search(rb"//|[*%]", name):
            self.wrong("entry")

    def language(self):
        self.sp(), self.list(self.astring, 1)

    def recognised(self):
        if self.match(rb"(?:OK|NO|BAD|BYE|PREAUTH) "):
            return self.resp_text()
        if self.data[2:3].isdigit():
            value = self.number()
            self.sp()
            name = self.need(rb"EXISTS|RECENT|EXPUNGE|FETCH|UIDFETCH").upper()
            if name in (b"EXPUNGE", b"FETCH", b"UIDFETCH") and value == 0:
                self.wrong("nz-number")
            if name.endswith(b"FETCH"):
                self.sp(), self.fetch()
            return None
        name = self.need(rb"[A-Z]+", "response").decode().upper()
        if name == "CAPABILITY":
            return self.capabilities()
        if name == "FLAGS":
            self.sp()
            return self.list(self.flag)
        if name in ("LIST", "LSUB"):
            return self.mailbox_list()
        known = ("SEARCH SORT ESEARCH STATUS THREAD VANISHED ENABLED NAMESPACE ID QUOTA QUOTAROOT ACL"
                 " LISTRIGHTS MYRIGHTS METADATA LANGUAGE")
        if name not in known.split():
            self.wrong("response that an RFC has")
        return getattr(self, name.lower())()


def size(numbers):
    total = 0
    for each in numbers.split(b","):
        ends = [int(end) for end in each.split(b":")]
        total += abs(ends[-1] - ends[0]) + 1
    return total


def check(response):
    """Throws where the response, with the CRLF at its end, is none of the grammar."""
    reader = Reader(response)
    if reader.has(b"* "):
        reader.recognised()
    elif reader.has(b"+ "):
        if reader.match(BASE64 + rb"(?=\r\n)") is None:
            reader.resp_text()
    else:
        reader.need(rb"[!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+", "tag")
        reader.sp()
        reader.need(rb"(?:OK|NO|BAD) ")
        reader.resp_text()
    reader.want(b"\r\n")
    if reader.at != len(response):
        reader.wrong("the end")
