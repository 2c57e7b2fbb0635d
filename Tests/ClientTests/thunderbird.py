#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Drives a real Thunderbird against a Martlet of its own: Tests/ClientTests/thunderbird.py [-v]

Not part of packaging/test: it needs the Debian package thunderbird (and a minute). It reads a
mailbox, flags, moves, deletes, saves a draft, makes a mailbox, and waits for mail that is delivered
behind its back, over TLS with a certificate that it was told to trust. Prints each step; ends with
`N passed, N failed`.
"""

import argparse
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "ProcessTests"))
import martlet  # noqa: E402

PREFERENCES = {
    "mail.accountmanager.accounts": "account1,account2",
    "mail.accountmanager.defaultaccount": "account1",
    "mail.account.account1.server": "server1",
    "mail.account.account1.identities": "id1",
    "mail.account.account2.server": "server2",
    "mail.server.server1.type": "imap",
    "mail.server.server1.hostname": "localhost",
    "mail.server.server1.name": "Martlet",
    "mail.server.server1.authMethod": 3,
    "mail.server.server1.check_new_mail": False,
    "mail.server.server1.login_at_startup": False,
    "mail.server.server2.type": "none",
    "mail.server.server2.hostname": "Local Folders",
    "mail.server.server2.userName": "nobody",
    "mail.accountmanager.localfoldersserver": "server2",
    "mail.identity.id1.useremail": "ann@example.org",
    "mail.identity.id1.fullName": "Ann",
    "mail.identity.id1.valid": True,
    "mail.identity.id1.smtpServer": "smtp1",
    "mail.smtpservers": "smtp1",
    "mail.smtp.defaultserver": "smtp1",
    "mail.smtpserver.smtp1.hostname": "localhost",
    "mail.smtpserver.smtp1.port": 9,
    "mail.rights.version": 1,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.shell.checkDefaultClient": False,
    "mail.spotlight.firstRunDone": True,
    "mail.winsearch.firstRunDone": True,
    "mailnews.start_page.enabled": False,
    "mailnews.start_page_override.mstone": "ignore",
    "app.donation.eoy.version.viewed": 999,
    "app.update.enabled": False,
    "browser.policies.testing.disallowEnterprise": True,
    "datareporting.policy.dataSubmissionEnabled": False,
    "datareporting.policy.dataSubmissionPolicyBypassNotification": True,
    "toolkit.telemetry.enabled": False,
    "extensions.autoDisableScopes": 0,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "security.OCSP.enabled": 0,
    "signon.rememberSignons": True,
    "mail.biff.play_sound": False,
    "mail.biff.show_alert": False,
}

PRELUDE = """
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const { MailUtils } = ChromeUtils.importESModule("resource:///modules/MailUtils.sys.mjs");
const done = arguments[arguments.length - 1];
const server = MailServices.accounts.accounts.find(a => a.incomingServer.type == "imap")
    .incomingServer;
const root = server.rootFolder;
const named = name => name == "INBOX"
    ? root.subFolders.find(f => f.getFlag(Ci.nsMsgFolderFlags.Inbox))
    : root.descendants.find(f => f.URI.endsWith("/" + name));
const update = folder => new Promise(resolve => {
    folder.QueryInterface(Ci.nsIMsgImapMailFolder).updateFolderWithListener(null, {
        OnStartRunningUrl() {}, OnStopRunningUrl(url, code) { resolve(code); } });
});
const subjects = folder => Array.from(folder.messages, m => m.mime2DecodedSubject).sort();
const message = (folder, subject) =>
    Array.from(folder.messages).find(m => m.mime2DecodedSubject == subject);
const until = async (what, seconds = 20) => {
    for (let i = 0; i < seconds * 20; i++) {
        const value = await what();
        if (value) return value;
        await new Promise(r => setTimeout(r, 50));
    }
    return null;
};
(async () => { %s })().then(v => done({ value: v }), e => done({ error: String(e) + e.stack }));
"""


class Thunderbird:
    """A Thunderbird with a profile of its own, and Marionette's end of the wire."""

    def __init__(self, host, verbose):
        self.folder = martlet.scratch("thunderbird")
        profile = os.path.join(self.folder, "profile")
        os.mkdir(profile)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        preferences = dict(PREFERENCES)
        preferences.update({
            "marionette.port": self.port,
            "mail.server.server1.port": host.imaps[1],
            "mail.server.server1.socketType": 3,
            "mail.server.server1.userName": host.user,
            "mail.server.server1.directory": os.path.join(profile, "ImapMail", "localhost"),
            "mail.server.server2.directory": os.path.join(profile, "Mail", "Local Folders"),
        })
        with open(os.path.join(profile, "user.js"), "w") as file:
            for name, value in preferences.items():
                file.write("user_pref(%s, %s);\n" % (json.dumps(name), json.dumps(value)))
        environment = {
            "HOME": self.folder, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8",
            "MOZ_DISABLE_CONTENT_SANDBOX": "1", "LIBGL_ALWAYS_SOFTWARE": "1",
            "MOZ_LOG": "IMAP:4,timestamp", "MOZ_LOG_FILE": os.path.join(self.folder, "imap"),
        }
        self.output = open(os.path.join(self.folder, "output"), "wb")
        self.process = subprocess.Popen(
            ["thunderbird", "--marionette", "--remote-allow-system-access", "--no-remote",
             "--headless", "--profile", profile],
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT,
            env=environment, start_new_session=True)
        try:
            self.connect()
        except BaseException:
            self.stop()
            raise

    def connect(self):
        def attempt():
            try:
                return socket.create_connection(("127.0.0.1", self.port), 5)
            except OSError:
                if self.process.poll() is not None:
                    raise AssertionError("Thunderbird ended at its start") from None
                return None
        self.socket = martlet.wait_until(attempt, "Marionette", 90)
        self.socket.settimeout(90)
        self.buffer = b""
        self.count = 0
        self.receive()
        self.call("WebDriver:NewSession", {})
        self.call("Marionette:SetContext", {"value": "chrome"})
        self.call("WebDriver:SetTimeouts", {"script": 80_000})

    def receive(self):
        while b":" not in self.buffer:
            self.fill()
        length, self.buffer = self.buffer.split(b":", 1)
        while len(self.buffer) < int(length):
            self.fill()
        text, self.buffer = self.buffer[:int(length)], self.buffer[int(length):]
        return json.loads(text)

    def fill(self):
        data = self.socket.recv(65536)
        if not data:
            raise AssertionError("Thunderbird went away")
        self.buffer += data

    def call(self, name, parameters):
        self.count += 1
        text = json.dumps([0, self.count, name, parameters]).encode()
        self.socket.sendall(b"%d:%s" % (len(text), text))
        while True:
            kind, number, error, result = self.receive()
            if kind == 1 and number == self.count:
                if error:
                    raise AssertionError("%s: %s" % (name, error))
                return result

    def run(self, script, *arguments):
        """Runs JavaScript that may await, with what PRELUDE defines; its value."""
        result = self.call("WebDriver:ExecuteAsyncScript",
                           {"script": PRELUDE % script, "args": list(arguments)})
        value = result["value"]
        if "error" in value:
            raise AssertionError(value["error"])
        return value.get("value")

    def stop(self):
        with contextlib.suppress(Exception):
            self.call("Marionette:Quit", {"flags": ["eForceQuit"]})
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(15)
        if self.process.poll() is None:
            for pid in martlet.descendants(self.process.pid) + [self.process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            self.process.wait(10)
        self.output.close()

    def wire(self):
        """The protocol as Thunderbird logged it."""
        lines = []
        for name in sorted(os.listdir(self.folder)):
            if name.startswith("imap"):
                with open(os.path.join(self.folder, name), errors="replace") as file:
                    lines += [line.rstrip() for line in file if "IMAP" in line]
        return lines


class Steps:
    def __init__(self, host, mail, thunderbird):
        self.host, self.mail, self.bird = host, mail, thunderbird

    def expect(self, condition, what):
        if not condition:
            raise AssertionError(what)

    def expect_soon(self, condition, what, seconds=20):
        martlet.wait_until(condition, what, seconds)

    def flags(self, name, mailbox="INBOX"):
        path = self.mail.file(name, mailbox)
        return path.rsplit(":2,", 1)[1] if path and ":2," in path else ""

    def step_01_logs_in_and_lists_mailboxes(self):
        self.bird.run("""
            const [name, password, der] = arguments;
            const login = Cc["@mozilla.org/login-manager/loginInfo;1"]
                .createInstance(Ci.nsILoginInfo);
            login.init("imap://localhost", null, "imap://localhost", name, password, "", "");
            await Services.logins.addLoginAsync(login);
            const db = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB);
            const cert = db.constructX509FromBase64(der);
            Cc["@mozilla.org/security/certoverride;1"].getService(Ci.nsICertOverrideService)
                .rememberValidityOverride("localhost", server.port, {}, cert, false);
            server.password = password;
            """, self.host.user, self.host.password, self.certificate())
        names = self.bird.run("""
            server.performExpand(null);
            await until(() => named("INBOX") && root.descendants.length >= 9);
            return root.descendants.map(f => f.prettyPath || f.name);
            """)
        # Special mailboxes are shown under names of Thunderbird's own; step 2 looks at them.
        self.expect(len(names) == 9, names)
        self.expect(any("Lists/Deep" in each for each in names), names)
        self.expect(any("Bücher" in each for each in names), names)

    def certificate(self):
        with self.host.connect(tls=True) as connection:
            der = connection.socket.getpeercert(True)
        return martlet.base64.b64encode(der).decode()

    def step_02_special_uses(self):
        found = self.bird.run("""
            const flags = Ci.nsMsgFolderFlags;
            return { Drafts: named("Drafts").getFlag(flags.Drafts),
                     Sent: named("Sent").getFlag(flags.SentMail),
                     Trash: named("Trash").getFlag(flags.Trash),
                     Junk: named("Junk").getFlag(flags.Junk),
                     Archive: named("Archive").getFlag(flags.Archive) };""")
        self.expect(all(found.values()), found)

    def step_03_reads_the_inbox(self):
        found = self.bird.run("""
            await update(named("INBOX"));
            await until(() => subjects(named("INBOX")).length >= 5);
            return subjects(named("INBOX"));""")
        self.expect(len(found) == 5 and "Größe und Maß" in found, found)

    def step_04_shows_a_message(self):
        text = self.bird.run("""
            const folder = named("INBOX");
            const uri = folder.getUriForMsg(message(folder, "Message 1"));
            const service = MailServices.messageServiceFromURI(uri);
            return await new Promise((resolve, reject) => {
                let text = "";
                service.streamMessage(uri, {
                    QueryInterface: ChromeUtils.generateQI(["nsIStreamListener"]),
                    onStartRequest() {},
                    onDataAvailable(r, stream, offset, count) {
                        const s = Cc["@mozilla.org/scriptableinputstream;1"]
                            .createInstance(Ci.nsIScriptableInputStream);
                        s.init(stream); text += s.read(count); },
                    onStopRequest(r, code) { code ? reject(code) : resolve(text); },
                }, null, null, false, "", false);
            });""")
        self.expect("The body of message 1" in text, text[-300:])

    def step_05_opens_the_folder_and_idles(self):
        self.bird.run("""
            const tabmail = Services.wm.getMostRecentWindow("mail:3pane").document
                .getElementById("tabmail");
            await until(() => tabmail.currentAbout3Pane && tabmail.currentAbout3Pane.displayFolder);
            tabmail.currentAbout3Pane.displayFolder(named("INBOX").URI);""")
        self.expect_soon(
            lambda: any(re.search(r"SendData: \d+ IDLE", line) for line in self.bird.wire()),
            "IDLE on the wire", 30)

    def step_06_new_mail_appears_by_itself(self):
        began = time.monotonic()
        self.mail.deliver(subject="Pushed")
        found = self.bird.run("""
            await until(() => message(named("INBOX"), "Pushed"), 20);
            return subjects(named("INBOX"));""")
        self.expect("Pushed" in found, found)
        print("         shown after %.2f s" % (time.monotonic() - began))

    def step_07_flags_of_mutt_appear_by_themselves(self):
        self.mail.set_flags(self.names["Message 2"], "FS")
        found = self.bird.run("""
            return !!await until(() => message(named("INBOX"), "Message 2").isFlagged
                && message(named("INBOX"), "Message 2").isRead);""")
        self.expect(found, "not flagged")

    def step_08_marks_as_read_and_flags(self):
        self.bird.run("""
            const folder = named("INBOX"), one = message(folder, "Message 3");
            folder.markMessagesRead([one], true);
            folder.markMessagesFlagged([one], true);
            folder.addKeywordsToMessages([one], "$label1");""")
        self.expect_soon(lambda: set("FS") <= set(self.flags(self.names["Message 3"])), "flags")
        self.expect_soon(
            lambda: [c for c in self.flags(self.names["Message 3"]) if c.islower()], "a keyword")

    def step_09_moves_a_message(self):
        self.bird.run("""
            await new Promise(resolve => MailServices.copy.copyMessages(named("INBOX"),
                [message(named("INBOX"), "Message 3")], named("Archive"), true,
                { onStartCopy() {}, onProgress() {}, setMessageKey() {}, getMessageId() {},
                  onStopCopy: resolve }, null, false));""")
        self.expect_soon(lambda: len(self.mail.files("Archive")) == 1, "the message in Archive")
        self.expect(self.mail.file(self.names["Message 3"]) is None, "it is still in INBOX")

    def step_10_deletes_a_message(self):
        self.bird.run("""
            await new Promise(resolve => named("INBOX").deleteMessages(
                [message(named("INBOX"), "Message 4")], null, false, false,
                { onStartCopy() {}, onProgress() {}, setMessageKey() {}, getMessageId() {},
                  onStopCopy: resolve }, false));""")
        self.expect_soon(lambda: len(self.mail.files("Trash")) == 1, "the message in Trash")

    def step_11_saves_a_draft(self):
        self.bird.run("""
            const file = Services.dirsvc.get("TmpD", Ci.nsIFile);
            file.append("martlet-draft-" + Date.now() + ".eml");
            await IOUtils.writeUTF8(file.path, "From: ann@example.org\\r\\nTo: b@example.org\\r\\n"
                + "Subject: Draft\\r\\n\\r\\nNot finished: ü\\r\\n");
            const code = await new Promise(resolve => MailServices.copy.copyFileMessage(file,
                named("Drafts"), null, true, 0, "",
                { onStartCopy() {}, onProgress() {}, setMessageKey() {}, getMessageId() {},
                  onStopCopy: resolve }, null));
            if (code) throw new Error("copyFileMessage: " + code);""")
        self.expect_soon(lambda: len(self.mail.files("Drafts")) == 1, "the draft")
        self.expect("D" in self.mail.files("Drafts")[0].rsplit(":2,", 1)[1], "its flag")

    def step_12_makes_and_renames_mailboxes(self):
        self.bird.run("""
            root.createSubfolder("Projekte für Ann", null);
            if (!await until(() => root.subFolders.find(f => f.name == "Projekte für Ann")))
                throw new Error("not made");""")
        self.expect_soon(
            lambda: os.path.isdir(self.mail.path + "/.Projekte f&APw-r Ann"), "the mailbox")
        self.bird.run("""
            const folder = root.subFolders.find(f => f.name == "Projekte für Ann");
            folder.rename("Arbeit", null);
            await until(() => root.subFolders.find(f => f.name == "Arbeit"));""")
        self.expect_soon(lambda: os.path.isdir(self.mail.path + "/.Arbeit"), "the new name")

    def step_13_searches_on_the_server(self):
        found = self.bird.run("""
            const session = Cc["@mozilla.org/messenger/searchSession;1"]
                .createInstance(Ci.nsIMsgSearchSession);
            session.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, named("INBOX"));
            const term = session.createTerm(), value = term.value;
            term.attrib = value.attrib = Ci.nsMsgSearchAttrib.Subject;
            term.op = Ci.nsMsgSearchOp.Contains;
            value.str = "größe";
            term.value = value;
            session.appendTerm(term);
            const hits = [];
            await new Promise(resolve => {
                session.registerListener({
                    onSearchHit(header) { hits.push(header.mime2DecodedSubject); },
                    onSearchDone: resolve, onNewSearch() {} }, session.allNotifications);
                session.search(null);
            });
            return hits;""")
        self.expect(found == ["Größe und Maß"], found)

    def step_14_a_hundred_messages_at_once(self):
        for number in range(100):
            self.mail.deliver(subject="Many %d" % number)
        count = self.bird.run("""
            const many = () => subjects(named("INBOX")).filter(s => s.startsWith("Many")).length;
            await until(() => many() == 100, 40);
            return many();""")
        self.expect(count == 100, count)

    def step_15_no_complaint_on_the_wire(self):
        bad = [line for line in self.bird.wire() if " BAD " in line or "* BYE" in line]
        self.expect(not bad, bad[:5])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-v", action="store_true", help="print the protocol at the end")
    arguments = parser.parse_args()
    passed = failed = 0
    with martlet.Server() as host:
        mail = host.maildir
        mail.make("Lists.Deep")
        mail.make("B&APw-cher")
        with open(os.path.join(mail.path, "subscriptions"), "w") as file:
            file.write("V\t2\n\nINBOX\nLists\tDeep\nB&APw-cher\n")
        bird = None
        try:
            steps = Steps(host, mail, None)
            steps.names = {
                "Message %d" % n: mail.put(subject="Message %d" % n,
                                           body="The body of message %d.\n" % n, flags="")
                for n in range(1, 5)
            }
            mail.put(subject="=?UTF-8?Q?Gr=C3=B6=C3=9Fe_und_Ma=C3=9F?=")
            bird = steps.bird = Thunderbird(host, arguments.v)
            for name in sorted(each for each in dir(steps) if each.startswith("step_")):
                began = time.monotonic()
                try:
                    getattr(steps, name)()
                    passed += 1
                    outcome = "passed"
                except Exception as error:  # noqa: BLE001
                    failed += 1
                    outcome = "FAILED"
                    print("         %s" % error)
                print("%-8s %6.2f s  %s" % (outcome, time.monotonic() - began, name[5:]),
                      flush=True)
            if failed or arguments.v:
                print("\n".join(bird.wire()[-20_000 if arguments.v else -60:]))
                print("\n".join(host.log()[-30:]))
        finally:
            if bird:
                bird.stop()
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
