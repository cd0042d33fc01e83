"""Processes that are killed between two changes to files: every moment that they can end in."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry_wsgi.storage.fsops import FileOps


class KilledError(BaseException):
    """The process is gone: nothing handles it."""


@dataclass
class Mortal(FileOps):
    """Does ``life`` changes to files; the next one, and all after it, are never made."""

    life: int
    done: list[tuple[str, Path]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(syncing=True)

    def _live(self, what: str, where: Path | int) -> None:
        if len(self.done) == self.life:
            raise KilledError
        path = where if isinstance(where, Path) else Path(f"/proc/self/fd/{where}").readlink()
        self.done.append((what, path))

    def _make_directory(self, path: Path) -> None:
        self._live("make", path)
        super()._make_directory(path)

    def create(self, path: Path, mode: int = 0o600) -> int:
        """As ever."""
        self._live("create", path)
        return super().create(path, mode)

    def write(self, descriptor: int, block: memoryview | bytes, offset: int) -> None:
        """As ever."""
        self._live("write", descriptor)
        super().write(descriptor, block, offset)

    def copy(self, source: int, target: int) -> None:
        """As ever."""
        self._live("copy", target)
        super().copy(source, target)

    def link(self, source: Path, target: Path) -> None:
        """As ever."""
        self._live("link", target)
        super().link(source, target)

    def sync(self, descriptor: int) -> None:
        """Only noted: what a killed process wrote is there."""
        self._live("sync", descriptor)

    def sync_directory(self, path: Path, *, always: bool = False) -> None:
        """Only noted."""
        del always
        self._live("sync", path)

    def replace(self, source: Path, target: Path) -> None:
        """As ever."""
        self._live("replace", target)
        super().replace(source, target)

    def unlink(self, path: Path) -> bool:
        """As ever."""
        self._live("unlink", path)
        return super().unlink(path)


def lives(run: Callable[[Mortal], Any]) -> list[Mortal]:
    """Run something with every life that ends too early, and once to its end."""
    spent: list[Mortal] = []
    while not spent or spent[-1].life == len(spent[-1].done):
        spent.append(Mortal(len(spent)))
        try:
            run(spent[-1])
        except KilledError:
            continue
        break
    return spent
