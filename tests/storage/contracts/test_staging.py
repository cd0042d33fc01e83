"""The contract of ``BlobStore`` for upload sessions: staged bytes, and one writer."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.contenders import hold_upload
from support.processes import child
from support.storage import CONTENT, StorePlace, publish, refused, stage

from registry_wsgi.errors import UPLOAD_BUSY, UPLOAD_UNKNOWN, ErrorRow, RegistryError
from registry_wsgi.names import Digest
from registry_wsgi.storage.store import BlobStore

DIGEST = Digest.of(CONTENT)
MIB = 1 << 20
LARGE = bytes(range(256)) * (3 * MIB // 256) + b"the end"


def staged_bytes(store: BlobStore, uuid: str) -> bytes:
    """All that is staged of a session."""
    with store.stage(uuid) as staged:
        return b"".join(map(bytes, staged.blocks()))


def staged_size(store: BlobStore, uuid: str) -> int | None:
    """How much is staged, asked without becoming the writer."""
    found = store.staged(uuid)
    return found.size if found else None


# --- Staging --------------------------------------------------------------------------------------


def test_a_new_session_is_empty(store: BlobStore) -> None:
    """It has no bytes, for its writer and for others."""
    with store.create("upload") as staged:
        size = staged.size

    assert size == 0
    assert staged_size(store, "upload") == 0
    assert staged_bytes(store, "upload") == b""


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param([CONTENT], id="bytes"),
        pytest.param([memoryview(CONTENT)], id="a view"),
        pytest.param([b"con", b"", memoryview(b"tent")], id="several"),
        pytest.param([LARGE, LARGE], id="large"),
        pytest.param([], id="nothing"),
    ],
)
def test_what_is_written_is_staged(store: BlobStore, blocks: list[bytes | memoryview]) -> None:
    """The blocks are staged one after another, whole."""
    expected = b"".join(map(bytes, blocks))
    with store.create("upload") as staged:
        for block in blocks:
            staged.write(block)
        size = staged.size

    assert size == len(expected)
    assert staged_size(store, "upload") == len(expected)
    assert staged_bytes(store, "upload") == expected


def test_a_session_goes_on_where_it_was_left(store: BlobStore) -> None:
    """The next writer appends to what the one before has written."""
    stage(store, "upload", b"con")
    with store.stage("upload") as staged:
        before = staged.size
        staged.write(b"tent")

    assert before == 3
    assert staged_bytes(store, "upload") == b"content"


def test_a_writer_reads_what_it_has_written(store: BlobStore) -> None:
    """Staged bytes can be read from the start without moving the end, before and after a sync."""
    with store.create("upload") as staged:
        staged.write(b"con")
        first = b"".join(map(bytes, staged.blocks()))
        staged.sync()
        staged.write(b"tent")
        staged.sync()
        second = b"".join(map(bytes, staged.blocks()))

    assert (first, second) == (b"con", b"content")


@pytest.mark.parametrize("size", [0, 3, 7], ids=["all of it", "a part", "nothing"])
def test_what_is_cut_off_is_forgotten(store: BlobStore, size: int) -> None:
    """After a truncation the session goes on from there."""
    stage(store, "upload", CONTENT)
    with store.stage("upload") as staged:
        staged.truncate(size)
        left = staged.size
        staged.write(b"new")

    assert left == size
    assert staged_bytes(store, "upload") == CONTENT[:size] + b"new"


@pytest.mark.parametrize("uuid", ["never", "discarded", "published"])
def test_what_is_not_staged_has_no_writer(store: BlobStore, uuid: str) -> None:
    """A session that never was, was discarded, or became a blob is unknown."""
    stage(store, "discarded")
    store.discard("discarded")
    with store.create("published") as staged, store.lock(DIGEST):
        staged.write(CONTENT)
        staged.publish(DIGEST)
    with refused(UPLOAD_UNKNOWN), store.stage(uuid):
        pass

    assert store.staged(uuid) is None


def test_discarding_is_safe_to_repeat(store: BlobStore) -> None:
    """What is not there is discarded without an error, and others stay."""
    stage(store, "other", CONTENT)
    stage(store, "upload", CONTENT)
    store.discard("upload")
    store.discard("upload")

    assert store.staged("upload") is None
    assert staged_bytes(store, "other") == CONTENT


def test_sessions_are_listed(store: BlobStore) -> None:
    """Every session that has bytes, even none of them, and nothing else."""
    stage(store, "first", CONTENT)
    stage(store, "second")
    publish(store)

    assert sorted(store.uploads()) == ["first", "second"]


# --- One writer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fresh", [True, False], ids=["its creator", "a later one"])
def test_a_session_has_one_writer(store: BlobStore, fresh: bool) -> None:
    """While there is one, another is refused at once, and the one can go on."""
    if not fresh:
        stage(store, "upload")
    with (store.create if fresh else store.stage)("upload") as staged:
        with refused(UPLOAD_BUSY), store.stage("upload"):
            pass
        staged.write(CONTENT)

    assert staged_bytes(store, "upload") == CONTENT


def test_other_sessions_have_other_writers(store: BlobStore) -> None:
    """Writers of different sessions do not know of each other."""
    with store.create("first") as first, store.create("second") as second:
        first.write(b"1")
        second.write(b"2")

    assert (staged_bytes(store, "first"), staged_bytes(store, "second")) == (b"1", b"2")


def test_a_size_is_told_while_somebody_writes(store: BlobStore) -> None:
    """Asking for the size needs no turn."""
    with store.create("upload") as staged:
        staged.write(CONTENT)

        assert staged_size(store, "upload") == len(CONTENT)


def test_a_writer_that_fails_makes_way(store: BlobStore) -> None:
    """After an error in its block the session is free, with what was written."""

    def fail() -> None:
        with store.create("upload") as staged:
            staged.write(b"con")
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert staged_bytes(store, "upload") == b"con"


def test_one_of_many_threads_is_the_writer(store: BlobStore) -> None:
    """Of threads that want to write at once, one does; the others are told that it is busy."""
    stage(store, "upload")
    start, end = threading.Barrier(8, timeout=30), threading.Barrier(8, timeout=30)

    def write(number: int) -> ErrorRow | None:
        start.wait()
        refusal = None
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(store.stage("upload")).write(b"%d" % number)
            except RegistryError as error:
                refusal = error.row
            end.wait()
        return refusal

    with ThreadPoolExecutor(8) as pool:
        refusals = list(pool.map(write, range(8)))

    assert refusals.count(UPLOAD_BUSY) == 7
    assert staged_bytes(store, "upload") == b"%d" % refusals.index(None)


def test_another_process_may_be_the_writer(store_place: StorePlace) -> None:
    """While another process writes the session is busy here, and free when that has ended."""
    store = store_place.open()
    stage(store, "upload")
    with child(hold_upload, store_place, "upload") as holder:
        holder.hear()
        with refused(UPLOAD_BUSY), store.stage("upload"):
            pass
        holder.say()
        holder.finish()

    assert staged_bytes(store, "upload") == b"from another process"


def test_a_killed_writer_makes_way(store_place: StorePlace) -> None:
    """A session is free when its writer gets SIGKILL, with what that had written."""
    store = store_place.open()
    stage(store, "upload")
    with child(hold_upload, store_place, "upload") as holder:
        holder.hear()
        holder.kill()

    assert staged_bytes(store, "upload") == b"from another process"
