"""The blob store on a local file system.

::

    <data>/
      blobs/sha256/ab/<hex>   content; written once, never changed; its row is committed after it
      blobs/sha512/ab/<hex>
      uploads/<uuid>          staged bytes of an open upload session
      locks/<00..ff>          empty files to flock; safe to delete while nothing runs
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from registry_wsgi.errors import UPLOAD_BUSY, UPLOAD_UNKNOWN, RegistryError, StorageFault
from registry_wsgi.names import ALGORITHMS, Digest
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.locks import DigestLocks

READ_SIZE: Final = 1 << 20
"""How much is read from a staged file at once, in bytes."""

WRITEBACK_SIZE: Final = 8 << 20
"""After how many bytes the kernel is asked to start writing an upload to the disk."""


class DiskUpload:
    """A staged file, open and locked by its one writer."""

    def __init__(
        self, ops: FileOps, path: Path, descriptor: int, target: Callable[[Digest], Path]
    ) -> None:
        self.path = path
        self.descriptor = descriptor
        self._ops = ops
        self._target = target
        self._size = os.fstat(descriptor).st_size
        self._flushed = self._size
        self._clean = False

    @property
    def size(self) -> int:
        """Bytes staged so far."""
        return self._size

    def truncate(self, size: int) -> None:
        """Forget what is beyond ``size``."""
        self._ops.truncate(self.descriptor, size)
        self._size = self._flushed = size
        self._clean = False

    def write(self, block: memoryview | bytes) -> None:
        """Append all of ``block``; raises StorageFault."""
        try:
            self._ops.write(self.descriptor, block, self._size)
        except OSError as error:
            raise StorageFault("upload cannot be written", str(self.path), error) from error
        self._size += len(block)
        self._clean = False
        if self._size - self._flushed >= WRITEBACK_SIZE:
            self._ops.start_writeback(self.descriptor, self._flushed, self._size - self._flushed)
            self._flushed = self._size

    def sync(self) -> None:
        """Make what was written survive a power cut; raises StorageFault, never retried."""
        if not self._clean:
            self._ops.sync(self.descriptor)
            self._clean = True

    def blocks(self) -> Iterator[memoryview]:
        """What is staged, from its start, through one reused buffer."""
        buffer = memoryview(bytearray(READ_SIZE))
        offset = 0
        while offset < self._size:
            count = os.preadv(self.descriptor, [buffer], offset)
            if not count:
                raise StorageFault("staged bytes are missing", str(self.path))
            yield buffer[:count]
            offset += count

    def publish(self, digest: Digest) -> None:
        """Move the verified bytes into place, over whatever is there: a push repairs."""
        target = self._target(digest)
        try:
            self._ops.finish(self.descriptor)
            self.sync()
            self._ops.replace(self.path, target)
        except OSError as error:
            raise StorageFault("blob cannot be published", str(target), error) from error
        self._ops.sync_directory(target.parent)


class DiskStore:
    """Blobs and staged uploads under one data directory."""

    def __init__(self, data: Path, ops: FileOps) -> None:
        self._ops = ops
        self._blobs = data / "blobs"
        self._uploads = data / "uploads"
        self._locks = DigestLocks(data / "locks")

    def prepare(self) -> None:
        """Make the directories, before any worker starts; names in them are durable then."""
        self._ops.make_directory(self._uploads)
        for algorithm in ALGORITHMS:
            self._ops.make_directory(self._blobs / algorithm)
            for byte in range(256):
                self._ops.make_directory(self._blobs / algorithm / f"{byte:02x}")

    def path(self, digest: Digest) -> Path:
        """Where a blob is: made of a parsed digest alone."""
        return self._blobs / digest.algorithm / digest.hex[:2] / digest.hex

    def create(self, uuid: str) -> None:
        """Make the empty staging file of a new session; raises StorageFault."""
        path = self._uploads / uuid
        try:
            os.close(self._ops.create(path))
        except OSError as error:
            raise StorageFault("upload cannot be staged", str(path), error) from error
        self._ops.sync_directory(self._uploads)

    @contextmanager
    def stage(self, uuid: str) -> Iterator[DiskUpload]:
        """Become the one writer; raises RegistryError (UPLOAD_UNKNOWN, UPLOAD_BUSY)."""
        path = self._uploads / uuid
        try:
            descriptor = self._ops.open(path)
        except FileNotFoundError:
            raise RegistryError(UPLOAD_UNKNOWN, uuid) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RegistryError(UPLOAD_BUSY, uuid) from None
            self._check_is_current(path, descriptor)
            yield DiskUpload(self._ops, path, descriptor, self.path)
        finally:
            os.close(descriptor)

    @staticmethod
    def _check_is_current(path: Path, descriptor: int) -> None:
        # Between open and flock another writer may have published this very file: writing to it
        # now would change a blob.
        try:
            named = path.stat()
        except FileNotFoundError:
            raise RegistryError(UPLOAD_UNKNOWN, path.name) from None
        if not os.path.samestat(named, os.fstat(descriptor)):
            raise RegistryError(UPLOAD_UNKNOWN, path.name)

    def staged_size(self, uuid: str) -> int | None:
        """Bytes staged so far, ``None`` if there is no such session's file."""
        try:
            return (self._uploads / uuid).stat().st_size
        except FileNotFoundError:
            return None

    def lock(self, digest: Digest) -> AbstractContextManager[None]:
        """Keep everybody else from publishing or removing this digest."""
        return self._locks.of(digest.hex).held()

    def discard(self, uuid: str) -> None:
        """Remove a session's staged bytes, if they are there."""
        self._ops.unlink(self._uploads / uuid)

    def open(self, digest: Digest) -> BinaryIO | None:
        """The blob for reading, unbuffered; ``None`` if there is no such file."""
        try:
            return self.path(digest).open("rb", buffering=0)
        except FileNotFoundError:
            return None

    def ready(self) -> None:
        """Raise StorageFault unless a file can be made and removed."""
        name = f"ready-{os.getpid()}"
        try:
            self._ops.unlink(self._uploads / name)
            os.close(self._ops.create(self._uploads / name))
            self._ops.unlink(self._uploads / name)
        except OSError as error:
            raise StorageFault("data cannot be written", str(self._uploads), error) from error
