"""The contract of the blob store: the bytes, whatever is known of them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from registry_wsgi.names import Digest


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Bytes on the disk: their number, and how many removing them gives back."""

    size: int
    freed: int


class StagedUpload(Protocol):
    """The bytes of one upload session, held by one writer across all processes."""

    @property
    def size(self) -> int:
        """Bytes staged so far."""
        ...

    def truncate(self, size: int) -> None:
        """Forget what is beyond ``size``."""
        ...

    def write(self, block: memoryview | bytes) -> None:
        """Append all of ``block``; raises StorageFault, after which the session is dead."""
        ...

    def sync(self) -> None:
        """Make what was written survive a power cut; a failure is never retried."""
        ...

    def keep_name(self) -> None:
        """Make a new session survive a power cut; nobody has to, of one that becomes a blob."""
        ...

    def blocks(self) -> Iterator[memoryview]:
        """What is staged, from its start, each block valid until the next."""
        ...

    def publish(self, digest: Digest) -> None:
        """Turn verified staged bytes into the blob, replacing what was there; durable on return.

        The caller holds ``BlobStore.lock(digest)``. Raises StorageFault.
        """
        ...


class BlobStore(Protocol):
    """The bytes: blobs that never change, and the staged bytes of upload sessions."""

    def create(self, uuid: str) -> AbstractContextManager[StagedUpload]:
        """Make the empty staging file of a new session and be its writer, as ``stage``.

        A power cut may take it away before ``keep_name``.
        """
        ...

    def stage(self, uuid: str) -> AbstractContextManager[StagedUpload]:
        """Become the one writer of a session until the end of the block.

        Raises RegistryError: UPLOAD_UNKNOWN (no such file), UPLOAD_BUSY (another writes).
        """
        ...

    def staged(self, uuid: str) -> StoredFile | None:
        """What is staged, without becoming the writer; ``None`` if there is no file."""
        ...

    def require_space(self, size: int) -> None:
        """Raise StorageFault (full) unless ``size`` more bytes can be staged."""
        ...

    def space(self) -> tuple[int, int]:
        """Bytes that are free, and bytes in all."""
        ...

    def lock(self, digest: Digest) -> AbstractContextManager[None]:
        """Keep everybody else from publishing or removing this digest."""
        ...

    def discard(self, uuid: str) -> None:
        """Remove a session's staged bytes, if they are there."""
        ...

    def open(self, digest: Digest) -> BinaryIO | None:
        """The blob for reading, ``None`` if there is no such file."""
        ...

    def cached(self, content: BinaryIO, first: int, length: int) -> bytes | None:
        """Bytes of an open blob if they are in memory, ``None`` if it may take the disk to tell."""
        ...

    def stored(self, digest: Digest) -> StoredFile | None:
        """What is stored of a blob, ``None`` if there is no such file."""
        ...

    def remove(self, digest: Digest) -> None:
        """Remove the blob's bytes, if they are there. The caller holds ``lock(digest)``."""
        ...

    def quarantine(self, digest: Digest) -> object:
        """Move corrupt bytes aside and return where to. The caller holds ``lock(digest)``."""
        ...

    def blobs(self) -> Iterator[Digest]:
        """Every blob there are bytes of, whatever the index knows."""
        ...

    def uploads(self) -> Iterator[str]:
        """Every upload session there are bytes of, whatever the index knows."""
        ...

    def ready(self) -> None:
        """Raise StorageFault unless data can be written."""
        ...
