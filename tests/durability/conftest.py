"""Fixtures of the tests that crash, fill, break and collect."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.acts import CONFIG
from support.plays import LAYER, OTHER_LAYER

from registry_wsgi.names import Digest
from registry_wsgi.storage import disk, reserve

MEMORY = Path("/dev/shm")
ENOUGH = 1 << 30

SHARDS = tuple(sorted({Digest.of(content).hex[:2] for content in (LAYER, OTHER_LAYER, CONFIG)}))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory in memory where there is one: what is tried many times need not be on a disk."""
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH
    with tempfile.TemporaryDirectory(
        prefix="rw-", dir=MEMORY if has_room else None, ignore_cleanup_errors=True
    ) as name:
        yield Path(name)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data directory of few directories and a small reserve, made in no time.

    For the contents of ``support.plays`` alone: no other blob has a directory in it.
    """
    monkeypatch.setattr(disk, "_SHARDS", SHARDS)
    monkeypatch.setattr(reserve, "MOST", 4096)
