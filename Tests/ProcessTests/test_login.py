# SPDX-License-Identifier: ISC
"""Passwords: what PAM says becomes the right answer and the right line in the log."""

import base64
import re
import subprocess
import time

import martlet
from martlet import SharedServer, TestCase, needs_root

AUTH_LINE = re.compile(
    r"event=auth result=(ok|failed|expired|unavailable|limited) user=(\"(?:[^\"\\]|\\.)*\"|\S+)"
    r" method=(PLAIN|LOGIN) service=imap remote=127\.0\.0\.1:\d+ local=127\.0\.0\.1:\d+"
    r" tls=(none|TLSv1\.[23]) session=[0-9a-f]+"
)
MARKER = "marker-5b1e7c-password"


def encode(text):
    return base64.b64encode(text.encode() if isinstance(text, str) else text)


class Passwords(SharedServer):
    def last_attempt(self, count):
        """The log line of the newest attempt, once there are more than `count`."""
        def look():
            events = [e for e in self.shared.events(event="auth")]
            return events[-1] if len(events) > count else None
        return martlet.wait_until(look, "event=auth")

    def attempt(self, user, password, tls=False):
        """Tries to log in: the answer and the log line."""
        before = len(self.shared.events(event="auth"))
        connection = self.connection(self.shared, tls=tls)
        result = connection.authenticate(user, password)
        event = self.last_attempt(before)
        self.assertRegex(event["line"], "^%s$" % AUTH_LINE.pattern)
        return result, event

    def test_right_password(self):
        result, event = self.attempt(self.ann.name, self.ann.password)
        self.assertEqual(result.status, b"OK")
        self.assertIn(b"[CAPABILITY IMAP4rev1 ", result.tagged)
        self.assertEqual((event["result"], event["user"]), ("ok", self.ann.name))
        self.assertEqual((event["method"], event["tls"]), ("PLAIN", "none"))

    def test_right_password_over_tls(self):
        result, event = self.attempt(self.ann.name, self.ann.password, tls=True)
        self.assertEqual(result.status, b"OK")
        self.assertEqual(event["tls"], "TLSv1.3")

    def test_a_session_has_one_name_in_all_lines(self):
        connection = self.session(self.shared, self.ann)
        local = "%s:%d" % connection.socket.getsockname()
        events = self.shared.events(event="auth", remote=local)
        self.assertEqual(len(events), 1)

    def test_wrong_password(self):
        began = time.monotonic()
        result, event = self.attempt(self.ann.name, self.ann.password + "x")
        self.assertRegex(result.tagged, rb"^t1 NO \[AUTHENTICATIONFAILED\] ")
        self.assertEqual((event["result"], event["user"]), ("failed", self.ann.name))
        self.assertGreater(time.monotonic() - began, 1.0)

    def test_unknown_user_cannot_be_told_from_a_wrong_password(self):
        began = time.monotonic()
        wrong, _ = self.attempt(self.ann.name, "not the password")
        wrong_seconds = time.monotonic() - began
        began = time.monotonic()
        unknown, event = self.attempt("nobody-has-this-name", "not the password")
        unknown_seconds = time.monotonic() - began
        self.assertEqual(wrong.tagged, unknown.tagged)
        self.assertEqual(event["result"], "failed")
        self.assertLess(abs(wrong_seconds - unknown_seconds), 0.5)

    def test_empty_password(self):
        result, _ = self.attempt(self.ann.name, "")
        self.assertRegex(result.tagged, rb"^t1 NO \[AUTHENTICATIONFAILED\] ")

    def test_locked_user(self):
        user = self.user()
        martlet.run(["usermod", "-L", user.name])
        result, event = self.attempt(user.name, user.password)
        self.assertRegex(result.tagged, rb"^t1 NO \[AUTHENTICATIONFAILED\] ")
        self.assertEqual(event["result"], "failed")

    def test_root_is_refused(self):
        # Root has no known password here; a user with another name and root's id has.
        name = "mtroot%d" % (martlet.os.getpid() % 100_000)
        martlet.run(["useradd", "-o", "-u", "0", "-M", "-d", "/root", "-p", "!", name])
        martlet._made_users.append(name)
        self.addCleanup(self.remove_root_twin, name)
        martlet.run(["chpasswd"], input="%s:%s\n" % (name, "secret-of-root"))
        result, event = self.attempt(name, "secret-of-root")
        self.assertRegex(result.tagged, rb"^t1 NO \[AUTHENTICATIONFAILED\] ")
        self.assertEqual(event["result"], "failed")
        result, _ = self.attempt("root", "secret-of-root")
        self.assertRegex(result.tagged, rb"^t1 NO \[AUTHENTICATIONFAILED\] ")

    def remove_root_twin(self, name):
        martlet._made_users.remove(name)
        # Not userdel -r: the home is root's. -f because root has processes.
        martlet.run(["userdel", "-f", name], check=False)

    def test_below_minimum_uid(self):
        low = next(
            uid for uid in range(987, 600, -1)
            if martlet.run(["getent", "passwd", str(uid)], check=False).returncode != 0
        )
        user = self.user(uid=low)
        result, event = self.attempt(user.name, user.password)
        self.assertRegex(result.tagged, rb"^t1 NO \[AUTHENTICATIONFAILED\] ")
        self.assertEqual(event["result"], "failed")

    def test_expired_account(self):
        user = self.user()
        martlet.run(["chage", "-E", "1", user.name])
        result, event = self.attempt(user.name, user.password)
        self.assertRegex(result.tagged, rb"^t1 NO \[EXPIRED\] ")
        self.assertEqual(event["result"], "expired")

    def test_expired_account_with_a_wrong_password_tells_nothing(self):
        user = self.user()
        martlet.run(["chage", "-E", "1", user.name])
        result, event = self.attempt(user.name, "wrong")
        self.assertRegex(result.tagged, rb"^t1 NO \[AUTHENTICATIONFAILED\] ")
        self.assertEqual(event["result"], "failed")

    def test_password_that_must_be_changed(self):
        user = self.user()
        martlet.run(["chage", "-d", "0", user.name])
        result, event = self.attempt(user.name, user.password)
        self.assertRegex(result.tagged, rb"^t1 NO \[EXPIRED\] ")
        self.assertEqual(event["result"], "expired")

    def test_after_a_refusal_the_same_connection_can_log_in(self):
        connection = self.connection(self.shared)
        self.assertEqual(connection.authenticate(self.ann.name, "wrong").status, b"NO")
        self.assertEqual(
            connection.authenticate(self.ann.name, self.ann.password).status, b"OK")
        connection.select()

    def test_any_domain_is_cut_off(self):
        result, event = self.attempt(self.ann.name + "@example.org", self.ann.password)
        self.assertEqual(result.status, b"OK")
        self.assertEqual(event["user"], self.ann.name)

    def test_odd_bytes_in_a_name_are_escaped_in_the_log(self):
        name = 'a b"c\\d=e\nresult=ok\x1b[31m'
        result, event = self.attempt(name, "x")
        self.assertEqual(result.status, b"NO")
        self.assertEqual(event["result"], "failed")
        self.assertNotIn("\x1b", event["line"])
        self.assertTrue(event["user"].startswith('"'))

    def test_login_command_with_literals(self):
        connection = self.connection(self.shared)
        name, password = self.ann.name.encode(), self.ann.password.encode()
        connection.send(b"a LOGIN {%d}\r\n" % len(name))
        self.assertTrue(connection.response().startswith(b"+"))
        connection.send(name + b" {%d+}\r\n" % len(password) + password + b"\r\n")
        self.assertRegex(connection.response(), rb"^a OK \[CAPABILITY ")

    def test_login_command_logs_its_method(self):
        user = self.user(password="plain-password")
        before = len(self.shared.events(event="auth"))
        connection = self.connection(self.shared)
        connection.ok('LOGIN %s "plain-password"' % user.name)
        self.assertEqual(self.last_attempt(before)["method"], "LOGIN")

    def test_authenticate_login_and_plain_without_initial_response(self):
        connection = self.connection(self.shared)
        connection.send(b"a AUTHENTICATE LOGIN\r\n")
        self.assertEqual(connection.response(), b"+ VXNlcm5hbWU6")
        connection.send(encode(self.ann.name) + b"\r\n")
        self.assertEqual(connection.response(), b"+ UGFzc3dvcmQ6")
        connection.send(encode(self.ann.password) + b"\r\n")
        self.assertRegex(connection.response(), rb"^a OK ")
        connection = self.connection(self.shared)
        connection.send(b"a authenticate plain\r\n")
        self.assertEqual(connection.response(), b"+ ")
        connection.send(
            encode("\0%s\0%s" % (self.ann.name, self.ann.password)) + b"\r\n")
        self.assertRegex(connection.response(), rb"^a OK ")

    def test_authenticate_can_be_cancelled(self):
        connection = self.connection(self.shared)
        connection.send(b"a AUTHENTICATE PLAIN\r\n")
        connection.response()
        connection.send(b"*\r\n")
        self.assertRegex(connection.response(), rb"^a BAD ")
        connection.login(self.ann.name, self.ann.password)

    def test_nobody_logs_in_as_somebody_else(self):
        connection = self.connection(self.shared)
        both = encode("%s\0%s\0%s" % (self.ben.name, self.ann.name, self.ann.password))
        result = connection.command(b"AUTHENTICATE PLAIN " + both)
        self.assertEqual(result.status, b"NO")

    def test_what_is_pipelined_behind_the_login_is_answered(self):
        connection = self.connection(self.shared)
        both = encode("\0%s\0%s" % (self.ann.name, self.ann.password))
        connection.send(
            b"a AUTHENTICATE PLAIN " + both + b"\r\nb SELECT INBOX\r\nc NOOP\r\nd LOGOUT\r\n")
        text = connection.read_to_end()
        places = [text.find(b"\r\n%c OK " % tag) for tag in b"bcd"]
        self.assertTrue(text.startswith(b"a OK "))
        self.assertEqual(places, sorted(places))
        self.assertNotIn(-1, places)

    def test_many_logins_at_once(self):
        connections = [self.connection(self.shared) for _ in range(24)]
        tags = []
        for index, connection in enumerate(connections):
            user = (self.ann, self.ben)[index % 2]
            both = encode("\0%s\0%s" % (user.name, user.password))
            tags.append(connection.start(b"AUTHENTICATE PLAIN " + both))
        for connection, tag in zip(connections, tags):
            self.assertEqual(connection.finish(tag, 40).status, b"OK")

    def test_before_login_no_command_reaches_mail(self):
        connection = self.connection(self.shared)
        for command in ("SELECT INBOX", 'LIST "" "*"', "FETCH 1 FLAGS", "IDLE",
                        "APPEND INBOX {1+}\r\nx", "ENABLE UTF8=ACCEPT"):
            self.assertIn(connection.command(command).status, (b"BAD", b"NO"), command)


class PasswordsAndTheLog(TestCase):
    @needs_root
    def test_no_password_is_ever_in_the_log(self):
        user = self.user(password=MARKER)
        server = self.server("system", settings={"log_level": "debug"})
        wrong = "wrong-" + MARKER
        with server.connect() as connection:
            connection.command('LOGIN %s "%s"' % (user.name, wrong))
            connection.ok('LOGIN %s "%s"' % (user.name, MARKER))
            connection.command('LOGIN %s "%s"' % (user.name, MARKER))
            connection.command("NOOP " + MARKER)
        with server.connect(tls=True) as connection:
            connection.login(user.name, MARKER)
        with server.connect() as connection:
            # Where no password belongs: too long, cut off, as the user name's neighbour.
            connection.command("LOGIN %s %s extra" % (user.name, MARKER))
            connection.send(b"a AUTHENTICATE PLAIN\r\n")
            connection.response()
            connection.send(encode("\0%s\0%s" % (user.name, wrong)) + b"\r\n")
            connection.response()
            connection.send("b LOGIN %s {%d}\r\n" % (user.name, len(MARKER)))
            connection.response()
            connection.send(MARKER)
        server.stop()
        text = "\n".join(server.log() + server.output())
        self.assertIn("event=auth result=ok", text)
        self.assertIn("event=auth result=failed", text)
        self.assertNotIn(MARKER, text)
        for form in (encode(MARKER), encode("\0%s\0%s" % (user.name, wrong))):
            self.assertNotIn(form.decode().rstrip("="), text)


class Limits(SharedServer):
    def test_too_many_failures_of_a_user(self):
        """Then even the right password is refused, and said to be; other users are not."""
        connections = [self.connection(self.shared) for _ in range(70)]
        wrong = encode("\0%s\0%s" % (self.ann.name, "wrong"))
        tags = [each.start(b"AUTHENTICATE PLAIN " + wrong) for each in connections]
        answers = [each.finish(tag, 60).tagged for each, tag in zip(connections, tags)]
        self.assertTrue([each for each in answers if b"NO [AUTHENTICATIONFAILED]" in each])
        self.assertTrue([each for each in answers if b"NO [LIMIT]" in each])
        connection = self.connection(self.shared)
        result = connection.authenticate(self.ann.name, self.ann.password)
        self.assertRegex(result.tagged, rb"^t1 NO \[LIMIT\] ")
        self.assertEqual(self.shared.events(event="auth")[-1]["result"], "limited")
        self.session(self.shared, self.ben).select()


class Services(TestCase):
    @needs_root
    def test_the_packaged_pam_service(self):
        """packaging/pam.d/martlet, as it is, with this machine's common-auth."""
        path = martlet.os.path.join(martlet.ROOT, "packaging", "pam.d", "martlet")
        with open(path) as file:
            content = file.read()
        name = martlet.pam_service(content, name="martlet-test-pkg-%d" % martlet.os.getpid())
        ann, ben = self.user(), self.user()
        martlet.run(["chage", "-E", "1", ben.name])
        server = self.server("system", settings={"pam_service": name})
        self.session(server, ann).select()
        connection = self.connection(server)
        self.assertRegex(
            connection.authenticate(ann.name, "wrong").tagged, rb"NO \[AUTHENTICATIONFAILED\]")
        self.assertRegex(
            connection.authenticate(ben.name, ben.password).tagged, rb"NO \[EXPIRED\]")

    def script(self, text):
        """A script for pam_exec."""
        path = martlet.os.path.join(martlet.scratch("pam"), "script")
        with open(path, "w") as file:
            file.write("#!/bin/sh\n" + text)
        martlet.os.chmod(path, 0o755)
        return path

    @needs_root
    def test_pam_sessions(self):
        """One session while the user's process runs, however many logins there are."""
        mark = martlet.os.path.join(martlet.scratch("pam"), "mark")
        script = self.script('echo "$PAM_TYPE $PAM_USER $PAM_RHOST" >>%s\n' % mark)
        name = martlet.pam_service(
            martlet.PAM_SERVICE + "session required pam_unix.so\n"
            "session required pam_exec.so %s\n" % script)
        ann = self.user()
        server = self.server("system", settings={
            "pam_service": name, "pam_session": "yes", "user_process_linger": "1"})

        def lines():
            with open(mark) as file:
                return file.read().splitlines()
        opened = "open_session %s 127.0.0.1" % ann.name
        with server.login(ann) as connection:
            connection.select()
            self.assertEqual(lines(), [opened])
            with server.login(ann) as second:
                second.select()
                self.assertEqual(lines(), [opened])
        closed = "close_session %s 127.0.0.1" % ann.name
        martlet.wait_until(lambda: len(lines()) > 1, "the end of the PAM session")
        self.assertEqual(lines(), [opened, closed])
        self.session(server, ann).select()
        self.assertEqual(lines(), [opened, closed, opened])

    @needs_root
    def test_no_pam_session_without_the_setting(self):
        mark = martlet.os.path.join(martlet.scratch("pam"), "mark")
        name = martlet.pam_service(
            martlet.PAM_SERVICE + "session required pam_exec.so %s\n"
            % self.script("touch %s\n" % mark))
        ann = self.user()
        server = self.server("system", settings={"pam_service": name})
        self.session(server, ann).select()
        self.assertFalse(martlet.os.path.exists(mark))

    @needs_root
    def test_a_broken_module_is_unavailable(self):
        ann = self.user()
        for broken in (
            "auth required pam_martlet_is_not_there.so\naccount required pam_unix.so\n",
            "auth required pam_unix.so\naccount required pam_martlet_is_not_there.so\n",
            # A module that ends the process that it is in.
            "auth required pam_exec.so %s\naccount required pam_unix.so\n"
            % self.script("kill -9 $PPID\n"),
        ):
            with self.subTest(broken=broken):
                server = self.server(
                    "system", settings={"pam_service": martlet.pam_service(broken)})
                connection = self.connection(server)
                result = connection.authenticate(ann.name, ann.password)
                self.assertRegex(result.tagged, rb"NO \[UNAVAILABLE\]")
                self.assertEqual(
                    [e["result"] for e in server.events(event="auth")], ["unavailable"])

    @needs_root
    def test_a_module_that_hangs_is_unavailable(self):
        ann, ben = self.user(), self.user()
        script = self.script('[ "$PAM_USER" != %s ] || exec sleep 20\n' % ann.name)
        name = martlet.pam_service(
            "auth required pam_exec.so %s\n" % script + martlet.PAM_SERVICE)
        server = self.server("system", kind="debug", settings={"pam_service": name},
                             environment={"MARTLET_TEST_PAM_SECONDS": "4"})
        connection = self.connection(server)
        both = encode("\0%s\0%s" % (ann.name, ann.password))
        began = time.monotonic()
        tag = connection.start(b"AUTHENTICATE PLAIN " + both)
        # Nobody else waits for it.
        self.session(server, ben).select()
        self.assertLess(time.monotonic() - began, 3)
        result = connection.finish(tag)
        self.assertRegex(result.tagged, rb"NO \[UNAVAILABLE\]")
        self.assertGreater(time.monotonic() - began, 3.5)
        self.assertEqual(len(server.events(event="worker-timeout")), 1)
        self.assertEqual(server.events(event="auth")[-1]["result"], "unavailable")

    @needs_root
    def test_login_domains(self):
        ann = self.user()
        server = self.server("system", settings={"login_domains": "example.org, example.com"})
        connection = self.connection(server)
        self.assertEqual(
            connection.authenticate(ann.name + "@example.net", ann.password).status, b"NO")
        self.assertEqual(
            connection.authenticate(ann.name + "@Example.ORG", ann.password).status, b"OK")


class PlaintextRules(TestCase):
    """LOGINDISABLED, and who may send a password without TLS."""

    ADDRESSES = ("198.18.77.1", "198.18.77.2")

    def two_addresses(self):
        """Two addresses of this host that are not on the loopback network."""
        for address in self.ADDRESSES:
            added = martlet.run(
                ["ip", "address", "add", address + "/32", "dev", "lo"], check=False)
            if added.returncode != 0 and "File exists" not in added.stderr:
                self.skipTest("needs the right to add an address: " + added.stderr.strip())
            self.addCleanup(
                martlet.run, ["ip", "address", "del", address + "/32", "dev", "lo"], check=False)

    def rule(self, rule, listen="127.0.0.1:0"):
        return self.server("system", settings={
            "allow_plaintext_login": rule, "listen_imap": listen})

    def refuses(self, connection, user):
        self.assertIn(b"LOGINDISABLED", connection.greeting)
        self.assertNotIn(b"AUTH=", connection.greeting)
        capability = connection.ok("CAPABILITY").untagged[0]
        self.assertIn(b" LOGINDISABLED", capability)
        self.assertIn(b" STARTTLS", capability)
        result = connection.command('LOGIN %s "%s"' % (user.name, "plain"))
        self.assertRegex(result.tagged, rb" NO \[PRIVACYREQUIRED\]")
        self.assertRegex(
            connection.authenticate(user.name, user.password).tagged,
            rb" NO \[PRIVACYREQUIRED\]")

    @needs_root
    def test_never(self):
        ann = self.user()
        server = self.rule("never")
        connection = self.connection(server)
        self.refuses(connection, ann)
        connection.ok("STARTTLS")
        connection.start_tls(martlet.client_context())
        capability = connection.ok("CAPABILITY").untagged[0]
        self.assertNotIn(b"LOGINDISABLED", capability)
        self.assertNotIn(b"STARTTLS", capability)
        connection.login(ann.name, ann.password)
        connection.select()

    @needs_root
    def test_loopback_from_elsewhere(self):
        self.two_addresses()
        ann = self.user()
        server = self.rule("loopback", self.ADDRESSES[0] + ":0")
        connection = self.connection(server, source=(self.ADDRESSES[1], 0))
        self.refuses(connection, ann)

    @needs_root
    def test_loopback_from_here(self):
        ann = self.user()
        server = self.rule("loopback")
        connection = self.connection(server)
        self.assertNotIn(b"LOGINDISABLED", connection.greeting)
        self.assertIn(b"AUTH=PLAIN", connection.greeting)
        connection.login(ann.name, ann.password)

    @needs_root
    def test_always(self):
        self.two_addresses()
        ann = self.user()
        server = self.rule("always", self.ADDRESSES[0] + ":0")
        connection = self.connection(server, source=(self.ADDRESSES[1], 0))
        self.assertNotIn(b"LOGINDISABLED", connection.greeting)
        connection.login(ann.name, ann.password)
