"""OCI image layouts on the disk, as a directory and as a tar file."""

import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from registry_wsgi import strict_json
from registry_wsgi.errors import StorageFault
from registry_wsgi.names import Digest
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.layouts import Block, LayoutReader, LayoutWriter

# > This file MUST be a JSON object with a `imageLayoutVersion` field
LAYOUT_FILE: Final = "oci-layout"
LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'

BLOBS: Final = "blobs"
INDEX_FILE: Final = "index.json"
INDEX_LIMIT: Final = 64 << 20
"""Longest ``index.json`` that is read, in bytes."""

TAR_SUFFIX: Final = ".tar"


def writer(path: Path, ops: FileOps) -> LayoutWriter:
    """What makes a layout at ``path``: a tar file if it is named like one, else a directory."""
    return TarWriter(path, ops) if path.suffix == TAR_SUFFIX else DirectoryWriter(path, ops)


def reader(path: Path) -> LayoutReader:
    """What reads the layout at ``path``."""
    return DirectoryReader(path) if path.is_dir() else TarReader(path)


def _place(digest: Digest) -> str:
    # > The object MUST be named in the form `blobs/<alg>/<encoded>`
    return f"{BLOBS}/{digest.algorithm}/{digest.hex}"


class DirectoryWriter:
    """A layout as a directory, which has no ``index.json`` until it is finished."""

    def __init__(self, path: Path, ops: FileOps) -> None:
        self._path = path
        self._ops = ops

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the directory, or take an empty one, where something may be mounted."""
        is_new = not self._path.exists()
        if not is_new and (not self._path.is_dir() or any(self._path.iterdir())):
            raise StorageFault("there is something already", str(self._path))
        self._ops.make_directory(self._path)
        with ExitStack() as undoing:
            undoing.callback(self._undo, is_new=is_new)
            yield
            undoing.pop_all()

    def _undo(self, *, is_new: bool) -> None:
        """Take away what was written, as far as that can be, and nothing of anybody else."""
        with suppress(OSError):
            self._ops.remove_tree(self._path / BLOBS)
            for name in (LAYOUT_FILE, INDEX_FILE):
                self._ops.unlink(self._path / name)
            if is_new:
                self._ops.remove_directory(self._path)

    def add(self, digest: Digest, size: int, blocks: Iterable[Block]) -> None:
        """Write a file; its name appears once it is whole."""
        target = self._path / _place(digest)
        staged = target.with_name(f".{target.name}.new")
        self._ops.make_directory(target.parent)
        try:
            descriptor = self._ops.create(staged)
            try:
                offset = 0
                for block in blocks:
                    self._ops.write(descriptor, block, offset)
                    offset += len(block)
                self._ops.sync(descriptor)
            finally:
                os.close(descriptor)
            self._ops.replace(staged, target)
        except OSError as error:
            raise StorageFault("cannot be written", str(target), error) from error
        if offset != size:
            raise StorageFault(f"has {offset} bytes, not {size}", str(target))

    def finish(self, index: bytes) -> None:
        """Sync the names, then write what makes it a layout."""
        for directory in {path.parent for path in self._path.glob("blobs/*/*")}:
            self._ops.sync_directory(directory)
        self._ops.write_new(self._path / LAYOUT_FILE, LAYOUT)
        self._ops.write_new(self._path / INDEX_FILE, index)


class TarWriter:
    """A layout as a tar file, under another name until it is finished."""

    def __init__(self, path: Path, ops: FileOps) -> None:
        self._path = path
        self._staged = path.with_name(f".{path.name}.new")
        self._ops = ops
        self._offset = 0
        self._descriptor = -1

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the file."""
        if self._path.exists():
            raise StorageFault("there is something already", str(self._path))
        self._ops.unlink(self._staged)
        try:
            self._descriptor = self._ops.create(self._staged)
        except OSError as error:
            raise StorageFault("cannot be written", str(self._path), error) from error
        try:
            yield
        finally:
            os.close(self._descriptor)
            self._ops.unlink(self._staged)

    def add(self, digest: Digest, size: int, blocks: Iterable[Block]) -> None:
        """Add a member."""
        self._member(_place(digest), size, blocks)

    def finish(self, index: bytes) -> None:
        """Add what makes it a layout, and end the file."""
        self._member(LAYOUT_FILE, len(LAYOUT), [LAYOUT])
        self._member(INDEX_FILE, len(index), [index])
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._ops.sync(self._descriptor)
        self._ops.replace(self._staged, self._path)
        self._ops.sync_directory(self._path.parent)

    def _member(self, name: str, size: int, blocks: Iterable[Block]) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = size
        # GNU's format has names and sizes of any length.
        self._write(entry.tobuf(tarfile.GNU_FORMAT))
        start = self._offset
        for block in blocks:
            self._write(block)
        if self._offset - start != size:
            raise StorageFault(f"has {self._offset - start} bytes, not {size}", name)
        self._write(bytes(-size % tarfile.BLOCKSIZE))

    def _write(self, block: Block) -> None:
        try:
            self._ops.write(self._descriptor, block, self._offset)
        except OSError as error:
            raise StorageFault("cannot be written", str(self._path), error) from error
        self._offset += len(block)


class DirectoryReader:
    """A layout that is a directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Check what it is."""
        _check_version(self._read(LAYOUT_FILE), self._path)
        yield

    def index(self) -> bytes:
        """``index.json``."""
        return self._read(INDEX_FILE)

    def _read(self, name: str) -> bytes:
        try:
            with (self._path / name).open("rb") as file:
                return _limited(file, self._path / name)
        except OSError as error:
            raise StorageFault(f"no OCI image layout: no {name}", str(self._path), error) from error

    def extent(self) -> int:
        """The sizes of all files that may be content."""
        return sum(path.stat().st_size for path in self._path.glob("blobs/*/*"))

    def size(self, digest: Digest) -> int | None:
        """The size of the file."""
        path = self._path / _place(digest)
        return path.stat().st_size if path.is_file() else None

    def open(self, digest: Digest) -> BinaryIO:
        """The file."""
        path = self._path / _place(digest)
        try:
            return path.open("rb", buffering=0)
        except OSError as error:
            raise StorageFault("cannot be read", str(path), error) from error


class TarReader:
    """A layout that is an uncompressed tar file; nothing is unpacked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: dict[str, tarfile.TarInfo] = {}

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Find where each member is."""
        try:
            self._archive = tarfile.open(self._path, "r:")  # noqa: SIM115 - closed below
        except (OSError, tarfile.TarError) as error:
            reason = "neither a directory nor an uncompressed tar file"
            raise StorageFault(reason, str(self._path), error) from error
        with self._archive:
            # `tar -c .` names its members ./index.json and so on.
            files = (entry for entry in self._archive if entry.isfile())
            self._members = {entry.name.removeprefix("./"): entry for entry in files}
            _check_version(self._read(LAYOUT_FILE), self._path)
            yield

    def index(self) -> bytes:
        """``index.json``."""
        return self._read(INDEX_FILE)

    def _read(self, name: str) -> bytes:
        if name not in self._members:
            raise StorageFault(f"no OCI image layout: no {name}", str(self._path))
        with self._extracted(name) as file:
            return _limited(file, self._path)

    def extent(self) -> int:
        """The sizes of all members."""
        return sum(entry.size for entry in self._members.values())

    def size(self, digest: Digest) -> int | None:
        """The size of the member."""
        entry = self._members.get(_place(digest))
        return entry.size if entry else None

    def open(self, digest: Digest) -> BinaryIO:
        """The member, as a part of the file."""
        return self._extracted(_place(digest))

    def _extracted(self, name: str) -> BinaryIO:
        file = self._archive.extractfile(self._members[name])
        if file is None:
            raise StorageFault(f"{name} is no file", str(self._path))
        return file  # type: ignore[return-value] # an IO[bytes]


def _limited(file: BinaryIO, path: Path) -> bytes:
    content = file.read(INDEX_LIMIT + 1)
    if len(content) > INDEX_LIMIT:
        raise StorageFault("longer than any index should be", str(path))
    return content


def _check_version(content: bytes, path: Path) -> None:
    try:
        document = strict_json.loads(content)
    except ValueError as error:
        raise StorageFault(f"no OCI image layout: {LAYOUT_FILE}: {error}", str(path)) from error
    version = document.get("imageLayoutVersion") if isinstance(document, dict) else None
    if not isinstance(version, str) or not version.startswith("1."):
        raise StorageFault(f"an image layout of version {version!r}, not 1.0.0", str(path))
