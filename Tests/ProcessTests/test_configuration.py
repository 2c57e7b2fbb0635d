# SPDX-License-Identifier: ISC
"""martletd -n, and what martletd says when it cannot start."""

import os
import subprocess

import martlet
from martlet import TestCase


class Check(TestCase):
    def check(self, text, expected_status):
        path = os.path.join(martlet.scratch("conf"), "martlet.conf")
        with open(path, "w") as file:
            file.write(text)
        done = martlet.run(
            [os.path.join(martlet.executables(), "martletd"), "-n", "-c", path], check=False)
        self.assertEqual(done.returncode, expected_status, done.stdout + done.stderr)
        return path, (done.stdout + done.stderr).splitlines()

    def test_an_empty_file_is_right(self):
        self.check("", 0)

    def test_every_default_written_out_is_right(self):
        self.check(
            "# comment\n\n"
            "listen_imap = *:143\nlisten_imaps = [::]:993, 127.0.0.1:1993  # two\n"
            "allow_plaintext_login = loopback\nmail_location = ~/Maildir\n"
            "hierarchy_separator = .\nnamespace_prefix = auto\npam_service = martlet\n"
            "pam_session = no\nminimum_uid = 1000\nruntime_directory = /run/martlet\n"
            "login_processes = 2\nlogin_user = _martlet\nuser_process_linger = 300\n"
            "log_level = info\nlogin_domains = example.org example.com\n", 0)

    def test_every_error_is_said_with_its_line(self):
        path, lines = self.check(
            "listen_imap = *:99999\n"
            "# nothing wrong here\n"
            "minimum_ud = 1000\n"
            "allow_plaintext_login = sometimes\n"
            "log_level = info\n"
            "log_level = debug\n"
            "no equals sign\n"
            "mail_location = maildir:~/Maildir\n", 1)
        for number, word in ((1, "listen_imap"), (3, "minimum_uid"), (4, "loopback"),
                             (6, "log_level"), (7, "="), (8, "~/Maildir")):
            matching = [line for line in lines if line.startswith("%s:%d: " % (path, number))]
            self.assertEqual(len(matching), 1, "line %d in %s" % (number, lines))
            self.assertIn(word, matching[0])
        self.assertFalse([line for line in lines if line.startswith("%s:2:" % path)])
        self.assertFalse([line for line in lines if line.startswith("%s:5:" % path)])

    def test_a_missing_certificate(self):
        path, lines = self.check(
            "tls_certificate = /nowhere/cert.pem\ntls_key = /nowhere/key.pem\n", 1)
        text = "\n".join(lines)
        self.assertIn("%s:1: " % path, text)
        self.assertIn("/nowhere/cert.pem", text)
        self.assertIn("/nowhere/key.pem", text)

    def test_a_key_of_another_certificate(self):
        first, second = martlet.certificate("a.example"), martlet.certificate("b.example")
        path, lines = self.check("tls_certificate = %s\ntls_key = %s\n" % (first[0], second[1]), 1)
        self.assertTrue([line for line in lines if line.startswith("%s:1: " % path)], lines)

    def test_a_right_certificate(self):
        cert, key = martlet.certificate("a.example")
        self.check("tls_certificate = %s\ntls_key = %s\n" % (cert, key), 0)

    def test_certificate_and_key_in_each_others_place(self):
        cert, key = martlet.certificate("a.example")
        path, lines = self.check("tls_certificate = %s\ntls_key = %s\n" % (key, cert), 1)
        self.assertIn("%s:1: tls_certificate: " % path, "\n".join(lines))

    def test_an_expired_certificate_is_a_note_with_its_line(self):
        _, key = martlet.certificate("a.example")
        folder = martlet.scratch("expired")
        request, cert = os.path.join(folder, "request"), os.path.join(folder, "cert.pem")
        martlet.run(["openssl", "req", "-new", "-key", key, "-subj", "/CN=a", "-out", request])
        martlet.run(["openssl", "x509", "-req", "-days", "-1", "-in", request, "-signkey", key,
                     "-out", cert])
        path, lines = self.check("# one\ntls_certificate = %s\ntls_key = %s\n" % (cert, key), 0)
        self.assertIn(
            "note: %s:2: tls_certificate: %s: the certificate has expired" % (path, cert), lines)

    def test_more_certificates_than_keys(self):
        cert, key = martlet.certificate("a.example")
        self.check("tls_certificate = %s %s\ntls_key = %s\n" % (cert, cert, key), 1)

    def test_a_file_that_is_not_there(self):
        done = martlet.run(
            [os.path.join(martlet.executables(), "martletd"), "-n", "-c", "/nowhere/martlet.conf"],
            check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nowhere/martlet.conf", done.stdout + done.stderr)

    def test_a_file_of_noise(self):
        path = os.path.join(martlet.scratch("conf"), "noise")
        with open(path, "wb") as file:
            file.write(bytes(range(256)) * 40)
        done = martlet.run(
            [os.path.join(martlet.executables(), "martletd"), "-n", "-c", path], check=False)
        self.assertEqual(done.returncode, 1)

    def test_unknown_options(self):
        for arguments in (["-x"], ["--maildir", "/tmp"], ["-c"], ["--personal", "--frob"]):
            done = martlet.run(
                [os.path.join(martlet.executables(), "martletd")] + arguments, check=False)
            self.assertNotEqual(done.returncode, 0, arguments)
            self.assertIn("usage", done.stderr)


class Start(TestCase):
    def start(self, *arguments):
        command = [os.path.join(martlet.executables(), "martletd"), *arguments]
        return martlet.run(command, check=False, timeout=40)

    def test_help(self):
        for option in ("--help", "-h"):
            done = self.start(option)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("martletd --personal", done.stdout)

    def test_options_that_cannot_be(self):
        folder = martlet.scratch("options")
        file = os.path.join(folder, "file")
        open(file, "w").close()
        nowhere = ["--listen-imap", "127.0.0.1:0", "--listen-imaps", "127.0.0.1:0"]
        for arguments, status, word in (
            (["--listen-imap", "none", "--listen-imaps", "none"], 2, "nobody could connect"),
            (["--listen-imap", "1143"], 2, "no port"),
            (["--listen-imaps", "1993", "-n"], 2, "no port"),
            (["--maildir", ""], 2, "usage"),
            (nowhere + ["--maildir", file], 1, file),
            (nowhere + ["--maildir", os.path.join(folder, "a", "Maildir")], 1, "No such file"),
            (nowhere + ["--password-file", folder], 1, folder),
        ):
            with self.subTest(arguments=arguments):
                done = self.start("--personal", *arguments)
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn(word, done.stderr)
                self.assertEqual(done.stdout, "")

    def test_a_taken_port_is_named(self):
        first = self.server()
        port = "%s:%d" % first.imap
        folder = martlet.scratch("taken")
        done = self.start("--personal", "--maildir", os.path.join(folder, "Maildir"),
                          "--listen-imap", port, "--listen-imaps", "127.0.0.1:0")
        self.assertEqual(done.returncode, 1)
        self.assertIn(port, done.stderr)
        self.assertAnswers(self.session(first))

    def test_errors_in_the_configuration_stop_the_start(self):
        path = os.path.join(martlet.scratch("conf"), "martlet.conf")
        with open(path, "w") as file:
            file.write("frob = 1\n")
        done = self.start("-c", path)
        self.assertEqual(done.returncode, 1)
        self.assertIn("%s:1: " % path, done.stderr)

    def test_port_zero_prints_the_real_one(self):
        server = self.server()
        self.assertNotEqual(server.imap[1], 0)
        self.assertRegex(
            server.ready, r"^ready: imap=127\.0\.0\.1:\d+ imaps=127\.0\.0\.1:\d+ user=\S+$")

    @martlet.needs_root
    def test_the_ready_line_of_the_system_server_names_no_user(self):
        server = self.server("system")
        self.assertRegex(server.ready, r"^ready: imap=127\.0\.0\.1:\d+ imaps=127\.0\.0\.1:\d+$")

    @martlet.needs_root
    def test_executables_in_libexec(self):
        folder = martlet.scratch("prefix")
        for path in ("sbin", "libexec", "libexec/martlet"):
            os.mkdir(os.path.join(folder, path), 0o755)
        source = martlet.executables()
        for name in os.listdir(source):
            place = "sbin" if name == "martletd" else "libexec/martlet"
            martlet.shutil.copy(os.path.join(source, name), os.path.join(folder, place, name))
        server = martlet.Server(start=False)
        server.command[0] = os.path.join(folder, "sbin", "martletd")
        self.addCleanup(server.stop)
        server.start()
        self.session(server).select()

    @martlet.needs_root
    def test_standard_output_has_the_ready_line_alone(self):
        server = self.server("system")
        self.assertEqual(len(server.output()), 1)
