"""A data directory and the services over it, without a server: what a worker process has."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from support.storage import FakeClock

from registry_wsgi.errors import (
    BLOB_UNKNOWN,
    UPLOAD_CUT_SHORT,
    BodyCut,
    ErrorRow,
    RegistryError,
)
from registry_wsgi.names import Digest, Name, Reference, Tag
from registry_wsgi.services.blobs import BlobService
from registry_wsgi.services.fsck import Finding, FsckService
from registry_wsgi.services.gc import CollectorService, Removal, no_pause
from registry_wsgi.services.manifests import ManifestService, Put
from registry_wsgi.services.uploads import UploadService
from registry_wsgi.storage.base import Actor, Clock
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.opening import Storage, open_data
from registry_wsgi.storage.sqlite.database import Database
from registry_wsgi.storage.sqlite.index import SqliteIndex

ACTOR = Actor("test", "127.0.0.1")
DAY = 86_400_000


@dataclasses.dataclass(frozen=True)
class Content:
    """A request's body; ``cut`` ends its connection after the last block."""

    content: tuple[bytes, ...] = ()
    cut: bool = False

    @property
    def length(self) -> int:
        """Bytes announced: one more than come when it is cut."""
        return sum(map(len, self.content)) + self.cut

    def blocks(self) -> Iterator[memoryview]:
        """The bytes."""
        for block in self.content:
            yield memoryview(block)
        if self.cut:
            raise BodyCut("the connection broke")


NOTHING = Content()


@dataclasses.dataclass(frozen=True)
class Opened:
    """Everything that one process has opened, with a clock that a test turns."""

    storage: Storage
    clock: Clock
    size_limit: int = 0

    @property
    def uploads(self) -> UploadService:
        """Upload sessions."""
        return UploadService(self.storage.index, self.storage.store, self.clock, self.size_limit)

    @property
    def blobs(self) -> BlobService:
        """Blobs."""
        return BlobService(self.storage.index, self.storage.store, self.clock)

    @property
    def manifests(self) -> ManifestService:
        """Manifests and tags."""
        return ManifestService(self.storage.index, self.clock)

    def collector(
        self,
        *,
        grace: int = 0,
        upload_expiry: int = DAY,
        untagged: bool = False,
        keep_subjects: bool = True,
        pause: Callable[[str], None] = no_pause,
    ) -> CollectorService:
        """gc; ``grace`` and ``upload_expiry`` are milliseconds."""
        index, store = self.storage.index, self.storage.store
        return CollectorService(
            index.collection,
            store,
            self.clock,
            grace,
            upload_expiry,
            untagged,
            keep_subjects,
            pause,
        )

    def collect(self, *, grace: int = 0, untagged: bool = False) -> list[Removal]:
        """A whole run of gc."""
        return list(self.collector(grace=grace, untagged=untagged).run())

    def fsck(self, *, deep: bool = True, repair: bool = False) -> list[Finding]:
        """All findings."""
        index, store = self.storage.index, self.storage.store
        return list(FsckService(index.inspection, index.collection, store, deep, repair).run())

    def problems(self) -> list[Finding]:
        """Findings that are problems."""
        return [finding for finding in self.fsck() if not finding.note]

    def push(self, repository: Name, content: bytes) -> Digest:
        """Push a blob in one request."""
        digest = Digest.of(content)
        self.uploads.push(repository, digest, Content((content,)))
        return digest

    def send(self, repository: Name, uuid: str, offset: int, *blocks: bytes) -> int:
        """PATCH an upload session; the offset afterwards."""
        return self.uploads.append(repository, uuid, offset, Content(blocks)).offset

    def send_and_break(self, repository: Name, uuid: str, offset: int, *blocks: bytes) -> None:
        """PATCH an upload session over a connection that breaks after these blocks."""
        with answered(UPLOAD_CUT_SHORT):
            self.uploads.append(repository, uuid, offset, Content(blocks, cut=True))

    def finish(self, repository: Name, uuid: str, offset: int, content: bytes) -> Digest:
        """Close a session that has all of ``content`` but what is after ``offset``."""
        digest = Digest.of(content)
        rest = content[offset:]
        self.uploads.finish(repository, uuid, offset, digest, Content((rest,) if rest else ()))
        return digest

    def put(self, repository: Name, reference: Reference, body: bytes, *tags: str) -> Digest:
        """PUT a manifest."""
        named = tuple(map(Tag, tags))
        digest, _ = self.manifests.put(Put(repository, reference, named, body, None, ACTOR))
        return digest

    def read(self, repository: Name, digest: Digest) -> bytes | None:
        """A blob as a pull gets it, ``None`` for 404."""
        try:
            content = self.blobs.open(repository, self.blobs.find(repository, digest))
        except RegistryError as error:
            if error.row is not BLOB_UNKNOWN:
                raise
            return None
        with content:
            return content.read()

    def manifest(self, repository: Name, reference: Reference) -> bytes | None:
        """A manifest as a pull gets it, ``None`` for 404."""
        stored = self.storage.index.manifests.find(repository, reference)
        return stored.body if stored else None


@contextlib.contextmanager
def answered(row: ErrorRow) -> Iterator[None]:
    """The block raises the error of this row, or another one, which is raised."""
    try:
        yield
    except RegistryError as error:
        if error.row is not row:
            raise
        return
    pytest.fail(f"no {row.code}")


@contextlib.contextmanager
def opened(
    data: Path,
    ops: FileOps | None = None,
    clock: Clock | None = None,
    database: Callable[[Database], Database] = lambda made: made,
) -> Iterator[Opened]:
    """Open a data directory as a starting process does, and close its index afterwards.

    Unless ``ops`` are given nothing is synced. ``database`` may put another in its place.
    """
    storage = open_data(data, ops or FileOps(syncing=False))
    clock = clock or FakeClock()
    index = SqliteIndex(database(storage.index.database), clock)
    storage = dataclasses.replace(storage, index=index, clock=clock)
    try:
        yield Opened(storage, clock)
    finally:
        index.database.close()


def removed(removals: Iterable[Removal], kind: str) -> list[str]:
    """What of one kind gc removed."""
    return [removal.what for removal in removals if removal.kind == kind]
