"""Faults of the kernel, put into the system calls of a running registry by strace."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import pytest
from support.programs import missing, require
from support.server import RunningServer, throwaway_directory
from support.waiting import wait_until

STOP_SECONDS = 20


@dataclass(frozen=True)
class Fault:
    """System calls that fail: ``fdatasync,fsync``, ``EIO``; ``when`` as strace(1) has it.

    Calls are counted in each thread by itself. With ``paths`` only calls on these files fail.
    """

    calls: str
    errno: str
    when: str = "1+"
    paths: tuple[Path, ...] = ()

    @property
    def options(self) -> list[str]:
        """The options of strace."""
        options = ["-e", f"trace={self.calls}"]
        options += ["-e", f"inject={self.calls}:error={self.errno}:when={self.when}"]
        for path in self.paths:
            options += ["-P", str(path)]
        return options


@dataclass
class Injection:
    """What strace did: ``count`` is how many calls it let fail, known afterwards."""

    count: int = 0


@contextlib.contextmanager
def injected(server: RunningServer, fault: Fault, workers: int = 2) -> Iterator[Injection]:
    """Let calls of the workers of a registry, of which it has so many, fail in the block."""
    strace = require("strace", "strace")
    wait_until(lambda: len(children_of(server)) == workers, f"there are {workers} workers")
    injection = Injection()
    with throwaway_directory() as folder:
        output = folder / "trace"
        pids = [word for worker in children_of(server) for word in ("-p", str(worker))]
        command = [strace, "-f", "-o", str(output), *fault.options, *pids]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            _wait_until_attached(process, workers)
            yield injection
        finally:
            process.terminate()
            process.communicate(timeout=STOP_SECONDS)
            if output.exists():
                injection.count = output.read_text(errors="replace").count("(INJECTED)")


def _wait_until_attached(process: subprocess.Popen[str], count: int) -> None:
    assert process.stderr is not None
    attached, said = 0, ""
    while attached < count:
        line = process.stderr.readline()
        said += line
        attached += " attached" in line
        if "not permitted" in line:
            missing(f"strace may not attach to a process here: {line}")
        if not line:
            pytest.fail(f"strace ended: {said}")


def answers(server: RunningServer) -> bool:
    """Whether a request is answered just now."""
    try:
        return server.http.get("/healthz", None).status == HTTPStatus.OK
    except OSError:
        return False


def children_of(server: RunningServer) -> Sequence[int]:
    """The worker processes of a registry."""
    assert server.process is not None
    pid = server.process.pid
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
