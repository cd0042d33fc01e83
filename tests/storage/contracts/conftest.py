"""The implementations that the contract tests in this folder are run against.

A second index or blob store is added to ``INDEXES`` or ``STORES``: that is all it takes to test
it. Nothing else here names a class of ``registry_wsgi.storage``, but for the contracts.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.storage import (
    DiskPlace,
    FakeClock,
    IndexPlace,
    SqlitePlace,
    StorePlace,
    memory_directory,
)

from registry_wsgi.storage.base import BlobIndex, Clock, Index, Listings, ManifestIndex, UploadIndex
from registry_wsgi.storage.disk import DiskStore
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.reserve import Reserve
from registry_wsgi.storage.sqlite.database import Database
from registry_wsgi.storage.sqlite.index import SqliteIndex
from registry_wsgi.storage.store import BlobStore, StagedUpload
from registry_wsgi.storage.uptime import SavedAge, UptimeClock

INDEXES: dict[str, Callable[[Path], IndexPlace]] = {"sqlite": SqlitePlace}
STORES: dict[str, Callable[[Path], StorePlace]] = {"disk": DiskPlace}


# Checked by mypy, not by running: an implementation that does not fit is an error on its line.
def _fits_index(
    database: Database, clock: Clock
) -> tuple[Index, BlobIndex, ManifestIndex, Listings, UploadIndex]:
    index = SqliteIndex(database, clock)
    return index, index.blobs, index.manifests, index.listings, index.uploads


def _fits_store(
    folder: Path, ops: FileOps, reserve: Reserve
) -> tuple[BlobStore, AbstractContextManager[StagedUpload]]:
    store = DiskStore(folder, ops, reserve)
    return store, store.stage("upload")


def _fits_clock(saved: SavedAge) -> Clock:
    return UptimeClock(saved)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that is gone after the test, for what an implementation keeps."""
    with memory_directory() as directory:
        yield directory


@pytest.fixture(params=INDEXES)
def index_place(request: pytest.FixtureRequest, folder: Path) -> IndexPlace:
    """Where an index is, for tests that open it more than once; one of each implementation."""
    return INDEXES[request.param](folder)


@pytest.fixture(params=STORES)
def store_place(request: pytest.FixtureRequest, folder: Path) -> StorePlace:
    """Where a blob store is, as ``index_place``."""
    return STORES[request.param](folder)


@pytest.fixture
def clock() -> FakeClock:
    """The clock of the index, which stands."""
    return FakeClock()


@pytest.fixture
def index(index_place: IndexPlace, clock: FakeClock) -> Iterator[Index]:
    """An empty index."""
    with index_place.open(clock) as opened:
        yield opened


@pytest.fixture
def store(store_place: StorePlace) -> BlobStore:
    """An empty blob store."""
    return store_place.open()
