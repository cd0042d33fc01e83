"""Services over real storage, with a clock to turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.storage import APP, FakeClock, SqlitePlace, memory_directory, open_disk
from support.uploads import FORMS, Form

from registry_wsgi.services.uploads import UploadService
from registry_wsgi.storage.base import Index
from registry_wsgi.storage.disk import DiskStore
from registry_wsgi.storage.fsops import FileOps


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data directory."""
    with memory_directory() as directory:
        yield directory


@pytest.fixture
def clock() -> FakeClock:
    """The clock, which stands until a test turns it."""
    return FakeClock()


@pytest.fixture
def index(folder: Path, clock: FakeClock) -> Iterator[Index]:
    """An empty index."""
    with SqlitePlace(folder).open(clock) as opened:
        yield opened


@pytest.fixture
def store(folder: Path) -> DiskStore:
    """An empty blob store."""
    return open_disk(folder, FileOps(syncing=False))


@pytest.fixture
def uploads(index: Index, store: DiskStore, clock: FakeClock) -> UploadService:
    """Uploads into both."""
    return UploadService(index, store, clock)


@pytest.fixture(params=FORMS)
def sent(request: pytest.FixtureRequest) -> Form:
    """Makes bodies of each form."""
    return FORMS[request.param]


@pytest.fixture
def session(uploads: UploadService) -> str:
    """The identifier of a new session."""
    return uploads.start(APP).upload.uuid
