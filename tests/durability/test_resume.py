"""An upload goes on from where it was: after a broken connection, a restart, and processes killed."""

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.counts import Counts
from support.images import noise, sha256
from support.operating import check
from support.pushes import open_upload, with_digest
from support.server import RunningServer, throwaway_directory
from support.tracing import answers, children_of
from support.verbs import Verbs, request_target
from support.waiting import wait_until
from support.wire import Wire, request

BLOCK = 1 << 20
"""The registry writes so many bytes at once."""

LAYER = noise(8 * BLOCK, "resumed")
DIGEST = sha256(LAYER)
BLOB = f"/v2/test/app/blobs/{DIGEST}"


CUTS = 3


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """A registry of two processes."""
    with throwaway_directory() as folder:
        started = RunningServer(folder / "data", settings="[server]\nworkers = 2\n").start()
        yield started
        if started.process is not None:
            started.kill()


def begin(server: RunningServer, location: str, part: bytes, *, method: str = "PATCH") -> Wire:
    """Send the head of a request for the whole layer, and a part of its body."""
    wire = Wire(server.host)
    head = request(method, request_target(location), None, f"Content-Length: {len(LAYER)}")
    return wire.send(head + part)


def staged_size(server: RunningServer) -> int:
    """How many bytes of sessions are on the disk."""
    return sum(path.stat().st_size for path in (server.data / "uploads").iterdir())


def wait_until_staged(server: RunningServer, size: int) -> None:
    """Return when so many bytes of sessions are on the disk."""
    wait_until(lambda: staged_size(server) >= size, f"{size} staged bytes")


def offset_of(answer_range: str) -> int:
    """How many bytes a session has, by its ``Range``."""
    return int(answer_range.split("-")[1]) + 1


def is_free(http: Verbs, location: str) -> bool:
    """Whether nobody writes to the session."""
    return http.patch(http.get(location, 204).location, b"", None).status == 202


def resume(http: Verbs, location: str) -> int:
    """Ask where a session stands and send what is missing, as a client does; where it stood."""
    answer = http.get(location, 204)
    offset = offset_of(answer["Range"])
    answer = http.patch(answer.location, LAYER[offset:])
    http.put(with_digest(answer.location, DIGEST))
    return offset


def is_whole(server: RunningServer) -> None:
    """The test fails unless the layer is there, byte for byte."""
    assert server.http.get(BLOB).body == LAYER
    check(server.data)


@pytest.mark.parametrize("end", ["connection closed", "connection reset"])
def test_a_broken_connection_keeps_what_arrived(server: RunningServer, end: str) -> None:
    """GET tells how much came, and the client goes on from there."""
    location = open_upload(server.http, "test/app")
    wire = begin(server, location, LAYER[:2_000_000])
    wait_until_staged(server, 1)
    if end == "connection reset":
        wire.reset()
    else:
        wire.close()
    wait_until(lambda: is_free(server.http, location), "the end of the connection")

    assert 0 < resume(server.http, location) <= 2_000_000
    is_whole(server)


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_short_body_is_never_a_whole_one(server: RunningServer, method: str) -> None:
    """A body that ends before its announced length makes no blob, whatever it is the digest of."""
    location = open_upload(server.http, "test/app")
    part = LAYER[:1_000_000]
    path = location if method == "PATCH" else with_digest(location, sha256(part))
    with begin(server, path, part, method=method) as wire:
        reply = wire.finish().reply()

    assert reply is None or reply.status == 400
    server.http.get(f"/v2/test/app/blobs/{sha256(part)}", 404)
    assert resume(server.http, location) == len(part)
    is_whole(server)


def kill_all(server: RunningServer) -> None:
    """End all processes, and start others."""
    server.kill()
    server.start()


def kill_workers(server: RunningServer) -> None:
    """End the workers alone: others take their place."""
    for worker in children_of(server):
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: answers(server), "other workers have taken their place")


@pytest.mark.parametrize("kill", [kill_all, kill_workers])
def test_an_upload_goes_on_after_its_processes_were_killed(
    server: RunningServer, kill: object, counts: Counts
) -> None:
    """SIGKILL in the middle of a chunk: the session is free, keeps what came, and becomes the blob."""
    assert callable(kill)
    chance = random.Random(3)  # noqa: S311 - where it is cut, not a secret
    location = open_upload(server.http, "test/app")
    offsets = [0]
    for _ in range(CUTS):
        answer = server.http.get(location, 204)
        offsets.append(offset_of(answer["Range"]) if staged_size(server) else 0)
        more = offsets[-1] + chance.randrange(3 * BLOCK // 2, 2 * BLOCK)
        wire = begin_at(server, answer.location, offsets[-1], LAYER[offsets[-1] : more])
        wait_until_staged(server, offsets[-1] + BLOCK)
        kill(server)
        wire.close()
    resumed_at = resume(server.http, location)
    counts("uploads cut by SIGKILL", cuts=CUTS, **{"bytes kept": resumed_at}, lost=0)

    assert resumed_at >= CUTS * BLOCK
    is_whole(server)


def begin_at(server: RunningServer, location: str, offset: int, part: bytes) -> Wire:
    """As ``begin``, for what is left after ``offset``."""
    wire = Wire(server.host)
    length = f"Content-Length: {len(LAYER) - offset}"
    return wire.send(request("PATCH", request_target(location), None, length) + part)


def test_a_second_writer_is_refused_while_the_first_is_sending(server: RunningServer) -> None:
    """In whichever process: 409 for the second, and the first one's bytes are the blob."""
    location = open_upload(server.http, "test/app")
    with begin(server, location, LAYER[:1_000_000]) as first:
        wait_until_staged(server, 1)
        refusals = [server.http.patch(location, b"other bytes", None) for _ in range(8)]
        reply = first.send(LAYER[1_000_000:]).reply("PATCH")

    assert {answer.status for answer in refusals} == {409}
    assert reply is not None
    assert reply.status == 202
    server.http.put(with_digest(reply.value("Location"), DIGEST))
    is_whole(server)


def test_of_writers_at_once_one_wins_each_chunk(server: RunningServer, counts: Counts) -> None:
    """Eight clients send the same chunks to one session: never an interleaved byte."""
    location = open_upload(server.http, "test/app")
    statuses: list[int] = []
    step = BLOCK

    def send_all() -> None:
        while True:
            answer = server.http.get(location, None)
            if answer.status != 204:
                return
            offset = offset_of(answer["Range"]) if staged_size(server) else 0
            if offset >= len(LAYER):
                return
            chunk = LAYER[offset : offset + step]
            statuses.append(server.http.patch(answer.location, chunk, None).status)

    clients = [threading.Thread(target=send_all) for _ in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    counts("writers at once", sent=len(statuses), taken=statuses.count(202), interleaved=0)

    assert statuses.count(202) == len(LAYER) // step
    assert set(statuses) <= {202, 409, 416}
    server.http.put(with_digest(server.http.get(location, 204).location, DIGEST))
    is_whole(server)


def test_a_replayed_end_is_answered_after_a_restart(server: RunningServer) -> None:
    """A client that did not hear the 201 asks again, and again after the registry was killed."""
    location = open_upload(server.http, "test/app")
    end = with_digest(server.http.patch(location, LAYER).location, DIGEST)
    server.http.put(end)
    server.kill()
    server.start()
    server.http.put(end)

    is_whole(server)
    server.http.delete(BLOB)
    server.http.put(end, expect=404)


def test_clients_that_push_the_same_layer_at_once_all_succeed(server: RunningServer) -> None:
    """Twelve pushes of one layer to three repositories: all are answered 201, and there is one file."""
    barrier = threading.Barrier(12)
    statuses: list[int] = []

    def push(number: int) -> None:
        barrier.wait()
        path = f"/v2/test/{number % 3}/blobs/uploads/?digest={DIGEST}"
        status = 503
        while status == 503:  # more at once than it takes: asked to come again
            status = server.http.post(path, LAYER, None).status
        statuses.append(status)

    clients = [threading.Thread(target=push, args=(number,)) for number in range(12)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()

    assert statuses == [201] * 12
    assert [path.name for path in files_of(server, DIGEST)] == [DIGEST[7:]]
    for number in range(3):
        assert server.http.get(f"/v2/test/{number}/blobs/{DIGEST}").body == LAYER
    check(server.data)


def files_of(server: RunningServer, digest: str) -> list[Path]:
    """The files of a blob."""
    return list(server.data.glob(f"blobs/sha256/*/*{digest[9:]}*"))
