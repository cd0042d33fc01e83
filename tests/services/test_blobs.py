"""Serving blobs: what is told is leased, and what is not on the disk is a fault."""

from pathlib import Path

import pytest
from support.storage import APP, CONTENT, OTHER, FakeClock, put_blob, refused
from support.uploads import DIGEST, Sent

from registry_wsgi.errors import BLOB_UNKNOWN, StorageFault
from registry_wsgi.names import Digest
from registry_wsgi.services.blobs import LEASE_INTERVAL, Blob, BlobService
from registry_wsgi.services.uploads import UploadService
from registry_wsgi.storage.base import Index
from registry_wsgi.storage.disk import DiskStore


@pytest.fixture
def blobs(index: Index, store: DiskStore, clock: FakeClock, uploads: UploadService) -> BlobService:
    """A service with one blob to serve."""
    uploads.push(APP, DIGEST, Sent(CONTENT))
    return BlobService(index, store, clock)


def seen_age(blobs: BlobService) -> int:
    """When the blob was last leased."""
    return blobs.find(APP, DIGEST).seen_age


def test_a_blob_is_told_and_opened(blobs: BlobService, clock: FakeClock) -> None:
    """Its size is known without its file, and its bytes are read from their start."""
    blob = blobs.stat(APP, DIGEST)
    with blobs.open(APP, blob) as content:
        assert content.read() == CONTENT

    assert blob == Blob(DIGEST, len(CONTENT), clock.age())


def test_an_unknown_blob_is_refused(blobs: BlobService) -> None:
    """Neither another digest nor another repository has it."""
    for repository, digest in ((APP, Digest.of(b"else")), (OTHER, DIGEST)):
        with refused(BLOB_UNKNOWN):
            blobs.stat(repository, digest)
        with refused(BLOB_UNKNOWN):
            blobs.find(repository, digest)


@pytest.mark.parametrize(
    ("later", "leased"),
    [(0, False), (LEASE_INTERVAL - 1, False), (LEASE_INTERVAL, True), (10 * LEASE_INTERVAL, True)],
)
def test_a_lease_is_written_when_the_last_is_old(
    blobs: BlobService, clock: FakeClock, later: int, leased: bool
) -> None:
    """Clients that ask many times a second do not make the index write as often."""
    before = seen_age(blobs)
    clock.milliseconds += later
    blobs.stat(APP, DIGEST)

    assert seen_age(blobs) == (clock.age() if leased else before)


def test_finding_is_no_lease(blobs: BlobService, clock: FakeClock) -> None:
    """Who takes the bytes does not rely on their staying."""
    before = seen_age(blobs)
    clock.milliseconds += 10 * LEASE_INTERVAL
    blobs.find(APP, DIGEST)

    assert seen_age(blobs) == before


def test_where_nothing_is_collected_nothing_is_leased(
    index: Index, store: DiskStore, clock: FakeClock, blobs: BlobService
) -> None:
    """A read-only registry answers without writing."""
    before = seen_age(blobs)
    clock.milliseconds += 10 * LEASE_INTERVAL
    BlobService(index, store, clock, leasing=lambda: False).stat(APP, DIGEST)

    assert seen_age(blobs) == before


def test_a_blob_that_cannot_be_leased_is_unknown(
    blobs: BlobService, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blob that went away between looking and leasing is not there: the client uploads it."""
    clock.milliseconds += LEASE_INTERVAL
    monkeypatch.setattr(blobs.index.blobs, "lease", lambda *_: False)
    with refused(BLOB_UNKNOWN):
        blobs.stat(APP, DIGEST)


def test_a_full_disk_keeps_nobody_from_pulling(
    blobs: BlobService, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that cannot be written is not the client's problem."""

    def fails(*_: object) -> bool:
        raise StorageFault("the index cannot be written")

    clock.milliseconds += LEASE_INTERVAL
    monkeypatch.setattr(blobs.index.blobs, "lease", fails)

    assert blobs.stat(APP, DIGEST).size == len(CONTENT)


@pytest.mark.parametrize("content", [None, b"", b"rotten!!"], ids=["missing", "empty", "longer"])
def test_a_file_that_is_not_the_blob_is_a_fault(
    blobs: BlobService, store: DiskStore, content: bytes | None
) -> None:
    """A live blob without its file, or with one of another size, is for fsck; nothing is served."""
    path: Path = store.path(DIGEST)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageFault, match="run fsck"):
        blobs.open(APP, blobs.find(APP, DIGEST))


def test_a_blob_that_was_collected_meanwhile_is_unknown(
    blobs: BlobService, store: DiskStore
) -> None:
    """Who looked before the blob went, and opens it after, is told that there is none."""
    blob = blobs.find(APP, DIGEST)
    blobs.delete(APP, DIGEST)
    with store.lock(DIGEST):
        store.remove(DIGEST)
    with refused(BLOB_UNKNOWN):
        blobs.open(APP, blob)


def test_a_blob_is_deleted_where_nothing_needs_it(blobs: BlobService, index: Index) -> None:
    """It goes from this repository alone, and only once."""
    put_blob(index, OTHER)
    blobs.delete(APP, DIGEST)
    with refused(BLOB_UNKNOWN):
        blobs.delete(APP, DIGEST)

    assert blobs.find(OTHER, DIGEST)
