"""Room kept back, so that a full disk still has some to get empty with.

Deleting and collecting need a little space in the index's log. When the disk is full the reserve
is given up for them; uploads are refused until it could be put back.
"""

import errno
import os
from pathlib import Path
from typing import Final

from registry_wsgi.errors import StorageFault
from registry_wsgi.storage.fsops import FileOps

NAME: Final = "reserve"
MOST: Final = 16 << 20
SHARE: Final = 50
"""The reserve is this part of the file system, at most ``MOST`` bytes."""

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Reserve:
    """A file of nothing."""

    def __init__(self, data: Path, ops: FileOps) -> None:
        self._path = data / NAME
        self._ops = ops
        self._present = False

    def ensure(self) -> None:
        """Put the reserve in place; raises StorageFault (full) when it does not fit."""
        if self._present and self._path.exists():
            return
        try:
            self._put_in_place()
        except FileExistsError:
            pass  # another thread or process was faster
        except OSError as error:
            raise StorageFault("the disk is full", str(self._path), error) from error
        self._present = True

    def _put_in_place(self) -> None:
        """Allocate it, also where a killed process left one that is too small."""
        found = os.statvfs(self._path.parent)
        size = max(min(MOST, found.f_blocks * found.f_frsize // SHARE), 1)
        try:
            if self._path.stat().st_size >= size:
                return
            self._ops.unlink(self._path)
        except FileNotFoundError:
            pass
        self._ops.allocate(self._path, size)

    def require(self, size: int) -> None:
        """Raise StorageFault (full) unless ``size`` bytes fit beside the reserve."""
        self.ensure()
        found = os.statvfs(self._path.parent)
        if size and found.f_bavail * found.f_frsize < size:
            cause = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise StorageFault("the disk has no room for it", str(self._path.parent), cause)

    def release(self) -> bool:
        """Give the room up; ``False`` if it was given up before, or cannot be."""
        self._present = False
        try:
            return self._ops.unlink(self._path)
        except OSError:
            return False

    def is_exhausted(self) -> bool:
        """Whether there is no room for the reserve: SQLite calls a used up quota an I/O error."""
        try:
            self._put_in_place()
        except OSError as error:
            return error.errno in _NO_ROOM
        return False
