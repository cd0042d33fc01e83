"""``backup`` and ``restore``: whole at every moment, while pushes go on, and no byte twice."""

import contextlib
import errno
import fcntl
import itertools
import os
import pty
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.commands import registry_wsgi
from support.counts import Counts
from support.images import noise, sha256
from support.opened import Opened, opened
from support.programs import CHECKOUT
from support.pushes import Pushed, open_upload, push_blob, push_image
from support.server import RunningServer, ServerFactory
from support.storage import image
from support.variants import QUICK

from registry_wsgi.errors import StorageFault
from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.services.backup import CopyService
from registry_wsgi.storage.bringing import CLONED, COPIED, LINKED, Bringer
from registry_wsgi.storage.disk_copies import DiskBackup, DiskRestore
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.sqlite import snapshot

APP = Name("team/app")
BLOBS = "blobs/sha256"
MEMORY = Path("/dev/shm")


def blobs_of(folder: Path) -> dict[str, Path]:
    """The files of all blobs, by their hashes."""
    return {path.name: path for path in (folder / BLOBS).rglob("*") if path.is_file()}


def put_image(into: Opened, content: bytes, tag: str) -> Digest:
    """Push an image of one layer; its manifest's digest."""
    into.push(APP, content)
    into.push(APP, b"{}")
    return into.put(APP, Tag(tag), image(content))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with two images, whose server has ended."""
    with opened(tmp_path / "data") as here:
        put_image(here, b"first", "first")
        put_image(here, b"second", "second")
    return tmp_path / "data"


def add(data: Path, content: bytes) -> Digest:
    """Push one more image, tagged by its content."""
    with opened(data) as here:
        return put_image(here, content, content.decode())


def remove(data: Path, digest: Digest) -> None:
    """Delete an image, and collect what only it needed."""
    with opened(data) as here:
        here.storage.index.manifests.delete(APP, digest, actor=here_actor())
        here.collect()


def here_actor() -> object:
    """Whoever deletes."""
    raise NotImplementedError
