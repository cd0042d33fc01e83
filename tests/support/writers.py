"""Processes that write to one index as fast as they can: each function runs in a child."""

import random
import threading
from pathlib import Path

from support.opened import ACTOR, Opened
from support.processes import Pipe
from support.storage import APP, image

from registry_wsgi.names import Digest, Tag
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.opening import open_data
from registry_wsgi.storage.sqlite import database

SMALL_LOG = 1 << 16
"""Bytes of the index's log after which it is checkpointed: after some ten commits."""


def write_and_checkpoint(pipe: Pipe, data: Path, worker: int, seconds: float) -> None:
    """Commit blobs, manifests, moves of tags and deletions for a time; send what was acknowledged.

    That is how many commits there were, and the manifest that each tag is on.
    """
    database.WAL_CHECKPOINT = SMALL_LOG  # type: ignore[misc] # a constant of the program
    storage = open_data(data, FileOps())
    found = Opened(storage, storage.clock)
    chance = random.Random(worker)  # noqa: S311 - what is written, not a secret
    over = threading.Event()
    threading.Timer(seconds, over.set).start()
    tags: dict[str, bytes | None] = {}
    commits = 0
    index = storage.index
    pipe.send("ready")
    pipe.recv()
    while not over.is_set():
        layer = f"{worker} {commits}".encode()
        index.blobs.commit(APP, Digest.of(layer), len(layer), None)
        index.blobs.commit(APP, Digest.of(b"{}"), 2, None)
        tag = f"w{worker}-{chance.randrange(50)}"
        if chance.random() < 0.2 and tags.get(tag):
            found.manifests.delete(APP, Tag(tag), ACTOR)
            tags[tag] = None
        else:
            tags[tag] = image(layer)
            found.put(APP, Tag(tag), image(layer))
        commits += 3
    pipe.send((commits, tags))
    storage.index.database.close()
