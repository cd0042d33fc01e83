"""Small requests on kept-alive connections: answered by the poller, with the pool's answers."""

import dataclasses
import fcntl
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.images import MANIFEST, encode, noise, sha256
from support.pushes import (
    EMPTY,
    UNKNOWN_DIGEST,
    Pushed,
    artifact,
    open_upload,
    push_blob,
    push_manifest,
    put_manifest,
)
from support.server import RunningServer, ServerFactory
from support.verbs import request_target
from support.ways import way_of
from support.wire import Reply, Wire, request

ACCEPTS = (
    "User-Agent: docker/24.0.7",
    "Accept: application/vnd.docker.distribution.manifest.v2+json",
    "Accept: application/vnd.docker.distribution.manifest.list.v2+json",
    f"Accept: {MANIFEST}",
    "Accept: application/vnd.oci.image.index.v1+json",
    "Accept-Encoding: gzip",
)
"""What docker sends with a request for a manifest."""

REPOSITORY = "worker/app"
LARGE_ANSWERS = 2
"""How many answers of nearly 4 MiB are more than a connection's buffers take.

A third request would come in one piece with the second, and be the pool's.
"""

PRIMING = 3
"""Requests after which a connection's headers are known: the pool's own, and one to learn from."""


def fill(server: RunningServer, **more: str) -> Pushed:
    """Push an artifact with two tags; its manifest."""
    push_blob(server.http, REPOSITORY, EMPTY)
    document = artifact(annotations={"org.test": "worker", **more})
    push_manifest(server.http, REPOSITORY, document, "v1")
    return push_manifest(server.http, REPOSITORY, document, "v2")


def get(path: str, *headers: str) -> bytes:
    """A GET below this repository."""
    return request("GET", f"/v2/{REPOSITORY}/{path}", None, *(headers or ACCEPTS))


def head(path: str, *headers: str) -> bytes:
    """A HEAD below this repository."""
    return request("HEAD", f"/v2/{REPOSITORY}/{path}", None, *(headers or ACCEPTS))


EMPTY_DIGEST = sha256(EMPTY)
LARGE = noise(2_000_000, "worker")
ETAG = f'"{UNKNOWN_DIGEST}"'

REQUESTS: dict[str, bytes] = {
    "the base": request("GET", "/v2/"),
    "a manifest by tag": get("manifests/v1"),
    "a manifest's head": head("manifests/v1"),
    "a manifest by digest, unknown": get(f"manifests/{UNKNOWN_DIGEST}"),
    "a manifest by a tag that is none": get("manifests/-x"),
    "a manifest, if it changed": get("manifests/v1", "If-None-Match: *"),
    "a manifest, if it is another": get("manifests/v1", f"If-None-Match: {ETAG}"),
    "a manifest that was asked for by name": get("manifests/v1", "X-Request-Id: abc-1"),
    "a manifest, in part": get("manifests/v1", "Range: bytes=0-3"),
    "a manifest, with a content type": get("manifests/v1", "Content-Type: text/html"),
    "a manifest, kept alive by word": get("manifests/v1", "Connection: keep-alive"),
    "a manifest, forwarded": get("manifests/v1", "X-Forwarded-Proto: https", "Forwarded: host=x"),
    "a blob's head": head(f"blobs/{EMPTY_DIGEST}"),
    "a blob's head, unknown": head(f"blobs/{UNKNOWN_DIGEST}"),
    "a blob's head, not a digest": head("blobs/sha256:0"),
    "a blob": get(f"blobs/{EMPTY_DIGEST}"),
    "a range of a blob": get(f"blobs/{EMPTY_DIGEST}", "Range: bytes=1-1"),
    "a range beyond a blob": get(f"blobs/{EMPTY_DIGEST}", "Range: bytes=5-"),
    "a blob, if it changed": get(f"blobs/{EMPTY_DIGEST}", "If-None-Match: *"),
    "a large blob": get(f"blobs/{sha256(LARGE)}"),
    "a range of a large blob": get(f"blobs/{sha256(LARGE)}", "Range: bytes=1000000-1065535"),
    "a large range": get(f"blobs/{sha256(LARGE)}", "Range: bytes=1000-"),
    "tags": get("tags/list"),
    "a page of tags": get("tags/list?n=1"),
    "a page of tags of no size": get("tags/list?n=x"),
    "tags of nobody": request("GET", "/v2/worker/none/tags/list"),
    "the catalog": request("GET", "/v2/_catalog"),
    "referrers": get(f"referrers/{UNKNOWN_DIGEST}"),
    "an encoded path": get("manifests/v%31"),
    "a name that is none": request("GET", "/v2/UPPER/manifests/v1"),
    "a path that is none": request("GET", "/v2/worker"),
    "the base without its slash": request("GET", "/v2"),
    "two slashes": request("GET", "//v2/"),
    "a query that is none": request("GET", "/v2/?%zz=%"),
    "a health check": request("GET", "/healthz"),
}


def shown(reply: Reply | None) -> tuple[int, list[tuple[str, str]], bytes]:
    """An answer but for its date."""
    assert reply is not None
    headers = [(name, value) for name, value in reply.headers if name.lower() != "date"]
    return reply.status, headers, reply.body


@pytest.fixture(scope="module")
def filled(servers: dict[str, RunningServer]) -> dict[str, RunningServer]:
    """Both servers with the same content."""
    for server in servers.values():
        fill(server)
        push_blob(server.http, REPOSITORY, LARGE)
    return servers


@pytest.mark.parametrize("data", REQUESTS.values(), ids=REQUESTS)
def test_the_poller_answers_as_the_pool_does(filled: dict[str, RunningServer], data: bytes) -> None:
    """Asked six times on one connection, status, headers in order and body are always the same."""
    with Wire(filled["fast"].host) as fast, Wire(filled["plain"].host) as plain:
        found = [shown(fast.exchange(data)) for _ in range(PRIMING + 3)]
        expected = [shown(plain.exchange(data)) for _ in range(PRIMING + 3)]

    # The two have ports of their own.
    text = repr(found).replace(filled["fast"].host, "HOST")
    assert text == repr(expected).replace(filled["plain"].host, "HOST")


@pytest.mark.parametrize("data", REQUESTS.values(), ids=REQUESTS)
def test_requests_in_pairs_are_answered_in_order(
    filled: dict[str, RunningServer], data: bytes
) -> None:
    """Two requests in one packet, after others had answers from the poller: both, in order."""
    second = get("manifests/v2")
    with Wire(filled["fast"].host) as wire:
        for _ in range(PRIMING):
            wire.exchange(data)
            expected = shown(wire.exchange(data)), shown(wire.exchange(second))
        wire.send(data + second)
        found = shown(wire.reply(data.split()[0].decode())), shown(wire.reply())

    assert found == expected


RANGES = (
    "Range: bytes=0-3",
    "Range: bytes=1000-1001",
    "Range: bytes=7-",
    "Range: bytes=1999999-1999999",
    "Range: bytes=1999999-3000000",
    "Range: bytes=2000000-2000001",
    "Range: bytes=5-2",
    "Range: bytes=-3",
    "Range: bytes=",
    "Range: bytes=0-3,5-6",
    "Range: bytes=0-3\r\nRange: bytes=5-6",
    "Range: bytes=0-3\r\nrange: bytes=5-6",
    "range: bytes=5-6\r\nRange: bytes=0-3",
    "range: bytes=2-3",
    f"Range: bytes=0-3\r\nIf-Range: {ETAG}",
    "X-Range: bytes=0-3",
    "Range: items=0-3",
    f"Range: bytes={'9' * 19}-",
)


def test_each_range_is_the_one_that_was_asked_for(filled: dict[str, RunningServer]) -> None:
    """On one connection, after others and before them: known headers stand for no other numbers."""
    asked = [get(f"blobs/{sha256(LARGE)}", header) for header in RANGES]
    with Wire(filled["plain"].host) as wire:
        expected = [shown(wire.exchange(data)) for data in asked]
    for order in (range(len(asked)), range(len(asked) - 1, -1, -1)):
        with Wire(filled["fast"].host) as wire:
            for number in [*order, *order, *order]:
                assert shown(wire.exchange(asked[number])) == expected[number], RANGES[number]


def test_a_head_in_pieces_is_a_request(filled: dict[str, RunningServer]) -> None:
    """A known head that comes in two packets is answered once, and rightly."""
    data = get("manifests/v1")
    with Wire(filled["fast"].host) as wire:
        expected = [shown(wire.exchange(data)) for _ in range(PRIMING)]
        found = []
        for cut in range(1, len(data), 7):
            wire.send(data[:cut])
            wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.send(data[cut:])
            found.append(shown(wire.reply()))

    assert found == expected[:1] * len(found)


BASE = request("GET", "/v2/")
TAGS = f"GET /v2/{REPOSITORY}/tags/list HTTP/1.1".encode()

UNFINISHED = {
    "no line's end": ((b"GET", BASE[3:]), TAGS + b"T"),
    "an empty line before": ((b"\r\n" + BASE,), TAGS + b"\r\n" + BASE),
    "an empty line before a piece": ((b"\r\nG", BASE[1:]), TAGS + b"\r\nG"),
}


@pytest.mark.parametrize(("pieces", "unfinished"), UNFINISHED.values(), ids=UNFINISHED)
def test_what_is_no_whole_head_is_not_known_by_its_end(
    filled: dict[str, RunningServer], pieces: tuple[bytes, ...], unfinished: bytes
) -> None:
    """Pieces of a request teach nothing that another request, which never ends, is answered by."""
    found: dict[str, list[int | None]] = {"plain": [], "fast": []}
    for name, statuses in found.items():
        for _ in range(10):
            with Wire(filled[name].host) as wire:
                wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for _ in range(PRIMING):
                    wire.exchange(BASE)
                for piece in pieces:
                    wire.send(piece)
                assert wire.reply() is not None
                reply = wire.send(unfinished).finish().reply()
            # What can become no head is refused, or let go with the client.
            statuses.append(reply.status if reply and reply.status != 400 else None)

    assert found["fast"] == found["plain"]


REFUSED: dict[str, tuple[bytes, int]] = {
    "an underscore in a name": (get("manifests/v1", "X_Forwarded_For: 1.2.3.4"), 400),
    "two hosts": (get("manifests/v1", "Host: other.test"), 400),
    "a line folded": (get("manifests/v1", "X-A: 1\r\n 2"), 400),
    "a bare LF": (get("manifests/v1", "X-A: 1\nX-B: 2"), 400),
    "a NUL": (get("manifests/v1", "X-A: \0"), 400),
    "a header of 9 KiB": (get("manifests/v1", f"X-A: {'a' * 9216}"), 431),
    "101 headers": (get("manifests/v1", *(f"X-{number}: a" for number in range(101))), 431),
    "a line of 5 KiB": (request("GET", f"/v2/?{'a' * 5000}"), 414),
    "a fragment": (request("GET", "/v2/#x"), 200),
    "an expectation": (get("manifests/v1", "Expect: 200-maybe"), 417),
    "two passwords": (get("manifests/v1", "Authorization: Basic YTpi", "Authorization: x"), 200),
    "a length that is none": (get("manifests/v1", "Content-Length: +5"), 400),
    "a version that is none": (b"GET /v2/ HTTP/1.9.9\r\nHost: a\r\n\r\n", 400),
    "an absolute target": (b"GET http://evil.test/v2/ HTTP/1.1\r\nHost: a\r\n\r\n", 200),
}


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED)
def test_gunicorns_rules_hold_on_a_connection_that_is_known(
    filled: dict[str, RunningServer], data: bytes, status: int
) -> None:
    """What gunicorn refuses at first, it refuses after any number of answers from the poller."""
    with Wire(filled["fast"].host) as wire:
        for _ in range(PRIMING + 1):
            wire.exchange(get("manifests/v1"))
        first = wire.send(data).reply()
        again = wire.send(data).reply() if status == 200 else first

    assert first is not None
    assert again is not None
    assert (first.status, again.status) == (status, status)


def test_a_get_with_a_body_is_not_out_of_step(filled: dict[str, RunningServer]) -> None:
    """The body of a GET is skipped, each time, though it comes after its head and looks like one."""
    body = request("GET", "/v2/")
    with Wire(filled["fast"].host) as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(50):
            wire.send(get("manifests/v1", f"Content-Length: {len(body)}")).send(body)
            reply = wire.reply()

            assert reply is not None
            assert reply.value("Content-Type") == MANIFEST


@contextmanager
def busy_pool(server: RunningServer) -> Iterator[None]:
    """The one thread of the server's pool has an upload that does not go on."""
    location = open_upload(server.http, "worker/busy")
    with Wire(server.host) as wire:
        header = "Content-Length: 3000000"
        wire.send(request("PATCH", request_target(location), None, header) + bytes(2_000_000))
        # The offset tells when the thread has it; a request on a new connection could not ask.
        yield


@pytest.fixture
def lonely(fresh_registry: ServerFactory) -> RunningServer:
    """A server with one process and one thread beside the one that polls."""
    server = fresh_registry("--workers", "1", "--threads", "1", environment=way_of("fast"))
    fill(server)
    return server


def test_the_poller_answers_while_every_thread_is_busy(lonely: RunningServer) -> None:
    """What is quick does not wait for uploads: that is the poller's answer, not the pool's."""
    asked = (
        request("GET", "/v2/", None, *ACCEPTS),
        get("manifests/v1"),
        get("manifests/v2"),
        get("tags/list?n=1"),
        request("GET", "/v2/_catalog?n=1", None, *ACCEPTS),
    )
    with Wire(lonely.host) as wire:
        expected = [shown(wire.exchange(data)) for data in asked for _ in range(PRIMING)]
        with busy_pool(lonely):
            found = [shown(wire.exchange(data)) for data in asked for _ in range(PRIMING)]

    assert found == expected


def test_the_poller_answers_ranges_that_were_never_asked_for(lonely: RunningServer) -> None:
    """Whoever reads a layer in parts has other numbers in each request."""
    push_blob(lonely.http, REPOSITORY, LARGE)
    path = f"blobs/{sha256(LARGE)}"
    with Wire(lonely.host) as wire:
        for first in range(PRIMING):
            wire.exchange(get(path, f"Range: bytes={first}-{first}"))
        with busy_pool(lonely):
            replies = [
                wire.exchange(get(path, f"Range: bytes={first}-{first + 65_535}"))
                for first in range(1000, 1020)
            ]

    assert [reply.status for reply in replies] == [206] * 20
    assert [reply.body for reply in replies] == [LARGE[n : n + 65_536] for n in range(1000, 1020)]


def test_a_slow_reader_keeps_nobody_waiting(lonely: RunningServer) -> None:
    """An answer that its client does not read stays with the poller, and is whole in the end."""
    large = artifact(annotations={"org.test.large": "x" * 3_900_000})
    pushed = push_manifest(lonely.http, REPOSITORY, large, "large")
    with Wire(lonely.host) as slow, Wire(lonely.host) as other:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        for _ in range(PRIMING):
            slow.exchange(get("manifests/v1"))
            expected = shown(other.exchange(get("manifests/v1")))
        with busy_pool(lonely):
            found = []
            for _ in range(LARGE_ANSWERS):
                slow.send(get("manifests/large"))
                found += [shown(other.exchange(get("manifests/v1"))) for _ in range(20)]
            replies = [slow.reply() for _ in range(LARGE_ANSWERS)]
            after = shown(slow.exchange(get("manifests/v1")))

    assert found == [expected] * 20 * LARGE_ANSWERS
    assert [reply and reply.body == pushed.body for reply in replies] == [True] * LARGE_ANSWERS
    assert after == expected


def test_a_client_that_leaves_in_an_answer_is_forgotten(lonely: RunningServer) -> None:
    """A connection that breaks while its answer waits to be read is closed; the others go on."""
    large = artifact(annotations={"org.test.large": "x" * 3_900_000})
    push_manifest(lonely.http, REPOSITORY, large, "large")
    with Wire(lonely.host) as other:
        for _ in range(5):
            slow = Wire(lonely.host)
            slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
            for _ in range(PRIMING):
                slow.exchange(get("manifests/v1"))
            for _ in range(LARGE_ANSWERS):
                slow.send(get("manifests/large"))
                other.exchange(get("manifests/v1"))
            slow.reset()

            assert other.exchange(get("manifests/v1")).status == 200

    assert "Traceback" not in lonely.log


def test_a_lease_is_written_whoever_answers(lonely: RunningServer) -> None:
    """HEAD of a blob, on a known connection and across the lease's interval, is 200 each time."""
    digest = push_blob(lonely.http, REPOSITORY, b"leased")
    with Wire(lonely.host) as wire:
        statuses = {wire.exchange(head(f"blobs/{digest}")).status for _ in range(3000)}
    lonely.http.delete(f"/v2/{REPOSITORY}/blobs/{digest}")
    lonely.http.head(f"/v2/{REPOSITORY}/blobs/{digest}", expect=404)

    assert statuses == {200}
    assert "Traceback" not in lonely.log


def test_who_waits_for_the_writer_keeps_nobody_waiting(fresh_registry: ServerFactory) -> None:
    """A lease waits for its turn to write: other connections are answered all the while."""
    server = fresh_registry("--workers", "1", environment=way_of("fast"))
    fill(server)
    with Wire(server.host) as waiting, Wire(server.host) as other:
        for _ in range(PRIMING):
            waiting.exchange(head("manifests/v1"))
            other.exchange(get("manifests/v1"))
        with (server.data / "locks" / "write").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            waiting.send(head("manifests/v1"))
            found = {other.exchange(get("manifests/v1")).status for _ in range(200)}
        reply = waiting.reply("HEAD")

    assert found == {200}
    assert reply is not None
    assert reply.status == 200


def test_what_another_process_wrote_is_answered_at_once(fresh_registry: ServerFactory) -> None:
    """A tag moves: every connection to every process, known or not, has the new one afterwards."""
    server = fresh_registry("--workers", "2", environment=way_of("fast"))
    fill(server)
    wires = [Wire(server.host) for _ in range(8)]
    for turn in range(5):
        for wire in wires:
            wire.exchange(get("manifests/v1"))
        document = artifact(annotations={"org.test.turn": str(turn)})
        put_manifest(server.http, f"/v2/{REPOSITORY}/manifests/v1", document)

        assert {wire.exchange(get("manifests/v1")).body for wire in wires} == {encode(document)}
    for wire in wires:
        wire.close()


@dataclasses.dataclass
class Asker:
    """A client that asks until the server closes its connection."""

    host: str
    answered: int = 0
    wrong: int = 0

    def run(self) -> None:
        """Ask on and on; an answer that is cut short, or another one, is wrong."""
        try:
            with Wire(self.host) as wire:
                while (reply := wire.send(get("manifests/v1")).reply()) is not None:
                    self.answered += 1
                    self.wrong += reply.status != 200
                    if reply.value("Connection") == "close":
                        return
        except (ValueError, IndexError, ConnectionError):
            self.wrong += 1


def test_a_stop_lets_every_answer_out(fresh_registry: ServerFactory, way: str) -> None:
    """Told to stop under load the server answers what it took, says close, and ends by itself."""
    server = fresh_registry("--workers", "2", environment=way_of(way))
    fill(server)
    askers = [Asker(server.host) for _ in range(4)]
    threads = [threading.Thread(target=asker.run) for asker in askers]
    for thread in threads:
        thread.start()
    while min(asker.answered for asker in askers) < 20:
        pass
    code = server.stop()
    for thread in threads:
        thread.join()

    assert code == 0
    assert [asker.wrong for asker in askers] == [0] * 4
