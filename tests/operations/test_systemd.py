"""contrib/'s units: what systemd says of them, and what they start, started as systemd would."""

import base64
import configparser
import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.images import sha256
from support.programs import require, run
from support.proxied import CONTRIB, GunicornServer, UnixConnection, registry_command
from support.server import CHECKOUT
from support.storage import memory_directory
from support.waiting import wait_until

from registry_wsgi.cli.main import parser
from registry_wsgi.config import Config, from_environment

PROGRAM = "/opt/registry-wsgi/bin/registry-wsgi"
SETTINGS = "/etc/registry-wsgi/registry-wsgi.toml"
KINDS = {".service", ".socket", ".timer"}
UNITS = sorted(path.name for path in CONTRIB.iterdir() if path.suffix in KINDS)
SERVICES = [name for name in UNITS if name.endswith(".service")]
EXPOSURE = 15
"""Tenths of systemd's exposure level, of 100."""

ACTIVATE = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""A process can only be told its own id by itself."""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A directory with the units, whose program is one that this machine has."""
    for name in UNITS:
        text = (CONTRIB / name).read_text()
        (tmp_path / name).write_text(text.replace(PROGRAM, sys.executable))
    return tmp_path


def unit(name: str) -> configparser.RawConfigParser:
    """A unit, parsed; of a repeated key only the last."""
    parsed = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
    parsed.optionxform = str  # type: ignore[assignment,method-assign] # its way to keep the case
    parsed.read_string((CONTRIB / name).read_text())
    return parsed


def commands(name: str) -> list[str]:
    """Every command line of the registry in a unit."""
    text = (CONTRIB / name).read_text()
    return re.findall(rf"^Exec\w+={PROGRAM} (.+)$", text, re.MULTILINE)


def test_systemd_has_nothing_to_say_against_the_units(units: Path) -> None:
    """``systemd-analyze verify`` finds no unknown key, no missing file and no bad value."""
    analyze = require("systemd-analyze", "systemd")
    done = run([analyze, "verify", "--man=no", *(units / name for name in UNITS)])

    assert done.stdout + done.stderr == ""


def test_systemd_finds_an_unknown_key(units: Path) -> None:
    """A misspelt key is found, so that finding none says something."""
    analyze = require("systemd-analyze", "systemd")
    service = units / "registry-wsgi.service"
    service.write_text(service.read_text().replace("ProtectHome=", "ProtectHomes="))
    done = run([analyze, "verify", "--man=no", service], expect=None)

    assert "ProtectHomes" in done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened(units: Path, name: str) -> None:
    """The measure that systemd has of what a service could do is at most 1.5 of 10."""
    analyze = require("systemd-analyze", "systemd")
    run([analyze, "security", "--offline=true", f"--threshold={EXPOSURE}", units / name])


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_starts_is_a_command(name: str) -> None:
    """Each command line of the registry in a unit is one that it understands."""
    for line in commands(name):
        options = parser().parse_args(shlex.split(line))

        assert options.config == SETTINGS


def test_a_stop_waits_for_requests_as_long_as_the_registry_does() -> None:
    """A kill by systemd comes later than the registry gives up by itself."""
    seconds = unit("registry-wsgi.service")["Service"]["TimeoutStopSec"]

    assert int(seconds.removesuffix("s")) > Config().server.graceful_timeout


def test_units_and_settings_name_the_same_paths() -> None:
    """Socket, data and settings are where the sample settings and nginx.conf have them."""
    settings = from_environment({}, str(CONTRIB / "registry-wsgi.toml"))
    listened = unit("registry-wsgi.socket")["Socket"]["ListenStream"]
    nginx = (CONTRIB / "nginx.conf").read_text()

    assert settings.server.bind == f"unix:{listened}"
    assert f"server unix:{listened} " in nginx
    for name in SERVICES:
        assert settings.storage.data == f"/var/lib/{unit(name)['Service']['StateDirectory']}"
    assert f"alias {settings.storage.data}/blobs/;" in nginx
    assert f"location {settings.server.x_accel_prefix} {{" in nginx
    assert f"server_name {settings.server.external_url.removeprefix('https://')};" in nginx


def test_the_user_is_made_and_nginx_put_into_its_group(tmp_path: Path) -> None:
    """``systemd-sysusers`` makes the user that the units name; www-data is in its group."""
    sysusers = require("systemd-sysusers", "systemd")
    folder = tmp_path / "etc" / "sysusers.d"
    folder.mkdir(parents=True)
    (folder / "registry-wsgi.conf").write_text((CONTRIB / "registry-wsgi.sysusers").read_text())
    (tmp_path / "etc" / "passwd").write_text("www-data:x:33:33::/var/www:/usr/sbin/nologin\n")
    (tmp_path / "etc" / "group").write_text("www-data:x:33:\n")
    run([sysusers, f"--root={tmp_path}"])
    users = (tmp_path / "etc" / "passwd").read_text()
    groups = (tmp_path / "etc" / "group").read_text()

    for name in SERVICES:
        service = unit(name)["Service"]
        assert re.search(rf"^{service['User']}:x:.*:/usr/sbin/nologin$", users, re.MULTILINE)
        assert re.search(rf"^{service['Group']}:x:\d+:www-data$", groups, re.MULTILINE)


class Activated:
    """What systemd does for a socket and a service of ``Type=notify``."""

    def __init__(self, folder: Path) -> None:
        server = GunicornServer(folder / "data", change=str)
        server.command()
        self.settings = server.settings_file
        self.path = server.socket
        self.processes: list[subprocess.Popen[bytes]] = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(self.path))
        self.socket.listen()
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(str(folder / "notify.sock"))
        self._notified.settimeout(30)
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(CHECKOUT),
            "LISTEN_FDS": "1",
            "NOTIFY_SOCKET": str(folder / "notify.sock"),
        }

    def start(self, *prefix: str) -> subprocess.Popen[bytes]:
        """Start what the service's ExecStart says, and return when it has said READY."""
        (line,) = [line for line in commands("registry-wsgi.service") if line.startswith("serve")]
        words = ["-m", "registry_wsgi", *line.replace(SETTINGS, str(self.settings)).split()]
        descriptor = self.socket.fileno()

        def inherit() -> None:
            os.dup2(descriptor, 3)

        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", ACTIVATE, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environment,
            preexec_fn=inherit,  # noqa: PLW1509 - no other thread of this process is running
            pass_fds=(3,),
            start_new_session=True,
        )
        self.processes.append(process)
        assert b"READY=1" in self._notified.recv(4096)
        return process

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """The status and body of a request."""
        connection = UnixConnection(self.path)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        asked = answer.status, answer.read()
        connection.close()
        return asked

    def close(self) -> None:
        """Take everything away."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.socket.close()
        self._notified.close()


@pytest.fixture
def activated() -> Iterator[Activated]:
    """The socket, and the service not started yet."""
    with memory_directory() as folder:
        made = Activated(folder)
        try:
            yield made
        finally:
            made.close()


def stop(process: subprocess.Popen[bytes]) -> int:
    """Stop a service; its exit code."""
    process.send_signal(signal.SIGTERM)
    return process.wait(60)


def test_a_request_waits_while_the_service_restarts(activated: Activated) -> None:
    """Who connects between a stop and a start is answered, later."""
    first = activated.start()
    before, _ = activated.ask("GET", "/readyz")
    stopped = stop(first)
    waiting = UnixConnection(activated.path)
    waiting.request("GET", "/readyz")
    second = activated.start()
    answered = waiting.getresponse().status
    waiting.close()

    assert (before, answered) == (200, 200)
    assert (stopped, stop(second)) == (0, 0)


def allowed_calls(name: str) -> set[str]:
    """The system calls that a unit's SystemCallFilter allows."""
    allowed: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.+)$", (CONTRIB / name).read_text(), re.MULTILINE):
        named = {call for group in line.removeprefix("~").split() for call in calls_of(group)}
        allowed = allowed - named if line.startswith("~") else allowed | named
    return allowed


def calls_of(group: str) -> set[str]:
    """What is in one of systemd's groups of system calls, and in the groups in it."""
    analyze = require("systemd-analyze", "systemd")
    found: set[str] = set()
    for line in run([analyze, "syscall-filter", group]).stdout.splitlines()[1:]:
        word = line.strip().partition(" ")[0]
        if word.startswith("@"):
            found |= calls_of(word)
        elif word and not word.startswith("#"):
            found.add(word)
    return found


CALL = re.compile(r"^\d+ +(\w+)\((.*)", re.MULTILINE)


def test_what_the_services_may_not_do_they_do_not_need(
    activated: Activated, tmp_path: Path
) -> None:
    """Serving, pushing, signing in, a reload and gc stay within what the units allow."""
    strace = [require("strace", "strace"), "-f", "-qq", "-s", "0", "-o"]
    command = registry_command(activated.settings)
    checkout = {"PYTHONPATH": str(CHECKOUT)}
    added = run(
        command("user", "add", "anna", "--password-stdin"), stdin=b"secret", environment=checkout
    )
    tracer = activated.start(*strace, str(tmp_path / "serve"), "--")
    statuses = push_and_pull(activated)
    (pid,) = children_of(tracer.pid)
    workers = children_of(pid)
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: not set(workers) & set(children_of(pid)), "the workers are new")
    statuses += push_and_pull(activated)
    os.kill(pid, signal.SIGTERM)
    tracer.wait(60)
    (line,) = commands("registry-wsgi-gc.service")
    run([*strace, tmp_path / "gc", "--", *command(line.split()[0])], environment=checkout)

    assert added.returncode == 0
    assert statuses == [200, 201, 200] * 2
    for name, trace in (("registry-wsgi", "serve"), ("registry-wsgi-gc", "gc")):
        made = CALL.findall((tmp_path / trace).read_text())
        assert len(made) > 1_000
        assert not_allowed(f"{name}.service", made) == set()


def push_and_pull(activated: Activated) -> list[int]:
    """Sign in, push a blob and pull it; the statuses."""
    credentials = base64.b64encode(b"anna:secret").decode()
    scope = "/token?scope=repository:a:pull,push"
    signed, token = activated.ask("GET", scope, Authorization=f"Basic {credentials}")
    bearer = f"Bearer {json.loads(token)['token']}"
    blob = os.urandom(2 << 20)
    target = f"/v2/a/blobs/uploads/?digest={sha256(blob)}"
    pushed, _ = activated.ask("POST", target, blob, Authorization=bearer)
    pulled, _ = activated.ask("GET", f"/v2/a/blobs/{sha256(blob)}", Authorization=bearer)
    return [signed, pushed, pulled]


def not_allowed(name: str, made: list[tuple[str, str]]) -> set[str]:
    """What of some system calls, by name and arguments, a unit does not allow."""
    service = unit(name)["Service"]
    sockets = "".join(arguments for call, arguments in made if call == "socket")
    families = set(re.findall(r"\bAF_\w+", sockets))
    executable = {
        f"{call}({arguments}"
        for call, arguments in made
        if "PROT_EXEC" in arguments and (call != "mmap" or "PROT_WRITE" in arguments)
    }
    # As root alone SQLite gives its files to the owner of the database.
    allowed = allowed_calls(name) | ({"fchown"} if os.geteuid() == 0 else set())
    return (
        {call for call, _ in made} - allowed
        | families - set(service["RestrictAddressFamilies"].split())
        | (executable if service["MemoryDenyWriteExecute"] == "yes" else set())
    )


def children_of(pid: int) -> list[int]:
    """The ids of a process's children (proc(5))."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
