"""The blob store on a file system: where its files are, who may read them, and what its faults are."""

import errno
import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from support.storage import CONTENT, memory_directory, open_disk, publish, read_blob, refused, stage

from registry_wsgi.errors import UPLOAD_UNKNOWN, StorageFault
from registry_wsgi.names import Digest
from registry_wsgi.storage.disk import DiskStore
from registry_wsgi.storage.fsops import WRITE_SIZE, FileOps

DIGEST = Digest.of(CONTENT)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data directory."""
    with memory_directory() as directory:
        yield directory


class Ops(FileOps):
    """File operations that note their order, and that a test can make fail or be interrupted."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        self.failing: dict[str, int] = {}
        self.after_open: Callable[[], None] = lambda: None

    def _note(self, operation: str) -> None:
        self.done.append(operation)
        if operation in self.failing:
            number = self.failing[operation]
            raise OSError(number, os.strerror(number))

    def create(self, path: Path, mode: int = 0o600) -> int:
        """Make a file."""
        self._note("create")
        return super().create(path, mode)

    def open(self, path: Path) -> int:
        """Open a file, and let the test do something right after."""
        descriptor = super().open(path)
        self.after_open()
        return descriptor

    def write(self, descriptor: int, block: memoryview | bytes, offset: int) -> None:
        """Write a block."""
        self._note("write")
        super().write(descriptor, block, offset)

    def _sync(self, sync: Callable[[int], None], descriptor: int) -> None:
        def noted(descriptor: int) -> None:
            self._note("sync directory" if sync is os.fsync else "sync")
            sync(descriptor)

        super()._sync(noted, descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Rename a file."""
        self._note("replace")
        super().replace(source, target)


@pytest.fixture
def ops() -> Ops:
    """The operations of the store."""
    return Ops()


@pytest.fixture
def store(folder: Path, ops: Ops) -> DiskStore:
    """An empty store."""
    made = open_disk(folder, ops)
    ops.done.clear()
    return made


def files(folder: Path) -> dict[str, int]:
    """The files below a directory with their modes, but for locks and the reserve."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mode & 0o7777
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] in {"blobs", "uploads"}
    }


# --- Files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_blob_is_a_file_named_by_its_digest(
    store: DiskStore, folder: Path, algorithm: str
) -> None:
    """It lies under the first byte of its hash, and nobody can write to it."""
    digest = publish(store, CONTENT, Digest.of(CONTENT, algorithm))

    assert files(folder) == {f"blobs/{algorithm}/{digest.hex[:2]}/{digest.hex}": 0o444}
    assert store.path(digest).read_bytes() == CONTENT


def test_staged_bytes_are_a_private_file(store: DiskStore, folder: Path) -> None:
    """Only the registry's user reads what nobody has verified."""
    stage(store, "upload", CONTENT)

    assert files(folder) == {"uploads/upload": 0o600}


def test_directories_are_private(store: DiskStore, folder: Path) -> None:
    """Nobody else lists what is stored."""
    publish(store)
    modes = {path.stat().st_mode & 0o777 for path in folder.glob("*/**/") if path.name != "locks"}

    assert modes == {0o700}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(f"sha256/00/{DIGEST.hex}", id="in the directory of another byte"),
        pytest.param(f"sha256/{DIGEST.hex[:2]}/{DIGEST.hex[:-1]}", id="a short name"),
        pytest.param(f"sha256/{DIGEST.hex[:2]}/.{DIGEST.hex}.new", id="a file being made"),
        pytest.param(f"sha512/{DIGEST.hex[:2]}/{DIGEST.hex}", id="of the other algorithm"),
    ],
)
def test_another_file_is_no_blob(store: DiskStore, folder: Path, name: str) -> None:
    """A file that is not named and placed as a blob is not listed as one."""
    (folder / "blobs" / name).write_bytes(CONTENT)
    publish(store, b"a blob")

    assert list(store.blobs()) == [Digest.of(b"a blob")]


def test_a_file_knows_what_it_takes(store: DiskStore) -> None:
    """Its size is in bytes, and what removing it gives back is in whole blocks of the disk."""
    publish(store, b"x" * 5000)
    found = store.stored(Digest.of(b"x" * 5000))

    assert found
    assert found.size == 5000
    assert found.freed >= 5000


# --- Order ----------------------------------------------------------------------------------------


def test_bytes_are_durable_before_their_name(store: DiskStore, ops: Ops) -> None:
    """Publishing syncs the file, then renames it, then syncs the directory of its new name."""
    with store.create("upload") as staged, store.lock(DIGEST):
        staged.write(CONTENT)
        ops.done.clear()
        staged.publish(DIGEST)

    assert ops.done == ["sync", "replace", "sync directory"]


def test_bytes_that_are_synced_are_not_synced_again(store: DiskStore, ops: Ops) -> None:
    """A sync with nothing written since is no work, and a later write makes it work again."""
    with store.create("upload") as staged:
        staged.write(b"con")
        staged.sync()
        staged.sync()
        staged.write(b"tent")
        staged.sync()

    assert ops.done.count("sync") == 2


def test_a_new_session_gets_a_durable_name_when_asked(store: DiskStore, ops: Ops) -> None:
    """Nothing is synced for a session of which nobody was told that it has bytes."""
    stage(store, "first")  # which also makes the reserve
    ops.done.clear()
    with store.create("upload") as staged:
        staged.write(CONTENT)
        staged.keep_name()

    assert ops.done == ["create", "write", "sync directory"]


# --- Two at once ----------------------------------------------------------------------------------


def test_who_waited_for_a_published_file_does_not_write_to_it(
    store: DiskStore, folder: Path, ops: Ops
) -> None:
    """A file that was published between its opening and its locking is a blob, not an upload."""
    stage(store, "upload", CONTENT)

    def another_publishes() -> None:
        other = open_disk(folder, FileOps())
        with other.stage("upload") as staged, other.lock(DIGEST):
            staged.publish(DIGEST)

    ops.after_open = another_publishes
    with refused(UPLOAD_UNKNOWN), store.stage("upload"):
        pass

    assert read_blob(store, DIGEST) == CONTENT


def test_who_waited_for_a_removed_file_does_not_write_to_it(
    store: DiskStore, folder: Path, ops: Ops
) -> None:
    """A file whose name is another file's by the time it is locked is nobody's upload."""
    stage(store, "upload", CONTENT)

    def another_begins_anew() -> None:
        other = open_disk(folder, FileOps())
        other.discard("upload")
        stage(other, "upload", b"new")

    ops.after_open = another_begins_anew
    with refused(UPLOAD_UNKNOWN), store.stage("upload"):
        pass

    assert (folder / "uploads" / "upload").read_bytes() == b"new"


def test_a_symbolic_link_is_not_followed(store: DiskStore, folder: Path) -> None:
    """What somebody put in place of an upload is not opened."""
    (folder / "elsewhere").write_bytes(CONTENT)
    (folder / "uploads" / "upload").symlink_to(folder / "elsewhere")
    with pytest.raises((StorageFault, OSError)), store.stage("upload"):
        pass

    assert (folder / "elsewhere").read_bytes() == CONTENT


# --- Faults ---------------------------------------------------------------------------------------

Doing = Callable[[DiskStore], object]


def write(store: DiskStore) -> None:
    """Stage some bytes."""
    with store.stage("upload") as staged:
        staged.write(CONTENT)


def sync(store: DiskStore) -> None:
    """Stage some bytes, and make them durable."""
    with store.stage("upload") as staged:
        staged.write(CONTENT)
        staged.sync()


FAULTS: dict[str, tuple[str, Doing]] = {
    "making a file": ("create", lambda store: stage(store, "new")),
    "writing": ("write", write),
    "syncing": ("sync", sync),
    "syncing a directory": ("sync directory", publish),
    "renaming": ("replace", publish),
    "asking whether it works": ("create", DiskStore.ready),
}


@pytest.mark.parametrize(
    "number",
    [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EMFILE, errno.EROFS],
    ids=errno.errorcode.get,
)
@pytest.mark.parametrize(("operation", "doing"), FAULTS.values(), ids=FAULTS)
def test_what_the_disk_refuses_is_a_fault(
    store: DiskStore, ops: Ops, operation: str, doing: Doing, number: int
) -> None:
    """The fault has its cause, and says whether the disk is only full."""
    stage(store, "upload")
    ops.failing[operation] = number
    with pytest.raises(StorageFault) as caught:
        doing(store)

    assert isinstance(caught.value.cause, OSError)
    assert caught.value.cause.errno == number
    assert caught.value.full == (number in {errno.ENOSPC, errno.EDQUOT})


@pytest.mark.parametrize(
    ("number", "told"), [(errno.EIO, ["told"]), (errno.ENOSPC, [])], ids=["EIO", "ENOSPC"]
)
@pytest.mark.parametrize("operation", ["sync", "sync directory"])
def test_a_sync_that_fails_for_good_is_told(
    store: DiskStore, ops: Ops, operation: str, number: int, told: list[str]
) -> None:
    """After EIO nobody can say what is on the disk: whoever latches it is told before the fault."""
    stage(store, "upload", CONTENT)
    heard: list[str] = []
    ops.on_sync_error = lambda: heard.append("told")
    ops.failing[operation] = number
    with pytest.raises(StorageFault), store.stage("upload") as staged, store.lock(DIGEST):
        staged.publish(DIGEST)

    assert heard == told


def test_a_blob_whose_sync_failed_is_not_published(store: DiskStore, ops: Ops) -> None:
    """No name is given to bytes that may not be there after a power cut."""
    stage(store, "upload", CONTENT)
    ops.failing["sync"] = errno.EIO
    with pytest.raises(StorageFault), store.stage("upload") as staged, store.lock(DIGEST):
        staged.publish(DIGEST)

    assert store.open(DIGEST) is None
    assert "replace" not in ops.done


def test_a_short_write_is_gone_on_with(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few bytes the kernel takes at once, all of them are written in their place."""
    whole = os.pwrite

    def short(descriptor: int, block: bytes | memoryview, offset: int) -> int:
        return whole(descriptor, bytes(block[:3]), offset)

    monkeypatch.setattr(os, "pwrite", short)
    stage(store, "upload", bytes(range(256)))
    with store.stage("upload") as staged:
        staged.write(memoryview(CONTENT))

        assert b"".join(map(bytes, staged.blocks())) == bytes(range(256)) + CONTENT


def test_a_large_block_is_written_in_aligned_pieces(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However a client cuts its upload, no write is so large that memory has to be made for it."""
    whole = os.pwrite
    written: list[tuple[int, int]] = []

    def noted(descriptor: int, block: memoryview, offset: int) -> int:
        written.append((offset, len(block)))
        return whole(descriptor, block, offset)

    monkeypatch.setattr(os, "pwrite", noted)
    with store.create("upload") as staged:
        staged.write(b"x" * 1000)
        staged.write(bytes(2 * WRITE_SIZE))

    ends = [0, 1000, WRITE_SIZE, 2 * WRITE_SIZE, 2 * WRITE_SIZE + 1000]
    assert written == [(start, end - start) for start, end in pairwise(ends)]


def test_staged_bytes_that_disappear_are_a_fault(store: DiskStore, folder: Path) -> None:
    """A file that becomes shorter while it is read is not taken for a short upload."""
    stage(store, "upload", CONTENT)
    with store.stage("upload") as staged:
        os.truncate(folder / "uploads" / "upload", 3)
        with pytest.raises(StorageFault, match="missing"):
            list(staged.blocks())


def test_a_store_without_its_directory_is_not_ready(store: DiskStore, folder: Path) -> None:
    """A data directory that went away, as a file system does that is not mounted, is a fault."""
    (folder / "uploads").rmdir()
    with pytest.raises(StorageFault) as caught:
        store.ready()

    assert isinstance(caught.value.cause, FileNotFoundError)
