"""The programs that the tests drive: found, or the test says what to install; run, or it shows why not."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
TOOLS = CHECKOUT / ".tools" / "bin"
SECONDS = 120
SHOWN = 6_000


def search_path() -> str:
    """The pinned tools of ``.ci/tools``, then PATH, then where Debian puts daemons."""
    return os.pathsep.join([str(TOOLS), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def require(program: str, package: str) -> str:
    """The path of a program; without it the test is skipped, or fails when ``CI=true``.

    ``package`` is the Debian package that has the program, or the Go package (with a slash in
    its name) that ``go install`` builds it from.
    """
    found = shutil.which(program, path=search_path())
    if found is None:
        remedy = f"apt-get install {package}"
        if "/" in package:
            remedy = f".ci/tools {program} (go install {package})"
        missing(f"{program} is missing: {remedy}")
    return found


def require_root(program: str) -> None:
    """Skip the test, or fail it when ``CI=true``, unless it is run by root."""
    if os.geteuid() != 0:
        missing(f"{program} has to be started by root")


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it when ``CI=true``: there nothing may be missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def run(
    command: Sequence[str | Path],
    *,
    expect: int | None = 0,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
    seconds: float = SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; any exit code but ``expect`` fails the test with its output.

    Line ends and undecodable bytes aside, ``stdout`` and ``stderr`` are what it printed. None
    as ``expect`` takes any exit code. It is killed after ``seconds``, and the test fails.
    """
    done = subprocess.run(
        [str(word) for word in command],
        input=stdin,
        capture_output=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PATH": search_path(), **(environment or {})},
        timeout=seconds,
    )
    stdout, stderr = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    shown = " ".join(str(word) for word in command)
    assert expect in {None, done.returncode}, (
        f"{shown}\nexit code {done.returncode}\n{stdout[-SHOWN:]}\n{stderr[-SHOWN:]}"
    )
    return subprocess.CompletedProcess(done.args, done.returncode, stdout, stderr)


class Tool:
    """A command line that begins the same way each time: program, global flags, environment."""

    def __init__(self, *command: str | Path, environment: Mapping[str, str] | None = None) -> None:
        self.command = command
        self.environment = environment

    def __call__(self, *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None) -> str:
        """Run it with these arguments; the standard output, stripped."""
        done = run([*self.command, *arguments], environment=self.environment, stdin=stdin, cwd=cwd)
        return done.stdout.strip()

    def said(self, *arguments: str | Path, expect: int | None = 0) -> str:
        """Run it with these arguments; both output streams together."""
        done = run([*self.command, *arguments], environment=self.environment, expect=expect)
        return done.stdout + done.stderr
