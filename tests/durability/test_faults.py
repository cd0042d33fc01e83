"""A disk that fails a running registry: what it answers, and what is there afterwards."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.counts import Counts
from support.images import noise, sha256
from support.operating import check, command
from support.pushes import (
    image,
    open_upload,
    push_blob,
    push_image,
    put_manifest,
)
from support.server import RunningServer, throwaway_directory
from support.tracing import Fault, answers, children_of, injected
from support.verbs import Answer, Verbs
from support.waiting import wait_until
from support.wire import Wire, request

LAYER = noise(20_000, "faults")
CONTENT = b"what was acknowledged"
FLAG = "io-error"
LOG = "registry.sqlite3-wal"


def refused(answer: Answer, *statuses: int) -> None:
    """The test fails unless the answer is an error of the registry's with one of these statuses."""
    assert answer.status in statuses, answer
    (error,) = answer.json()["errors"]
    assert set(error) == {"code", "message", "detail"}


def still_pulls(http: Verbs) -> None:
    """The test fails unless the image that was pushed first can be pulled."""
    body = http.get("/v2/test/app/manifests/first").body
    http.head("/v2/test/app/manifests/first")
    http.head(f"/v2/test/app/blobs/{sha256(CONTENT)}")

    assert sha256(body) == http.get("/v2/test/app/manifests/first")["Docker-Content-Digest"]
    assert http.get(f"/v2/test/app/blobs/{sha256(CONTENT)}").body == CONTENT


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """A registry of two processes with an image in it; killed, for it may be past stopping."""
    with throwaway_directory() as folder:
        started = RunningServer(folder / "data", settings="[server]\nworkers = 2\n").start()
        push_image(started.http, "test/app", "first", content=CONTENT)
        yield started
        started.kill()


def patch(server: RunningServer, location: str) -> Answer:
    """Send a chunk."""
    return server.http.patch(location, LAYER, None)


def push_whole(server: RunningServer, location: str) -> Answer:
    """Push a blob in one request; the session is not used."""
    assert location
    path = f"/v2/test/app/blobs/uploads/?digest={sha256(LAYER)}"
    return server.http.post(path, LAYER, None)


def push_tag(server: RunningServer, location: str) -> Answer:
    """Put another tag on the image; the session is not used."""
    assert location
    body = server.http.get("/v2/test/app/manifests/first").body
    return put_manifest(server.http, "/v2/test/app/manifests/second", body, None)


# --- A sync that fails ----------------------------------------------------------------------------

Act = Callable[[RunningServer, str], Answer]

SYNCS: dict[str, tuple[Act, Callable[[Path, str], Path]]] = {
    "of a session's bytes": (patch, lambda data, uuid: data / "uploads" / uuid),
    "of the directory of a blob": (
        push_whole,
        lambda data, _: data / "blobs" / "sha256" / sha256(LAYER)[7:9],
    ),
    "of the index's log": (push_tag, lambda data, _: data / LOG),
}


@pytest.mark.parametrize("sync", SYNCS)
def test_a_failed_sync_stops_writes_until_an_operator_starts_the_registry(
    server: RunningServer, sync: str, counts: Counts
) -> None:
    """EIO on a sync: no write is acknowledged by any process, pulls go on, a start with fsck ends it."""
    act, path_of = SYNCS[sync]
    location = open_upload(server.http, "test/app")
    uuid = location.split("?")[0].rsplit("/", 1)[1]
    fault = Fault("fdatasync,fsync", "EIO", paths=(path_of(server.data, uuid),))
    with injected(server, fault) as injection:
        refused(act(server, location), 503)
    counts(f"faults, EIO {sync}", injected=injection.count)

    assert injection.count > 0
    assert (server.data / FLAG).exists()
    writes_are_refused(server)
    for worker in children_of(server):
        os.kill(worker, signal.SIGKILL)
    wait_for_workers(server)
    writes_are_refused(server)
    assert "disk error" in command(server.data, "gc", expect=1).stderr
    server.kill()
    server.start()
    assert not (server.data / FLAG).exists()
    push_image(server.http, "test/app", "again", content=LAYER)
    still_pulls(server.http)
    check(server.data)


WRITING = {
    "a deletion": ("delete", "test/app"),
    "a user": ("user", "add", "anna", "--password-stdin"),
    "a group": ("group", "add", "developers", "anna"),
    "a token": ("token", "create", "ci"),
    "a key": ("secret", "rotate"),
    "a replay": ("events", "replay"),
    "an import": ("import", "nowhere"),
    "moving in": ("import-distribution", "nowhere"),
}


@pytest.mark.parametrize("words", WRITING.values(), ids=WRITING)
def test_no_command_writes_after_a_disk_error(
    server: RunningServer, words: tuple[str, ...]
) -> None:
    """Nobody can say what is on the disk: commands change no more than the server does."""
    secret = (server.data / "secret").read_bytes()
    (server.data / FLAG).touch()
    ended = command(server.data, *words, expect=1)

    assert "a disk error stopped writes: start the registry anew" in ended.stderr
    assert (server.data / "secret").read_bytes() == secret
    assert command(server.data, "group", "list").stdout == ""
    assert command(server.data, "gc", "--dry-run").stdout.startswith("would remove")
    still_pulls(server.http)


def test_who_is_shut_out_is_shut_out_after_a_disk_error(server: RunningServer) -> None:
    """To take a right away is tried, whatever is wrong with the disk: it can do no harm."""
    command(server.data, "group", "add", "developers", "anna")
    token = command(server.data, "token", "create", "ci").stdout
    (server.data / FLAG).touch()
    command(server.data, "group", "remove", "developers", "anna")
    command(server.data, "token", "revoke", "ci")

    assert token
    assert command(server.data, "group", "list").stdout == ""
    assert command(server.data, "token", "list").stdout == ""


def writes_are_refused(server: RunningServer) -> None:
    """The test fails unless every process refuses writes, and all of them serve pulls."""
    for _ in range(8):
        answer = server.http.post("/v2/test/app/blobs/uploads/", None, None)
        refused(answer, 503)
        assert int(answer["Retry-After"]) > 0
        refused(server.http.delete("/v2/test/app/manifests/first", 503), 503)
        refused(server.http.get("/readyz", 503), 503)
        still_pulls(server.http)


def wait_for_workers(server: RunningServer) -> None:
    """Return when a request is answered again."""
    wait_until(lambda: answers(server), "other workers have taken their place")


def test_writes_stay_refused_while_fsck_finds_a_problem(server: RunningServer) -> None:
    """A start after a disk error says what fsck found, and accepts writes only once it is repaired."""
    (blob,) = server.data.glob(f"blobs/sha256/*/{sha256(CONTENT)[7:]}")
    server.kill()
    (server.data / FLAG).touch()
    blob.chmod(0o600)
    blob.write_bytes(CONTENT[::-1])
    server.start()
    refused(server.http.post("/v2/test/app/blobs/uploads/", None, None), 503)

    assert f"writes stay refused after a disk error: {sha256(CONTENT)}" in server.log
    server.kill()
    command(server.data, "fsck", "--deep", "--repair", expect=1)
    server.start()
    refused(server.http.post("/v2/test/app/blobs/uploads/", None, None), 503)
    server.http.get("/v2/test/app/manifests/first")


def test_sessions_end_with_the_start_after_a_failed_sync(server: RunningServer) -> None:
    """Of what was staged when a sync failed nobody can say what is on the disk: it is begun anew."""
    location = open_upload(server.http, "test/app")
    server.http.patch(location, LAYER)
    server.kill()
    (server.data / FLAG).touch()
    server.start()

    server.http.get(location, 404)
    assert list((server.data / "uploads").iterdir()) == []


# --- A write that fails ---------------------------------------------------------------------------

STAGED = "uploads/{uuid}"
WRITES: dict[str, tuple[Act, str, str, tuple[str, ...], tuple[int, ...]]] = {
    "ENOSPC while a chunk is written": (patch, "pwrite64", "ENOSPC", (STAGED,), (507,)),
    "EDQUOT while a chunk is written": (patch, "pwrite64", "EDQUOT", (STAGED,), (507,)),
    "EIO while a chunk is written": (patch, "pwrite64", "EIO", (STAGED,), (503,)),
    "ENOSPC while a chunk is synced": (patch, "fdatasync", "ENOSPC", (STAGED,), (507,)),
    "EIO while a blob is renamed": (push_whole, "rename,renameat,renameat2", "EIO", (), (503,)),
    "ENOSPC while a blob is renamed": (
        push_whole,
        "rename,renameat,renameat2",
        "ENOSPC",
        (),
        (507,),
    ),
    "ENOSPC in the index's log": (push_tag, "pwrite64", "ENOSPC", (LOG,), (503, 507)),
    "EDQUOT in the index's log": (
        push_tag,
        "pwrite64,fallocate",
        "EDQUOT",
        (LOG, "reserve"),
        (503, 507),
    ),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_failed_write_fails_one_request(server: RunningServer, name: str, counts: Counts) -> None:
    """Its client gets an error, its bytes are given back, and the next request is served."""
    act, calls, errno, paths, statuses = WRITES[name]
    location = open_upload(server.http, "test/app")
    uuid = location.split("?")[0].rsplit("/", 1)[1]
    on = tuple(server.data / path.format(uuid=uuid) for path in paths)
    with injected(server, Fault(calls, errno, paths=on)) as injection:
        refused(act(server, location), *statuses)
        still_pulls(server.http)
    counts(f"faults, {name}", injected=injection.count)

    assert injection.count > 0
    assert not (server.data / FLAG).exists()
    if act is patch:
        server.http.get(location, 404)
    assert list((server.data / "uploads").iterdir()) == (
        [] if act is patch else [on_disk(server, uuid)]
    )
    push_image(server.http, "test/app", "again", content=LAYER)
    still_pulls(server.http)
    check(server.data)


def on_disk(server: RunningServer, uuid: str) -> Path:
    """The staged file of a session."""
    return server.data / "uploads" / uuid


SWEEP = [
    (calls, errno, number)
    for calls in ("pwrite64", "fdatasync,fsync")
    for errno in ("EIO", "ENOSPC")
    for number in (1, 2, 3, 4)
]


def test_a_fault_at_any_call_loses_nothing(server: RunningServer, counts: Counts) -> None:
    """Whichever write or sync of a push fails: what was answered with 201 is there, and fsck is content."""
    acknowledged, injections = 0, 0
    for calls, errno, number in SWEEP:
        layer = noise(5000, f"{calls} {errno} {number}")
        with injected(server, Fault(calls, errno, str(number))) as injection:
            status = push_some(server.http, layer, f"{errno.lower()}-{number}")
        injections += injection.count
        if (server.data / FLAG).exists():
            server.kill()
            server.start()
        if status == 201:
            acknowledged += 1
            assert server.http.get(f"/v2/test/sweep/blobs/{sha256(layer)}").body == layer
        assert push_some(server.http, layer, "afterwards") == 201
        still_pulls(server.http)
    check(server.data)
    counts("faults at any call", injected=injections, acknowledged=acknowledged, lost=0)

    assert injections >= len(SWEEP) // 2


def push_some(http: Verbs, layer: bytes, tag: str) -> int:
    """Push an image until something is refused; the last status."""
    for content in (b"{}", layer):
        path = f"/v2/test/sweep/blobs/uploads/?digest={sha256(content)}"
        answer = http.post(path, content, None)
        if answer.status != 201:
            refused(answer, 503, 507)
            return answer.status
    path = f"/v2/test/sweep/manifests/{tag}"
    answer = put_manifest(http, path, image(b"{}", layer), None)
    if answer.status != 201:
        refused(answer, 503, 507)
    return answer.status


# --- A read that fails ----------------------------------------------------------------------------


@pytest.mark.parametrize("calls", ["openat", "lseek", "sendfile,read,pread64"])
def test_a_failed_read_is_never_a_whole_answer(server: RunningServer, calls: str) -> None:
    """EIO while a blob is read: an error, or a connection cut before the announced length."""
    content = noise(3_000_000, "read")
    digest = push_blob(server.http, "test/app", content)
    path = server.data / "blobs" / "sha256" / digest[7:9] / digest[7:]
    with (
        injected(server, Fault(calls, "EIO", paths=(path,))) as injection,
        Wire(server.host) as wire,
    ):
        reply = wire.send(request("GET", f"/v2/test/app/blobs/{digest}")).reply()

    assert injection.count > 0
    assert reply is None or reply.status >= 500 or len(reply.body) < len(content)
    assert server.http.get(f"/v2/test/app/blobs/{digest}").body == content


STANDARD_STREAMS = 3


def test_a_process_without_descriptors_answers_503(server: RunningServer) -> None:
    """EMFILE fails a write with 503 and leaves nothing open; with descriptors it is served again."""
    with Wire(server.host) as wire:
        wire.exchange(request("GET", "/v2/"))
        limits = [
            (worker, resource.prlimit(worker, resource.RLIMIT_NOFILE))
            for worker in children_of(server)
        ]
        for worker, (_, most) in limits:
            # Fewer than it has: one that is closed meanwhile makes no room.
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (STANDARD_STREAMS, most))
        reply = wire.exchange(request("POST", "/v2/test/app/blobs/uploads/", b""))
        for worker, limit in limits:
            resource.prlimit(worker, resource.RLIMIT_NOFILE, limit)

    assert (reply.status, reply.code) == (503, "UNAVAILABLE")
    push_image(server.http, "test/app", "again", content=LAYER)
    check(server.data)
