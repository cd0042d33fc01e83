"""Bringing files in from elsewhere: cloned, linked or copied, whichever the file system allows."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from registry_wsgi.storage.fsops import FileOps

CLONED: Final = "cloned"
"""A file of our own that shares the other's bytes on the disk, until one of them is written to."""

LINKED: Final = "linked"
"""Another name of the very same file, whose mode and owner are not ours to change."""

COPIED: Final = "copied"

READ_SIZE: Final = 1 << 20


class BroughtFile:
    """A file under a temporary name, which becomes visible under another one."""

    def __init__(self, ops: FileOps, path: Path, descriptor: int, how: str) -> None:
        self.how = how
        self._ops = ops
        self._path = path
        self._descriptor = descriptor

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return os.fstat(self._descriptor).st_size

    def blocks(self) -> Iterator[memoryview]:
        """Its bytes from the start, each block valid until the next."""
        buffer = memoryview(bytearray(READ_SIZE))
        offset = 0
        while count := os.preadv(self._descriptor, [buffer], offset):
            yield buffer[:count]
            offset += count

    def publish(self, target: Path) -> None:
        """Give it its name, its bytes synced before; durable once the directory is synced."""
        if self.how != LINKED:
            self._ops.finish(self._descriptor)
        self._ops.sync(self._descriptor)
        self._ops.replace(self._path, target)


class Bringer:
    """Brings files in. ``ways`` (CLONED, LINKED) are tried in order, before a copy is made."""

    def __init__(self, ops: FileOps, ways: Sequence[str] = ()) -> None:
        self._ops = ops
        self._ways = ways
        self._may_clone = True

    @contextmanager
    def brought(self, source: Path, path: Path) -> Iterator[BroughtFile]:
        """``source`` under the temporary name ``path``, until the end of the block.

        Raises OSError when the one cannot be read or the other not be written.
        """
        self._ops.unlink(path)
        with ExitStack() as stack:
            # It is still there after a success, too, where it went over another link to itself.
            stack.callback(self._ops.unlink, path)
            descriptor, how = self._bring(source, path, stack)
            yield BroughtFile(self._ops, path, descriptor, how)

    def _bring(self, source: Path, path: Path, stack: ExitStack) -> tuple[int, str]:
        original = _opened(source, os.O_RDONLY, stack)
        for way in self._ways:
            if way == LINKED and self._link(source, path):
                return _opened(path, os.O_RDONLY | os.O_NOFOLLOW, stack), LINKED
            if way == CLONED and self._may_clone:
                descriptor = self._create(path, stack)
                self._may_clone = self._ops.clone(original, descriptor)
                if self._may_clone:
                    return descriptor, CLONED
                self._ops.unlink(path)
        descriptor = self._create(path, stack)
        self._ops.copy(original, descriptor)
        return descriptor, COPIED

    def _link(self, source: Path, path: Path) -> bool:
        """Whether it was linked: not over file systems, nor a stranger's file, nor too often."""
        if source.is_symlink():
            return False
        try:
            self._ops.link(source, path)
        except OSError:
            return False
        return True

    def _create(self, path: Path, stack: ExitStack) -> int:
        descriptor = self._ops.create(path)
        stack.callback(os.close, descriptor)
        return descriptor


def _opened(path: Path, flags: int, stack: ExitStack) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor
