# SPDX-License-Identifier: ISC
"""What the process and client tests stand on: servers, users, Maildirs, a client.

Standard library only. Every wait has an end, every process is ended by its own pid, and every
user, file and mount that a test makes is gone when it is done.
"""

import atexit
import base64
import contextlib
import itertools
import os
import pwd
import re
import select
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import tempfile
import time
import unittest

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
RELEASE = os.environ.get("MARTLET_RELEASE", os.path.join(ROOT, ".build-release/release"))
DEBUG = os.environ.get("MARTLET_DEBUG", os.path.join(ROOT, ".build/debug"))
EXECUTABLES = ["martletd", "martlet-tls", "martlet-login", "martlet-auth", "martlet-user"]

# What a machine under load may need; a test that waits this long has failed.
PATIENCE = 20.0

IS_ROOT = os.geteuid() == 0
needs_root = unittest.skipUnless(IS_ROOT, "needs root")


# -- Places --------------------------------------------------------------------------------------


def _make_scratch():
    path = tempfile.mkdtemp(prefix="martlet-test-")
    os.chmod(path, 0o755)
    atexit.register(shutil.rmtree, path, True)
    return path


SCRATCH = _make_scratch()
_numbers = itertools.count(1)


def scratch(name="d", mode=0o755):
    """A new folder that goes with this run."""
    path = os.path.join(SCRATCH, "%s%d" % (name, next(_numbers)))
    os.mkdir(path)
    os.chmod(path, mode)
    return path


def _everybody_can_reach(path):
    path = os.path.realpath(path)
    while True:
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


_installed = {}


def executables(kind="release"):
    """The folder of the executables, copied to where the tests' users can run them.

    Debug executables want the toolchain's libraries: those that other users could not read are
    copied beside them, where the executables look as well.
    """
    if kind not in _installed:
        source = RELEASE if kind == "release" else DEBUG
        folder = os.path.join(SCRATCH, kind)
        os.mkdir(folder)
        os.chmod(folder, 0o755)
        for name in EXECUTABLES:
            shutil.copyfile(os.path.join(source, name), os.path.join(folder, name))
            os.chmod(os.path.join(folder, name), 0o755)
        for name in EXECUTABLES:
            listing = run(["ldd", os.path.join(source, name)]).stdout
            for library in re.findall(r"=> (/\S+)", listing):
                target = os.path.join(folder, os.path.basename(library))
                if not _everybody_can_reach(library) and not os.path.exists(target):
                    shutil.copyfile(library, target)
                    os.chmod(target, 0o755)
        _installed[kind] = folder
    return _installed[kind]


def run(command, input=None, check=True, timeout=60, **options):
    """Runs a command to its end, within the time given."""
    done = subprocess.run(
        command,
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=timeout,
        text=True,
        errors="replace",
        **options,
    )
    if check and done.returncode != 0:
        raise AssertionError(
            "%s: status %d\n%s%s" % (" ".join(command), done.returncode, done.stdout, done.stderr)
        )
    return done


def wait_until(condition, what, timeout=PATIENCE):
    """The condition's value, once it is true."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("%s: not within %g s" % (what, timeout))
        time.sleep(0.01)


# -- Messages and Maildirs -----------------------------------------------------------------------


def message(subject="A subject", body="Hello.\n", sender="ann@example.org", **fields):
    """A message as an MTA leaves it in a Maildir: LF line ends."""
    lines = ["From: %s" % sender, "To: ben@example.org", "Subject: %s" % subject]
    lines += ["Date: Mon, 6 Nov 2023 10:00:00 +0000"]
    lines += ["Message-ID: <%d.%d@example.org>" % (os.getpid(), next(_numbers))]
    lines += ["%s: %s" % (name.replace("_", "-"), value) for name, value in fields.items()]
    return ("\n".join(lines) + "\n\n" + body).encode()


class Maildir:
    """A Maildir and what other programs do to it."""

    def __init__(self, path, uid=None, gid=None):
        self.path = path
        self.uid = os.geteuid() if uid is None else uid
        self.gid = os.getegid() if gid is None else gid

    def folder(self, mailbox="INBOX"):
        return self.path if mailbox == "INBOX" else os.path.join(self.path, "." + mailbox)

    def _own(self, path):
        if IS_ROOT:
            os.chown(path, self.uid, self.gid)

    def make(self, mailbox="INBOX"):
        folder = self.folder(mailbox)
        for path in [folder] + [os.path.join(folder, name) for name in ("cur", "new", "tmp")]:
            if not os.path.isdir(path):
                os.mkdir(path, 0o700)
                self._own(path)
        if mailbox != "INBOX":
            marker = os.path.join(folder, "maildirfolder")
            open(marker, "a").close()
            self._own(marker)
        return self

    def write_tmp(self, content, mailbox="INBOX"):
        name = "%d.M%06dP%dQ%d.host" % (
            time.time(),
            time.time_ns() // 1000 % 1_000_000,
            os.getpid(),
            next(_numbers),
        )
        path = os.path.join(self.folder(mailbox), "tmp", name)
        with open(path, "wb") as file:
            file.write(content)
        self._own(path)
        return name

    def deliver(self, content=None, mailbox="INBOX", **fields):
        """Delivers as an MTA does: written in tmp, renamed into new. Returns the name."""
        name = self.write_tmp(message(**fields) if content is None else content, mailbox)
        folder = self.folder(mailbox)
        os.rename(os.path.join(folder, "tmp", name), os.path.join(folder, "new", name))
        return name

    def put(self, content=None, flags="", mailbox="INBOX", **fields):
        """A message that has been seen by some client before: in cur, with flags."""
        name = self.write_tmp(message(**fields) if content is None else content, mailbox)
        folder = self.folder(mailbox)
        os.rename(
            os.path.join(folder, "tmp", name), os.path.join(folder, "cur", name + ":2," + flags)
        )
        return name

    def files(self, mailbox="INBOX", parts=("new", "cur")):
        """The paths of all message files."""
        folder = self.folder(mailbox)
        return sorted(
            os.path.join(folder, part, name)
            for part in parts
            for name in os.listdir(os.path.join(folder, part))
            # The file that becomes the lock time and again (`LockFile`).
            if not name.startswith("martlet-lock.")
        )

    def file(self, name, mailbox="INBOX"):
        """Where the message with this base name is now."""
        found = [
            path for path in self.files(mailbox)
            if os.path.basename(path).split(":")[0].split(",")[0] == name.split(",")[0]
        ]
        return found[0] if found else None

    def set_flags(self, name, flags, mailbox="INBOX"):
        """Renames the message's file, as mutt does to change flags."""
        path = self.file(name, mailbox)
        base = os.path.basename(path).split(":")[0]
        os.rename(
            path, os.path.join(self.folder(mailbox), "cur", base + ":2," + "".join(sorted(flags)))
        )


# -- System users --------------------------------------------------------------------------------


class User:
    """A real user of this machine, with a password, a home and a Maildir."""

    def __init__(self, groups=(), uid=None, password=None, name=None):
        self.name = name or "mt%d%s" % (os.getpid() % 100_000, chr(97 + next(_numbers) % 26))
        while name is None and _exists(self.name):
            self.name += "x"
        self.password = password or "pw-%d %s\"\\é" % (next(_numbers), self.name)
        command = ["useradd", "-m", "-s", "/bin/sh", "-p", "!"]
        if uid is not None:
            command += ["-u", str(uid)]
        if groups:
            command += ["-G", ",".join(groups)]
        run(command + [self.name])
        _made_users.append(self.name)
        run(["chpasswd"], input="%s:%s\n" % (self.name, self.password))
        entry = pwd.getpwnam(self.name)
        self.uid, self.gid, self.home = entry.pw_uid, entry.pw_gid, entry.pw_dir
        self.maildir = Maildir(os.path.join(self.home, "Maildir"), self.uid, self.gid).make()

    def remove(self):
        _remove_user(self.name)

    def end_processes(self):
        """Ends what still runs under this uid, which is the test's own."""
        for pid in all_pids():
            with contextlib.suppress(OSError):
                if os.stat("/proc/%d" % pid).st_uid == self.uid:
                    os.kill(pid, signal.SIGKILL)


def _exists(name):
    try:
        pwd.getpwnam(name)
        return True
    except KeyError:
        return False


_made_users = []


def _remove_user(name):
    if name in _made_users:
        _made_users.remove(name)
        run(["userdel", "-r", "-f", name], check=False)


@atexit.register
def _remove_users():
    for name in list(_made_users):
        _remove_user(name)


def make_group(name):
    run(["groupadd", name])
    atexit.register(run, ["groupdel", name], check=False)
    return name


_pam_service = None

# No more than passwords and accounts, whatever this machine has in common-auth.
PAM_SERVICE = "auth required pam_unix.so\naccount required pam_unix.so\n"


def pam_service(content=PAM_SERVICE, name=None):
    """A PAM service of the tests' own; the machine's files stay alone."""
    global _pam_service
    if name is None and content == PAM_SERVICE and _pam_service:
        return _pam_service
    chosen = name or "martlet-test-%d-%d" % (os.getpid(), next(_numbers))
    path = os.path.join("/etc/pam.d", chosen)
    with open(path, "w") as file:
        file.write(content)
    atexit.register(_unlink, path)
    if name is None and content == PAM_SERVICE:
        _pam_service = chosen
    return chosen


def _unlink(path):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


# -- Certificates --------------------------------------------------------------------------------


def certificate(*names):
    """A self-signed pair for these names: the paths of certificate and key."""
    folder = scratch("cert")
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    alternatives = ",".join(
        ("IP:" if re.fullmatch(r"[\d.]+", name) else "DNS:") + name for name in names
    )
    run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-nodes", "-days", "30", "-subj", "/CN=" + names[0]]
        + ["-addext", "subjectAltName=" + alternatives, "-keyout", key, "-out", cert]
    )
    return cert, key


_default_certificate = None


def default_certificate():
    global _default_certificate
    if _default_certificate is None:
        _default_certificate = certificate("localhost", "127.0.0.1")
    return _default_certificate


def client_context(cafile=None):
    """TLS for a client; it trusts `cafile`, or anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if cafile:
        context.load_verify_locations(cafile)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


# -- Processes -----------------------------------------------------------------------------------


def all_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def status(pid):
    """/proc/PID/status as a dictionary."""
    with open("/proc/%d/status" % pid) as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def parent_of(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def is_alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def descendants(pid):
    parents = {each: parent_of(each) for each in all_pids()}
    found, todo = [], [pid]
    while todo:
        current = todo.pop()
        children = [each for each, parent in parents.items() if parent == current]
        found += children
        todo += children
    return found


def command_of(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            return [part.decode(errors="replace") for part in file.read().split(b"\0")[:-1]]
    except OSError:
        return []


_running = []


@atexit.register
def _stop_all():
    for server in list(_running):
        server.stop()


def recent_logs(lines=60):
    """The ends of the logs of the servers that run: printed when a test fails."""
    parts = []
    for server in _running:
        parts.append("--- log of %s\n%s" % (server.name, "\n".join(server.log()[-lines:])))
    return "\n".join(parts)


LOG_VALUE = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|\S*)')


def parse_log_line(line):
    return dict(LOG_VALUE.findall(line))


class Server:
    """A martletd with its own configuration, ports, folders and log.

    mode: "system" (root, PAM, a configuration file made of `settings`) or "personal" (one
    Maildir, `arguments`). `as_user` runs it as this user.
    """

    def __init__(self, mode="personal", settings=None, arguments=(), kind="release",
                 environment=None, maildir=None, password="secret", as_user=None, start=True):
        self.folder = scratch("server")
        self.mode, self.kind = mode, kind
        self.name = "%s %s" % (mode, self.folder)
        self.log_path = os.path.join(self.folder, "log")
        self.out_path = os.path.join(self.folder, "out")
        self.password, self.maildir, self.as_user = password, maildir, as_user
        self.environment = dict(os.environ, **(environment or {}))
        # Personal mode keeps its index at home, which is the tester's.
        self.cache = os.path.join(self.folder, "cache")
        if mode == "personal" and not as_user:
            self.environment.setdefault("XDG_CACHE_HOME", self.cache)
        self.command = [os.path.join(executables(kind), "martletd")]
        if mode == "system":
            self.certificate = default_certificate()
            values = {
                "listen_imap": "127.0.0.1:0",
                "listen_imaps": "127.0.0.1:0",
                "tls_certificate": self.certificate[0],
                "tls_key": self.certificate[1],
                "runtime_directory": os.path.join(self.folder, "run"),
                "cache_directory": os.path.join(self.folder, "cache"),
                "login_processes": "2",
            }
            values.update(settings or {})
            if "pam_service" not in values:
                values["pam_service"] = pam_service()
            self.configuration = os.path.join(self.folder, "martlet.conf")
            with open(self.configuration, "w") as file:
                for key, value in values.items():
                    if value is not None:
                        file.write("%s = %s\n" % (key, value))
            self.command += ["-c", self.configuration]
        else:
            owner = (as_user.uid, as_user.gid) if as_user else (None, None)
            if maildir is None:
                home = scratch("mail", 0o755)
                if as_user:
                    os.chown(home, as_user.uid, as_user.gid)
                self.maildir = Maildir(os.path.join(home, "Maildir"), *owner).make()
            self.command += ["--personal", "--maildir", self.maildir.path]
            self.command += ["--listen-imap", "127.0.0.1:0", "--listen-imaps", "127.0.0.1:0"]
            if password is not None:
                path = os.path.join(self.folder, "password")
                with open(path, "w") as file:
                    file.write(password + "\n")
                if as_user:
                    os.chown(path, as_user.uid, as_user.gid)
                self.command += ["--password-file", path]
        self.command += list(arguments)
        if as_user:
            self.environment["HOME"] = as_user.home
            self.command = ["setpriv", "--reuid", str(as_user.uid), "--regid", str(as_user.gid),
                            "--init-groups", "--"] + self.command
        self.process = None
        if start:
            self.start()

    def start(self):
        with open(self.log_path, "ab") as log, open(self.out_path, "wb") as out:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                env=self.environment, start_new_session=True, cwd="/",
            )
        _running.append(self)
        try:
            ready = wait_until(self._ready_line, "ready: line of martletd")
        except AssertionError as error:
            text = "\n".join(self.log()[-40:])
            self.stop()
            raise AssertionError("%s\n%s" % (error, text)) from None
        fields = dict(field.split("=", 1) for field in ready.split()[1:])
        self.ready = ready
        self.user = fields.get("user")
        self.imap = _address(fields.get("imap"))
        self.imaps = _address(fields.get("imaps"))
        return self

    def output(self):
        with open(self.out_path, errors="replace") as file:
            return file.read().splitlines()

    def _ready_line(self):
        lines = [line for line in self.output() if line.startswith("ready:")]
        if lines:
            return lines[0]
        if self.process.poll() is not None:
            raise AssertionError("martletd ended with status %s" % self.process.returncode)
        return None

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        with open(self.log_path, errors="backslashreplace") as file:
            return file.read().splitlines()

    def events(self, **wanted):
        """The log lines with these fields, as dictionaries."""
        found = []
        for line in self.log():
            fields = parse_log_line(line)
            if all(fields.get(key) == str(value) for key, value in wanted.items()):
                fields["line"] = line
                found.append(fields)
        return found

    def wait_for_event(self, timeout=PATIENCE, **wanted):
        return wait_until(lambda: self.events(**wanted), "log line %s" % wanted, timeout)[-1]

    def pids(self, role):
        """The processes of one role, below this martletd."""
        return sorted(
            pid for pid in descendants(self.pid)
            if is_alive(pid)
            and os.path.basename((command_of(pid) or [""])[0]) == role
            and "--worker" not in command_of(pid)
        )

    def wait_for_pids(self, role, count, but=()):
        """The role's processes once there are this many that are none of `but`."""
        def look():
            found = [pid for pid in self.pids(role) if pid not in but]
            return (found,) if len(found) == count else None
        return wait_until(look, "%d of %s" % (count, role))[0]

    def user_pid(self, uid):
        def look():
            return [
                pid for pid in self.pids("martlet-user")
                if status(pid)["Uid"].split()[0] == str(uid)
            ]
        return wait_until(look, "martlet-user of uid %d" % uid)[0]

    def connect(self, tls=False, **options):
        if tls:
            return IMAP(self.imaps, tls=options.pop("context", None) or client_context(), **options)
        return IMAP(self.imap, **options)

    def login(self, user=None, password=None, tls=False, **options):
        """A connection that is logged in, in personal mode by default as the one user."""
        connection = self.connect(tls, **options)
        name = user.name if isinstance(user, User) else (user or self.user)
        secret = password or (user.password if isinstance(user, User) else self.password)
        connection.login(name, secret)
        return connection

    def terminate(self, timeout=PATIENCE):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def stop(self):
        if self in _running:
            _running.remove(self)
        if self.process is None:
            return
        family = descendants(self.pid) if self.process.poll() is None else []
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        for pid in family + [self.pid]:
            if self.process.poll() is None or (pid != self.pid and is_alive(pid)
                                               and _is_ours(pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def _is_ours(pid):
    """Whether it runs an executable of this test run."""
    try:
        return os.readlink("/proc/%d/exe" % pid).startswith(SCRATCH + "/")
    except OSError:
        return False


def _address(text):
    if not text or text == "none":
        return None
    host, port = text.split(",")[0].rsplit(":", 1)
    return host.strip("[]"), int(port)


# -- A client ------------------------------------------------------------------------------------


class Closed(Exception):
    """The server ended the connection."""


class Result:
    """The answer to one command."""

    def __init__(self, untagged, tagged):
        self.untagged, self.tagged = untagged, tagged
        self.status = tagged.split(b" ", 2)[1]
        self.text = tagged.split(b" ", 1)[1]

    def matching(self, pattern):
        return [each for each in self.untagged if re.search(pattern, each, re.S | re.I)]

    def __repr__(self):
        return "\n".join(repr(each) for each in self.untagged + [self.tagged])


class IMAP:
    """An IMAP connection that hides nothing: what is sent and read are exact bytes."""

    def __init__(self, address, tls=None, timeout=PATIENCE, greeting=True, server_hostname=None,
                 source=None):
        self.socket = socket.create_connection(address, timeout, source_address=source)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout = timeout
        self.buffer = b""
        self.tag_count = 0
        if tls:
            self.start_tls(tls, server_hostname or address[0])
        self.greeting = self.response() if greeting else None

    def start_tls(self, context, server_hostname="localhost"):
        assert not self.buffer, self.buffer
        self.socket = context.wrap_socket(self.socket, server_hostname=server_hostname)

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def _fill(self, end):
        remaining = end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("nothing from the server; so far %r" % self.buffer[-200:])
        self.socket.settimeout(remaining)
        try:
            data = self.socket.recv(65536)
        except socket.timeout:
            raise TimeoutError("nothing from the server; so far %r" % self.buffer[-200:]) from None
        except ConnectionError:
            data = b""
        except ssl.SSLEOFError:
            data = b""
        if not data:
            raise Closed()
        self.buffer += data

    def response(self, timeout=None):
        """One response, with its literals, without the CRLF at its end."""
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        result = b""
        while True:
            while b"\r\n" not in self.buffer:
                self._fill(end)
            line, self.buffer = self.buffer.split(b"\r\n", 1)
            result += line
            literal = re.search(rb"\{(\d+)\}$", line)
            if not literal:
                return result
            count = int(literal.group(1))
            while len(self.buffer) < count:
                self._fill(end)
            result += b"\r\n" + self.buffer[:count]
            self.buffer = self.buffer[count:]

    def next_tag(self):
        self.tag_count += 1
        return b"t%d" % self.tag_count

    def start(self, text):
        """Sends a command and does not wait; its tag."""
        tag = self.next_tag()
        self.send(tag + b" " + (text if isinstance(text, bytes) else text.encode()) + b"\r\n")
        return tag

    def finish(self, tag, timeout=None):
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        untagged = []
        while True:
            response = self.response(end - time.monotonic())
            if response.startswith(tag + b" "):
                return Result(untagged, response)
            untagged.append(response)

    def command(self, text, timeout=None):
        return self.finish(self.start(text), timeout)

    def _expect(self, status, text, timeout):
        result = self.command(text, timeout)
        if result.status != status:
            raise AssertionError("%s: not %s but\n%r" % (text, status.decode(), result))
        return result

    def ok(self, text, timeout=None):
        return self._expect(b"OK", text, timeout)

    def no(self, text, timeout=None):
        return self._expect(b"NO", text, timeout)

    def bad(self, text, timeout=None):
        return self._expect(b"BAD", text, timeout)

    def authenticate(self, user, password, timeout=None):
        plain = base64.b64encode(b"\0%s\0%s" % (user.encode(), password.encode()))
        return self.command(b"AUTHENTICATE PLAIN " + plain, timeout)

    def login(self, user, password):
        result = self.authenticate(user, password)
        if result.status != b"OK":
            raise AssertionError("login of %s: %r" % (user, result))
        return result

    def append(self, mailbox, content, flags="", timeout=None):
        """APPEND with a literal that needs no continuation."""
        content = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        head = ('APPEND "%s" (%s) {%d+}\r\n' % (mailbox, flags, len(content))).encode()
        return self.command(head + content, timeout)

    def idle(self):
        """Sends IDLE and waits for the continuation; what came before it."""
        self.idle_tag = self.start("IDLE")
        return self.read_until(rb"^\+")

    def done(self):
        self.send("DONE\r\n")
        return self.finish(self.idle_tag)

    def read_until(self, pattern, timeout=None):
        """Reads responses to the first that matches; all of them."""
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        seen = []
        while True:
            try:
                seen.append(self.response(end - time.monotonic()))
            except (TimeoutError, Closed) as error:
                raise AssertionError(
                    "no %r; %s; seen %r" % (pattern, type(error).__name__, seen)
                ) from None
            if re.search(pattern, seen[-1], re.S):
                return seen

    def quiet(self, seconds):
        """Reads for so long; what came."""
        end = time.monotonic() + seconds
        seen = []
        while True:
            try:
                seen.append(self.response(max(0.001, end - time.monotonic())))
            except (TimeoutError, Closed):
                return seen

    def read_to_end(self, timeout=None):
        """Everything up to the end of the connection."""
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            try:
                self._fill(end)
            except Closed:
                data, self.buffer = self.buffer, b""
                return data

    def is_closed_within(self, seconds):
        try:
            self.read_to_end(seconds)
            return True
        except TimeoutError:
            return False

    def select(self, mailbox="INBOX"):
        return self.ok('SELECT "%s"' % mailbox)

    def exists(self, mailbox="INBOX"):
        result = self.ok('STATUS "%s" (MESSAGES)' % mailbox)
        return int(re.search(rb"MESSAGES (\d+)", b"".join(result.untagged)).group(1))

    def logout(self):
        self.command("LOGOUT")
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def subjects(connection):
    """The subjects of the messages of the selected mailbox."""
    result = connection.ok("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    return [
        found.group(1).decode()
        for each in result.untagged
        for found in [re.search(rb"Subject: ([^\r\n]*)", each, re.I)]
        if found
    ]


# -- The test case -------------------------------------------------------------------------------


class TestCase(unittest.TestCase):
    """Ends what a test starts."""

    maxDiff = 4000

    def server(self, *arguments, **options):
        server = Server(*arguments, **options)
        self.addCleanup(server.stop)
        return server

    def user(self, **options):
        user = User(**options)
        self.addCleanup(user.remove)
        self.addCleanup(user.end_processes)
        return user

    def connection(self, server, **options):
        connection = server.connect(**options)
        self.addCleanup(connection.close)
        return connection

    def session(self, server, user=None, **options):
        connection = server.login(user, **options)
        self.addCleanup(connection.close)
        return connection

    def assertAnswers(self, connection):
        self.assertEqual(connection.command("NOOP").status, b"OK")


class SharedServer(TestCase):
    """Tests that share one server in system mode and two users, ann and ben."""

    settings = {}
    kind = "release"
    environment = {}

    @classmethod
    def setUpClass(cls):
        if not IS_ROOT:
            raise unittest.SkipTest("needs root")
        cls.ann, cls.ben = User(), User()
        for user in (cls.ann, cls.ben):
            cls.addClassCleanup(user.remove)
            cls.addClassCleanup(user.end_processes)
        cls.shared = Server("system", settings=cls.settings, kind=cls.kind,
                            environment=cls.environment)
        cls.addClassCleanup(cls.shared.stop)
