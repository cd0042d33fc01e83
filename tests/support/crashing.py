"""A disk that forgets what was not synced: operations recorded, and crashes after any of them.

The model is the least that local file systems promise. Bytes that were written but not synced may
be lost, each page of them by itself; the file may have its new size all the same, with zeros in
the gaps. Names that were added or removed but whose directory was not synced may be lost, each by
itself and in any order; a rename is one step, and syncing either directory keeps it. Everything
else is kept. What a process that is only killed leaves is one of these states: that nothing is
lost.
"""

import itertools
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from registry_wsgi.storage.fsops import PRIVATE, FileOps
from registry_wsgi.storage.sqlite import index as sqlite_index
from registry_wsgi.storage.sqlite.database import Database

PAGE = 4096
DIRECTORY = -1
MOST_SINGLES = 5
"""Of how many unsynced names each is lost, or kept, alone."""

T = TypeVar("T")
Names = dict[PurePosixPath, int]


@dataclass
class Inode:
    """A file: what of it is on the disk, and what was written since (an offset, or None to cut)."""

    synced: bytes = b""
    unsynced: list[tuple[int | None, bytes | int]] = field(default_factory=list)

    def content(self, page_kept: Callable[[], bool], *, sized: bool) -> bytes:
        """What may be there; ``sized`` is whether lost pages leave a gap at the end, too."""
        result = bytearray(self.synced)
        for offset, data in self.unsynced:
            if isinstance(data, int):
                if page_kept():
                    _cut(result, data)
                continue
            assert offset is not None
            for begin in _pages(offset, len(data)):
                end = min((begin // PAGE + 1) * PAGE, offset + len(data))
                if page_kept():
                    _overlay(result, begin, data[begin - offset : end - offset])
                elif sized and len(result) < end:
                    _cut(result, end)
        return bytes(result)


def _pages(offset: int, length: int) -> Iterator[int]:
    """Where the parts of a range begin that are each within one page."""
    if length:
        yield offset
        yield from range((offset // PAGE + 1) * PAGE, offset + length, PAGE)


def _cut(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _overlay(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        _cut(content, offset)
    content[offset : offset + len(data)] = data


@dataclass(frozen=True)
class NameChange:
    """One step on names (``None`` takes one away), and the directories whose sync keeps it."""

    changes: tuple[tuple[PurePosixPath, int | None], ...]

    @property
    def directories(self) -> set[PurePosixPath]:
        """Where the names are."""
        return {path.parent for path, _ in self.changes}


@dataclass(frozen=True)
class Event:
    """One thing that was done: the name of a method of ``Disk`` and its arguments."""

    kind: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class State:
    """What a crash may leave. ``rebooted`` is false where only processes were killed."""

    files: dict[PurePosixPath, bytes]
    directories: frozenset[PurePosixPath]
    rebooted: bool

    def write_to(self, folder: Path) -> None:
        """Make the directory as it is after the crash."""
        folder.mkdir()
        for directory in sorted(self.directories):
            (folder / directory).mkdir()
        for path, content in self.files.items():
            (folder / path).write_bytes(content)
            (folder / path).chmod(PRIVATE)


class Disk:
    """What is on the disk and what may be, after the events so far."""

    def __init__(self) -> None:
        self.inodes: dict[int, Inode] = {}
        self.kept: Names = {PurePosixPath(): DIRECTORY}
        self.unsynced: list[NameChange] = []
        self.index_latest: bytes = b""
        self.index_synced: bytes = b""
        self.expected: Any = {}

    def apply(self, event: Event) -> None:
        """Do what an event says."""
        getattr(self, event.kind)(*event.arguments)

    def names(self, changes: list[NameChange]) -> Names:
        """The names on the disk with these unsynced changes."""
        result = dict(self.kept)
        for change in changes:
            for path, inode in change.changes:
                if inode is None:
                    result.pop(path, None)
                else:
                    result[path] = inode
        return result

    def name(self, *changes: tuple[PurePosixPath, int | None]) -> None:
        """A name was added, or taken away."""
        self.unsynced.append(NameChange(changes))

    def create(self, path: PurePosixPath, inode: int) -> None:
        """An empty file was made."""
        self.inodes[inode] = Inode()
        self.name((path, inode))

    def replace(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """A file was renamed."""
        self.name((source, None), (target, self.names(self.unsynced)[source]))

    def write(self, inode: int, offset: int | None, data: bytes | int) -> None:
        """Bytes were written, or the file cut or extended to a size."""
        self.inodes[inode].unsynced.append((offset, data))

    def sync(self, inode: int) -> None:
        """A file was synced."""
        file = self.inodes[inode]
        file.synced = file.content(lambda: True, sized=True)
        file.unsynced.clear()

    def sync_directory(self, path: PurePosixPath) -> None:
        """A directory was synced."""
        synced = [change for change in self.unsynced if path in change.directories]
        self.kept = self.names(synced)
        self.unsynced = [change for change in self.unsynced if change not in synced]

    def commit(self, content: bytes, durable: bool) -> None:
        """The index was committed to."""
        self.index_latest = content
        if durable:
            self.index_synced = content

    def expect(self, expected: object) -> None:
        """From now on something else is promised."""
        self.expected = expected

    def crashes(self, chance: random.Random) -> Iterator[State]:
        """States that a crash may leave now: that nothing is lost comes first."""
        yield self._state(self.unsynced, lambda: True, self.index_latest, rebooted=False)
        for changes in self._losses(chance):
            for page_kept in (_always, _never, _by(chance), _by(chance)):
                for index in dict.fromkeys((self.index_latest, self.index_synced)):
                    yield self._state(changes, page_kept, index, sized=chance.random() < 0.5)

    def _losses(self, chance: random.Random) -> Iterator[list[NameChange]]:
        """Which of the unsynced names are kept."""
        all_of_them = self.unsynced
        yield all_of_them
        if all_of_them:
            yield []
        if len(all_of_them) > 1:
            singles = chance.sample(all_of_them, min(len(all_of_them), MOST_SINGLES))
            for single in singles:
                yield [change for change in all_of_them if change is not single]
                yield [single]
            yield [change for change in all_of_them if chance.random() < 0.5]

    def _state(
        self,
        changes: list[NameChange],
        page_kept: Callable[[], bool],
        index: bytes,
        *,
        rebooted: bool = True,
        sized: bool = True,
    ) -> State:
        names = self.names(changes)
        reachable = {path: inode for path, inode in names.items() if _has_parents(path, names)}
        directories = {path for path, inode in reachable.items() if inode == DIRECTORY}
        files = {
            path: self.inodes[inode].content(page_kept, sized=sized)
            for path, inode in reachable.items()
            if inode != DIRECTORY
        }
        if (index_file := PurePosixPath(sqlite_index.NAME)) in files:
            files[index_file] = index
        return State(files, frozenset(directories - {PurePosixPath()}), rebooted)


def _has_parents(path: PurePosixPath, names: Names) -> bool:
    return all(names.get(parent) == DIRECTORY for parent in path.parents)


def _always() -> bool:
    return True


def _never() -> bool:
    return False


def _by(chance: random.Random) -> Callable[[], bool]:
    return lambda: chance.random() < 0.5


class Killed(BaseException):
    """The process ends here: nothing that comes after in the program is done."""


class Recorder:
    """The events of a data directory, in their order, until the process is killed at ``limit``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.limit: int | None = None
        self.events: list[Event] = []
        self._inodes: dict[int, int] = {}
        self._numbers = itertools.count(1)
        self._prepared = b""

    def add(self, kind: str, *arguments: object) -> None:
        """Note an event."""
        self.events.append(Event(kind, arguments))

    def check_alive(self) -> None:
        """Raise Killed where the process is to be killed, and from then on."""
        if self.limit is not None and len(self.events) >= self.limit:
            raise Killed

    def path(self, path: Path) -> PurePosixPath:
        """A path within the directory."""
        return PurePosixPath(path.relative_to(self.root))

    def is_inside(self, path: Path) -> bool:
        """Whether a path is of the data directory: what is above it is not modelled."""
        return path.is_relative_to(self.root)

    def created(self, path: Path, descriptor: int) -> None:
        """Note a new file."""
        number = next(self._numbers)
        self._inodes[os.fstat(descriptor).st_ino] = number
        self.add("create", self.path(path), number)

    def inode(self, descriptor: int) -> int:
        """Which file is open."""
        return self._inodes[os.fstat(descriptor).st_ino]

    def index_was_prepared(self) -> None:
        """Note what SQLite made of the index's file before anybody else opens it."""
        file = self.root / sqlite_index.NAME
        content = file.read_bytes() if file.exists() else b""
        if content and content != self._prepared:
            self._prepared = content
            self.add("commit", content, True)

    def crashes(self, since: int, chance: random.Random) -> Iterator[tuple[int, State, Any]]:
        """After each event from number ``since`` on: the states, and what is expected then."""
        disk = Disk()
        for number, event in enumerate(self.events):
            disk.apply(event)
            if number >= since:
                for state in disk.crashes(chance):
                    yield number, state, disk.expected


class RecordingOps(FileOps):
    """Does what it is asked to, and has it recorded."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def _make_directory(self, path: Path) -> None:
        self.recorder.check_alive()
        super()._make_directory(path)
        if self.recorder.is_inside(path) and path != self.recorder.root:
            self.recorder.add("name", (self.recorder.path(path), DIRECTORY))

    def create(self, path: Path, mode: int = PRIVATE) -> int:
        """Record a new file."""
        self.recorder.check_alive()
        descriptor = super().create(path, mode)
        self.recorder.created(path, descriptor)
        return descriptor

    def write(self, descriptor: int, block: memoryview | bytes, offset: int) -> None:
        """Record written bytes."""
        self.recorder.check_alive()
        super().write(descriptor, block, offset)
        self.recorder.add("write", self.recorder.inode(descriptor), offset, bytes(block))

    def truncate(self, descriptor: int, size: int) -> None:
        """Record a size."""
        self.recorder.check_alive()
        super().truncate(descriptor, size)
        self.recorder.add("write", self.recorder.inode(descriptor), None, size)

    def sync(self, descriptor: int) -> None:
        """Record a sync."""
        self.recorder.check_alive()
        super().sync(descriptor)
        self.recorder.add("sync", self.recorder.inode(descriptor))

    def sync_directory(self, path: Path, *, always: bool = False) -> None:
        """Record a sync of names."""
        self.recorder.check_alive()
        super().sync_directory(path, always=always)
        if path == self.recorder.root:
            self.recorder.index_was_prepared()
        if self.recorder.is_inside(path):
            self.recorder.add("sync_directory", self.recorder.path(path))

    def replace(self, source: Path, target: Path) -> None:
        """Record a rename."""
        self.recorder.check_alive()
        super().replace(source, target)
        self.recorder.add("replace", self.recorder.path(source), self.recorder.path(target))

    def unlink(self, path: Path) -> bool:
        """Record that a name is gone."""
        self.recorder.check_alive()
        found = super().unlink(path)
        if found:
            self.recorder.add("name", (self.recorder.path(path), None))
        return found


class RecordingDatabase(Database):
    """Has the whole index recorded at each commit."""

    recorder: Recorder

    def write(
        self,
        work: Callable[..., T],
        *,
        durable: bool = True,
        always_durable: bool = False,
    ) -> T:
        """Record a commit."""
        self.recorder.check_alive()
        result = super().write(work, durable=durable, always_durable=always_durable)
        with self.reading() as connection:
            content = connection.serialize()
        self.recorder.add("commit", content, self.is_synced(durable, always=always_durable))
        return result

    def is_synced(self, durable: bool, *, always: bool) -> bool:
        """Whether a power cut leaves the commit."""
        return durable or always
