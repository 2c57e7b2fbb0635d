# SPDX-License-Identifier: ISC
"""What the sources may not contain, and what the executables may not link."""

import glob
import os
import re
import unittest

import martlet

SOURCES = os.path.join(martlet.ROOT, "Sources")


def swift_files():
    found = glob.glob(os.path.join(SOURCES, "**", "*.swift"), recursive=True)
    assert len(found) > 50, "the sources are not where they were"
    return found


def code_lines(path):
    """The lines of a file without comments, each with its number."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            yield number, re.sub(r"//.*", "", line)


class Sources(unittest.TestCase):
    def find(self, pattern, files=None):
        return [
            "%s:%d: %s" % (os.path.relpath(path, martlet.ROOT), number, line.strip())
            for path in files or swift_files()
            for number, line in code_lines(path)
            if re.search(pattern, line)
        ]

    def test_no_foundation_and_no_dispatch(self):
        imports = r"\bimport\s+(?:\w+\s+)?(Foundation\w*|Dispatch|ArgumentParser|NIO\w*)\b"
        tool = os.path.join(SOURCES, "martletctl") + os.sep
        files = [path for path in swift_files() if not path.startswith(tool)]
        self.assertEqual(self.find(imports, files), [])

    def test_nothing_starts_the_global_pool_of_threads(self):
        calls = r"\bTask\s*(<[^>]*>)?\s*\.\s*(detached|sleep|yield)\b|\bContinuousClock\b.*sleep"
        self.assertEqual(self.find(calls), [])

    def test_no_unsafe_flags_and_no_stray_targets(self):
        with open(os.path.join(martlet.ROOT, "Package.swift"), encoding="utf-8") as file:
            manifest = file.read()
        self.assertNotIn("unsafeFlags", manifest)
        self.assertNotIn("Ounchecked", manifest)

    def test_a_target_imports_only_what_stands_below_it(self):
        # design: lower first; a target may import those of lower rank.
        rank = {
            "Bytes": 0, "CLinux": 0, "COpenSSL": 0, "CPAM": 0, "CZlib": 0, "CLMDB": 0, "Posix": 1,
            "Configuration": 2, "Privsep": 2, "IMAPWire": 3, "InternetMessage": 3, "Maildir": 3,
            "MessageIndex": 4, "MailStore": 5, "IMAPSession": 6, "IMAPLogin": 6, "TLS": 6, "PAM": 6,
            "Administration": 6,
        }
        no_io = {"Bytes", "IMAPWire", "InternetMessage"}
        wrong = []
        for path in swift_files():
            target = os.path.relpath(path, SOURCES).split(os.sep)[0]
            own = rank.get(target, 9)
            for number, line in code_lines(path):
                found = re.match(r"\s*(?:@\w+\s+)*(?:\w+\s+)?import\s+(?:\w+\s+)?(\w+)", line)
                if not found or found.group(1) not in rank:
                    continue
                other = found.group(1)
                if rank[other] >= own or (target in no_io and other == "Posix"):
                    wrong.append("%s:%d: %s imports %s" % (path, number, target, other))
        self.assertEqual(wrong, [])


class Linkage(unittest.TestCase):
    """Who may link what: the table of the processes in the design."""

    # libstdc++, libgcc_s and libm come with a static Swift runtime.
    LIBC = {"linux-vdso", "ld-linux-x86-64", "ld-linux-aarch64", "libc", "libm", "libgcc_s",
            "libstdc++", "libpthread", "libdl", "librt"}
    ALLOWED = {
        "martletd": set(),
        "martlet-login": set(),
        "martlet-tls": {"libssl", "libcrypto"},
        # libpam brings the other two.
        "martlet-auth": {"libpam", "libaudit", "libcap-ng"},
        "martlet-user": {"libz", "liblmdb"},
    }
    NEEDED = {"martlet-tls": {"libssl"}, "martlet-auth": {"libpam"}, "martlet-user": {"libz", "liblmdb"}}

    def check(self, name):
        listing = martlet.run(["ldd", os.path.join(martlet.RELEASE, name)]).stdout
        linked = {
            re.sub(r"\.so.*", "", os.path.basename(line.split()[0]))
            for line in listing.splitlines() if line.strip()
        }
        self.assertEqual(linked - self.LIBC - self.ALLOWED[name], set())
        self.assertLessEqual(self.NEEDED.get(name, set()), linked)
        # Sources/CLinux/dispatch.c stands in its place.
        with open(os.path.join(martlet.RELEASE, name), "rb") as executable:
            self.assertNotIn(b"_dispatch_root_queues", executable.read(), "libdispatch is linked")

    def test_martletd(self):
        self.check("martletd")

    def test_martlet_tls(self):
        self.check("martlet-tls")

    def test_martlet_login(self):
        self.check("martlet-login")

    def test_martlet_auth(self):
        self.check("martlet-auth")

    def test_martlet_user(self):
        self.check("martlet-user")


class TopLevel(unittest.TestCase):
    def test_nothing_else_at_the_top(self):
        names = martlet.run(["git", "-C", martlet.ROOT, "-c", "safe.directory=*", "ls-files"])
        top = {name.split("/")[0] for name in names.stdout.splitlines()}
        self.assertEqual(
            {name for name in top if not name.startswith(".")}
            - {"Package.swift", "Package.resolved", "Sources", "Tests", "packaging", "man",
               "README.md", "LICENSE"},
            set(),
        )
