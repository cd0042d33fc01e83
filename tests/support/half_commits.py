"""A writer that is killed in its commit: its work is in the log, and nobody alive can see it.

SQLite writes a transaction into the log first, and last into shared memory how far the log goes.
Who is killed in between leaves a transaction that is not there for those who have the index open,
and that is there when they are gone too, and the next one recovers the log.
"""

from pathlib import Path

from support.opened import Content
from support.processes import Pipe, child

from registry_wsgi.names import Digest, Name
from registry_wsgi.services.uploads import UploadService
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.opening import open_data

HEADER = 136
"""Bytes of the shared memory that say how far the log goes (SQLite's "WAL-mode File Format", 2.1)."""


def push_and_stay(pipe: Pipe, data: Path, name: str, content: bytes) -> None:
    """Push a blob, say so, and wait to be killed."""
    storage = open_data(data, FileOps())
    uploads = UploadService(storage.index, storage.store, storage.clock)
    uploads.push(Name(name), Digest.of(content), Content((content,)))
    pipe.send("pushed")
    pipe.recv()


def look(pipe: Pipe, data: Path, name: str, content: bytes) -> None:
    """Keep the index open, and tell each time one is asked whether the blob is there."""
    storage = open_data(data, FileOps())
    while True:
        pipe.send(storage.index.blobs.find(Name(name), Digest.of(content)) is not None)
        pipe.recv()


def push_and_be_killed(data: Path, name: str, content: bytes) -> None:
    """Push a blob from a process that is killed when it is there."""
    with child(push_and_stay, data, name, content) as pusher:
        pusher.hear()
        pusher.kill()


def push_by_halves(data: Path, name: str, content: bytes) -> None:
    """Push a blob from a process that is killed before the others can see it.

    Somebody else has to have the index open, and this process must not: it would lose its locks.
    """
    with (data / "registry.sqlite3-shm").open("r+b") as memory:
        before = memory.read(HEADER)
        push_and_be_killed(data, name, content)
        memory.seek(0)
        memory.write(before)
