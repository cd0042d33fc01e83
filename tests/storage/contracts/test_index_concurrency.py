"""The contract of ``Index`` among many: threads, processes, forks and processes that are killed."""

import threading
from concurrent.futures import ThreadPoolExecutor

from support.contenders import commit_blob, push_images, write_on_both_sides_of_a_fork
from support.processes import child, run_together
from support.storage import (
    APP,
    CONTENT,
    FakeClock,
    IndexPlace,
    image,
    push_of,
    put_blob,
    put_image,
    upload_of,
)

from registry_wsgi.errors import (
    BLOB_UNKNOWN,
    MANIFEST_BLOB_UNKNOWN,
    PRECONDITION_FAILED,
    ErrorRow,
    RegistryError,
)
from registry_wsgi.names import Digest
from registry_wsgi.storage.base import EVERYTHING, Expectation, Index

WORKERS = 8
COUNT = 10


def expected_tags(workers: int) -> set[str]:
    """The tags that so many workers make."""
    return {"latest", *(f"w{w}-{n}" for w in range(workers) for n in range(COUNT))}


def assert_nothing_is_lost(index: Index, workers: int) -> None:
    """Every tag and every blob that a worker pushed is there."""
    assert set(index.listings.tags(APP, "", 1000) or []) == expected_tags(workers)
    for worker in range(workers):
        for number in range(COUNT):
            assert index.blobs.find(APP, Digest.of(f"{worker} {number}".encode()))


def test_threads_that_push_to_one_repository_lose_nothing(index: Index) -> None:
    """All of what many threads push at once is there afterwards."""
    barrier = threading.Barrier(WORKERS, timeout=30)

    def push(worker: int) -> None:
        barrier.wait()
        for number in range(COUNT):
            layer = f"{worker} {number}".encode()
            put_blob(index, content=layer)
            put_blob(index, content=b"{}")
            index.manifests.put(push_of(image(layer), f"w{worker}-{number}", "latest"))

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(push, range(WORKERS)))

    assert_nothing_is_lost(index, WORKERS)


def test_processes_that_push_to_one_repository_lose_nothing(index_place: IndexPlace) -> None:
    """All of what many processes push at once is there afterwards, in a repository made once."""
    run_together(push_images, *[(index_place, worker, COUNT) for worker in range(4)])

    with index_place.open(FakeClock()) as index:
        assert_nothing_is_lost(index, 4)
        assert index.listings.repositories("", 10, EVERYTHING) == [APP]


def test_a_failing_change_leaves_its_neighbours_alone(index: Index) -> None:
    """Among many changes at once, each has its own outcome, and only failed ones change nothing."""
    barrier = threading.Barrier(24, timeout=30)

    def change(number: int) -> str:
        barrier.wait()
        try:
            if number % 3 == 0:
                put_blob(index, content=b"%d" % number)
            elif number % 3 == 1:
                index.manifests.put(push_of(image(b"missing"), f"t{number}"))
            else:
                index.blobs.unlink(APP, Digest.of(b"missing"))
        except RegistryError as error:
            return error.row.code
        return "done"

    with ThreadPoolExecutor(24) as pool:
        outcomes = list(pool.map(change, range(24)))

    assert outcomes == ["done", MANIFEST_BLOB_UNKNOWN.code, BLOB_UNKNOWN.code] * 8
    assert index.listings.tags(APP, "", 10) == []
    for number in range(0, 24, 3):
        assert index.blobs.find(APP, Digest.of(b"%d" % number))


def test_one_of_many_makes_a_tag(index: Index) -> None:
    """Of many that push a tag which they expect to be absent, one succeeds."""
    put_blob(index)
    put_blob(index, content=b"{}")
    barrier = threading.Barrier(WORKERS, timeout=30)

    def push(number: int) -> Digest | ErrorRow:
        body = image(CONTENT, annotations={"number": str(number)})
        barrier.wait()
        try:
            index.manifests.put(push_of(body, "latest", expect=Expectation(absent=True)))
        except RegistryError as error:
            return error.row
        return Digest.of(body)

    with ThreadPoolExecutor(WORKERS) as pool:
        outcomes = list(pool.map(push, range(WORKERS)))
    made = [outcome for outcome in outcomes if isinstance(outcome, Digest)]

    assert len(made) == 1
    assert outcomes.count(PRECONDITION_FAILED) == WORKERS - 1
    assert index.listings.tags(APP, "", 10) == ["latest"]
    assert index.manifests.find(APP, made[0])


def test_one_of_many_moves_a_session(index: Index) -> None:
    """Of many that move an upload session from the same place, one succeeds."""
    upload = upload_of()
    index.uploads.open(upload)
    barrier = threading.Barrier(WORKERS, timeout=30)

    def advance(number: int) -> bool:
        barrier.wait()
        return index.uploads.advance(upload, number + 1, None)

    with ThreadPoolExecutor(WORKERS) as pool:
        moved = list(pool.map(advance, range(WORKERS)))
    found = index.uploads.find(APP, "upload-1")

    assert moved.count(True) == 1
    assert found
    assert found.stored == moved.index(True) + 1


def test_a_change_is_seen_by_whoever_looks_after_it(index_place: IndexPlace) -> None:
    """When a write has returned, others that have the index open see what it wrote."""
    with index_place.open(FakeClock()) as writer, index_place.open(FakeClock()) as reader:
        for number in range(10):
            before = reader.blobs.find(APP, Digest.of(b"%d" % number))
            digest = put_blob(writer, content=b"%d" % number)

            assert before is None
            assert reader.blobs.find(APP, digest)


def test_a_change_outlives_the_process_that_made_it(index_place: IndexPlace) -> None:
    """What was written is there when the writer gets SIGKILL right after, and can be built upon."""
    with child(commit_blob, index_place, CONTENT) as writer:
        writer.hear()
        writer.kill()

    with index_place.open(FakeClock()) as index:
        assert index.blobs.find(APP, Digest.of(CONTENT))
        put_image(index, "latest")
        assert index.listings.tags(APP, "", 10) == ["latest"]


def test_a_fork_shares_no_connection(index_place: IndexPlace) -> None:
    """An index that was in use before a fork works on both sides of it, and loses nothing."""
    with child(write_on_both_sides_of_a_fork, index_place, COUNT) as process:
        ended_with = process.hear()
        process.finish()

    with index_place.open(FakeClock()) as index:
        missing = [
            f"{side} {number}"
            for side in ("parent", "child")
            for number in range(COUNT)
            if not index.blobs.find(APP, Digest.of(f"{side} {number}".encode()))
        ]
    assert ended_with == 0
    assert missing == []
