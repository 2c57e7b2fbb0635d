# SPDX-License-Identifier: ISC
"""Who runs as whom, who sees what, and who lives when another dies."""

import ctypes
import os
import platform
import pwd
import re
import signal
import threading
import time
import unittest

import martlet
from martlet import Closed, SharedServer, TestCase, needs_root, status

DAEMONS = ["martletd", "martlet-tls", "martlet-login", "martlet-auth"]


def socket_inodes(pid):
    """The sockets that a process holds."""
    found = set()
    folder = "/proc/%d/fd" % pid
    try:
        for name in os.listdir(folder):
            try:
                target = os.readlink(os.path.join(folder, name))
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    except OSError:
        pass
    return found


def inode_of(server_port, client_port):
    """The server's socket of a connection on the loopback network."""
    with open("/proc/net/tcp") as file:
        for line in file.readlines()[1:]:
            fields = line.split()
            local, remote = (int(each.split(":")[1], 16) for each in fields[1:3])
            if (local, remote) == (server_port, client_port):
                return int(fields[9])
    return None


class Privileges(SharedServer):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.group = martlet.make_group("mtgroup%d" % (os.getpid() % 100_000))
        martlet.run(["usermod", "-a", "-G", cls.group, cls.ann.name])
        cls.plain = cls.shared.login(cls.ann)
        cls.tls = cls.shared.login(cls.ben, tls=True)
        for connection in (cls.plain, cls.tls):
            connection.select()
            cls.addClassCleanup(connection.close)

    def ids(self, pid, name):
        return [int(each) for each in status(pid)[name].split()]

    def login_user(self):
        try:
            return pwd.getpwnam("_martlet")
        except KeyError:
            return pwd.getpwnam("nobody")

    def test_the_user_process_has_the_ids_and_groups_of_its_user(self):
        pid = self.shared.user_pid(self.ann.uid)
        self.assertEqual(self.ids(pid, "Uid"), [self.ann.uid] * 4)
        self.assertEqual(self.ids(pid, "Gid"), [self.ann.gid] * 4)
        self.assertEqual(
            set(self.ids(pid, "Groups")), set(os.getgrouplist(self.ann.name, self.ann.gid)))
        self.assertIn(martlet.IS_ROOT and __import__("grp").getgrnam(self.group).gr_gid,
                      self.ids(pid, "Groups"))

    def test_the_user_process_has_no_rights_beyond(self):
        fields = status(self.shared.user_pid(self.ann.uid))
        for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            self.assertEqual(int(fields[name], 16), 0, name)
        self.assertEqual(fields["NoNewPrivs"], "1")
        self.assertEqual(fields["Seccomp"], "2")

    def test_each_user_has_one_process_of_their_own(self):
        with self.shared.login(self.ann, tls=True), self.shared.login(self.ann):
            owners = sorted(self.ids(pid, "Uid")[0] for pid in self.shared.pids("martlet-user"))
            self.assertEqual(owners, sorted([self.ann.uid, self.ben.uid]))

    def check_confined(self, role, count):
        pids = self.shared.pids(role)
        self.assertEqual(len(pids), count)
        login_user = self.login_user()
        for pid in pids:
            fields = status(pid)
            self.assertEqual(self.ids(pid, "Uid"), [login_user.pw_uid] * 4)
            self.assertEqual(self.ids(pid, "Gid"), [login_user.pw_gid] * 4)
            self.assertEqual(fields["Groups"].split(), [])
            for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
                self.assertEqual(int(fields[name], 16), 0, name)
            self.assertEqual(fields["NoNewPrivs"], "1")
            self.assertEqual(fields["Seccomp"], "2")
            root = os.readlink("/proc/%d/root" % pid)
            self.assertNotEqual(root, "/")
            self.assertEqual(os.listdir("/proc/%d/root" % pid), [])
            # Nothing can be made in it either.
            owner = os.stat("/proc/%d/root" % pid)
            self.assertEqual((owner.st_uid, owner.st_mode & 0o022), (0, 0))
            self.assertEqual(os.readlink("/proc/%d/cwd" % pid), root)

    def test_martlet_login_is_locked_in(self):
        self.check_confined("martlet-login", 2)

    def test_martlet_tls_is_locked_in(self):
        self.check_confined("martlet-tls", 2)

    def test_daemons_have_one_thread(self):
        for role in DAEMONS:
            pids = [self.shared.pid] if role == "martletd" else self.shared.pids(role)
            self.assertTrue(pids, role)
            for pid in pids:
                self.assertEqual(int(status(pid)["Threads"]), 1, role)

    def test_the_user_process_has_its_job_pool_and_no_more(self):
        self.plain.ok("FETCH 1:* BODY.PEEK[]") if self.plain.exists() else None
        for pid in self.shared.pids("martlet-user"):
            self.assertLessEqual(int(status(pid)["Threads"]), 1 + 8)

    def test_only_root_processes_are_martletd_and_martlet_auth(self):
        for pid in martlet.descendants(self.shared.pid):
            if self.ids(pid, "Uid")[1] == 0:
                self.assertEqual(os.path.basename(martlet.command_of(pid)[0]), "martlet-auth")

    def test_a_user_process_holds_no_descriptor_of_another(self):
        """Neither listening sockets nor the other user's connections."""
        ann, ben = (self.shared.user_pid(user.uid) for user in (self.ann, self.ben))
        listening = set()
        with open("/proc/net/tcp") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if fields[3] == "0A":
                    listening.add(int(fields[9]))
        self.assertEqual(socket_inodes(ann) & listening, set())
        self.assertEqual(socket_inodes(ann) & socket_inodes(ben), set())

    def test_no_key_is_where_strangers_are_parsed(self):
        """martlet-login has no open file but sockets, its log, and the kernel's own."""
        for pid in self.shared.pids("martlet-login"):
            for name in os.listdir("/proc/%d/fd" % pid):
                target = os.readlink("/proc/%d/fd/%s" % (pid, name))
                self.assertRegex(target, r"^(socket:|anon_inode:|/dev/null|%s)"
                                 % re.escape(self.shared.log_path))


class Separation(SharedServer):
    """Two users at once never see each other's mail."""

    def test_two_users_at_once(self):
        for user in (self.ann, self.ben):
            for number in range(20):
                user.maildir.deliver(subject="For %s %d" % (user.name, number))
            user.maildir.make("Private-" + user.name)
            user.maildir.put(subject="For %s in private" % user.name,
                             mailbox="Private-" + user.name)
        problems = []

        def look(user, other, tls):
            try:
                for _ in range(3):
                    with self.shared.login(user, tls=tls) as connection:
                        connection.select()
                        found = martlet.subjects(connection)
                        if len(found) != 20 or not all(user.name in each for each in found):
                            problems.append((user.name, found))
                        result = connection.ok("FETCH 1:* BODY.PEEK[]")
                        if other.name.encode() in repr(result).encode():
                            problems.append((user.name, "sees a body of the other"))
                        listed = repr(connection.ok('LIST "" "*"'))
                        if "Private-" + other.name in listed:
                            problems.append((user.name, "lists a mailbox of the other"))
                        if connection.command('SELECT "Private-%s"' % other.name).status != b"NO":
                            problems.append((user.name, "opens a mailbox of the other"))
                        connection.select("Private-" + user.name)
            except Exception as error:  # noqa: BLE001
                problems.append((user.name, repr(error)))

        threads = [
            threading.Thread(target=look, args=(user, other, tls))
            for user, other in ((self.ann, self.ben), (self.ben, self.ann))
            for tls in (False, True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        self.assertEqual(problems, [])

    def test_no_name_leads_out_of_the_maildir(self):
        self.ben.maildir.make("Reachable")
        connection = self.session(self.shared, self.ann)
        connection.select()
        names = ["../%s/Maildir" % self.ben.name, "..", "../..", "/etc", "%s/Maildir" % self.ben.home,
                 "INBOX/../../%s/Maildir" % self.ben.name, "a/../../b", "~%s" % self.ben.name,
                 "~/../%s/Maildir" % self.ben.name, "x/.", ".Reachable", "..Reachable"]
        before = sorted(os.listdir(self.ben.home))
        for name in names:
            for command in ('SELECT "%s"', 'EXAMINE "%s"', 'STATUS "%s" (MESSAGES)', 'DELETE "%s"',
                            'RENAME "%s" Mine'):
                self.assertIn(connection.command(command % name).status, (b"NO", b"BAD"),
                              command % name)
            connection.command('CREATE "%s"' % name)
            self.assertIn(connection.append(name, martlet.message()).status, (b"NO", b"BAD", b"OK"))
        self.assertEqual(sorted(os.listdir(self.ben.home)), before)
        self.assertEqual(self.ben.maildir.files("Reachable"), [])
        # What could be made is in the user's own Maildir, one level deep.
        self.assertEqual(sorted(os.listdir(os.path.dirname(self.ann.maildir.path))),
                         sorted({"Maildir"} | set(os.listdir("/etc/skel"))))

    def test_a_link_out_of_the_maildir_leads_nowhere(self):
        """A user's own link to what only root may read is of no use to them."""
        secret = os.path.join(martlet.scratch("secret", 0o700), "cur")
        os.mkdir(secret)
        os.symlink(os.path.dirname(secret), os.path.join(self.ann.maildir.path, ".Linked"))
        self.addCleanup(os.unlink, os.path.join(self.ann.maildir.path, ".Linked"))
        connection = self.session(self.shared, self.ann)
        connection.no("SELECT Linked")
        self.assertAnswers(connection)


class Deaths(TestCase):
    """kill -9 of each process while clients are connected."""

    def setUp(self):
        if not martlet.IS_ROOT:
            self.skipTest("needs root")
        self.ann, self.ben = self.user(), self.user()
        for user in (self.ann, self.ben):
            user.maildir.deliver(subject="For " + user.name)
        self.host = self.server("system")

    def sessions(self):
        """A plain and a TLS session of each user, with a mailbox selected."""
        made = {
            (user.name, tls): self.session(self.host, user, tls=tls)
            for user in (self.ann, self.ben) for tls in (False, True)
        }
        for connection in made.values():
            connection.select()
        return made

    def log_in_again(self, user, tls=False):
        """A login, once the processes for it are there again."""
        def attempt():
            try:
                connection = self.host.connect(tls=tls, timeout=8)
                self.addCleanup(connection.close)
                result = connection.authenticate(user.name, user.password)
                return connection if result.status == b"OK" else None
            except (OSError, Closed, TimeoutError):
                return None
        connection = martlet.wait_until(attempt, "a login after the restart", 40)
        connection.select()
        return connection

    def kill(self, pids):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def test_martlet_login(self):
        sessions = self.sessions()
        waiting = self.connection(self.host)
        before = self.host.pids("martlet-login")
        self.kill(before)
        # No logged-in session ends, whether plain or through TLS.
        for connection in sessions.values():
            connection.ok("FETCH 1 (FLAGS)")
        self.assertTrue(waiting.is_closed_within(10))
        self.host.wait_for_pids("martlet-login", 2, but=before)
        self.log_in_again(self.ann)
        self.log_in_again(self.ann, tls=True)
        for connection in sessions.values():
            self.assertAnswers(connection)

    def test_martlet_tls(self):
        sessions = self.sessions()
        more = [self.session(self.host, self.ann, tls=True) for _ in range(12)]
        through_tls = more + [c for (_, tls), c in sessions.items() if tls]
        ports = {c: c.socket.getsockname()[1] for c in through_tls}

        def carried_by(pid):
            theirs = socket_inodes(pid)
            return {c: inode_of(self.host.imaps[1], port) in theirs for c, port in ports.items()}

        # The kernel shares connections out as it likes: the process with most of them is killed.
        victim, carried = max(
            ((pid, carried_by(pid)) for pid in self.host.pids("martlet-tls")),
            key=lambda one: sum(one[1].values()),
        )
        self.assertIn(True, carried.values(), "no connection on the process to be killed")
        self.kill([victim])
        for connection, is_lost in carried.items():
            if is_lost:
                self.assertTrue(connection.is_closed_within(10))
            else:
                self.assertAnswers(connection)
        for (_, tls), connection in sessions.items():
            if not tls:
                connection.ok("FETCH 1 (FLAGS)")
        self.host.wait_for_pids("martlet-tls", 2, but=[victim])
        for _ in range(4):
            self.log_in_again(self.ben, tls=True)
        starttls = self.connection(self.host)
        starttls.ok("STARTTLS")
        starttls.start_tls(martlet.client_context())
        starttls.login(self.ben.name, self.ben.password)

    def test_every_martlet_tls(self):
        sessions = self.sessions()
        before = self.host.pids("martlet-tls")
        self.kill(before)
        for (_, tls), connection in sessions.items():
            if tls:
                self.assertTrue(connection.is_closed_within(10))
            else:
                self.assertAnswers(connection)
        self.host.wait_for_pids("martlet-tls", 2, but=before)
        self.log_in_again(self.ben, tls=True)

    def test_martlet_auth(self):
        sessions = self.sessions()
        before = self.host.pids("martlet-auth")
        self.assertEqual(len(before), 1)
        self.kill(before)
        for connection in sessions.values():
            connection.ok("FETCH 1 (FLAGS)")
        self.host.wait_for_pids("martlet-auth", 1, but=before)
        self.log_in_again(self.ann)
        connection = self.connection(self.host)
        self.assertEqual(connection.authenticate(self.ann.name, "wrong").status, b"NO")
        # The workers of the one that died are gone as well.
        martlet.wait_until(
            lambda: not [pid for pid in martlet.all_pids()
                         if martlet.parent_of(pid) == 1 and "--worker" in martlet.command_of(pid)
                         and martlet._is_ours(pid)],
            "the end of orphaned workers")

    def workers(self):
        return [pid for pid in martlet.descendants(self.host.pid)
                if "--worker" in martlet.command_of(pid)]

    def test_idle_workers_of_martlet_auth_leave(self):
        threads = [threading.Thread(target=self.log_in_again, args=(self.ann,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        martlet.wait_until(lambda: len(self.workers()) > 1, "a second worker")
        for thread in threads:
            thread.join()
        martlet.wait_until(lambda: not self.workers(), "workers that leave")
        self.log_in_again(self.ann)
        kept = self.workers()
        self.assertEqual(len(kept), 1)
        self.log_in_again(self.ann)
        self.assertEqual(self.workers(), kept)

    def test_a_worker_of_martlet_auth(self):
        self.session(self.host, self.ann)
        self.kill(self.workers())
        for _ in range(4):
            self.log_in_again(self.ann)

    def test_martlet_user(self):
        sessions = self.sessions()
        victim = self.host.user_pid(self.ann.uid)
        others = self.host.user_pid(self.ben.uid)
        self.kill([victim])
        for (name, _), connection in sessions.items():
            if name == self.ann.name:
                self.assertTrue(connection.is_closed_within(10))
            else:
                connection.ok("FETCH 1 (FLAGS)")
        again = self.log_in_again(self.ann)
        self.assertEqual(martlet.subjects(again), ["For " + self.ann.name])
        self.assertNotEqual(self.host.user_pid(self.ann.uid), victim)
        self.assertEqual(self.host.user_pid(self.ben.uid), others)

    def test_martletd(self):
        sessions = self.sessions()
        family = martlet.descendants(self.host.pid)
        self.assertGreaterEqual(len(family), 7)
        self.kill([self.host.pid])
        self.host.process.wait(10)
        martlet.wait_until(
            lambda: not [pid for pid in family if martlet.is_alive(pid)],
            "the end of all children of a killed martletd")
        for connection in sessions.values():
            self.assertTrue(connection.is_closed_within(10))

    def test_everything_in_turn_while_a_client_works(self):
        """A client that comes again when it is thrown out never finds a server that is stuck."""
        for role in ("martlet-login", "martlet-auth", "martlet-tls", "martlet-user"):
            for _ in range(2):
                self.log_in_again(self.ann, tls=True)
                self.kill(self.host.pids(role))
        self.log_in_again(self.ann, tls=True)
        self.log_in_again(self.ben)

    def test_a_process_that_dies_again_and_again_does_not_stop_the_server(self):
        session = self.session(self.host, self.ann)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            self.kill(self.host.pids("martlet-login"))
            time.sleep(0.05)
        self.assertAnswers(session)
        self.log_in_again(self.ben)


def time_slice(pid):
    """The slice of a process in nanoseconds: sched_runtime of struct sched_attr (sched_setattr(2))."""
    room = ctypes.create_string_buffer(48)
    number = {"x86_64": 315, "aarch64": 275}[platform.machine()]
    if ctypes.CDLL(None, use_errno=True).syscall(number, pid, room, 48, 0) != 0:
        raise OSError(ctypes.get_errno(), "sched_getattr")
    return int.from_bytes(room.raw[24:32], "little")


class TimeSlice(TestCase):
    @unittest.skipUnless(
        tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 12),
        "one slice for all before Linux 6.12")
    def test_all_processes_take_turns_quickly(self):
        server = self.server()
        self.session(server).select()
        family = martlet.descendants(server.pid) + [server.pid]
        self.assertGreaterEqual(len(family), 5)
        self.assertEqual({time_slice(pid) for pid in family}, {700_000})


class Ends(TestCase):
    def test_sigterm(self):
        server = self.server()
        idle = self.session(server)
        idle.select()
        idle.idle()
        tls = self.session(server, tls=True)
        waiting = self.connection(server)
        family = martlet.descendants(server.pid)
        self.assertEqual(server.terminate(), 0)
        self.assertEqual([pid for pid in family if martlet.is_alive(pid)], [])
        for connection in (idle, tls, waiting):
            self.assertIn(b"* BYE", connection.read_to_end())

    def test_sigterm_while_a_message_is_on_its_way(self):
        """What was acknowledged is there; what was not is not there in part."""
        server = self.server()
        connection = self.session(server)
        self.assertEqual(
            connection.append("INBOX", martlet.message(subject="Whole")).status, b"OK")
        connection.send(b"a APPEND INBOX {100000+}\r\n" + b"half " * 10_000)
        time.sleep(0.2)
        self.assertEqual(server.terminate(), 0)
        self.assertEqual(len(server.maildir.files()), 1)

    def test_the_port_is_free_at_once(self):
        server = self.server()
        address = server.imap
        self.session(server)
        server.terminate()
        again = martlet.Server(start=False, maildir=server.maildir)
        place = again.command.index("--listen-imap") + 1
        again.command[place] = "%s:%d" % address
        self.addCleanup(again.stop)
        again.start()
        self.assertEqual(again.imap, address)

    @needs_root
    def test_a_user_process_ends_after_its_time(self):
        ann = self.user()
        server = self.server("system", settings={"user_process_linger": "1"})
        with server.login(ann) as connection:
            connection.select()
            self.assertEqual(len(server.pids("martlet-user")), 1)
            connection.logout()
        server.wait_for_pids("martlet-user", 0)
        self.session(server, ann).select()

    @needs_root
    def test_a_user_process_stays_for_its_time(self):
        ann = self.user()
        server = self.server("system")
        with server.login(ann) as connection:
            connection.logout()
        first = server.user_pid(ann.uid)
        with server.login(ann) as connection:
            connection.select()
        self.assertEqual(server.user_pid(ann.uid), first)
