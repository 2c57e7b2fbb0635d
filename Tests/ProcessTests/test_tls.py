# SPDX-License-Identifier: ISC
"""TLS: on its own port and by STARTTLS."""

import os
import re
import signal
import socket
import ssl
import unittest

import martlet
from martlet import TestCase, client_context


class TLS(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = martlet.Server()
        cls.addClassCleanup(cls.shared.stop)

    def test_on_its_own_port(self):
        connection = self.session(self.shared, tls=True)
        self.assertEqual(connection.socket.version(), "TLSv1.3")
        self.assertNotIn(b"STARTTLS", connection.greeting)
        self.assertNotIn(b"LOGINDISABLED", connection.greeting)
        connection.select()

    def test_tls_1_2(self):
        context = client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        connection = self.session(self.shared, tls=True, context=context)
        self.assertEqual(connection.socket.version(), "TLSv1.2")
        self.assertEqual(self.shared.events(event="auth")[-1]["tls"], "TLSv1.2")

    def test_tls_1_1_is_refused(self):
        # Our own library would not even ask; OpenSSL's tool does, if told to.
        host, port = self.shared.imaps
        done = martlet.run(
            ["timeout", "20", "openssl", "s_client", "-connect", "%s:%d" % (host, port), "-tls1_1",
             "-cipher", "ALL:@SECLEVEL=0"], check=False)
        self.assertNotIn("Martlet", done.stdout)
        self.assertRegex(done.stdout + done.stderr, "protocol version|Cipher is \\(NONE\\)")
        done = martlet.run(
            ["timeout", "20", "openssl", "s_client", "-connect", "%s:%d" % (host, port), "-tls1_2",
             "-quiet"], input="a LOGOUT\r\n", check=False)
        self.assertIn("Martlet", done.stdout)

    def test_alpn(self):
        context = client_context()
        context.set_alpn_protocols(["imap"])
        connection = self.session(self.shared, tls=True, context=context)
        self.assertEqual(connection.socket.selected_alpn_protocol(), "imap")

    def test_alpn_of_another_protocol_is_refused(self):
        context = client_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with self.assertRaisesRegex(ssl.SSLError, "(?i)no_application_protocol|no application protocol"):
            self.shared.connect(tls=True, context=context)
        connection = self.connection(self.shared)
        connection.ok("STARTTLS")
        with self.assertRaisesRegex(ssl.SSLError, "(?i)no_application_protocol|no application protocol"):
            connection.start_tls(context)
        context.set_alpn_protocols(["h2", "imap"])
        connection = self.session(self.shared, tls=True, context=context)
        self.assertEqual(connection.socket.selected_alpn_protocol(), "imap")

    def test_starttls(self):
        connection = self.connection(self.shared)
        self.assertIn(b"STARTTLS", connection.greeting)
        connection.ok("STARTTLS")
        connection.start_tls(client_context())
        self.assertNotIn(b"STARTTLS", connection.ok("CAPABILITY").untagged[0])
        self.assertIn(connection.command("STARTTLS").status, (b"BAD", b"NO"))
        connection.login(self.shared.user, self.shared.password)
        connection.select()

    def test_bytes_behind_starttls_close_the_connection(self):
        for injected in (b"b NOOP\r\n", b"b LOGIN x y\r\n", b"x", b"\x16\x03\x01"):
            with self.subTest(injected=injected):
                connection = self.connection(self.shared)
                connection.send(b"a STARTTLS\r\n" + injected)
                text = connection.read_to_end()
                self.assertNotIn(b"b OK", text)
                self.assertNotIn(b"b NO", text)

    def test_a_client_that_speaks_plain_text_to_the_tls_port(self):
        connection = martlet.IMAP(self.shared.imaps, greeting=False)
        self.addCleanup(connection.close)
        connection.send(b"a LOGIN x y\r\n")
        text = connection.read_to_end()
        self.assertNotIn(b"a ", text)
        self.session(self.shared, tls=True).select()

    def test_a_handshake_in_single_bytes(self):
        """The first flight of a handshake, a byte at a time."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = client_context()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        raw = socket.create_connection(self.shared.imaps, 20)
        self.addCleanup(raw.close)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        done = False
        while not done:
            try:
                tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            for byte in outgoing.read():
                raw.sendall(bytes([byte]))
            if not done:
                data = raw.recv(65536)
                self.assertTrue(data)
                incoming.write(data)
        while True:
            try:
                self.assertTrue(tls.read(1000).startswith(b"* OK "))
                return
            except ssl.SSLWantReadError:
                incoming.write(raw.recv(65536))

    def test_large_answers_and_large_commands_pass(self):
        """Both directions are relayed whole, many times the size of any buffer."""
        body = "".join("%06d %s\n" % (n, "x" * 60) for n in range(60_000))
        self.shared.maildir.make("Large")
        connection = self.session(self.shared, tls=True)
        content = martlet.message(body=body)
        self.assertEqual(connection.append("Large", content, timeout=60).status, b"OK")
        connection.select("Large")
        result = connection.ok("FETCH 1 BODY.PEEK[]", 60)
        self.assertIn(content.replace(b"\n", b"\r\n"), result.untagged[0])

    def test_a_half_closed_connection_ends(self):
        connection = self.session(self.shared, tls=True)
        raw = connection.socket.unwrap()
        self.addCleanup(raw.close)
        raw.settimeout(20)
        with self.assertRaises((OSError, AssertionError)):
            while True:
                self.assertTrue(raw.recv(1000))
        self.session(self.shared, tls=True).select()


@unittest.skipUnless(martlet.IS_ROOT, "needs root")
class Certificates(TestCase):
    def names_of(self, server, name):
        """The names in the certificate that is shown to who asks for this one."""
        context = client_context()
        raw = socket.create_connection(server.imaps, 20)
        with context.wrap_socket(raw, server_hostname=name) as tls:
            pem = ssl.DER_cert_to_PEM_cert(tls.getpeercert(True))
        text = martlet.run(["openssl", "x509", "-noout", "-text"], input=pem).stdout
        return re.findall(r"DNS:([\w.-]+)", text)

    def test_chosen_by_name(self):
        first = martlet.certificate("mail.example.org", "imap.example.org")
        second = martlet.certificate("mail.example.net")
        server = self.server("system", settings={
            "tls_certificate": "%s, %s" % (first[0], second[0]),
            "tls_key": "%s, %s" % (first[1], second[1]),
        })
        self.assertEqual(
            self.names_of(server, "mail.example.org"), ["mail.example.org", "imap.example.org"])
        self.assertEqual(
            self.names_of(server, "imap.example.org"), ["mail.example.org", "imap.example.org"])
        self.assertEqual(self.names_of(server, "mail.example.net"), ["mail.example.net"])
        self.assertEqual(
            self.names_of(server, "other.example"), ["mail.example.org", "imap.example.org"])
        self.assertEqual(
            self.names_of(server, None), ["mail.example.org", "imap.example.org"])

    def test_a_client_that_verifies(self):
        server = self.server("system")
        context = client_context(cafile=server.certificate[0])
        connection = self.connection(server, tls=True, context=context,
                                     server_hostname="localhost")
        connection.ok("NOOP")
        connection = self.connection(server)
        connection.ok("STARTTLS")
        connection.start_tls(context, "localhost")
        connection.ok("NOOP")

    def test_the_whole_chain_is_sent(self):
        folder = martlet.scratch("chain")
        paths = {name: os.path.join(folder, name) for name in
                 ("root.pem", "root.key", "mid.pem", "mid.key", "mid.csr", "leaf.pem", "leaf.key",
                  "leaf.csr", "ca.ext", "leaf.ext", "chain.pem")}

        def openssl(*arguments):
            martlet.run(["openssl"] + [paths.get(each, each) for each in arguments])

        with open(paths["ca.ext"], "w") as file:
            file.write("basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n")
        with open(paths["leaf.ext"], "w") as file:
            file.write("subjectAltName=DNS:mail.example.org\n")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", "-x509", *curve, "-days", "9", "-subj", "/CN=Root", "-keyout", "root.key",
                "-out", "root.pem")
        for name, issuer, extension in (("mid", "root", "ca.ext"), ("leaf", "mid", "leaf.ext")):
            openssl("req", *curve, "-subj", "/CN=" + name, "-keyout", name + ".key", "-out",
                    name + ".csr")
            openssl("x509", "-req", "-days", "9", "-in", name + ".csr", "-CA", issuer + ".pem",
                    "-CAkey", issuer + ".key", "-CAcreateserial", "-extfile", extension, "-out",
                    name + ".pem")
        with open(paths["chain.pem"], "w") as chain:
            for name in ("leaf.pem", "mid.pem"):
                with open(paths[name]) as file:
                    chain.write(file.read())
        server = self.server("system", settings={
            "tls_certificate": paths["chain.pem"], "tls_key": paths["leaf.key"]})
        # The client knows the root alone.
        context = client_context(cafile=paths["root.pem"])
        connection = self.connection(server, tls=True, context=context,
                                     server_hostname="mail.example.org")
        connection.ok("NOOP")

    def test_without_any_setting_there_is_a_certificate(self):
        server = self.server("system", settings={"tls_certificate": None, "tls_key": None})
        ann = self.user()
        self.session(server, ann, tls=True).select()

    def test_the_key_need_be_readable_by_root_alone(self):
        cert, key = martlet.certificate("mail.example.org")
        os.chmod(key, 0o600)
        server = self.server("system", settings={"tls_certificate": cert, "tls_key": key})
        self.assertEqual(self.names_of(server, "mail.example.org"), ["mail.example.org"])

    def renew(self, server, event):
        count = len(server.events(event=event))
        server.process.send_signal(signal.SIGHUP)
        martlet.wait_until(lambda: len(server.events(event=event)) > count, "event=" + event)

    def test_renewed_while_clients_are_connected(self):
        cert, key = martlet.certificate("old.example.org")
        server = self.server("system", settings={"tls_certificate": cert, "tls_key": key})
        ann = self.user()
        session = self.session(server, ann, tls=True)
        session.select()
        # One that has said hello only to TCP gets the certificate of its day.
        waiting = socket.create_connection(server.imaps, 20)
        self.assertEqual(self.names_of(server, None), ["old.example.org"])

        for old, new in zip((cert, key), martlet.certificate("new.example.org")):
            os.rename(new, old)
        self.renew(server, "certificates-renewed")
        self.assertEqual(self.names_of(server, None), ["new.example.org"])
        self.assertEqual(self.names_of(server, "old.example.org"), ["new.example.org"])
        session.ok("NOOP")
        with client_context().wrap_socket(waiting, server_hostname="old.example.org") as tls:
            self.assertIn(b"Martlet", tls.recv(1_000))
        upgraded = self.connection(server)
        upgraded.ok("STARTTLS")
        upgraded.start_tls(client_context())
        upgraded.ok("NOOP")

        # Half of a renewal: the certificate without its key. Nothing changes, and the log tells.
        os.rename(martlet.certificate("half.example.org")[0], cert)
        self.renew(server, "certificates-kept")
        self.assertEqual(self.names_of(server, None), ["new.example.org"])
        # A process that is started anew has the good ones, too.
        for pid in server.pids("martlet-tls"):
            os.kill(pid, signal.SIGKILL)
        martlet.wait_until(lambda: self.names_now(server) == ["new.example.org"], "martlet-tls")

    def names_now(self, server):
        try:
            return self.names_of(server, None)
        except OSError:
            return None
