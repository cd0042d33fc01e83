"""The registries that are measured: this one, and those whose binaries are on the machine."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.request import urlopen

from clients import Address
from machine import cpu_seconds

ROOT: Final = Path(__file__).resolve().parents[1]
START_SECONDS: Final = 30
OURS: Final = "registry_wsgi"
LARGE: Final = 8 << 20

_DISTRIBUTION: Final = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""

_SIGN_IN: Final = """\
[auth]
backends = ["users"]
[[access]]
repositories = "**"
users = ["bench"]
actions = ["pull", "push", "overwrite", "delete"]
"""

_NGINX: Final = """\
{user}
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 768; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/registry.conf;
}}
"""


@dataclass(frozen=True)
class Contender:
    """A registry: its name in the tables, how it is started, and what it says of its version."""

    name: str
    kind: str
    binary: str
    version: str


def contenders() -> list[Contender]:
    """This registry, and which others are found on PATH or named by the environment.

    ``DISTRIBUTION``, ``DOCKER_REGISTRY`` and ``OLAREG`` may name binaries.
    """
    named = {
        "distribution": ("distribution", os.environ.get("DISTRIBUTION", "registry")),
        "docker-registry": ("distribution", os.environ.get("DOCKER_REGISTRY", "docker-registry")),
        "olareg": ("olareg", os.environ.get("OLAREG", "olareg")),
    }
    found = [Contender(OURS, OURS, sys.executable, "this checkout")]
    for name, (kind, program) in named.items():
        binary = shutil.which(program)
        if binary is not None:
            command = [binary, "version" if kind == "olareg" else "--version"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
            said = re.search(r"v?\d+\.\d+\.\d+\S*", done.stdout + done.stderr)
            found.append(Contender(name, kind, binary, said[0] if said else "unknown"))
    return found


@dataclass
class Running:
    """A server that runs, until its ``with`` block ends."""

    contender: Contender
    folder: Path
    address: Address
    process: "subprocess.Popen[bytes]"
    also: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The contender's."""
        return self.contender.name

    def cpu_seconds(self) -> float:
        """Processor time of all its processes so far."""
        return sum(cpu_seconds(process.pid) for process in [self.process, *self.also])

    def drop_large(self) -> None:
        """Remove the bytes of large blobs, which only have to be pushed: disks are finite."""
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):
                kept = path.name == "reserve" or path.name.startswith("registry.sqlite3")
                if not kept and path.is_file() and path.stat().st_size >= LARGE:
                    path.unlink()


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(contender: Contender, folder: Path, *, sign_in: bool = False) -> Iterator[Running]:
    """Start a registry on an empty directory, with its own defaults."""
    folder.mkdir(parents=True)
    port = free_port()
    command = _command(contender, folder, f"127.0.0.1:{port}", sign_in)
    with _started(command, folder) as process:
        server = Running(contender, folder, Address("127.0.0.1", port), process)
        _wait(server.address)
        yield server


def _command(contender: Contender, folder: Path, bind: str, sign_in: bool) -> list[str]:
    data = folder / "data"
    if contender.kind == "distribution":
        settings = folder / "config.yml"
        settings.write_text(_DISTRIBUTION.format(data=data, port=bind.rpartition(":")[2]), "utf-8")
        return [contender.binary, "serve", str(settings)]
    if contender.kind == "olareg":
        port = bind.rpartition(":")[2]
        return [
            contender.binary,
            "serve",
            "--addr",
            "127.0.0.1",
            "--port",
            port,
            "--dir",
            str(data),
        ]
    command = [*ours("serve"), "--bind", bind, "--data", str(data)]
    if sign_in:
        settings = folder / "settings.toml"
        settings.write_text(_SIGN_IN, "utf-8")
        command += ["--config", str(settings)]
        add = [*ours("user"), "add", "bench", "--password-stdin", *command[-4:]]
        subprocess.run(add, input=b"bench", check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return command


def ours(*words: str) -> list[str]:
    """A command of this registry."""
    return [sys.executable, "-m", "registry_wsgi", *words]


@contextlib.contextmanager
def _started(command: list[str], folder: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(address: Address) -> None:
    """Wait until it answers; raises TimeoutError."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            urlopen(f"http://{address.host}:{address.port}/v2/", timeout=5).close()
        except HTTPError as error:
            if error.code == HTTPStatus.UNAUTHORIZED:
                return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"{address} does not answer")


@contextlib.contextmanager
def behind_nginx(contender: Contender, folder: Path) -> Iterator[Running]:
    """This registry behind ``contrib/nginx.conf``, whose TLS is taken off: both ways have none."""
    folder.mkdir(parents=True)
    port, unix = free_port(), folder / "registry.sock"
    settings = folder / "settings.toml"
    settings.write_text('[server]\nx_accel_prefix = "/_blobs/"\n', "utf-8")
    command = _command(contender, folder, f"unix:{unix}", sign_in=False)
    text = (ROOT / "contrib" / "nginx.conf").read_text("utf-8")
    text = re.sub(r"(?ms)^server \{\n    listen 80;.*?^\}\n", "", text)
    text = re.sub(r"(?m)^ +(?:ssl_.*|listen \[::\].*)\n", "", text)
    changes = {
        "listen 443 ssl;": f"listen 127.0.0.1:{port};",
        "/run/registry-wsgi/registry.sock": str(unix),
        "/var/log/nginx/registry.log": str(folder / "access.log"),
        "/var/lib/registry-wsgi/": f"{folder}/data/",
    }
    for old, new in changes.items():
        text = text.replace(old, new)
    (folder / "registry.conf").write_text(text, "utf-8")
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, user=user), "utf-8")
    nginx = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with (
        _started([*command, "--config", str(settings)], folder) as process,
        _started(nginx, folder) as proxy,
    ):
        server = Running(contender, folder, Address("127.0.0.1", port), process, [proxy])
        _wait(server.address)
        while not unix.exists():
            time.sleep(0.05)
        yield server
