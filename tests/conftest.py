"""Fixtures that every room's tests may use: a running registry, a name in it, counted results."""

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.counts import Counts, CountsSummary, recorder
from support.proxied import Proxied, proxied
from support.server import RunningServer, ServerFactory, throwaway_directory

_serial = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Have the counted results printed at the end."""
    config.pluginmanager.register(CountsSummary(), "counts-summary")


@pytest.fixture
def counts(request: pytest.FixtureRequest) -> Counts:
    """Notes numbers for the summary at the end: ``counts("conformance", passed=980, failed=0)``."""
    return recorder(request.node)


@pytest.fixture(scope="session")
def registry() -> Iterator[RunningServer]:
    """The server that most tests share; each keeps to its own ``repository``."""
    with throwaway_directory() as folder, RunningServer(folder / "data") as server:
        yield server


@pytest.fixture(scope="session")
def behind_nginx() -> Iterator[Proxied]:
    """A registry as contrib/ has it, behind nginx with TLS; nobody has to sign in."""
    with proxied() as running:
        yield running


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A repository name that no other test has."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return f"test/{words[:80].strip('-')}/{next(_serial)}"


@pytest.fixture
def fresh_registry() -> Iterator[ServerFactory]:
    """Starts servers with data, flags and settings of their own, and ends them after the test."""
    with contextlib.ExitStack() as stack:

        def start(
            *flags: str,
            data: Path | None = None,
            environment: Mapping[str, str] | None = None,
            settings: str | None = None,
        ) -> RunningServer:
            folder = data or stack.enter_context(throwaway_directory()) / "data"
            server = RunningServer(folder, flags, environment or {}, settings).start()
            # To wait for hundreds of graceful stops would take minutes; some tests ask for one.
            stack.callback(server.end)
            return server

        yield start
