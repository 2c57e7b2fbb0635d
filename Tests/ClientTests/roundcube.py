#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Drives a real Roundcube in a real browser against a Martlet of its own: Tests/ClientTests/roundcube.py [-v]

Not part of packaging/test: it needs the Debian packages roundcube-core, roundcube-sqlite3, php-cli,
php-sqlite3, php-intl, php-mbstring, php-xml, chromium and chromium-driver (and a minute). It logs in,
lists, reads, sorts, threads, searches, flags, moves, deletes, drafts, and makes and renames mailboxes,
twice: with Roundcube's cache of messages, for which it asks with QRESYNC, and without. Prints each step; ends
with `N passed, N failed`.
"""

import argparse
import base64
import contextlib
import http.client
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "ProcessTests"))
import martlet  # noqa: E402

PUBLIC = "/var/lib/roundcube/public_html"
SCHEMA = "/usr/share/dbconfig-common/data/roundcube/install/sqlite3"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")

CONFIGURATION = """<?php
$config['db_dsnw'] = 'sqlite:///%(folder)s/db?mode=0600';
$config['imap_host'] = 'ssl://localhost:%(port)d';
$config['imap_conn_options'] = ['ssl' => ['verify_peer' => false, 'verify_peer_name' => false]];
$config['imap_debug'] = true;
$config['imap_cache'] = %(cache)s;
$config['messages_cache'] = %(cache)s;
$config['log_driver'] = 'file';
$config['log_dir'] = '%(folder)s/logs/';
$config['temp_dir'] = '%(folder)s/temp/';
$config['des_key'] = 'a key of 24 bytes, this!';
$config['mail_domain'] = 'example.org';
$config['smtp_host'] = 'localhost:9';
$config['language'] = 'en_US';
$config['mail_pagesize'] = 50;
$config['plugins'] = [];
$config['skin'] = 'elastic';
$config['enable_spellcheck'] = false;
$config['session_lifetime'] = 60;
$config['refresh_interval'] = 3600;
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end(process):
    if process.poll() is None:
        for pid in martlet.descendants(process.pid) + [process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 15)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


class Roundcube:
    """PHP's own web server, with a configuration and a database of this run."""

    def __init__(self, host, cached):
        self.folder = martlet.scratch("roundcube")
        for name in ("logs", "temp", "config"):
            os.mkdir(os.path.join(self.folder, name))
        with open(os.path.join(self.folder, "config", "config.inc.php"), "w") as file:
            file.write(CONFIGURATION % {
                "folder": self.folder, "port": host.imaps[1], "cache": "'db'" if cached else "null"})
        for name in ("defaults.inc.php", "mimetypes.php"):
            if os.path.exists("/etc/roundcube/" + name):
                os.symlink("/etc/roundcube/" + name, os.path.join(self.folder, "config", name))
        database = sqlite3.connect(os.path.join(self.folder, "db"))
        with open(SCHEMA) as file:
            database.executescript(file.read())
        database.close()
        self.port = free_port()
        self.output = open(os.path.join(self.folder, "output"), "wb")
        environment = dict(os.environ, RCUBE_CONFIG_PATH=os.path.join(self.folder, "config"),
                           ROUNDCUBE_CONFIG_DIR=os.path.join(self.folder, "config"),
                           PHP_CLI_SERVER_WORKERS="4", HOME=self.folder)
        self.process = subprocess.Popen(
            ["php", "-d", "session.save_path=" + self.folder, "-S", "127.0.0.1:%d" % self.port,
             "-t", PUBLIC], stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT,
            env=environment, cwd=PUBLIC, start_new_session=True)

    @property
    def url(self):
        return "http://127.0.0.1:%d/" % self.port

    def log(self, name="imap"):
        for each in (name + ".log", name):
            path = os.path.join(self.folder, "logs", each)
            if os.path.exists(path):
                with open(path, errors="replace") as file:
                    return file.read().splitlines()
        return []

    def stop(self):
        end(self.process)
        self.output.close()


class Browser:
    """Chromium, by the WebDriver protocol."""

    def __init__(self):
        self.folder = martlet.scratch("chromium")
        self.port = free_port()
        self.output = open(os.path.join(self.folder, "output"), "wb")
        self.process = subprocess.Popen(
            ["chromedriver", "--port=%d" % self.port], stdin=subprocess.DEVNULL,
            stdout=self.output, stderr=subprocess.STDOUT, start_new_session=True,
            env=dict(os.environ, HOME=self.folder))
        self.session = None
        try:
            martlet.wait_until(self.is_ready, "chromedriver", 60)
            options = {"binary": "/usr/bin/chromium", "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--window-size=1280,900", "--no-first-run", "--disable-background-networking",
                "--user-data-dir=" + os.path.join(self.folder, "profile")]}
            answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": options, "unhandledPromptBehavior": "accept"}}})
            self.session = "/session/" + answer["sessionId"]
            self.call("POST", self.session + "/timeouts", {"script": 60_000, "pageLoad": 60_000})
        except BaseException:
            self.stop()
            raise

    def is_ready(self):
        try:
            return self.call("GET", "/status")["ready"]
        except OSError:
            return False

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)
        try:
            connection.request(method, path, None if body is None else json.dumps(body),
                               {"Content-Type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value and "stacktrace" in value:
            raise AssertionError("%s: %s" % (value["error"], value["message"].splitlines()[0]))
        return value

    def open(self, url):
        self.call("POST", self.session + "/url", {"url": url})

    def run(self, script, *arguments):
        """JavaScript that may await; its value. `until` waits for what is true in the end."""
        text = """
            const done = arguments[arguments.length - 1];
            const until = async (what, seconds = 20) => {
                for (let i = 0; i < seconds * 20; i++) {
                    try { const value = await what(); if (value) return value; } catch (e) {}
                    await new Promise(r => setTimeout(r, 50));
                }
                throw new Error("not within " + seconds + " s: " + what);
            };
            const rows = () => Array.from(document.querySelectorAll("#messagelist tbody tr"))
                .filter(row => row.style.display != "none");
            const subjects = () => rows().map(
                row => row.querySelector("td.subject span.subject a span").textContent.trim());
            const uid = text => rcmail.message_list.rows[rows()[subjects().indexOf(text)].uid].uid;
            const quiet = () => until(() => !rcmail.busy && rcmail.message_list);
            (async () => { %s })().then(
                v => done({ value: v }), e => done({ failure: String(e) + e.stack }));
            """ % script
        answer = self.call("POST", self.session + "/execute/async",
                           {"script": text, "args": list(arguments)})
        if "failure" in answer:
            raise AssertionError(answer["failure"])
        return answer.get("value")

    def stop(self):
        if self.session:
            with contextlib.suppress(Exception):
                self.call("DELETE", self.session)
        end(self.process)
        self.output.close()


class Steps:
    def __init__(self, host, mail, names, web, browser):
        self.host, self.mail, self.names = host, mail, names
        self.web, self.browser = web, browser

    def expect(self, condition, what):
        if not condition:
            raise AssertionError(what)

    def expect_soon(self, condition, what, seconds=20):
        martlet.wait_until(condition, what, seconds)

    def flags(self, name, mailbox="INBOX"):
        path = self.mail.file(name, mailbox)
        return path.rsplit(":2,", 1)[1] if path and ":2," in path else ""

    def go(self, query):
        self.browser.open(self.web.url + "?" + query)

    def inbox(self):
        self.go("_task=mail&_mbox=INBOX&_page=1")
        return self.browser.run("await quiet(); await until(() => rows().length); return subjects();")

    def step_01_logs_in(self):
        self.browser.open(self.web.url)
        self.browser.run("""
            document.querySelector("#rcmloginuser").value = arguments[0];
            document.querySelector("#rcmloginpwd").value = arguments[1];
            document.querySelector("#rcmloginsubmit").click();""",
                         self.host.user, self.host.password)
        self.expect_soon(lambda: "_task=mail" in self.browser.call(
            "GET", self.browser.session + "/url"), "the login: %s" % self.web.log("errors")[-3:])

    def step_02_lists_mailboxes(self):
        names = self.browser.run("await quiet(); return Object.keys(rcmail.env.mailboxes);")
        for name in ("INBOX", "Drafts", "Sent", "Junk", "Trash", "Lists.Deep"):
            self.expect(name in names, names)
        shown = self.browser.run("""
            return Array.from(document.querySelectorAll("#mailboxlist a"), a => a.textContent);""")
        self.expect(any("Bücher" in each for each in shown), shown)

    def step_03_lists_the_inbox(self):
        found = self.inbox()
        self.expect(len(found) == 50 and "Größe und Maß" in found, found)
        self.expect(self.browser.run("return rcmail.env.messagecount;") == 125, "the count")

    def step_04_turns_the_page(self):
        found = self.browser.run("""
            const before = subjects().join();
            rcmail.command("nextpage");
            await until(() => rows().length && subjects().join() != before);
            rcmail.command("nextpage");
            await until(() => rows().length == 25);
            return subjects();""")
        self.expect(len(found) == 25, found)

    def step_05_reads_a_message(self):
        self.inbox()
        uid = self.browser.run('return uid("Message 1");')
        self.go("_task=mail&_mbox=INBOX&_uid=%s&_action=show" % uid)
        text = self.browser.run("""
            return (await until(() => document.querySelector("#messagebody"))).textContent;""")
        self.expect("The body of message 1" in text, text)
        self.expect_soon(lambda: "S" in self.flags(self.names["Message 1"]), "\\Seen")

    def step_06_shows_parts_and_gets_an_attachment(self):
        self.inbox()
        uid = self.browser.run('return uid("With parts");')
        self.go("_task=mail&_mbox=INBOX&_uid=%s&_action=show" % uid)
        found = self.browser.run("""
            const body = (await until(() => document.querySelector("#messagebody"))).textContent;
            const names = Array.from(document.querySelectorAll("#attachment-list .attachment-name"),
                a => a.textContent);
            const answer = await fetch(rcmail.url("get",
                { _mbox: "INBOX", _uid: arguments[0], _part: "2" }));
            const bytes = new Uint8Array(await answer.arrayBuffer());
            return [body, names, btoa(String.fromCharCode(...bytes)).slice(0, 300)];""", uid)
        self.expect("Grüße" in found[0], found)
        self.expect(any("dot.png" in name for name in found[1]), found)
        self.expect(base64.b64decode(found[2]) == PNG, found[2])

    def step_07_sorts(self):
        self.inbox()
        for column, order, wanted in (
                ("subject", "ASC", ["A thread", "Re: A thread", "Re: A thread", "From Carol"]),
                ("size", "DESC", ["The largest"]),
                ("from", "DESC", ["From Carol"]),
                ("arrival", "DESC", ["With parts", "The largest", "Größe und Maß"]),
                ("date", "DESC", ["With parts", "Re: A thread", "Re: A thread", "A thread"])):
            self.browser.run("""
                await quiet();
                const [column, order, wanted] = arguments;
                rcmail.set_list_options([], column, order, 0);
                await until(() => rows().length == 50
                    && wanted.every((subject, index) => subjects()[index] == subject));""",
                             column, order, wanted)
        self.expect(any(re.search(r"C: A\d+ UID SORT ", line) for line in self.web.log()), "no SORT")

    def step_08_threads(self):
        self.inbox()
        found = self.browser.run("""
            rcmail.set_list_options([], "date", "DESC", 1);
            await until(() => rcmail.env.threading && !rcmail.busy);
            await until(() => Object.values(rcmail.message_list.rows).some(row => row.depth == 2));
            return Object.values(rcmail.message_list.rows).filter(row => row.depth).length;""")
        self.expect(found == 2, found)
        self.expect(any(" THREAD REF" in line for line in self.web.log()), "no THREAD")
        self.browser.run("""
            rcmail.set_list_options([], "date", "DESC", 0);
            await until(() => !rcmail.env.threading && rows().length == 50);""")

    def step_09_searches(self):
        self.inbox()
        for fields, text, wanted in (("subject", "größe", ["Größe und Maß"]),
                                     ("text", "needle", ["The largest"]),
                                     ("from", "carol@", ["From Carol"])):
            found = self.browser.run("""
                document.querySelector("#mailsearchform").value = arguments[1];
                rcmail.env.search_mods = { "*": { [arguments[0]]: 1 } };
                rcmail.env.search_scope = "base";
                rcmail.qsearch(arguments[1]);
                await until(() => subjects().join() == arguments[2]);
                return subjects();""", fields, text, ",".join(wanted))
            self.expect(found == wanted, found)
            self.browser.run("""
                rcmail.command("reset-search");
                await until(() => rows().length == 50);""")

    def step_10_searches_all_mailboxes(self):
        self.mail.deliver(subject="Hidden deep", mailbox="Lists.Deep")
        found = self.browser.run("""
            rcmail.env.search_mods = { "*": { subject: 1 } };
            rcmail.env.search_scope = "all";
            rcmail.qsearch("Hidden deep");
            await until(() => subjects().length == 1);
            const found = subjects();
            rcmail.env.search_scope = "base";
            rcmail.command("reset-search");
            return found;""")
        self.expect(found and "Hidden deep" in found[0], found)

    def step_11_flags(self):
        self.inbox()
        self.browser.run("""
            rcmail.mark_message("flagged", uid("Message 2"));
            rcmail.mark_message("read", uid("Message 2"));""")
        self.expect_soon(lambda: set("FS") <= set(self.flags(self.names["Message 2"])), "flags")
        self.browser.run('rcmail.mark_message("unread", uid("Message 2"));')
        self.expect_soon(lambda: self.flags(self.names["Message 2"]) == "F", "unread again")

    def step_12_moves(self):
        self.inbox()
        self.browser.run("""
            const row = rows()[subjects().indexOf("Message 3")];
            rcmail.message_list.select(row.uid);
            rcmail.move_messages("Lists.Deep");
            await until(() => subjects().indexOf("Message 3") < 0);""")
        self.expect_soon(lambda: self.mail.file(self.names["Message 3"]) is None, "gone from INBOX")
        self.expect_soon(lambda: len(self.mail.files("Lists.Deep")) == 2, "in Lists.Deep")

    def step_13_deletes_into_the_trash(self):
        self.browser.run("""
            const row = rows()[subjects().indexOf("Message 4")];
            rcmail.message_list.select(row.uid);
            rcmail.delete_messages();
            await until(() => subjects().indexOf("Message 4") < 0);""")
        self.expect_soon(lambda: len(self.mail.files("Trash")) == 1, "in Trash")

    def step_14_empties_the_trash(self):
        self.go("_task=mail&_mbox=Trash")
        self.browser.run("""
            await quiet(); await until(() => rows().length == 1);
            rcmail.http_post("purge", { _mbox: "Trash", _reload: 1 });
            await until(() => rows().length == 0);""")
        self.expect_soon(lambda: not self.mail.files("Trash"), "Trash is empty")

    def step_15_new_mail_and_removed_mail(self):
        self.inbox()
        self.mail.deliver(subject="Just delivered", Date="Thu, 2 Jan 2031 10:00:00 +0000")
        self.browser.run("""
            rcmail.command("checkmail");
            await until(() => subjects().indexOf("Just delivered") >= 0);""")
        os.unlink(self.mail.file(self.names["Message 5"]))
        self.browser.run("""
            await quiet();
            rcmail.command("checkmail");
            await quiet();
            await until(() => subjects().indexOf("Message 5") < 0 || (rcmail.command("list"), false));""")

    def step_16_flags_of_others_show(self):
        self.inbox()
        self.mail.set_flags(self.names["Message 6"], "FS")
        self.browser.run("""
            rcmail.command("checkmail");
            await until(() => {
                const row = rcmail.message_list.rows[rows()[subjects().indexOf("Message 6")].uid];
                if (row.flagged && !row.unread) return true;
                rcmail.command("checkmail"); return false; });""")

    def step_17_saves_a_draft_twice(self):
        self.go("_task=mail&_action=compose")
        self.browser.run("""
            const subject = await until(() => document.querySelector("#compose-subject"));
            document.querySelector("#_to").value = "bob@example.org";
            subject.value = "Entwurf für später";
            document.querySelector("#composebody").value = "Noch nicht fertig: ü";
            rcmail.command("savedraft");
            await until(() => document.querySelector("input[name=_draft_saveid]").value);""")
        self.expect_soon(lambda: len(self.mail.files("Drafts")) == 1, "the draft")
        first = self.mail.files("Drafts")
        self.browser.run("""
            document.querySelector("#composebody").value = "Jetzt fertig.";
            await until(() => !rcmail.busy);
            rcmail.command("savedraft");""")
        self.expect_soon(lambda: len(self.mail.files("Drafts")) == 1
                         and self.mail.files("Drafts") != first, "the draft in place of the first")

        def text():
            try:
                with open(self.mail.files("Drafts")[0]) as file:
                    return file.read()
            except (OSError, IndexError):
                return ""
        self.expect_soon(lambda: "Jetzt fertig" in text(), "the text of the draft")
        self.expect_soon(lambda: len(self.mail.files("Drafts")) == 1, "one draft")
        # Roundcube marks drafts as read, and no more.
        self.expect("S" in self.mail.files("Drafts")[0].rsplit(":2,", 1)[1], "\\Seen")

    def folder(self, query, name):
        self.go("_task=settings&_action=edit-folder&_framed=1&" + query)
        self.browser.run("""
            const input = await until(() => document.querySelector("input[name=_name]"));
            input.value = arguments[0];
            document.querySelector("form").submit();""", name)

    def step_18_makes_renames_and_removes_a_mailbox(self):
        self.folder("_mbox=", "Projekte für Ann")
        self.expect_soon(
            lambda: os.path.isdir(self.mail.path + "/.Projekte f&APw-r Ann"), "the mailbox")
        self.folder("_mbox=Projekte%20f%26APw-r%20Ann", "Arbeit")
        self.expect_soon(lambda: os.path.isdir(self.mail.path + "/.Arbeit"), "the new name")
        self.go("_task=settings&_action=folders")
        self.browser.run("""
            await until(() => rcmail.subscription_list);
            rcmail.http_post("delete-folder", { _mbox: "Arbeit" });""")
        self.expect_soon(lambda: not os.path.isdir(self.mail.path + "/.Arbeit"), "it is gone")

    def step_19_marks_all_as_read(self):
        self.inbox()
        self.browser.run("""
            rcmail.http_post("mark", { _mbox: "INBOX", _uid: "*", _flag: "read" });
            await quiet();""")
        self.expect_soon(
            lambda: all("S" in path.rpartition(":2,")[2] for path in self.mail.files()), "all")

    def step_20_logs_out_and_in_again(self):
        before = self.inbox()
        self.go("_task=logout&_token=" + self.browser.run("return rcmail.env.request_token;"))
        self.step_01_logs_in()
        self.expect(self.inbox() == before, "another list after the login")

    def step_21_no_complaint_on_the_wire(self):
        wire = self.web.log()
        bad = [line for line in wire if re.search(r"S: \S+ BAD |S: \* BYE \[|S: \S+ NO ", line)]
        self.expect(not bad, bad[:5])
        errors = [line for line in self.web.log("errors") if "smtp" not in line.lower()]
        self.expect(not errors, errors[:5])
        print("         %d commands" % sum(bool(re.search(r"C: A\d+ ", line)) for line in wire))


def fill(mail):
    mail.make("Lists.Deep")
    mail.make("B&APw-cher")
    with open(os.path.join(mail.path, "subscriptions"), "w") as file:
        file.write("V\t2\n\nINBOX\nLists\tDeep\nB&APw-cher\nDrafts\nSent\nJunk\nTrash\n")
    names = {}
    for number in range(112):
        subject = "Older %d" % number
        names[subject] = mail.put(subject=subject, flags="S")
    root, second = "<root@example.org>", "<second@example.org>"
    mail.put(b"From: a@example.org\nSubject: A thread\nMessage-ID: " + root.encode()
             + b"\nDate: Mon, 2 Dec 2024 10:00:00 +0000\n\nx\n")
    mail.put(("From: b@example.org\nSubject: Re: A thread\nMessage-ID: %s\nReferences: %s\n"
              "Date: Mon, 2 Dec 2024 11:00:00 +0000\n\nx\n" % (second, root)).encode())
    mail.put(("From: a@example.org\nSubject: Re: A thread\nMessage-ID: <third@example.org>\n"
              "References: %s %s\nDate: Mon, 2 Dec 2024 12:00:00 +0000\n\nx\n"
              % (root, second)).encode())
    for number in range(1, 7):
        subject = "Message %d" % number
        names[subject] = mail.put(subject=subject, body="The body of message %d.\n" % number)
    mail.put(subject="From Carol", sender="Carol <carol@example.com>")
    mail.put(subject="=?UTF-8?Q?Gr=C3=B6=C3=9Fe_und_Ma=C3=9F?=")
    mail.put(subject="The largest", body="hay\n" * 20_000 + "needle\n")
    mail.put(b"From: a@example.org\nSubject: With parts\nDate: Tue, 3 Dec 2024 10:00:00 +0000\n"
             b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"==b\"\n\n--==b\n"
             b"Content-Type: text/plain; charset=iso-8859-1\n"
             b"Content-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe\n--==b\n"
             b"Content-Type: image/png; name=dot.png\nContent-Transfer-Encoding: base64\n"
             b"Content-Disposition: attachment; filename=dot.png\n\n"
             + base64.encodebytes(PNG) + b"--==b--\n")
    return names


def drive(cached, verbose):
    """Passed and failed steps, with Roundcube's cache or without."""
    passed = failed = 0
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(martlet.Server())
        names = fill(host.maildir)
        web = Roundcube(host, cached)
        stack.callback(web.stop)
        browser = Browser()
        stack.callback(browser.stop)
        steps = Steps(host, host.maildir, names, web, browser)
        for name in sorted(each for each in dir(steps) if each.startswith("step_")):
            began = time.monotonic()
            try:
                getattr(steps, name)()
                passed += 1
                outcome = "passed"
            except Exception as error:  # noqa: BLE001
                failed += 1
                outcome = "FAILED"
                print("         %s" % str(error)[:600])
            print("%-8s %6.2f s  %s, %s" % (
                outcome, time.monotonic() - began, name[5:], "cached" if cached else "not cached"),
                flush=True)
        if failed or verbose:
            print("\n".join(web.log()[-20_000 if verbose else -60:]))
            print("\n".join(web.log("errors")[-10:]))
            print("\n".join(host.log()[-30:]))
    return passed, failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-v", action="store_true", help="print the protocol at the end")
    arguments = parser.parse_args()
    results = [drive(cached, arguments.v) for cached in (False, True)]
    passed, failed = (sum(each) for each in zip(*results))
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
