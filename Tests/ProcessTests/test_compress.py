# SPDX-License-Identifier: ISC
"""COMPRESS=DEFLATE with Python's zlib at the other end, and what a compressed session costs."""

import os
import re
import time
import zlib

import martlet
from martlet import TestCase


class CompressedSocket:
    """A connected socket with DEFLATE over it."""

    def __init__(self, socket, flush=zlib.Z_SYNC_FLUSH, level=6):
        self.socket = socket
        self.flush = flush
        self.deflate = zlib.compressobj(level, zlib.DEFLATED, -15)
        self.inflate = zlib.decompressobj(-15)
        self.received = 0

    def sendall(self, data):
        self.socket.sendall(self.deflate.compress(data) + self.deflate.flush(self.flush))

    def recv(self, size):
        while True:
            data = self.socket.recv(size)
            self.received += len(data)
            text = self.inflate.decompress(data)
            if text or not data:
                return text

    def __getattr__(self, name):
        return getattr(self.socket, name)


def compress(connection, **options):
    connection.ok("COMPRESS DEFLATE")
    assert not connection.buffer, connection.buffer
    connection.socket = CompressedSocket(connection.socket, **options)
    return connection


class Compress(TestCase):
    def test_a_conversation(self):
        server = self.server()
        body = "".join("Line %d of many.\n" % number for number in range(20_000))
        server.maildir.deliver(body=body)
        for options in ({}, {"flush": zlib.Z_FULL_FLUSH}, {"flush": zlib.Z_PARTIAL_FLUSH},
                        {"level": 0}, {"level": 1}, {"level": 9}):
            with self.subTest(options):
                connection = compress(self.session(server), **options)
                connection.select()
                fetched = connection.ok("FETCH 1 BODY.PEEK[TEXT]")
                self.assertIn(body.encode().replace(b"\n", b"\r\n"), fetched.untagged[0])
                self.assertLess(connection.socket.received, len(body) // 3)
                self.assertEqual(
                    connection.append("Sent", martlet.message(body=body)).status, b"OK")
                connection.idle()
                server.maildir.deliver(subject="pushed")
                connection.read_until(rb"EXISTS")
                connection.done()
                connection.logout()

    def test_over_tls_and_starttls(self):
        server = self.server()
        server.maildir.deliver()
        connection = compress(server.login(tls=True))
        self.addCleanup(connection.close)
        connection.select()
        self.assertEqual(len(martlet.subjects(connection)), 1)

    def test_a_session_that_rested_goes_on(self):
        server = self.server()
        connection = compress(self.session(server))
        connection.select()
        text = martlet.message(body="The same words again and again.\n" * 3_000)
        self.assertEqual(connection.append("INBOX", text).status, b"OK")
        time.sleep(3.5)
        # The client's compressor refers to what it sent before the rest.
        self.assertEqual(connection.append("INBOX", text).status, b"OK")
        bodies = connection.ok("FETCH 1:* BODY.PEEK[]").untagged
        self.assertEqual(bodies[0].split(b"\r\n", 1)[1], bodies[1].split(b"\r\n", 1)[1])

    def test_an_idle_session_costs_little_more_than_an_uncompressed_one(self):
        count = 200
        server = self.server()
        for _ in range(20):
            server.maildir.deliver()

        def private():
            # At rest: what a start or a burst took has gone back.
            time.sleep(7)
            with open("/proc/%d/smaps_rollup" % server.pids("martlet-user")[0]) as file:
                return sum(int(kib) for kib in re.findall(r"Private_\w+: +(\d+)", file.read()))

        def sessions(is_compressed):
            connections = []
            before = private()
            for _ in range(count):
                connection = self.session(server)
                if is_compressed:
                    compress(connection)
                connection.select()
                connection.ok("UID FETCH 1:* (FLAGS ENVELOPE)")
                connection.idle()
                connections.append(connection)
            kib = (private() - before) / count
            return connections, kib

        # The first ones pay for what all share.
        self.session(server)
        warm, _ = sessions(True)
        plain, plain_kib = sessions(False)
        compressed, compressed_kib = sessions(True)
        text = "KiB per idle session: %.1f, compressed %.1f" % (plain_kib, compressed_kib)
        if os.environ.get("MARTLET_FIGURES"):
            print(text)
        self.assertLess(compressed_kib, plain_kib + 4, text)
        for connection in warm + plain + compressed:
            connection.close()

    def test_garbage_ends_the_connection_and_no_other(self):
        server = self.server()
        other = self.session(server)
        for data in (b"a1 NOOP\r\n", b"\xff" * 1000, b"\x03\x00", os.urandom(5_000)):
            connection = self.session(server)
            connection.ok("COMPRESS DEFLATE")
            connection.send(data)
            self.assertTrue(connection.is_closed_within(martlet.PATIENCE), data[:20])
            self.assertAnswers(other)
