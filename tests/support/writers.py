"""Processes that write to one index as fast as they can: each function runs in a child."""

import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.opened import ACTOR, Opened, opened
from support.processes import Pipe
from support.storage import APP, FakeClock, image

from registry_wsgi.errors import StorageFault
from registry_wsgi.names import Digest, Tag
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.locks import FileLock
from registry_wsgi.storage.sqlite import database
from registry_wsgi.storage.sqlite.database import Database
from registry_wsgi.storage.sqlite.tasks import Task

SMALL_LOG = 1 << 16
"""Bytes of the index's log after which it is checkpointed: after some ten commits."""


class AloneDatabase(Database):
    """Fails if two processes are in a transaction or a checkpoint at once."""

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with FileLock(self.path.with_name("alone")).trying() as held:
            if not held:
                raise StorageFault("another process writes or checkpoints at the same time")
            yield

    def _commit(self, connection: sqlite3.Connection, batch: list[Task]) -> None:
        with self._alone():
            super()._commit(connection, batch)

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        with self._alone():
            super()._checkpoint(connection)


def alone(made: Database) -> Database:
    """The same database, watched."""
    return AloneDatabase(made.path, made.lock)


def write_and_checkpoint(pipe: Pipe, data: Path, worker: int, seconds: float) -> None:
    """Commit blobs, manifests, moves of tags and deletions for a time; send what was acknowledged.

    That is how many commits there were, and the manifest that each tag is on.
    """
    vars(database)["WAL_CHECKPOINT"] = SMALL_LOG
    with opened(data, FileOps(), FakeClock(), alone) as found:
        pipe.send("ready")
        pipe.recv()
        pipe.send(_write(found, worker, seconds))


def _write(found: Opened, worker: int, seconds: float) -> tuple[int, dict[str, bytes | None]]:
    chance = random.Random(worker)  # noqa: S311 - what is written, not a secret
    over = threading.Event()
    threading.Timer(seconds, over.set).start()
    blobs = found.storage.index.blobs
    tags: dict[str, bytes | None] = {}
    commits = 0
    while not over.is_set():
        layer = f"{worker} {commits}".encode()
        blobs.commit(APP, Digest.of(layer), len(layer), None)
        blobs.commit(APP, Digest.of(b"{}"), 2, None)
        tag = f"w{worker}-{chance.randrange(50)}"
        if chance.random() < 0.2 and tags.get(tag):
            found.manifests.delete(APP, Tag(tag), ACTOR)
            tags[tag] = None
        else:
            tags[tag] = image(layer)
            found.put(APP, Tag(tag), image(layer))
        commits += 3
    return commits, tags
