"""Accounts without a server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.storage import open_database

from registry_wsgi.storage.accounts import Accounts
from registry_wsgi.storage.sqlite.accounts import SqliteAccounts


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    """Where users, groups and machine tokens are, empty at first."""
    with open_database(tmp_path / "index") as database:
        yield SqliteAccounts(database)
