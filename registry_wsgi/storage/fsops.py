"""Every change to a file goes through here, so that order and syncing are in one place.

The crash tests subclass ``FileOps`` to record what was done and replay every prefix of it with
unsynced data lost. No other module opens a file for writing, renames, unlinks or syncs.
"""

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from registry_wsgi.errors import StorageFault

PRIVATE: Final = 0o600
FINISHED: Final = 0o444

_SYNC_FILE_RANGE_WRITE: Final = 2

_FICLONE: Final = 0x40049409
"""ioctl_ficlone(2): share the source's extents."""

WRITE_SIZE: Final = 256 << 10
"""The most bytes that are written at once, up to a multiple of it.

A file system with large folios (ext4 since Linux 6.16) looks for contiguous memory of the size of
each write. At 1 MiB it often has to make room first, and a push takes up to twice as long.
"""

_COPY_SIZE: Final = 1 << 20

_NOT_IN_KERNEL: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}
)
"""What copy_file_range(2) says to files that it does not copy."""


def _find_sync_file_range() -> Any:
    """sync_file_range(2) of the C library; ``None`` where it is not Linux."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return function


_sync_file_range: Final = _find_sync_file_range()


class FileOps:
    """File operations. ``syncing`` false skips what makes data survive a power cut.

    ``on_sync_error`` is told of a failed sync before the fault is raised: from then on nobody can
    say what is on the disk (a retried fsync may report success for pages that are lost).
    """

    def __init__(
        self, *, syncing: bool = True, on_sync_error: Callable[[], None] = lambda: None
    ) -> None:
        self.syncing = syncing
        self.on_sync_error = on_sync_error

    def make_directory(self, path: Path) -> None:
        """Create a directory with its parents, durably; nothing if it is there."""
        if path.is_dir():
            return
        self.make_directory(path.parent)
        self._make_directory(path)
        self.sync_directory(path.parent)

    def make_directories(self, parent: Path, names: Iterable[str]) -> None:
        """Create what is missing of these directories in ``parent``, durably.

        Synced even if nothing is: whoever made them may have been killed before it could.
        """
        there = {entry.name for entry in parent.iterdir()}
        for name in names:
            if name not in there:
                self._make_directory(parent / name)
        self.sync_directory(parent)

    def _make_directory(self, path: Path) -> None:
        path.mkdir(mode=0o700, exist_ok=True)

    def create(self, path: Path, mode: int = PRIVATE) -> int:
        """A descriptor for a new file; raises FileExistsError if the name is taken."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, mode)

    def open(self, path: Path) -> int:
        """A descriptor for reading and writing an existing file."""
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)

    def write(self, descriptor: int, block: memoryview | bytes, offset: int) -> None:
        """Write all of ``block`` at ``offset``, however few bytes the kernel takes at once."""
        view = memoryview(block)
        done = 0
        while done < len(view):
            end = done + WRITE_SIZE - (offset + done) % WRITE_SIZE
            done += os.pwrite(descriptor, view[done:end], offset + done)

    def start_writeback(self, descriptor: int, offset: int, length: int) -> None:
        """Ask the kernel to begin writing this range, so that the final sync is short."""
        if self.syncing and _sync_file_range is not None:
            _sync_file_range(descriptor, offset, length, _SYNC_FILE_RANGE_WRITE)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        os.ftruncate(descriptor, size)

    def finish(self, descriptor: int) -> None:
        """Make the file read-only: it is content from now on."""
        os.fchmod(descriptor, FINISHED)

    def sync(self, descriptor: int) -> None:
        """Make the file's bytes durable, on the descriptor that wrote them; never retried."""
        if self.syncing:
            # Bytes and size; of the mode that finish() sets nothing depends.
            self._sync(os.fdatasync, descriptor)

    def sync_directory(self, path: Path, *, always: bool = False) -> None:
        """Make names added to or removed from a directory durable."""
        if not (self.syncing or always):
            return
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._failed(error, str(path)) from error
        try:
            self._sync(os.fsync, descriptor)
        finally:
            os.close(descriptor)

    def _sync(self, sync: Callable[[int], None], descriptor: int) -> None:
        try:
            sync(descriptor)
        except OSError as error:
            raise self._failed(error, str(descriptor)) from error

    def _failed(self, error: OSError, what: str) -> StorageFault:
        if error.errno == errno.EIO:
            self.on_sync_error()
        return StorageFault("sync failed", what, error)

    def link(self, source: Path, target: Path) -> None:
        """Give a file another name; raises OSError where the file system or the kernel refuses."""
        os.link(source, target, follow_symlinks=False)

    def clone(self, source: int, target: int) -> bool:
        """Let an empty file share the other's extents; ``False`` where that cannot be."""
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError:
            return False
        return True

    def copy(self, source: int, target: int) -> None:
        """Copy all bytes into an empty file, in the kernel where it can."""
        offset = 0
        try:
            while count := os.copy_file_range(source, target, _COPY_SIZE, offset, offset):
                offset += count
        except OSError as error:
            if error.errno not in _NOT_IN_KERNEL:
                raise
        # Some file systems report an end where there is none: read on from there.
        while block := os.pread(source, _COPY_SIZE, offset):
            self.write(target, block, offset)
            offset += len(block)

    def replace(self, source: Path, target: Path) -> None:
        """Rename over ``target`` in one step; durable once its directory is synced."""
        source.replace(target)

    def unlink(self, path: Path) -> bool:
        """Remove a name; ``False`` if it was not there."""
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        return True

    def remove_tree(self, path: Path) -> None:
        """Remove a directory with all that is in it, as far as that can be."""
        shutil.rmtree(path, ignore_errors=True)

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory; raises OSError for any other."""
        path.rmdir()

    def allocate(self, path: Path, size: int) -> None:
        """Create a file of ``size`` bytes that are on the disk, or leave none."""
        descriptor = self.create(path)
        try:
            os.posix_fallocate(descriptor, 0, max(size, 1))
        except OSError:
            self.unlink(path)
            raise
        finally:
            os.close(descriptor)

    def write_new(self, path: Path, content: bytes, mode: int = PRIVATE) -> None:
        """Create a small file with its content, whole and durable or not at all.

        The caller holds a lock that keeps others from writing the same file. What a killed
        writer left beside it is replaced.
        """
        staged = path.with_name(f".{path.name}.new")
        self.unlink(staged)
        descriptor = self.create(staged, mode)
        try:
            self.write(descriptor, content, 0)
            self.sync(descriptor)
        finally:
            os.close(descriptor)
        self.replace(staged, path)
        self.sync_directory(path.parent)
