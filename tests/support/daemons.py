"""Daemons that the tests start for themselves: ended by their process id, their mounts taken away."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from support.programs import Tool, require, require_root, run, search_path
from support.server import throwaway_directory

START_SECONDS = 60
STOP_SECONDS = 30
LOG_TAIL = 6_000


@contextlib.contextmanager
def daemon(
    command: Callable[[Path], Sequence[str | Path]], ready: Callable[[Path], bool]
) -> Iterator[Path]:
    """Run a daemon in a directory of its own, from when it is ready until the block ends.

    ``command`` and ``ready`` get that directory. Whatever the daemon mounted in it is unmounted
    and the directory removed.
    """
    with throwaway_directory() as folder, (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(word) for word in command(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "PATH": search_path()},
            start_new_session=True,
        )
        try:
            _wait_until_ready(process, folder, ready)
            yield folder
        finally:
            _end(process)
            _unmount_below(folder)


@contextlib.contextmanager
def docker_daemon(environment: Mapping[str, str]) -> Iterator[Tool]:
    """``docker``, talking to a daemon of its own for as long as the block lasts."""
    dockerd, client = require("dockerd", "docker.io"), require("docker", "docker.io")
    require_root("dockerd")

    def command(folder: Path) -> list[str]:
        return [
            dockerd,
            "--iptables=false",
            "--bridge=none",
            "--storage-driver=vfs",
            f"--data-root={folder}/data",
            f"--exec-root={folder}/exec",
            f"--pidfile={folder}/pid",
            f"--host=unix://{folder}/docker.sock",
        ]

    def ready(folder: Path) -> bool:
        ping = [client, f"--host=unix://{folder}/docker.sock", "version"]
        return run(ping, environment=environment, expect=None).returncode == 0

    with daemon(command, ready) as folder:
        yield Tool(client, f"--host=unix://{folder}/docker.sock", environment=environment)


def _wait_until_ready(
    process: subprocess.Popen[bytes], folder: Path, ready: Callable[[Path], bool]
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if ready(folder):
            return
        time.sleep(0.05)
    log = (folder / "log").read_text(errors="replace")
    pytest.fail(f"{process.args!r} did not start (exit code {process.poll()})\n{log[-LOG_TAIL:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _unmount_below(folder: Path) -> None:
    """Unmount what is mounted in a directory, the innermost first (proc(5), mountinfo)."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((m for m in mounts if Path(m).is_relative_to(folder)), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
