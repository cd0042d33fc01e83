"""The registries that are measured, each started on a directory of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clients import Address

START_SECONDS = 20
CHECKOUT = Path(__file__).resolve().parents[1]
TOOLS = CHECKOUT / ".tools" / "bin"

DISTRIBUTION = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True)
class Peer:
    """A registry: its name, whether it syncs before it answers, and how it is started."""

    name: str
    syncs: bool
    command: Callable[[Path, int], list[str]]


@dataclass(frozen=True)
class Running:
    """A registry that listens."""

    peer: Peer
    address: Address
    pid: int

    def processes(self) -> list[int]:
        """The server's processes."""
        found = [self.pid]
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    parent = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
                    if parent in found:
                        found.append(int(entry.name))
        return found

    def cpu_seconds(self) -> float:
        """What its processes have used of the processors, user and system."""
        ticks = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
                ticks += int(words[11]) + int(words[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """The proportional set size of its processes, in MiB."""
        kilobytes = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                lines = (line.split() for line in rollup.splitlines())
                kilobytes += sum(int(words[1]) for words in lines if words[0] == "Pss:")
        return kilobytes / 1024


def _ours(data: Path, port: int) -> list[str]:
    bind = f"127.0.0.1:{port}"
    return [sys.executable, "-m", "registry_wsgi", "serve", "--bind", bind, "--data", str(data)]


def _distribution(program: str) -> Callable[[Path, int], list[str]]:
    def command(data: Path, port: int) -> list[str]:
        settings = data.with_suffix(".yml")
        settings.write_text(DISTRIBUTION.format(data=data, port=port))
        return [program, "serve", str(settings)]

    return command


def _olareg(program: str) -> Callable[[Path, int], list[str]]:
    return lambda data, port: [program, "serve", "--dir", str(data), "--port", str(port)]


def present() -> list[Peer]:
    """This registry and the peers whose programs are here.

    ``DISTRIBUTION`` and ``OLAREG`` name programs; else they are looked for on PATH.
    """
    path = f"{TOOLS}{os.pathsep}{os.environ.get('PATH', '')}"
    found = [Peer("registry_wsgi", syncs=True, command=_ours)]
    distribution = os.environ.get("DISTRIBUTION") or shutil.which("registry", path=path)
    if distribution:
        found.append(Peer("distribution", syncs=True, command=_distribution(distribution)))
    debian = shutil.which("docker-registry", path=path)
    if debian and not distribution:
        found.append(Peer("docker-registry", syncs=False, command=_distribution(debian)))
    olareg = os.environ.get("OLAREG") or shutil.which("olareg", path=path)
    if olareg:
        found.append(Peer("olareg", syncs=False, command=_olareg(olareg)))
    return found


@contextlib.contextmanager
def running(peer: Peer, folder: Path) -> Iterator[Running]:
    """Start a registry, and end it with all its data."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / peer.name
    data.mkdir()
    with (folder / f"{peer.name}.log").open("wb") as log:
        process = subprocess.Popen(
            peer.command(data, port),
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        try:
            _wait(port)
            yield Running(peer, Address("127.0.0.1", port), process.pid)
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(data, ignore_errors=True)


def _wait(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError("the registry did not start")
