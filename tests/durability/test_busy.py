"""Nobody waits for ever: a lock that is not given up is an answer, and a log does not grow for ever."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.opened import Opened, opened
from support.plays import LAYER
from support.storage import APP, refused

from registry_wsgi.errors import UNAVAILABLE
from registry_wsgi.names import Digest
from registry_wsgi.storage.locks import FileLock
from registry_wsgi.storage.sqlite import database
from registry_wsgi.storage.sqlite.connections import WAL_CHECKPOINT
from registry_wsgi.storage.sqlite.database import Database

pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture
def found(folder: Path) -> Iterator[Opened]:
    """A registry with a blob in it."""
    with opened(folder / "data") as registry:
        registry.push(APP, LAYER)
        yield registry


def test_a_write_that_does_not_get_its_turn_is_given_up(
    found: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process keeps the index's lock: 503 with Retry-After, and it is not done later."""
    monkeypatch.setattr(database, "WRITE_TIMEOUT", 0.05)
    blobs = found.storage.index.blobs
    with FileLock(found.storage.data / "locks" / "write").held():
        with refused(UNAVAILABLE) as caught:
            blobs.unlink(APP, Digest.of(LAYER))
        assert blobs.find(APP, Digest.of(LAYER)) is not None  # reading goes on

    assert dict(caught.value.headers)["Retry-After"]
    blobs.lease(APP, Digest.of(LAYER))  # whatever waited is over by now
    assert blobs.find(APP, Digest.of(LAYER)) is not None


def test_a_digest_whose_lock_is_kept_is_given_up(folder: Path) -> None:
    """A lock that does not queue waits for its timeout at most, and is taken when it is free in time."""
    path = folder / "lock"
    lock = FileLock(path, timeout=0.05, queueing=False)
    with FileLock(path).held(), refused(UNAVAILABLE), lock.held():
        pass

    with lock.held():
        assert path.exists()


def note_checkpoints(index: Database) -> list[str]:
    """The checkpoints that the writer makes from now on."""
    statements: list[str] = []

    def note(text: str) -> None:
        if "wal_checkpoint" in text:
            statements.append(text)

    index.write(lambda connection: connection.set_trace_callback(note))
    return statements


def grow(index: Database, megabytes: int) -> None:
    """Write so much into the log, in commits of a megabyte."""

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS filling (a)")
        connection.execute("DELETE FROM filling")
        connection.execute("INSERT INTO filling VALUES (zeroblob(1000000))")

    for _ in range(megabytes):
        index.write(work)


def test_a_log_that_was_long_once_is_short_again(found: Opened) -> None:
    """The log is checkpointed each time it has grown to its mark, not at every commit from then on."""
    index = found.storage.index.database
    checkpoints = note_checkpoints(index)
    grow(index, 60)

    assert index.wal_size() < 2 * WAL_CHECKPOINT
    assert 5 <= len(checkpoints) <= 9
    grow(index, 1)
    before = len(checkpoints)
    for _ in range(50):
        found.storage.index.blobs.lease(APP, Digest.of(LAYER))
    assert len(checkpoints) - before <= 1
