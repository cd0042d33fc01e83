"""The files of docker distribution, versions 2 and 3 alike, and taking blobs from them.

::

    <rootdirectory>/docker/registry/v2/
      blobs/sha256/ab/<hex>/data                            blobs and manifests alike
      repositories/<name>/
        _layers/sha256/<hex>/link                           may serve this blob
        _manifests/revisions/sha256/<hex>/link              has this manifest
        _manifests/tags/<tag>/current/link                  where the tag points
        _manifests/tags/<tag>/index/sha256/<hex>/link       where it ever pointed
        _uploads/<uuid>/                                    open uploads: stay behind

Nothing here is changed, and what is linked from here keeps its mode and owner.
"""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from registry_wsgi.errors import StorageFault
from registry_wsgi.names import NAME_LIMIT, Digest, Name
from registry_wsgi.storage.adopting import Link, SourceFault
from registry_wsgi.storage.bringing import Bringer, BroughtFile
from registry_wsgi.storage.disk import DiskStore
from registry_wsgi.storage.fsops import FileOps

_BELOW: Final = Path("docker", "registry", "v2")
_LINK_LIMIT: Final = 1024
"""Longest link file that is read, in bytes."""

_OURS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Errors of the file system that is written to."""


def find_root(given: Path) -> Path:
    """Where the tree begins: ``given`` or below it; raises StorageFault when it is no such tree."""
    for root in (given / _BELOW, given):
        if (root / "repositories").is_dir() and (root / "blobs").is_dir():
            return root
    expected = f"no {_BELOW}/repositories and blobs below it"
    raise StorageFault(f"no files of docker distribution: {expected}", str(given))


class DistributionTree:
    """``ForeignTree`` on the disk; ``root`` is what ``find_root`` found."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._repositories = root / "repositories"

    def repositories(self) -> Iterator[str]:
        """Directories that have an own part of what a repository has."""
        waiting = [""]
        while waiting:
            name = waiting.pop()
            try:
                entries = _names(self._repositories / name)
            except SourceFault:
                yield name  # whoever asks for more of it is told
                continue
            if {"_layers", "_manifests"} & set(entries):
                yield name
            inner = [f"{name}/{entry}".strip("/") for entry in entries if entry[0] != "_"]
            # Deeper ones are no names here; were there a circle of links, this is its end.
            waiting += reversed([one for one in inner if len(name) <= NAME_LIMIT])

    def holds(self, repository: Name) -> bool:
        """Whether the directory is there."""
        return (self._repositories / repository).is_dir()

    def layers(self, repository: Name) -> Iterator[Link]:
        """The links below ``_layers``."""
        return self._links(self._repositories / repository / "_layers")

    def layer(self, repository: Name, digest: Digest) -> Link | None:
        """One of them."""
        return self._link(_below(self._repositories / repository / "_layers", digest), digest)

    def revisions(self, repository: Name) -> Iterator[Link]:
        """The links below ``revisions``."""
        return self._links(self._repositories / repository / "_manifests" / "revisions")

    def revision(self, repository: Name, digest: Digest) -> Link | None:
        """One of them."""
        revisions = self._repositories / repository / "_manifests" / "revisions"
        return self._link(_below(revisions, digest), digest)

    def tags(self, repository: Name) -> Iterator[str]:
        """The directories below ``tags``."""
        return iter(_names(self._repositories / repository / "_manifests" / "tags"))

    def tag(self, repository: Name, tag: str) -> Link | None:
        """The tag's ``current``."""
        tags = self._repositories / repository / "_manifests" / "tags"
        return self._link(tags / tag / "current" / "link", None)

    def history(self, repository: Name, tag: str) -> Iterator[Link]:
        """The links below the tag's ``index``, by when they were written last."""
        tags = self._repositories / repository / "_manifests" / "tags"
        return iter(sorted(self._links(tags / tag / "index"), key=lambda link: link.at))

    def size(self, digest: Digest) -> int | None:
        """The size of the data file."""
        try:
            return self.data(digest).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._fault(self.data(digest), error) from error

    def read(self, digest: Digest, limit: int) -> bytes | None:
        """The beginning of the data file."""
        return self._read(self.data(digest), limit)

    def data(self, digest: Digest) -> Path:
        """Where the data file is."""
        blobs = self._root / "blobs" / digest.algorithm
        return blobs / digest.hex[:2] / digest.hex / "data"

    def _links(self, directory: Path) -> Iterator[Link]:
        """The links ``<algorithm>/<hex>/link`` in a directory."""
        for algorithm in _names(directory):
            for name in _names(directory / algorithm):
                path = directory / algorithm / name / "link"
                link = self._link(path, Digest.maybe(f"{algorithm}:{name}"))
                if link is not None:
                    yield link

    def _link(self, path: Path, named: Digest | None) -> Link | None:
        content = self._read(path, _LINK_LIMIT)
        if content is None:
            return None
        try:
            written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except FileNotFoundError:
            return None
        target = Digest.maybe(content.decode("ascii", "replace").strip())
        at = written.isoformat(timespec="milliseconds")
        return Link(self._place(path), named, target, not content.strip(), at)

    def _read(self, path: Path, limit: int) -> bytes | None:
        try:
            with path.open("rb") as file:
                return file.read(limit)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._fault(path, error) from error

    def _place(self, path: Path) -> str:
        return str(path.relative_to(self._root))

    def _fault(self, path: Path, error: OSError) -> SourceFault:
        return SourceFault(f"{self._place(path)}: {error.strerror}")


def _below(directory: Path, digest: Digest) -> Path:
    return directory / digest.algorithm / digest.hex / "link"


def _names(directory: Path) -> list[str]:
    """Directories in a directory, in order; none where it is not there."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SourceFault(f"{directory}: {error.strerror}") from error


class TakenBlob:
    """``IncomingBlob`` in the uploads of the registry."""

    def __init__(self, file: BroughtFile, store: DiskStore, ops: FileOps) -> None:
        self._file = file
        self._store = store
        self._ops = ops

    @property
    def how(self) -> str:
        """Cloned, linked or copied."""
        return self._file.how

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self._file.size

    def blocks(self) -> Iterator[memoryview]:
        """All of its bytes; raises SourceFault."""
        try:
            yield from self._file.blocks()
        except OSError as error:
            raise SourceFault(f"cannot be read: {error.strerror}") from error

    def publish(self, digest: Digest) -> None:
        """Sync it and rename it; a link is neither written to nor changed in any other way."""
        target = self._store.path(digest)
        try:
            self._file.publish(target)
        except OSError as error:
            raise StorageFault("blob cannot be published", str(target), error) from error
        self._ops.sync_directory(target.parent)


class DiskIntake:
    """``Intake`` from a tree on the disk into the data directory ``data``."""

    def __init__(
        self, tree: DistributionTree, data: Path, store: DiskStore, ops: FileOps, bringer: Bringer
    ) -> None:
        self._tree = tree
        self._uploads = data / "uploads"
        self._store = store
        self._ops = ops
        self._bringer = bringer

    @contextmanager
    def taken(self, digest: Digest) -> Iterator[TakenBlob]:
        """The data file, brought into the uploads: a killed import leaves it to gc."""
        source, staged = self._tree.data(digest), self._uploads / str(uuid.uuid4())
        self._store.require_space(0)
        with ExitStack() as stack:
            try:
                file = stack.enter_context(self._bringer.brought(source, staged))
            except OSError as error:
                if error.errno in _OURS or error.filename == str(staged):
                    raise StorageFault("blob cannot be taken", str(staged), error) from error
                raise SourceFault(f"{source}: {error.strerror}") from error
            yield TakenBlob(file, self._store, self._ops)
