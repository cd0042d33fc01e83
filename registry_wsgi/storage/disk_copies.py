"""A registry copied from directory to directory.

::

    <backup>/
      backup.json             says that this is one, and when it was last finished
      registry.sqlite3        the index as it was at one moment, without open upload sessions
      secret                  0600
      blobs/sha256/ab/<hex>   every blob of that index; often hard links to the registry's own

The index goes in place last, by one rename, and what it does not need is removed after that: so
there is an earlier or a new backup at every moment, and a restored registry once it is whole.
"""

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from registry_wsgi.errors import StorageFault
from registry_wsgi.names import ALGORITHMS, Digest, digest_of, new_hash
from registry_wsgi.storage import secrets
from registry_wsgi.storage.backups import DAMAGED, KEPT, MISSING, PRESENT, Extent
from registry_wsgi.storage.bringing import Bringer
from registry_wsgi.storage.disk import DiskStore
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.inspecting import BlobRow
from registry_wsgi.storage.sqlite.index import NAME as INDEX
from registry_wsgi.storage.sqlite.snapshot import Snapshot

MARKER: Final = "backup.json"
FORMAT: Final = 1

UNFINISHED: Final = "restoring"
"""In a data directory that a restore was cut short in."""

_STAGED: Final = f".{INDEX}.new"
_IGNORED: Final = frozenset({"lost+found", f".{MARKER}.new", f".{UNFINISHED}.new"})
"""What says nothing of what a directory is: a file system's own, and what a killed process left."""

_SERVED: Final = ("locks", f"{INDEX}-wal")
"""What only a directory has that a registry was opened in."""


class DiskCopy:
    """``RegistryCopy`` but for how it is opened; ``source`` and ``target`` are directories."""

    def __init__(self, source: Path, target: Path, ops: FileOps, bringer: Bringer) -> None:
        self._source = source
        self._target = target
        self._ops = ops
        self._bringer = bringer
        self._snapshot = Snapshot(target / _STAGED)
        self._lost: list[Digest] = []

    @contextmanager
    def _staged(self, fill: Callable[[Path], None]) -> Iterator[None]:
        """The index that ``fill`` writes to an empty file, opened."""
        staged = self._target / _STAGED
        self._ops.unlink(staged)
        try:
            os.close(self._ops.create(staged))
            fill(staged)
            with self._snapshot:
                yield
        finally:
            self._ops.unlink(staged)

    def extent(self) -> Extent:
        """What the staged index holds."""
        return self._snapshot.extent()

    def blobs(self) -> Iterator[BlobRow]:
        """Every blob of the staged index."""
        return self._snapshot.blobs()

    def keep(self, row: BlobRow) -> str:
        """See that the target has the blob; one that is there with its size is whole."""
        place = DiskStore.place(row.digest)
        source, target = self._source / "blobs" / place, self._target / "blobs" / place
        if _has(self._target, row):
            return PRESENT
        if not source.is_file():
            return MISSING
        try:
            self._ops.make_directory(target.parent)
            with self._bringer.brought(source, target.with_name(f".{target.name}.new")) as file:
                if file.size != row.size:
                    return DAMAGED
                file.publish(target)
        except OSError as error:
            raise StorageFault("a blob cannot be copied", str(target), error) from error
        return file.how

    def lost(self) -> list[Digest]:
        """What manifests need that has no row, and is not to be had from the target either."""
        return self._lost

    def publish(self) -> None:
        """Sync the names of all blobs, then rename the index."""
        for directory in (*self._shards(), *self._algorithms(), self._target):
            self._ops.sync_directory(directory)
        secret = (self._source / secrets.NAME).read_bytes()
        self._ops.write_new(self._target / secrets.NAME, secret)
        descriptor = self._ops.open(self._target / _STAGED)
        try:
            self._ops.sync(descriptor)
        finally:
            os.close(descriptor)
        self._ops.replace(self._target / _STAGED, self._target / INDEX)
        self._ops.sync_directory(self._target)

    def prune(self) -> Iterator[Digest]:
        """Remove blobs that the index has no need of, and what a killed copy left."""
        for shard in self._shards():
            for name in sorted(entry.name for entry in shard.iterdir()):
                digest = Digest.maybe(f"{shard.parent.name}:{name}")
                if digest is None:
                    self._ops.unlink(shard / name)
                elif not self._snapshot.knows(digest):
                    self._ops.unlink(shard / name)
                    yield digest

    def _algorithms(self) -> list[Path]:
        """The directories of blobs that are there."""
        blobs = self._target / "blobs"
        return [path for path in (*(blobs / name for name in ALGORITHMS), blobs) if path.is_dir()]

    def _shards(self) -> Iterator[Path]:
        for algorithm in self._algorithms():
            if algorithm.name in ALGORITHMS:
                yield from sorted(algorithm.iterdir())


class DiskBackup(DiskCopy):
    """From a data directory to a backup. ``take`` writes the index to an empty file.

    ``now`` tells the time for the marker, as text.
    """

    def __init__(
        self,
        data: Path,
        target: Path,
        ops: FileOps,
        bringer: Bringer,
        take: Callable[[Path], None],
        now: Callable[[], str],
    ) -> None:
        super().__init__(data, target, ops, bringer)
        self._take = take
        self._now = now

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Take the index, into a new, empty or earlier backup; raises StorageFault."""
        _check_apart(self._source, self._target)
        _check_backup(self._target)
        self._ops.make_directory(self._target)
        with held(self._target, fcntl.LOCK_EX):
            if not (self._target / MARKER).exists():
                self._mark(finished_at=None)
            with self._staged(self._take):
                self._snapshot.strip()
                self._lost = [lost for lost in self._snapshot.lacking() if not self._recover(lost)]
                yield

    def _recover(self, digest: Digest) -> bool:
        """Put a blob that the registry knows no more back in the index, if it is in the target.

        Without its row no size tells that the file is whole, so its hash has to.
        """
        path = self._target / "blobs" / DiskStore.place(digest)
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, lambda: new_hash(digest.algorithm))
                size = file.tell()
        except OSError:
            return False
        if digest_of(found) != digest:
            return False
        self._snapshot.add(digest, size)
        return True

    def keep(self, row: BlobRow) -> str:
        """As every copy; but what is in the target alone was lost by the registry."""
        how = super().keep(row)
        if how == PRESENT and not _has(self._source, row):
            return KEPT
        return how

    def publish(self) -> None:
        """As every copy; then say when."""
        super().publish()
        self._mark(finished_at=self._now())

    def _mark(self, finished_at: str | None) -> None:
        content = {"registry_wsgi": "backup", "format": FORMAT, "finished_at": finished_at}
        self._ops.write_new(self._target / MARKER, json.dumps(content).encode() + b"\n")


class DiskRestore(DiskCopy):
    """From a backup to a data directory, which has none, or half of one, before."""

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Stage the backup's index; raises StorageFault unless there is one, and room for it."""
        if not is_backup(self._source) or not (self._source / INDEX).is_file():
            raise StorageFault("there is no finished backup", str(self._source))
        _check_backup(self._source)
        _check_vacant(self._target)
        self._ops.make_directory(self._target)
        with held(self._target, fcntl.LOCK_EX), held(self._source, fcntl.LOCK_SH):
            _check_vacant(self._target)
            self._ops.write_new(self._target / UNFINISHED, b"")
            with self._staged(self._copy_index):
                self._lost = self._snapshot.lacking()
                yield

    def publish(self) -> None:
        """As every copy; then let it be served."""
        super().publish()
        self._ops.unlink(self._target / UNFINISHED)
        self._ops.sync_directory(self._target)

    def _copy_index(self, staged: Path) -> None:
        original = os.open(self._source / INDEX, os.O_RDONLY | os.O_CLOEXEC)
        try:
            descriptor = self._ops.open(staged)
            try:
                self._ops.copy(original, descriptor)
            finally:
                os.close(descriptor)
        finally:
            os.close(original)


def _has(directory: Path, row: BlobRow) -> bool:
    """Whether a blob's file is there with its size, and the disk is able to tell."""
    try:
        found = (directory / "blobs" / DiskStore.place(row.digest)).stat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == row.size


def refuse_backup(data: Path) -> None:
    """Raise StorageFault for a backup that nobody has served from: to open it would end it."""
    if is_backup(data) and not _content(data) & set(_SERVED):
        raise StorageFault(
            "is a backup: restore it to another directory, and look there", str(data)
        )


def refuse_unfinished(data: Path) -> None:
    """Raise StorageFault for a data directory that a restore did not finish."""
    if (data / UNFINISHED).exists():
        advice = "run restore again, or remove the directory"
        raise StorageFault(f"the restore into it was not finished: {advice}", str(data))


def is_backup(path: Path) -> bool:
    """Whether there is a backup of a form that this program knows, finished or not."""
    try:
        marker = json.loads((path / MARKER).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(marker, dict) and marker.get("format") == FORMAT


@contextmanager
def held(directory: Path, operation: int) -> Iterator[None]:
    """Have a flock on a directory; raises StorageFault when somebody else has."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageFault("another backup or restore uses it", str(directory)) from None
        yield
    finally:
        os.close(descriptor)


def _content(directory: Path) -> set[str]:
    """What is in a directory that may not be there."""
    if not directory.exists():
        return set()
    if not directory.is_dir():
        raise StorageFault("is not a directory", str(directory))
    return {entry.name for entry in directory.iterdir()} - _IGNORED


def _check_apart(data: Path, target: Path) -> None:
    inner, outer = target.resolve(), data.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise StorageFault("a backup and its data directory cannot be in one another", str(target))


def _check_backup(target: Path) -> None:
    """Raise StorageFault for a directory that holds something else."""
    found = _content(target)
    if found and not is_backup(target):
        raise StorageFault("there is something else than a backup of ours", str(target))
    if found & set(_SERVED):
        advice = "a registry was started on it; what `backup` makes of it elsewhere is one"
        raise StorageFault(f"is no backup any more: {advice}", str(target))


def _check_vacant(data: Path) -> None:
    """Raise StorageFault unless nothing is there, or what a cut restore left."""
    found = _content(data)
    if found and UNFINISHED not in found:
        raise StorageFault("the data directory is not empty: restore to another one", str(data))
