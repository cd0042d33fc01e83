"""Serving blobs."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final

from registry_wsgi.errors import BLOB_UNKNOWN, RegistryError, StorageFault
from registry_wsgi.names import Digest, Name
from registry_wsgi.storage.base import NOBODY, Actor, Blob, Clock, Index
from registry_wsgi.storage.store import BlobStore

__all__ = ["LEASE_INTERVAL", "Blob", "BlobService"]

LOG: Final = logging.getLogger(__name__)

LEASE_INTERVAL: Final = 500
"""Milliseconds for which a lease is not written again; gc adds them to any grace above 0."""


def is_stale(seen_age: int | None, clock: Clock) -> bool:
    """Whether a lease of this age has to be written again."""
    return seen_age is None or clock.age() - seen_age >= LEASE_INTERVAL


def leased(lease: Callable[[], bool]) -> bool:
    """What ``lease`` says; a full or failing disk keeps no client from pulling.

    Integrity does not rest on leases: a manifest is only accepted with all it needs.
    """
    try:
        return lease()
    except StorageFault as fault:
        LOG.warning("a lease was not kept: %s", fault)
        return True


@dataclass(frozen=True, slots=True)
class BlobService:
    """Blobs of repositories. ``leasing`` is false while nothing can be collected (read-only)."""

    index: Index
    store: BlobStore
    clock: Clock
    leasing: Callable[[], bool] = lambda: True

    def stat(self, repository: Name, digest: Digest) -> Blob:
        """The blob, leased: a client that is told it exists may leave it out of a push.

        Raises RegistryError (BLOB_UNKNOWN).
        """
        blob = self.find(repository, digest)
        stale = self.leasing() and is_stale(blob.seen_age, self.clock)
        # gc may have doomed it since: then it is not there, and the client uploads it.
        if stale and not leased(partial(self.index.blobs.lease, repository, digest)):
            raise RegistryError(BLOB_UNKNOWN, digest)
        return blob

    def find(self, repository: Name, digest: Digest) -> Blob:
        """The blob as the index has it; raises RegistryError (BLOB_UNKNOWN)."""
        blob = self.index.blobs.find(repository, digest)
        if blob is None:
            raise RegistryError(BLOB_UNKNOWN, digest)
        return blob

    def open(self, repository: Name, blob: Blob) -> BinaryIO:
        """The blob's bytes; raises RegistryError (BLOB_UNKNOWN) when gc was faster.

        Raises StorageFault when a live blob has no file, or one of another size.
        """
        content = self.store.open(blob.digest)
        if content is None:
            self.find(repository, blob.digest)
            raise StorageFault("a live blob has no file: run fsck", blob.digest)
        if content.seek(0, 2) != blob.size:
            content.close()
            raise StorageFault("a blob's file has the wrong size: run fsck", blob.digest)
        content.seek(0)
        return content

    def cached(self, content: BinaryIO, first: int, length: int) -> bytes | None:
        """Bytes of what ``open`` gave if they are in memory, ``None`` if that is not certain."""
        return self.store.cached(content, first, length)

    def delete(self, repository: Name, digest: Digest, actor: Actor = NOBODY) -> None:
        """Stop serving the blob here; raises RegistryError (BLOB_UNKNOWN, BLOB_REFERENCED)."""
        self.index.blobs.unlink(repository, digest, actor)
