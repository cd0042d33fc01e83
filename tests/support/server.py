"""A registry started the way an operator starts it, on a free port of the loopback interface."""

import contextlib
import dataclasses
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Protocol, Self

import pytest
from support.verbs import Verbs

from registry_wsgi.watching.sharing import forget, place

CHECKOUT = Path(__file__).resolve().parents[2]
START_SECONDS = 30
STOP_SECONDS = 20
LOG_TAIL = 8_000


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclasses.dataclass(eq=False)
class RunningServer:
    """``registry-wsgi serve`` in a process group of its own, while the ``with`` block lasts.

    ``data`` is the data directory, left as it is afterwards; log and settings lie beside it.
    ``flags`` are added to the command line, ``environment`` to the process's, ``settings`` is the text of a
    TOML file given as ``--config``. A stopped or killed server can be started again, on the same
    data and port.
    """

    data: Path
    flags: Sequence[str] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    settings: str | None = None
    port: int = dataclasses.field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = dataclasses.field(default=None, init=False)

    READY: ClassVar[str] = "/healthz"

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``, as it stands before a repository in an image reference."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The root of the server, without a slash at the end."""
        return f"http://{self.host}"

    @property
    def http(self) -> Verbs:
        """A client for requests that no tool would make."""
        return Verbs(self.host)

    @property
    def log_file(self) -> Path:
        """Where the server's standard output and error go; all its runs follow one another."""
        return self.data.with_name(f"{self.data.name}.log")

    @property
    def log(self) -> str:
        """What the server has written so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def command(self) -> list[str]:
        """The command line."""
        command = [sys.executable, "-m", "registry_wsgi", "serve"]
        command += ["--bind", self.host, "--data", str(self.data)]
        if self.settings is not None:
            settings_file = self.data.with_name(f"{self.data.name}.toml")
            settings_file.write_text(self.settings)
            command += ["--config", str(settings_file)]
        return [*command, *self.flags]

    def start(self) -> Self:
        """Start the server and return when it answers; the test fails if it doesn't."""
        assert self.process is None, "the server is running"
        self.data.parent.mkdir(parents=True, exist_ok=True)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_WSGI_")}
        path = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.data.parent,
                env={**inherited, "PYTHONPATH": path, **self.environment},
                start_new_session=True,
            )
        try:
            self._wait_until_ready(self.process)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> int:
        """Ask the server to end, as a service manager does, and return its exit code.

        The test fails if it isn't gone within ``STOP_SECONDS``, or had ended by itself before.
        """
        assert self.process is not None, "the server is not running"
        if self.process.poll() is not None:
            self.kill()
            pytest.fail(f"the server ended by itself\n{self.log[-LOG_TAIL:]}")
        self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the server did not stop within {STOP_SECONDS} s\n{self.log[-LOG_TAIL:]}")
        self._kill_group(self.process.pid)
        self.process = None
        return code

    def kill(self) -> None:
        """End the server and its workers at once, as a power cut would."""
        assert self.process is not None, "the server is not running"
        self._kill_group(self.process.pid)
        self.process.wait()
        self.process = None
        forget(place(self.data))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process is None:
            return
        if exception is None:
            self.stop()
        else:
            self.kill()

    def end(self) -> None:
        """Kill the server if it runs; the test fails if it had ended by itself."""
        if self.process is None:
            return
        ended = self.process.poll() is not None
        self.kill()
        if ended:
            pytest.fail(f"the server ended by itself\n{self.log[-LOG_TAIL:]}")

    @staticmethod
    def _kill_group(group: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            if self._answers():
                return
            time.sleep(0.02)
        pytest.fail(
            f"the server did not start (exit code {process.poll()})\n{self.log[-LOG_TAIL:]}"
        )

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self.host, timeout=START_SECONDS)
        try:
            connection.request("GET", self.READY)
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()


class ServerFactory(Protocol):
    """What the fixture ``fresh_registry`` is: starts a server of the test's own."""

    def __call__(
        self,
        *flags: str,
        data: Path | None = None,
        environment: Mapping[str, str] | None = None,
        settings: str | None = None,
    ) -> RunningServer:
        """Start it on ``data``, or on a directory that goes with the test."""


@contextlib.contextmanager
def throwaway_directory() -> Iterator[Path]:
    """A directory that is gone afterwards, with a path short enough for a unix socket in it."""
    with tempfile.TemporaryDirectory(prefix="rw-", ignore_cleanup_errors=True) as name:
        yield Path(name)
