# SPDX-License-Identifier: ISC
"""The man pages: clean, and the same as the settings in the sources."""

import glob
import os
import re
import unittest

import martlet

MAN = os.path.join(martlet.ROOT, "man")


def settings_of_the_sources():
    """Name, type and default of each setting of the table in Sources/Configuration."""
    path = os.path.join(martlet.ROOT, "Sources", "Configuration", "Setting.swift")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    found = re.findall(r'Setting\(\s*"([a-z_]+)",\s*"([^"]*)",\s*default:\s*"([^"]*)"', text)
    return {name: (kind, default) for name, kind, default in found}


def settings_of_the_page():
    """Name and default of each `.It Ic` of the page, with the text of its entry."""
    with open(os.path.join(MAN, "martlet.conf.5"), encoding="utf-8") as file:
        text = file.read()
    entries = re.split(r"^\.It Ic ", text, flags=re.M)[1:]
    return {
        entry.split()[0]: re.split(r"^\.El", entry, flags=re.M)[0] for entry in entries
    }


class ManualPages(unittest.TestCase):
    def check(self, name):
        done = martlet.run(["mandoc", "-Tlint", "-Wstyle", os.path.join(MAN, name)], check=False)
        # What mandoc would like of the system's own conventions, not of the page.
        lines = [
            line for line in (done.stdout + done.stderr).splitlines()
            if not re.search(r"(referenced manual not found|outdated mandoc.db|RCS id missing)", line)
        ]
        self.assertEqual(lines, [])

    def test_martletd_8(self):
        self.check("martletd.8")

    def test_martlet_conf_5(self):
        self.check("martlet.conf.5")

    def test_every_page_is_checked(self):
        names = sorted(os.path.basename(path) for path in glob.glob(os.path.join(MAN, "*")))
        self.assertEqual(names, ["martlet.conf.5", "martletd.8"])

    def test_every_setting_is_in_the_page(self):
        settings = settings_of_the_sources()
        self.assertGreater(len(settings), 15, "the table could not be read")
        self.assertEqual(set(settings) - set(settings_of_the_page()), set())

    def test_every_keyword_of_the_page_is_a_setting(self):
        self.assertEqual(set(settings_of_the_page()) - set(settings_of_the_sources()), set())

    def test_keywords_stand_in_order(self):
        names = list(settings_of_the_page())
        self.assertEqual(names, sorted(names))

    def test_defaults_and_types_are_those_of_the_sources(self):
        wrong = []
        for name, (kind, default) in settings_of_the_sources().items():
            entry = settings_of_the_page().get(name, "")
            first = entry.splitlines()[0] if entry else ""
            expected = re.sub(r"\s*\|\s*", " | ", kind)
            shown = re.sub(r"\s*\|\s*", " | ", re.sub(r"\b(Ar|Cm|Ns|No)\s+", "", first))
            if expected not in shown:
                wrong.append("%s: the type is %r, the page has %r" % (name, kind, shown))
            if default:
                stated = re.search(r"^The default is\n\.(?:Pa|Cm|Ic|Ql|Ar|Li|Sy) (\S+)", entry,
                                   flags=re.M)
                if not stated or stated.group(1).replace("\\&", "") != default:
                    wrong.append("%s: the default is %r, the page has %r"
                                 % (name, default, stated and stated.group(1)))
        self.assertEqual(wrong, [])


class Standards(unittest.TestCase):
    """STANDARDS of martletd(8) beside what the server says of itself."""

    def page(self):
        with open(os.path.join(MAN, "martletd.8"), encoding="utf-8") as file:
            text = file.read()
        section = re.split(r"^\.Sh ", text.split(".Sh STANDARDS\n")[1], flags=re.M)[0]
        self.assertGreater(section.count(".It RFC"), 40, "the section could not be read")
        return section

    def capabilities(self):
        server = martlet.Server()
        self.addCleanup(server.stop)
        words = set()
        for tls in (False, True):
            connection = server.connect(tls=tls)
            self.addCleanup(connection.close)
            for logged_in in (False, True):
                if logged_in:
                    connection.authenticate(server.user, server.password)
                for line in connection.ok("CAPABILITY").untagged:
                    if line.startswith(b"* CAPABILITY "):
                        words.update(line.decode().split()[2:])
        self.assertIn("IMAP4rev2", words)
        return words

    def test_every_capability_has_its_standard(self):
        told = set(re.findall(r"[A-Za-z0-9;+=-]+", self.page()))
        missing = [word for word in self.capabilities()
                   if word not in told and word.split("=")[0] != "APPENDLIMIT"]
        self.assertEqual(missing, [])

    def test_every_capability_of_the_page_is_offered_or_refused_there(self):
        # Words of other kinds: commands and what they take, and what is said not to be there.
        others = {"SETQUOTA", "URL", "RFC", "LAZY", "NIL", "CONTEXT=SORT", "APPENDLIMIT",
                  "LOGINDISABLED"}
        offered = self.capabilities()
        wrong = []
        for entry in re.split(r"^\.It RFC .*$", self.page().split(".El")[0], flags=re.M)[1:]:
            for word in re.findall(r"(?<![\w=;-])[A-Z][\w=+-]+", entry):
                is_name = word.isupper() or "=" in word or word.startswith("IMAP4rev")
                if is_name and word not in others:
                    if (word in offered) == ("%s: refused" % word in entry):
                        wrong.append(word)
        self.assertEqual(wrong, [])
