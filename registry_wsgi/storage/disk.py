"""The blob store on a local file system.

::

    <data>/
      blobs/sha256/ab/<hex>   content; written once, never changed; its row is committed after it
      blobs/sha512/ab/<hex>
      uploads/<uuid>          staged bytes of an open upload session
      quarantine/             corrupt blobs that fsck moved aside; safe to delete
      locks/<00..ff>          empty files to flock; safe to delete while nothing runs
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, Final

from registry_wsgi.errors import UPLOAD_BUSY, UPLOAD_UNKNOWN, RegistryError, StorageFault
from registry_wsgi.names import ALGORITHMS, Digest
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.locks import DigestLocks
from registry_wsgi.storage.reserve import Reserve
from registry_wsgi.storage.store import StoredFile

READ_SIZE: Final = 1 << 20
"""How much is read from a staged file at once, in bytes."""

WRITEBACK_SIZE: Final = 8 << 20
"""After how many bytes the kernel is asked to start writing an upload to the disk."""


_SHARDS: Final = tuple(f"{byte:02x}" for byte in range(256))

BLOCK_SIZE: Final = 512
"""Bytes of a block as stat(2) counts them."""


@contextmanager
def _fault(what: str, path: Path) -> Iterator[None]:
    """What the kernel refuses in the block is a StorageFault."""
    try:
        yield
    except OSError as error:
        raise StorageFault(what, str(path), error) from error


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
        """Forget what is beyond ``size``; raises StorageFault."""
        with _fault("upload cannot be truncated", self.path):
            self._ops.truncate(self.descriptor, size)
        self._size = self._flushed = size
        self._clean = False

    def write(self, block: memoryview | bytes) -> None:
        """Append all of ``block``; raises StorageFault."""
        with _fault("upload cannot be written", self.path):
            self._ops.write(self.descriptor, block, self._size)
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

    def keep_name(self) -> None:
        """Make a new session survive a power cut; raises StorageFault."""
        self._ops.sync_directory(self.path.parent)

    def blocks(self) -> Iterator[memoryview]:
        """What is staged, from its start, through one reused buffer."""
        buffer = memoryview(bytearray(READ_SIZE))
        offset = 0
        while offset < self._size:
            with _fault("upload cannot be read", self.path):
                count = os.preadv(self.descriptor, [buffer], offset)
            if not count:
                raise StorageFault("staged bytes are missing", str(self.path))
            yield buffer[:count]
            offset += count

    def publish(self, digest: Digest) -> None:
        """Move the verified bytes into place, over whatever is there: a push repairs."""
        target = self._target(digest)
        self.sync()
        with _fault("blob cannot be published", target):
            self._ops.replace(self.path, target)
            # Not before: a killed process would leave a session that nobody can write to.
            self._ops.finish(self.descriptor)
            self._ops.sync_directory(target.parent)


def _stored(path: Path) -> StoredFile | None:
    with _fault("file cannot be found out about", path):
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
    freed = found.st_blocks * BLOCK_SIZE if found.st_nlink == 1 else 0
    return StoredFile(found.st_size, freed)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file still is the one at ``path``."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _names(directory: Path) -> list[str]:
    with _fault("directory cannot be read", directory), os.scandir(directory) as entries:
        return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]


class DiskStore:
    """Blobs and staged uploads under one data directory.

    ``locking`` is false where nobody can write, and so nobody can lock.
    """

    def __init__(self, data: Path, ops: FileOps, reserve: Reserve, *, locking: bool = True) -> None:
        self._locking = locking
        self._ops = ops
        self._reserve = reserve
        self._blobs = data / "blobs"
        self._uploads = data / "uploads"
        self._quarantine = data / "quarantine"
        self._locks = DigestLocks(data / "locks")

    def prepare(self) -> None:
        """Make the directories, before any worker starts; names in them are durable then."""
        self._ops.make_directories(self._blobs.parent, [self._blobs.name, self._uploads.name])
        self._ops.make_directories(self._blobs, ALGORITHMS)
        for algorithm in ALGORITHMS:
            self._ops.make_directories(self._blobs / algorithm, _SHARDS)
        # A rename is one step only within a file system.
        if self._uploads.stat().st_dev != self._blobs.stat().st_dev:
            raise StorageFault("blobs/ and uploads/ are on different file systems: put them on one")

    def path(self, digest: Digest) -> Path:
        """Where a blob is: made of a parsed digest alone."""
        return self._blobs / self.place(digest)

    @staticmethod
    def place(digest: Digest) -> str:
        """The same, from the blobs' directory on."""
        return f"{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"

    @contextmanager
    def create(self, uuid: str) -> Iterator[DiskUpload]:
        """Make a session's staging file and be its writer; raises StorageFault.

        No sweep takes the file for a stray one before it is a blob, or has a row.
        """
        path = self._uploads / uuid
        self._reserve.ensure()
        descriptor = self._create_locked(path)
        try:
            yield DiskUpload(self._ops, path, descriptor, self.path)
        finally:
            os.close(descriptor)

    def _create_locked(self, path: Path) -> int:
        """A new file of which this process is the writer; raises StorageFault."""
        while True:
            with _fault("upload cannot be staged", path):
                descriptor = self._ops.create(path)
                # gc may take it for a stray one before it is locked, but not afterwards.
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_at(path, descriptor):
                    return descriptor
                os.close(descriptor)

    @contextmanager
    def stage(self, uuid: str) -> Iterator[DiskUpload]:
        """Become the one writer; raises RegistryError (UPLOAD_UNKNOWN, UPLOAD_BUSY)."""
        path = self._uploads / uuid
        with _fault("upload cannot be opened", path):
            try:
                descriptor = self._ops.open(path)
            except FileNotFoundError:
                raise RegistryError(UPLOAD_UNKNOWN, uuid) from None
        try:
            self._become_writer(path, descriptor)
            yield DiskUpload(self._ops, path, descriptor, self.path)
        finally:
            os.close(descriptor)

    @staticmethod
    def _become_writer(path: Path, descriptor: int) -> None:
        """Lock a staging file; raises RegistryError (UPLOAD_BUSY, UPLOAD_UNKNOWN)."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RegistryError(UPLOAD_BUSY, path.name) from None
        # Between open and flock another writer may have published or removed this very file:
        # writing to it now would change a blob, or nothing.
        if not _is_at(path, descriptor):
            raise RegistryError(UPLOAD_UNKNOWN, path.name)

    def require_space(self, size: int) -> None:
        """Raise StorageFault (full) unless ``size`` more bytes fit beside the reserve."""
        self._reserve.require(size)

    def space(self) -> tuple[int, int]:
        """Free and all bytes of the file system."""
        found = os.statvfs(self._uploads)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def lock(self, digest: Digest) -> AbstractContextManager[None]:
        """Keep everybody else from publishing or removing this digest."""
        if not self._locking:
            return nullcontext()
        return self._locks.of(digest.hex).held()

    def discard(self, uuid: str) -> None:
        """Remove a session's staged bytes, if they are there; raises StorageFault."""
        path = self._uploads / uuid
        with _fault("upload cannot be removed", path):
            self._ops.unlink(path)

    def remove(self, digest: Digest) -> None:
        """Remove a blob's file, if it is there; the caller holds ``lock(digest)``."""
        path = self.path(digest)
        with _fault("blob cannot be removed", path):
            self._ops.unlink(path)
            self._ops.sync_directory(path.parent)

    def quarantine(self, digest: Digest) -> Path:
        """Move a blob's file aside for an operator to look at; under ``lock(digest)``."""
        source, target = self.path(digest), self._quarantine / f"{digest.algorithm}-{digest.hex}"
        with _fault("blob cannot be moved aside", source):
            self._ops.make_directory(self._quarantine)
            self._ops.replace(source, target)
            self._ops.sync_directory(self._quarantine)
            self._ops.sync_directory(source.parent)
        return target

    def stored(self, digest: Digest) -> StoredFile | None:
        """A blob's file as it is on the disk, ``None`` if there is none."""
        return _stored(self.path(digest))

    def staged(self, uuid: str) -> StoredFile | None:
        """A session's file as it is on the disk."""
        return _stored(self._uploads / uuid)

    def blobs(self) -> Iterator[Digest]:
        """Every file that is named as a blob is, in no order."""
        for algorithm in ALGORITHMS:
            for shard in _SHARDS:
                for name in _names(self._blobs / algorithm / shard):
                    digest = Digest.maybe(f"{algorithm}:{name}")
                    if digest is not None and digest.hex.startswith(shard):
                        yield digest

    def is_empty(self) -> bool:
        """Whether there is no blob."""
        return next(self.blobs(), None) is None

    def uploads(self) -> Iterator[str]:
        """Every staging file."""
        return iter(_names(self._uploads))

    def open(self, digest: Digest) -> BinaryIO | None:
        """The blob for reading, unbuffered; ``None`` if there is no such file."""
        path = self.path(digest)
        with _fault("blob cannot be opened", path):
            try:
                return path.open("rb", buffering=0)
            except FileNotFoundError:
                return None

    def cached(self, content: BinaryIO, first: int, length: int) -> bytes | None:
        """Bytes of an open blob from the page cache; ``None`` if they are not sure to be there."""
        buffer = bytearray(length)
        try:
            count = os.preadv(content.fileno(), [buffer], first, os.RWF_NOWAIT)
        except OSError:
            return None
        return bytes(buffer) if count == length else None

    def ready(self) -> None:
        """Raise StorageFault unless a file can be made and removed."""
        path = self._uploads / f"ready-{os.getpid()}-{threading.get_ident()}"
        with _fault("data cannot be written", path.parent):
            self._ops.unlink(path)
            os.close(self._ops.create(path))
            self._ops.unlink(path)
