"""File operations of which one fails, in this process: for faults at exactly one place."""

import os
from collections.abc import Callable
from pathlib import Path

from registry_wsgi.storage.fsops import PRIVATE, FileOps


class FaultyOps(FileOps):
    """Fails the operation number ``fails_at`` with an errno; counts from when it is armed."""

    def __init__(self, *, syncing: bool = True) -> None:
        super().__init__(syncing=syncing)
        self.done: list[str] = []
        self.fails_at = -1
        self.errno = 0

    def arm(self, fails_at: int, errno: int) -> None:
        """From here on count operations, and fail this one."""
        self.done.clear()
        self.fails_at, self.errno = fails_at, errno

    @property
    def failed(self) -> str | None:
        """The operation that failed, ``None`` if there were fewer."""
        return self.done[self.fails_at] if 0 <= self.fails_at < len(self.done) else None

    def _step(self, name: str) -> None:
        self.done.append(name)
        if len(self.done) - 1 == self.fails_at:
            raise OSError(self.errno, os.strerror(self.errno))

    def _make_directory(self, path: Path) -> None:
        self._step("make_directory")
        super()._make_directory(path)

    def create(self, path: Path, mode: int = PRIVATE) -> int:
        """Create, or fail."""
        self._step("create")
        return super().create(path, mode)

    def open(self, path: Path) -> int:
        """Open, or fail."""
        self._step("open")
        return super().open(path)

    def write(self, descriptor: int, block: memoryview | bytes, offset: int) -> None:
        """Write half of it and fail, or all of it."""
        if len(self.done) == self.fails_at:
            super().write(descriptor, block[: len(block) // 2], offset)
        self._step("write")
        super().write(descriptor, block, offset)

    def truncate(self, descriptor: int, size: int) -> None:
        """Truncate, or fail."""
        self._step("truncate")
        super().truncate(descriptor, size)

    def finish(self, descriptor: int) -> None:
        """Finish, or fail."""
        self._step("finish")
        super().finish(descriptor)

    def _sync(
        self,
        sync: Callable[[int], None],  # noqa: ARG002 - whether it is done for real does not show here
        descriptor: int,
    ) -> None:
        super()._sync(lambda _: self._step("sync"), descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Rename, or fail."""
        self._step("replace")
        super().replace(source, target)

    def unlink(self, path: Path) -> bool:
        """Unlink, or fail."""
        self._step("unlink")
        return super().unlink(path)
