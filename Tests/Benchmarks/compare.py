#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Runs martlet-bench against Dovecot and Martlet in turn; packaging/bench calls it.

Both servers serve the same system users, with the same PAM service, certificate and durability,
each from its own Maildirs: hard links of the same files. Measures run A B A B, so that what else
the machine does hits both. The table has medians; the raw numbers go to a file.
"""

import argparse
import collections
import fcntl
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

PREFIX = "mbench"
PASSWORD = "martlet-bench"
SERVERS = ["dovecot", "martlet"]

# Measures where Dovecot's own advice for busy hosts makes it much better: that one is run too.
TUNED = {"greet", "login", "idle"}
# Measures of Martlet alone.
ALONE = {"growth", "users"}
# How many messages the mailboxes of `growth` have.
GROWTH = [1_000, 10_000, 100_000, 1_000_000]

# What Martlet is to reach, wall and CPU: its share of Dovecot's, or of the tuned one's (`TUNED_RATIO`). Behind
# a slash: of one figure. Of rates, more is better.
GOALS = {
    "select-100k cold": 0.5, "select-100k first": 1.5, "select-100k warm": 0.3,
    "fetch-flags-100k warm": 0.15, "envelope-10k cold": 0.4, "envelope-10k second": 0.05,
    "envelope-10k third": 0.15, "tb-headers-10k cold": 0.35, "tb-headers-10k warm": 0.25,
    "bodies-10k cold": 0.5, "bodies-10k warm": 0.6, "store-one-10k warm": 0.3,
    "store-undone-10k warm": 0.05, "store-flags-10k add": 0.95, "store-flags-10k remove": 0.95,
    "store-keyword-10k add": 0.95, "store-keyword-10k remove": 0.95, "store-silent-10k add": 0.95,
    "store-silent-10k remove": 0.95, "copy-10k warm": 0.5, "move-10k warm": 0.6,
    "expunge-10k warm": 0.8, "append c1-u1-p1": 0.3, "append c1-u1-p1/p50_ms": 1.0,
    "append c1-u1-p16/p50_ms": 0.3, "append c10-u1-p1/per_s": 4, "append c10-u1-p1/p99_ms": 0.1,
    "append c10-u10-p1/per_s": 1.5, "search-from-10k cold": 0.5, "search-from-10k warm": 0.2,
    "search-subject-10k cold": 0.5, "search-subject-10k warm": 0.2, "search-body-10k cold": 0.3,
    "search-body-10k warm": 0.3, "search-text-10k cold": 0.3, "search-text-10k warm": 0.3,
    "sort-date-10k cold": 0.5, "sort-date-10k warm": 0.5, "sort-subject-10k cold": 0.5,
    "sort-subject-10k warm": 0.5, "thread-refs-10k cold": 0.5, "thread-refs-10k warm": 0.5,
    "greet plain": 1, "greet tls": 1, "login c8": 0.5, "login c8/per_s": 2, "login c8-tls": 0.5,
    "login c8-tls/per_s": 2, "idle c500/pss_kb": 0.1, "idle c2000/pss_kb": 0.05,
    "idle c500-tls/pss_kb": 0.06, "notify c1-w1": 0.01, "notify c1-w1/p99_ms": 0.05,
    "notify c500-w25": 0.02, "notify c500-w25/p99_ms": 0.08, "mixed all": 0.25,
    "mixed all/per_s": 3, "mixed select": 0.2, "mixed select/p99_ms": 0.2, "mixed noop/p99_ms": 0.2,
    "mixed store/p99_ms": 0.2, "mixed fetchFlags/p99_ms": 0.2,
}

# Where the ratio is to the tuned Dovecot: the default one is no match there.
TUNED_RATIO = {"greet", "login"}

# A measure is a list of steps. A step says what comes before it ("cold": the server is started
# anew without its index; "restart": started anew; "": it just goes on), who logs in (how many
# users), and what martlet-bench is told.
Step = collections.namedtuple("Step", "before users arguments")


def plan(quick):
    """All measures, in the order in which they run."""
    few = "2" if quick else "4"
    many = "20" if quick else "500"
    people = 3 if quick else 20

    def box(name, states, count, *measures):
        return ["--mailbox", name, "--states", states, "--repeat", count, *measures]

    def step(before, *arguments, users=1):
        return Step(before, users, list(arguments))

    def append(connections, pipeline, users):
        count = "20" if quick else ("300" if connections == 1 else "100")
        return step("", "--connections", str(connections), "--pipeline", str(pipeline),
                    "--count", count, "--leave", "append", users=users)

    def selects(name):
        return [
            step("cold", *box(name, "cold", "1", "select")),
            step("restart", *box(name, "first", "1", "select")),
            step("", *box(name, "warm", "3" if quick else "10", "select")),
        ]

    def reads(name, mailbox="b10k", states="cold,warm", count=few):
        return [step("cold", *box(mailbox, states, count, name))]

    def growth(sizes):
        steps = []
        for size in sizes:
            name = f"g{size}"
            steps += [
                step("cold", *box(name, "cold", "1", "select")),
                step("restart", *box(name, "first", "1", "select")),
                step("", *box(name, "warm", "3", "select")),
                step("", *box(name, "warm", "1", "status")),
                step("", *box(name, "warm", "2", "fetch-flags")),
                step("", *box(name, "warm", "2", "search-unseen")),
                step("", *box(name, "warm", "1", "store-one")),
                step("restart", *box(name, "warm", "1", "--connections", "1", "idle")),
                step("restart", *box(name, "warm", "1", "--connections", "5", "idle")),
            ]
        return steps

    login = ["--seconds", "1" if quick else "8", "--count", "1000"]
    measures = {
        "select100k": selects("b100k"),
        "select10k": selects("b10k"),
        "status": [step("", *box("b100k", "warm", "1", "status"))],
        "fetch-flags": reads("fetch-flags", "b100k", "first,warm"),
        "envelope": reads("envelope", states="cold,second,third"),
        "tb-headers": reads("tb-headers"),
        "bodies": reads("bodies", count="2" if quick else "3"),
        "search-from": reads("search-from"),
        "search-subject": reads("search-subject"),
        "search-body": reads("search-body", count="2"),
        "search-text": reads("search-text", count="2"),
        "search-unseen": reads("search-unseen", states="first,warm"),
        "search-since": reads("search-since"),
        "sort-date": reads("sort-date"),
        "sort-subject": reads("sort-subject"),
        "thread-refs": reads("thread-refs"),
        "store-one": [step("", *box("b10k", "warm", "1", "store-one"))],
        "store": [step("", *box("b10k", "warm", "1" if quick else "2", name))
                  for name in ["store-flags", "store-keyword", "store-silent"]],
        "store-others": [step("", *box("b10k", "warm", "1", "store-others"))],
        "copy": [step("", *box("b10k", "warm", "1", "copy"))],
        "append": [append(1, 1, 1), append(1, 16, 1), append(10, 1, 1), append(10, 1, 10)],
        "greet": [step("", "--count", "200", "greet"), step("", "--tls", "--count", "100", "greet")],
        "login": [
            step("", *login, "--connections", "1", "login"),
            step("", *login, "--connections", "8", "login"),
            step("", *login, "--connections", "8", "--tls", "login"),
        ],
        "login-yescrypt": [step("", *login, "--note", "yescrypt", "--connections", "1",
                                "login", users=0)],
        "idle": [step("restart", "--connections", many, "idle", users=people)],
        "idle-many": [step("restart", "--connections", "40" if quick else "2000", "idle",
                           users=people)],
        "idle-tls": [step("restart", "--connections", many, "--tls", "idle", users=people)],
        "notify": [
            step("restart", "--connections", "1", "--gap", "200" if quick else "1000",
                 "--count", "5" if quick else "20", "notify"),
            step("", "--connections", many, "--gap", "200" if quick else "1000",
                 "--count", "5" if quick else "20", "notify", users=people),
        ],
        "mixed": [step("restart", "--connections", "2" if quick else "5", "--seconds",
                       "2" if quick else "20", "mixed", users=people)],
        "growth": growth(GROWTH[:2] if quick else GROWTH),
        "users": [step("restart", "--connections", "20" if quick else "1000", "idle",
                       users=20 if quick else 1_000)],
    }
    if quick:
        # A smoke run: both servers keep running, so nothing is cold but the first SELECT.
        for name, steps in measures.items():
            if name != "select100k":
                measures[name] = [step._replace(before="") for step in steps]
    return measures


class Stop(Exception):
    """Somebody wants us to end."""


def run(*command, **options):
    return subprocess.run(command, check=True, **options)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def descendants(root):
    """The process and all below it."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            parents[int(entry)] = int(stat.rsplit(")", 1)[1].split()[1])
    members = {root}
    while True:
        more = {pid for pid, parent in parents.items() if parent in members} - members
        if not more:
            return members
        members |= more


class Server:
    """One of the two, in a directory of its own."""

    def __init__(self, name, work, bin_directory):
        self.name = name
        self.directory = work / name
        self.work = work
        self.bin = bin_directory
        self.process = None
        self.directory.mkdir(mode=0o755, exist_ok=True)
        self.plain, self.tls = free_port(), free_port()

    def maildir(self, user):
        return self.work / "home" / user / self.name

    def command(self):
        raise NotImplementedError

    def forget_index(self):
        raise NotImplementedError

    def start(self):
        log = open(self.directory / "log", "ab")
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                        stderr=log, start_new_session=True)
        log.close()
        deadline = time.monotonic() + 30
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.plain), 5) as connection:
                    if connection.recv(100).startswith(b"* OK"):
                        return
            except OSError:
                pass
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} does not start; see {self.directory}/log")
            time.sleep(0.02)

    def stop(self):
        if self.process is None:
            return
        mine = descendants(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        # What outlives its parent is still ours, and has to go: by its number.
        deadline = time.monotonic() + 10
        while True:
            mine = {pid for pid in mine if os.path.exists(f"/proc/{pid}")}
            if not mine:
                return
            if time.monotonic() > deadline:
                for pid in mine:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
            time.sleep(0.05)

    def restart(self, cold=False):
        self.stop()
        if cold:
            self.forget_index()
        self.start()


class Dovecot(Server):
    more = ""

    def command(self):
        for name in ["run", "state"]:
            (self.directory / name).mkdir(exist_ok=True)
        configuration = self.directory / "dovecot.conf"
        # Defaults, but for limits, places and names.
        configuration.write_text(f"""
base_dir = {self.directory}/run
state_dir = {self.directory}/state
log_path = {self.directory}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{self.work}/certificate.pem
ssl_key = <{self.work}/key.pem
mail_location = maildir:~/dovecot
mail_max_userip_connections = 10000
default_client_limit = 20000
default_process_limit = 5000
passdb {{
  driver = pam
  args = dovecot
}}
userdb {{
  driver = passwd
}}
service imap {{
  process_limit = 5000
}}
service imap-login {{
  process_limit = 5000
  inet_listener imap {{
    port = {self.plain}
  }}
  inet_listener imaps {{
    port = {self.tls}
  }}
}}
{self.more}""")
        return ["dovecot", "-F", "-c", str(configuration)]

    def forget_index(self):
        for user in (self.work / "home").iterdir():
            maildir = self.maildir(user.name)
            for folder in [maildir, *maildir.glob(".[!.]*")]:
                for index in folder.glob("dovecot.index*"):
                    index.unlink()


class Tuned(Dovecot):
    """Dovecot as its documentation tunes it for many users; a server of the same Maildirs."""

    more = """
maildir_very_dirty_syncs = yes
imap_hibernate_timeout = 5s
service imap-login {
  service_count = 0
  process_min_avail = 2
  client_limit = 10000
}
service imap {
  extra_groups = $default_internal_group
  unix_listener imap-master {
    user = $default_internal_user
  }
}
service imap-hibernate {
  unix_listener imap-hibernate {
    mode = 0660
    group = $default_internal_group
  }
}
"""

    def maildir(self, user):
        return self.work / "home" / user / "dovecot"


class Martlet(Server):
    def command(self):
        configuration = self.directory / "martlet.conf"
        # The same PAM service as the other, so that both ask the same modules.
        configuration.write_text(f"""
listen_imap = 127.0.0.1:{self.plain}
listen_imaps = 127.0.0.1:{self.tls}
mail_location = ~/martlet
pam_service = dovecot
runtime_directory = {self.directory}/run
cache_directory = {self.directory}/cache
tls_certificate = {self.work}/certificate.pem
tls_key = {self.work}/key.pem
log_level = warning
""")
        return [str(self.bin / "martletd"), "-c", str(configuration)]

    def forget_index(self):
        shutil.rmtree(self.directory / "cache", ignore_errors=True)


class Bench:
    def __init__(self, options):
        self.options = options
        self.bin = pathlib.Path(options.bin).resolve()
        self.tool = self.bin / "martlet-bench"
        # A directory of our own below the one named, since all of it is removed.
        self.work = pathlib.Path(options.work).resolve() / "martlet-bench"
        self.sizes = (200, 300, 2_000) if options.quick else (1_000, 10_000, 100_000)
        self.people = 10 if options.quick else 20
        self.results = collections.defaultdict(lambda: collections.defaultdict(list))
        self.order = []
        self.failures = []
        self.servers = []
        self.tuned = None

    @property
    def users(self):
        return [f"{PREFIX}{number}" for number in range(1, self.people + 1)]

    # Users

    def make_users(self):
        cheap = subprocess.run(["openssl", "passwd", "-1", PASSWORD], check=True,
                               capture_output=True, text=True).stdout.strip()
        for user in [*self.users, PREFIX + "y"]:
            home = self.work / "home" / user
            self.useradd("-M", "-U", "-K", "MAIL_DIR=/nonexistent", "-d", str(home), "-s",
                         "/usr/sbin/nologin", "-p", cheap, user)
            account = subprocess.run(["getent", "passwd", user], check=True, capture_output=True,
                                     text=True).stdout.split(":")
            home.mkdir(parents=True, exist_ok=True)
            os.chown(home, int(account[2]), int(account[3]))
        # One whose password has the hash that the system makes by itself.
        run("chpasswd", input=f"{PREFIX}y:{PASSWORD}\n", text=True)

    def make_crowd(self, count):
        """A thousand users more, at once: useradd takes a second for ten."""
        lines = []
        for number in range(self.people + 1, count + 1):
            user = f"{PREFIX}{number}"
            home = self.work / "home" / user
            lines.append(f"{user}:{PASSWORD}:{40_000 + number}:{40_000 + number}::{home}:"
                         "/usr/sbin/nologin")
        run("newusers", input="\n".join(lines) + "\n", text=True)
        self.people = max(self.people, count)

    def make_growth(self, sizes):
        """Mailboxes of a million names need no million files: each file has many names."""
        home = self.work / "home" / self.users[0]
        status = home.stat()
        source = home / "growth"
        run(self.tool, "corpus", "--seed", "7", "--messages", "100", "--out", str(source),
            "--small", "--owner", f"{status.st_uid}:{status.st_gid}", stdout=subprocess.DEVNULL)
        files = sorted((source / "cur").iterdir())
        for size in sizes:
            box = home / "martlet" / f".g{size}"
            for part in ["cur", "new", "tmp"]:
                (box / part).mkdir(parents=True)
            for number in range(size):
                letters = "S" if number % 10 else ""
                os.link(files[number % 100],
                        box / "cur" / f"{1_600_000_000 + number}.M{number}P1.bench:2,{letters}")
            run("chown", "-R", f"{status.st_uid}:{status.st_gid}", str(box))

    @staticmethod
    def useradd(*arguments):
        for attempt in range(20):
            # Somebody else may have the password file locked.
            done = subprocess.run(["useradd", *arguments], capture_output=True, text=True)
            if done.returncode == 0:
                return
            time.sleep(0.5)
        raise RuntimeError(f"useradd: {done.stderr.strip()}")

    @staticmethod
    def remove_users():
        """All that have our name, also those of a run that was killed."""
        with open("/etc/passwd", encoding="utf-8", errors="replace") as accounts:
            names = [line.split(":")[0] for line in accounts]
        for name in names:
            rest = name.removeprefix(PREFIX)
            if rest != name and (rest.isdigit() or rest == "y"):
                for _ in range(20):
                    if subprocess.run(["userdel", name], stderr=subprocess.DEVNULL).returncode == 0:
                        break
                    time.sleep(0.5)

    # Mail

    def make_corpus(self):
        small, medium, large = self.sizes
        for number, user in enumerate(self.users, 1):
            home = self.work / "home" / user
            status = home.stat()
            owner = f"{status.st_uid}:{status.st_gid}"
            source = home / "source"
            boxes = [("", small, number, True)]
            if number == 1:
                boxes += [(".b10k", medium, 0, False), (".b100k", large, 0, True)]
            for name, count, seed, is_small in boxes:
                run(self.tool, "corpus", "--seed", str(self.options.seed + seed), "--messages",
                    str(count), "--out", str(source / name), "--owner", owner,
                    *(["--small"] if is_small else []), stdout=subprocess.DEVNULL)
            for server in SERVERS:
                run("cp", "-al", str(source), str(home / server))
                os.chown(home / server, status.st_uid, status.st_gid)
        home = self.work / "home" / (PREFIX + "y")
        for server in SERVERS:
            for part in ["cur", "new", "tmp"]:
                (home / server / part).mkdir(parents=True)
            status = home.stat()
            run("chown", "-R", f"{status.st_uid}:{status.st_gid}", str(home / server))

    # Running

    def step(self, server, step, round_number, is_kept=True):
        if step.before or server.process is None:
            server.restart(cold=step.before == "cold")
        users = self.users[:step.users] if step.users else [PREFIX + "y"]
        port = server.tls if "--tls" in step.arguments else server.plain
        command = [str(self.tool), "run", "--host", "127.0.0.1", "--port", str(port), "--user",
                   ",".join(users), "--password", PASSWORD, "--server-pid",
                   str(server.process.pid), "--no-table", "--maildir",
                   str(server.maildir(users[0])), *step.arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        except subprocess.TimeoutExpired:
            self.fail(server, step, "took more than 900 s")
            return
        for line in done.stdout.splitlines():
            if is_kept and line.startswith("measure="):
                result = dict(word.split("=", 1) for word in line.split(" "))
                if "--mailbox" in step.arguments:
                    mailbox = step.arguments[step.arguments.index("--mailbox") + 1]
                    result["measure"] += "-" + mailbox.removeprefix("b")
                self.keep(server.name, round_number, result)
        if done.returncode != 0:
            self.fail(server, step, done.stderr.strip())

    def fail(self, server, step, reason):
        self.failures.append(f"{server.name} {' '.join(step.arguments)}: {reason}")
        print(f"\n  FAILED {self.failures[-1]}", flush=True)
        # Whatever state it is in now, the next measure shall not find it.
        server.stop()

    def keep(self, server, round_number, result):
        for key, value in result.items():
            if key in ("measure", "state"):
                continue
            print("\t".join([str(round_number), server, result["measure"], result["state"], key,
                             value]), file=self.raw, flush=True)
            try:
                number = float(value)
            except ValueError:
                continue
            name = (result["measure"], result["state"])
            if name not in self.order:
                self.order.append(name)
            self.results[name][server, key].append(number)

    def main(self):
        chosen = plan(self.options.quick)
        if self.options.only:
            names = self.options.only.split(",")
            unknown = [name for name in names if name not in chosen]
            if unknown:
                sys.exit(f"no such measure: {', '.join(unknown)}; see --list")
            chosen = {name: chosen[name] for name in chosen if name in names}
        self.remove_users()
        if (self.work / "home").exists():
            shutil.rmtree(self.work / "home")
        (self.work / "home").mkdir(parents=True)
        self.work.chmod(0o755)
        try:
            self.raw = open(self.options.results, "w", encoding="utf-8")
            print("Users and corpus", flush=True)
            self.make_users()
            self.make_corpus()
            run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                "/CN=localhost", "-keyout", str(self.work / "key.pem"), "-out",
                str(self.work / "certificate.pem"), stderr=subprocess.DEVNULL)
            self.servers = [Dovecot("dovecot", self.work, self.bin),
                            Martlet("martlet", self.work, self.bin)]
            self.tuned = Tuned("tuned", self.work, self.bin)
            if "growth" in chosen:
                self.make_growth([int(step.arguments[1][1:]) for step in chosen["growth"][::9]])
            if "users" in chosen:
                self.make_crowd(max(step.users for step in chosen["users"]))
            # Each sees each mailbox once, so that UIDs are given out before anything is measured.
            for server in self.servers:
                for name in ["INBOX", "b10k", "b100k"]:
                    self.step(server, Step("", 1, ["--mailbox", name, "--repeat", "1", "select"]),
                              0, is_kept=False)
            for name, steps in chosen.items():
                for round_number in range(1, self.options.rounds + 1):
                    if name in ALONE and round_number > 1:
                        continue
                    servers = self.servers[-1:] if name in ALONE else self.servers
                    if name.split("-")[0] in TUNED:
                        servers = [*servers, self.tuned]
                    for server in servers:
                        began = time.monotonic()
                        print(f"{name}: round {round_number}, {server.name}", end="", flush=True)
                        # The other one rests meanwhile.
                        for other in [server for server in [*self.servers, self.tuned] if server]:
                            if other is not server and not self.options.quick:
                                other.stop()
                        for step in steps:
                            self.step(server, step, round_number)
                        print(f", {time.monotonic() - began:.1f} s", flush=True)
        finally:
            for server in [server for server in [*self.servers, self.tuned] if server]:
                server.stop()
            if not self.options.keep:
                self.remove_users()
                shutil.rmtree(self.work, ignore_errors=True)
        self.print_table()
        return 1 if self.failures else 0

    def memory_per_message(self):
        """From `growth`: what a message costs in a user's process, and in each further session."""
        def pss(size, connections):
            values = self.results[f"idle-g{size}", f"c{connections}"]["martlet", "pss_kb"]
            return statistics.median(values) * 1_024 if values else None

        rows = []
        small = pss(GROWTH[0], 1)
        for size in GROWTH[2:]:
            one, five = pss(size, 1), pss(size, 5)
            if small and one and five:
                rows.append([f"bytes a message, shared, {size}", "-", "-",
                             f"{(one - small) / size:.0f}", "-", "-", "-", "-", "-", "64"])
                rows.append([f"bytes a message, a session, {size}", "-", "-",
                             f"{(five - one) / 4 / size:.1f}", "-", "-", "-", "-", "-", "4"])
        return rows

    # The table

    EXTRA = {"per_s": "per s", "p50_ms": "p50", "p99_ms": "p99", "max_ms": "max", "pss_kb": "PSS KB",
             "idle_cpu_ms_per_s": "idle CPU ms/s", "failures": "failures", "missed": "missed"}

    def print_table(self):
        def median(values):
            return statistics.median(values) if values else None

        def number(value):
            if value is None:
                return "-"
            return f"{value:.0f}" if value >= 100 else f"{value:.3g}"

        def ratio(theirs, ours, floor=0.0):
            if theirs is None or ours is None or theirs <= floor:
                return "-"
            return f"{ours / theirs:.2f}"

        version = subprocess.run(["dovecot", "--version"], capture_output=True, text=True).stdout
        system = os.uname()
        print(f"\n{time.strftime('%Y-%m-%d')}, Dovecot {version.strip()}, {os.cpu_count()} cores, "
              f"{system.sysname} {system.release} {system.machine}, load at the end "
              f"{os.getloadavg()[1]:.1f}, rounds {self.options.rounds}, seed {self.options.seed}")
        heading = ["measure", "Dovecot", "tuned", "Martlet", "ratio", "CPU D", "CPU t", "CPU M",
                   "ratio", "goal"]
        rows = []

        def add(title, values, cpus, goal=None, rival=0):
            def share(three):
                return ratio(three[rival], three[2])

            rows.append([title, *map(number, values), share(values), *map(number, cpus),
                         share(cpus), "-" if goal is None else f"{goal:g}"])

        columns = ["dovecot", "tuned", "martlet"]
        for name in self.order:
            kept = self.results[name]

            def all_three(key, of=median):
                return [of(kept[server, key]) if kept[server, key] else None for server in columns]

            row = " ".join(name)
            rival = 1 if name[0] in TUNED_RATIO else 0
            add(row, all_three("wall_ms"), all_three("cpu_ms", statistics.fmean), GOALS.get(row),
                rival)
            for key, title in self.EXTRA.items():
                values = all_three(key)
                if any(values):
                    add("  " + title, values, [None] * 3, GOALS.get(f"{row}/{key}"), rival)
        rows += self.memory_per_message()
        widths = [max(len(row[column]) for row in [heading, *rows]) for column in range(10)]
        if self.options.markdown:
            print()
            for row in [heading, ["---"] + ["---:"] * 9, *rows]:
                print("| " + " | ".join(row) + " |")
        else:
            print()
            for row in [heading, *rows]:
                cells = [row[0].ljust(widths[0])]
                cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
                print("  ".join(cells).rstrip())
        print("\nwall and CPU in ms: of one command, or of one of many (append, login, mixed);"
              " medians of the wall times,\nmeans of the CPU times; ratio: Martlet / Dovecot, for greet and"
              " login Martlet / the tuned one; what is to be\nreached: below the goal, rates above it."
              " Rows that are indented have their own unit.")
        for failure in self.failures:
            print(f"FAILED {failure}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", default="/var/tmp")
    parser.add_argument("--results", default="bench-results.tsv")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join(plan(False)))
        return 0
    options.rounds = options.rounds or (1 if options.quick else 3)

    def stop(number, frame):
        raise Stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    # One at a time: the users have fixed names, so that a run after a crash can clear up.
    with open("/run/lock/martlet-bench", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("Another packaging/bench is running; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return Bench(options).main()
        except (Stop, KeyboardInterrupt):
            return 130
        finally:
            # The file stays: whoever waits for it has it open.
            fcntl.flock(lock, fcntl.LOCK_UN)


if __name__ == "__main__":
    sys.exit(main())
