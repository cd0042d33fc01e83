"""Fixtures of tests over HTTP: a client of the shared server, and an upload session in it."""

import pytest
from support.pushes import open_upload
from support.server import RunningServer
from support.verbs import Verbs


@pytest.fixture(scope="session")
def http(registry: RunningServer) -> Verbs:
    """A client of the shared server."""
    return registry.http


@pytest.fixture
def session(http: Verbs, repository: str) -> str:
    """Where a new upload session of the test's repository is."""
    return open_upload(http, repository)
