"""The contract of ``BlobStore``: blobs that never change, and their locks."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.contenders import hold_digest
from support.processes import child
from support.storage import CONTENT, StorePlace, publish, read_blob, stage

from registry_wsgi.names import Digest
from registry_wsgi.storage.store import BlobStore

DIGEST = Digest.of(CONTENT)
MIB = 1 << 20
LARGE = bytes(range(256)) * (3 * MIB // 256) + b"the end"


# --- Blobs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("content", [CONTENT, b"", LARGE], ids=["small", "empty", "large"])
def test_published_bytes_are_a_blob(store: BlobStore, content: bytes, algorithm: str) -> None:
    """What was staged is read under its digest, and is staged no more."""
    digest = publish(store, content, Digest.of(content, algorithm))
    stored = store.stored(digest)

    assert read_blob(store, digest) == content
    assert stored
    assert stored.size == len(content)
    assert list(store.uploads()) == []


def test_a_blob_is_read_from_anywhere(store: BlobStore) -> None:
    """Its reader can seek, as a range request needs it."""
    publish(store, LARGE)
    content = store.open(Digest.of(LARGE))

    assert content
    with content:
        content.seek(-7, 2)
        assert content.read() == b"the end"
        content.seek(1)
        assert content.read(3) == b"\x01\x02\x03"


def test_what_was_not_published_is_no_blob(store: BlobStore) -> None:
    """Staged bytes are not served, and neither is anything under another digest."""
    stage(store, "upload", CONTENT)
    publish(store, b"else")

    assert store.open(DIGEST) is None
    assert store.stored(DIGEST) is None


def test_a_blob_may_be_published_again(store: BlobStore) -> None:
    """A second push of the same content is the same blob."""
    publish(store)
    publish(store)

    assert read_blob(store, DIGEST) == CONTENT
    assert list(store.blobs()) == [DIGEST]


def test_publishing_replaces_corrupt_bytes(store: BlobStore) -> None:
    """A push of the right bytes repairs a blob, whatever was under its digest."""
    publish(store, b"corrupt, and of another length", DIGEST)
    publish(store)

    assert read_blob(store, DIGEST) == CONTENT


def test_a_reader_keeps_what_it_opened(store: BlobStore) -> None:
    """Bytes that are being read stay as they are while the blob is replaced or removed."""
    publish(store, b"before", DIGEST)
    content = store.open(DIGEST)
    assert content
    with content:
        publish(store)
        with store.lock(DIGEST):
            store.remove(DIGEST)

        assert content.read() == b"before"
    assert store.open(DIGEST) is None


def test_a_removed_blob_is_gone(store: BlobStore) -> None:
    """It is removed once or often, and others stay."""
    publish(store)
    other = publish(store, b"else")
    with store.lock(DIGEST):
        store.remove(DIGEST)
        store.remove(DIGEST)

    assert store.open(DIGEST) is None
    assert store.stored(DIGEST) is None
    assert list(store.blobs()) == [other]


def test_a_quarantined_blob_is_not_served(store: BlobStore) -> None:
    """Corrupt bytes are out of the way, and a push puts good ones in their place."""
    publish(store, b"corrupt", DIGEST)
    with store.lock(DIGEST):
        store.quarantine(DIGEST)
    gone = store.open(DIGEST)
    publish(store)

    assert gone is None
    assert read_blob(store, DIGEST) == CONTENT


def test_blobs_are_listed(store: BlobStore) -> None:
    """Every blob of either algorithm, once, and nothing that is only staged."""
    published = {publish(store, b"%d" % number) for number in range(10)}
    published |= {publish(store, b"%d" % n, Digest.of(b"%d" % n, "sha512")) for n in range(10)}
    stage(store, "upload", CONTENT)

    assert sorted(store.blobs()) == sorted(published)


def test_a_blob_is_there_for_whoever_opens_the_store(store_place: StorePlace) -> None:
    """What was published is there when the store is opened anew."""
    publish(store_place.open())

    assert read_blob(store_place.open(), DIGEST) == CONTENT


# --- Locks of digests -----------------------------------------------------------------------------


def test_a_digest_is_locked_by_one(store: BlobStore) -> None:
    """Threads under the same digest's lock take turns."""
    barrier = threading.Barrier(8, timeout=30)
    inside: list[int] = []

    def enter(number: int) -> int:
        barrier.wait()
        with store.lock(DIGEST):
            inside.append(number)
            among = len(inside)
            inside.remove(number)
        return among

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(enter, range(8))) == [1] * 8


def test_a_digest_lock_keeps_other_processes_out(store_place: StorePlace) -> None:
    """Who wants a digest's lock that another process has gets it when that is killed."""
    store = store_place.open()
    entered = threading.Event()

    def enter() -> None:
        with store.lock(DIGEST):
            entered.set()

    with child(hold_digest, store_place, DIGEST) as holder, ThreadPoolExecutor(1) as pool:
        holder.hear()
        waiting = pool.submit(enter)
        early = entered.wait(0.05)
        holder.kill()
        waiting.result(30)

    assert not early
    assert entered.is_set()


# --- Room and readiness ---------------------------------------------------------------------------


def test_a_store_is_ready(store: BlobStore) -> None:
    """A store that can be written to says so, and leaves nothing behind."""
    store.ready()

    assert list(store.uploads()) == []
    assert list(store.blobs()) == []


def test_a_store_has_room_for_little(store: BlobStore) -> None:
    """What fits is not refused, and neither is nothing."""
    store.require_space(0)
    store.require_space(1)

    assert list(store.uploads()) == []
