"""The server twice: on the ways around gunicorn that it knows, and through gunicorn alone."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.server import RunningServer, throwaway_directory
from support.ways import WAYS, way_of


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, RunningServer]]:
    """One running server for each way."""
    with ExitStack() as stack:
        running = {}
        for name in WAYS:
            folder = stack.enter_context(throwaway_directory())
            server = RunningServer(folder / "data", environment=way_of(name))
            running[name] = stack.enter_context(server)
        yield running


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Each way in turn."""
    name: str = request.param
    return name


@pytest.fixture
def server(way: str, servers: dict[str, RunningServer]) -> RunningServer:
    """The server that goes this way."""
    return servers[way]
