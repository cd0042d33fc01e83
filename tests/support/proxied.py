"""The registry as it is run for real: gunicorn on a unix socket, nginx with TLS in front of it.

Everything comes from ``contrib/``, with other paths and ports.
"""

import contextlib
import dataclasses
import grp
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from support.programs import require, search_path
from support.server import CHECKOUT, START_SECONDS, RunningServer, free_port
from support.storage import memory_directory
from support.tls import Certificates, TlsWire, make_certificates
from support.verbs import Verbs

CONTRIB = CHECKOUT / "contrib"
RELAXED = {"REGISTRY_WSGI_STORAGE_DURABILITY": "relaxed", "REGISTRY_WSGI_SERVER_WORKERS": "2"}
LOG_TAIL = 8_000

# As Debian's own nginx.conf has it, tcp_nopush and gzip included.
MAIN = """\
user www-data {group};
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 768; }}
http {{
    sendfile on;
    tcp_nopush on;
    gzip on;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/registry.conf;
}}
"""

Change = Callable[[str], str]


def without_sign_in(settings: str) -> str:
    """The sample settings, where nobody has to sign in."""
    return settings.partition("[auth]")[0]


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """The text with each key in place of its value; the test fails if one is not there."""
    for old, new in changes.items():
        assert old in text, f"nothing to replace: {old!r}"
        text = text.replace(old, new)
    return text


def registry_command(settings: Path) -> Callable[..., list[str]]:
    """Makes command lines of ``registry-wsgi`` with these settings."""

    def command(name: str, *arguments: str) -> list[str]:
        words = [sys.executable, "-m", "registry_wsgi", name, "--config", str(settings)]
        return [*words, *arguments]

    return command


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=START_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(START_SECONDS)
        self.sock.connect(str(self._path))


@dataclasses.dataclass(eq=False)
class GunicornServer(RunningServer):
    """``gunicorn -c contrib/gunicorn.conf.py`` with the sample settings, on a unix socket.

    ``change`` changes the settings.
    """

    change: Change = without_sign_in

    def __post_init__(self) -> None:
        """Name the settings file to the server."""
        self.environment = {"REGISTRY_WSGI_CONFIG": str(self.settings_file), **self.environment}

    @property
    def settings_file(self) -> Path:
        """The sample settings, with this server's paths."""
        return self.data.with_name("registry-wsgi.toml")

    @property
    def socket(self) -> Path:
        """What it listens on."""
        return self.data.with_name("registry.sock")

    def command(self) -> list[str]:
        """The command line, and the settings file that it needs."""
        changes = {
            "/run/registry-wsgi/registry.sock": str(self.socket),
            "/var/lib/registry-wsgi": str(self.data),
            "https://registry.example": f"https://{self.host}",
        }
        sample = (CONTRIB / "registry-wsgi.toml").read_text()
        self.settings_file.write_text(self.change(replaced(sample, changes)))
        return [*self.program(), *self.flags]

    def program(self) -> list[str]:
        """What serves."""
        conf = CONTRIB / "gunicorn.conf.py"
        return [sys.executable, "-m", "gunicorn", "-c", str(conf), "registry_wsgi:create_app()"]

    def connect(self) -> UnixConnection:
        """A connection that goes around nginx."""
        return UnixConnection(self.socket)

    def _answers(self) -> bool:
        connection = self.connect()
        try:
            connection.request("GET", self.READY)
            return connection.getresponse().status == http.HTTPStatus.OK and self._all_hear()
        except OSError:
            return False
        finally:
            connection.close()

    def _all_hear(self) -> bool:
        """Whether each worker would stop when told to.

        gunicorn says so once, and who was forked a moment ago misses it: the master's handlers,
        of which HUP's is one, are still in place there.
        """
        assert self.process is not None
        pid = self.process.pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
        caught = [
            int(line.split()[1], 16)
            for worker in workers
            for line in Path(f"/proc/{worker}/status").read_text("utf-8").splitlines()
            if line.startswith("SigCgt:")
        ]
        hearing = sum(not mask & 1 << signal.SIGHUP - 1 for mask in caught)
        return hearing >= int(self.environment.get("REGISTRY_WSGI_SERVER_WORKERS", "1"))


class ServeServer(GunicornServer):
    """``registry-wsgi serve`` with the sample settings, on a unix socket."""

    def program(self) -> list[str]:
        """What serves."""
        return registry_command(self.settings_file)("serve")


@dataclasses.dataclass(eq=False)
class Nginx:
    """``contrib/nginx.conf``, changed by ``change``, in front of a registry."""

    folder: Path
    registry: GunicornServer
    certificates: Certificates
    change: Change = str
    port: int = dataclasses.field(default_factory=free_port)
    plain_port: int = dataclasses.field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = dataclasses.field(default=None, init=False)

    @property
    def log(self) -> str:
        """What it complained of."""
        file = self.folder / "error.log"
        return file.read_text(errors="replace") if file.exists() else ""

    @property
    def access_log(self) -> str:
        """The requests that it noted."""
        return (self.folder / "registry.log").read_text()

    def write(self) -> None:
        """Write its files."""
        data = self.registry.data
        changes = {
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "    listen [::]:80;\n": "",
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
            "    listen [::]:443 ssl;\n": "",
            "/run/registry-wsgi/registry.sock": str(self.registry.socket),
            "/var/lib/registry-wsgi/blobs/": f"{data}/blobs/",
            "/etc/ssl/registry/fullchain.pem": str(self.certificates.certificate),
            "/etc/ssl/registry/privkey.pem": str(self.certificates.key),
            "/var/log/nginx/registry.log": str(self.folder / "registry.log"),
        }
        ours = replaced((CONTRIB / "nginx.conf").read_text(), changes)
        (self.folder / "registry.conf").write_text(self.change(ours))
        group = grp.getgrgid(data.parent.stat().st_gid).gr_name
        (self.folder / "nginx.conf").write_text(MAIN.format(folder=self.folder, group=group))

    def start(self) -> Self:
        """Start it, and return when it listens."""
        self.write()
        command = [require("nginx", "nginx-light"), "-p", self.folder, "-c", "nginx.conf"]
        self.process = subprocess.Popen(
            [*map(str, command), "-g", "daemon off;"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PATH": search_path()},
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return self
            time.sleep(0.01)
        self.kill()
        pytest.fail(f"nginx did not start\n{self.log[-LOG_TAIL:]}")

    def kill(self) -> None:
        """End it and its workers at once."""
        assert self.process is not None, "nginx is not running"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


@dataclasses.dataclass(eq=False)
class Proxied:
    """The registry behind nginx, while the ``with`` block lasts."""

    folder: Path
    registry: GunicornServer
    nginx: Nginx
    certificates: Certificates

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``, as it stands before a repository in an image reference."""
        return self.registry.host

    @property
    def http(self) -> Verbs:
        """A client for requests that no tool would make."""
        return Verbs(self.host, context=self.certificates.context)

    @property
    def trust(self) -> dict[str, str]:
        """The environment of a program that trusts the authority (Go, OpenSSL)."""
        return {"SSL_CERT_FILE": str(self.certificates.authority)}

    def wire(self) -> TlsWire:
        """A connection, as bytes."""
        return TlsWire(self.host, self.certificates.context)

    def __enter__(self) -> Self:
        self.registry.start()
        try:
            self.nginx.start()
        except BaseException:
            self.registry.kill()
            raise
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.nginx.process is not None:
            self.nginx.kill()
        if self.registry.process is not None:
            self.registry.kill()


@contextlib.contextmanager
def proxied(
    *,
    settings: Change = without_sign_in,
    nginx: Change = str,
    environment: Mapping[str, str] | None = None,
    kind: type[GunicornServer] = GunicornServer,
) -> Iterator[Proxied]:
    """A registry behind nginx, on data of its own; what is given changes the files of both."""
    with memory_directory() as folder:
        # nginx's own user has to get as far as the data directory, where its group counts.
        folder.chmod(0o711)
        certificates = make_certificates(folder)
        surroundings = {**RELAXED, **(environment or {})}
        registry = kind(folder / "data", environment=surroundings, change=settings)
        (folder / "nginx").mkdir()
        front = Nginx(folder / "nginx", registry, certificates, nginx, port=registry.port)
        with Proxied(folder, registry, front, certificates) as running:
            yield running
