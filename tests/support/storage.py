"""Storage without a server: an index and a blob store on a directory, and a clock to turn."""

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest
from support.images import CONFIG, INDEX, LAYER, MANIFEST, descriptor, encode

from registry_wsgi.errors import ErrorRow, RegistryError
from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.oci import parse_manifest
from registry_wsgi.storage.base import Clock, Index, ManifestPush, Upload
from registry_wsgi.storage.disk import DiskStore
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.locks import FileLock
from registry_wsgi.storage.reserve import Reserve
from registry_wsgi.storage.sqlite import index as sqlite_index
from registry_wsgi.storage.sqlite.database import Database
from registry_wsgi.storage.sqlite.index import SqliteIndex
from registry_wsgi.storage.store import BlobStore

APP = Name("team/app")
OTHER = Name("team/other")
CONTENT = b"content"


@dataclass
class FakeClock:
    """A clock that stands until a test moves it, on a boot that a test may change."""

    milliseconds: int = 1_000_000
    boot: str = "first boot"

    def age(self) -> int:
        """Milliseconds of accumulated uptime."""
        return self.milliseconds

    def boot_id(self) -> str:
        """The boot."""
        return self.boot

    def now(self) -> datetime:
        """A moment that is the same in every run."""
        return datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


# --- The two seams --------------------------------------------------------------------------------


class IndexPlace(Protocol):
    """Where an index is. Picklable, so that another process can open the same one."""

    def open(self, clock: Clock) -> AbstractContextManager[Index]:
        """The index, until the end of the block; new and empty where there was none."""
        ...


class StorePlace(Protocol):
    """Where a blob store is, as ``IndexPlace``."""

    def open(self) -> BlobStore:
        """The blob store; new and empty where there was none."""
        ...


@dataclass(frozen=True)
class SqlitePlace:
    """An index in SQLite, in a directory. What is tested of it here needs no power cut."""

    folder: Path

    @contextlib.contextmanager
    def open(self, clock: Clock) -> Iterator[Index]:
        """``SqliteIndex``, closed afterwards."""
        with open_database(self.folder) as database:
            yield SqliteIndex(database, clock)


@contextlib.contextmanager
def memory_directory() -> Iterator[Path]:
    """A directory that is gone afterwards, in memory where the machine has such a file system.

    A store is hundreds of directories, and no test that uses this is about a disk. buildah makes
    an image's name of a layout's path: tempfile's names may end in what no name may.
    """
    memory = "/dev/shm"
    parent = memory if os.access(memory, os.W_OK) else tempfile.gettempdir()
    folder = Path(parent, f"rw-{uuid.uuid4().hex}")
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def open_database(folder: Path) -> Iterator[Database]:
    """The SQLite file of a directory, made ready, and closed afterwards."""
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / "write")
    path = folder / sqlite_index.NAME
    sqlite_index.prepare(path, lock, FileOps(syncing=False))
    database = Database(path, lock, durable=False)
    try:
        yield database
    finally:
        database.close()


@dataclass(frozen=True)
class DiskPlace:
    """A blob store on a file system, in a directory."""

    folder: Path

    def open(self) -> BlobStore:
        """``DiskStore``."""
        return open_disk(self.folder, FileOps(syncing=False))


def open_disk(folder: Path, ops: FileOps) -> DiskStore:
    """The blob store of a directory, made ready."""
    (folder / "locks").mkdir(parents=True, exist_ok=True)
    store = DiskStore(folder, ops, Reserve(folder, ops))
    store.prepare()
    return store


# --- What is put into them ------------------------------------------------------------------------


@contextlib.contextmanager
def refused(row: ErrorRow) -> Iterator[pytest.ExceptionInfo[RegistryError]]:
    """The test fails unless the block raises the error of this row."""
    with pytest.raises(RegistryError) as caught:
        yield caught
    assert caught.value.row is row


def put_blob(
    index: Index, repository: Name = APP, content: bytes = CONTENT, upload: str | None = None
) -> Digest:
    """Have the index serve a blob whose file nobody asks for; its digest."""
    digest = Digest.of(content)
    index.blobs.commit(repository, digest, len(content), upload)
    return digest


def image(*layers: bytes, config: bytes = b"{}", **members: Any) -> bytes:
    """An image manifest of these layers."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": [descriptor(LAYER, layer) for layer in layers],
    }
    return encode({**document, **members})


def foreign_image(layer: bytes) -> bytes:
    """One whose layer clients leave where its URLs point."""
    kept = b"application/vnd.oci.image.layer.v1.tar+gzip"
    foreign = b"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    return image(layer).replace(kept, foreign)


def index_of(*manifests: bytes, **members: Any) -> bytes:
    """An index of these manifests."""
    listed = [descriptor(MANIFEST, manifest) for manifest in manifests]
    return encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed, **members})


def push_of(body: bytes, *tags: str, repository: Name = APP, **options: Any) -> ManifestPush:
    """One manifest PUT. ``options`` are further members of ``ManifestPush``, or ``algorithm``."""
    digest = Digest.of(body, options.pop("algorithm", "sha256"))
    named = tuple(map(Tag, tags))
    return ManifestPush(repository, digest, parse_manifest(body, None), body, named, **options)


def put_image(index: Index, *tags: str, repository: Name = APP, **members: Any) -> bytes:
    """Have the index keep an image of one blob, which is stored first; the manifest's bytes."""
    body = image(CONTENT, **members)
    put_blob(index, repository, CONTENT)
    put_blob(index, repository, b"{}")
    index.manifests.put(push_of(body, *tags, repository=repository))
    return body


def put_two(index: Index) -> tuple[bytes, bytes]:
    """Two images of the same blobs, tagged ``first`` and ``second``."""
    return put_image(index, "first"), put_image(index, "second", annotations={"a": "b"})


def subject_of(body: bytes) -> dict[str, object]:
    """The descriptor of a manifest, as the subject of another."""
    return descriptor(MANIFEST, body)


def tags_of(index: Index, repository: Name = APP) -> dict[str, Digest]:
    """Every tag of a repository and the digest it is on."""
    found = {}
    for tag in index.listings.tags(repository, "", 1000) or []:
        manifest = index.manifests.find(repository, Tag(tag))
        assert manifest
        found[tag] = manifest.digest
    return found


def upload_of(uuid: str = "upload-1", repository: Name = APP, **members: Any) -> Upload:
    """An upload session at its start."""
    fresh: dict[str, Any] = {
        "algorithm": "sha256",
        "stored": 0,
        "prefix": None,
        "boot_id": "first boot",
        "started_at": "2026-01-02T03:04:05Z",
    }
    return Upload(uuid, repository, **{**fresh, **members})


def stage(store: BlobStore, uuid: str, content: bytes = b"") -> None:
    """Begin an upload session's bytes."""
    with store.create(uuid) as staged:
        staged.write(content)


def publish(store: BlobStore, content: bytes = CONTENT, digest: Digest | None = None) -> Digest:
    """Make content a blob, under another digest than its own if one is given."""
    digest = digest or Digest.of(content)
    with store.create("publishing") as staged, store.lock(digest):
        staged.write(content)
        staged.publish(digest)
    return digest


def read_blob(store: BlobStore, digest: Digest) -> bytes | None:
    """All bytes of a blob."""
    content = store.open(digest)
    if content is None:
        return None
    with content:
        return content.read()
