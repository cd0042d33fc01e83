"""Bodies in every shape, whole and broken, as bytes to a running server, on both ways in."""

import hashlib
import itertools
import random
import select
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from support.images import sha256
from support.pushes import open_upload, push_blob, with_digest
from support.server import RunningServer, ServerFactory
from support.verbs import request_target
from support.ways import way_of
from support.wire import Reply, Wire, request

SIZES = (1, 2, 8191, 65_537, 1 << 20, (9 << 20) + 17)
PIPELINED = request("GET", "/v2/")


def content(size: int) -> bytes:
    """Bytes that look like chunk framing here and there."""
    seed = random.Random(size).randbytes(min(size, 4096))  # noqa: S311 - to be the same each time
    return (seed + b"\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n" * 40 + hashlib.sha512(seed).digest()) * (
        size // 4000 + 1
    )


def pieces(data: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    """The data cut into pieces of these sizes."""
    offset = 0
    while offset < len(data):
        size = next(sizes)
        yield data[offset : offset + size]
        offset += size


def framed(sizes: tuple[int, ...], head: str = "%x", end: bytes = b"0\r\n\r\n") -> "Form":
    """Chunks of these sizes in turn, each with this line before it."""

    def form(data: bytes) -> tuple[str, bytes]:
        chunks = pieces(data, itertools.cycle(sizes))
        frames = (b"%b\r\n%b\r\n" % ((head % len(one)).encode(), one) for one in chunks)
        return "Transfer-Encoding: chunked", b"".join(frames) + end

    return form


def plain(data: bytes) -> tuple[str, bytes]:
    """The data as it is, with its length."""
    return f"Content-Length: {len(data)}", data


Form = Callable[[bytes], tuple[str, bytes]]

FORMS: dict[str, Form] = {
    "with a length": plain,
    "one chunk": framed((1 << 30,)),
    "chunks of 32 KiB": framed((32 << 10,)),
    "small chunks": framed((257,)),
    "now and then another": framed((4096,) * 9 + (5,)),
    "odd chunks": framed((1, 4097, 70_001, 3)),
    "upper case and zeros": framed((5000, 2), "000%X"),
    "extensions": framed((9_999,), '%x ; name="a\\"b;\t" ;flag', b"0;last=1\r\n\r\n"),
    "trailers": framed((16_384,), end=b"00\r\nX-Checked: yes\r\nX-More: 1\r\n\r\n"),
}


def patch_head(location: str, *headers: str) -> bytes:
    """The head of a PATCH."""
    return request("PATCH", request_target(location), None, *headers)


def is_stored(server: RunningServer, location: str, data: bytes) -> bool:
    """Whether the session has exactly these bytes: it can be closed with their digest."""
    answer = server.http.put(with_digest(location, sha256(data)), expect=None)
    return answer.status == 201


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_body_arrives_bit_for_bit_and_what_follows_it_is_the_next_request(
    server: RunningServer, repository: str, form: Form, size: int
) -> None:
    """A PATCH with a request right behind its body: both are answered, and the blob is right."""
    data = content(size)[:size]
    header, body = form(data)
    with Wire(server.host) as wire:
        wire.send(patch_head(open_upload(server.http, repository), header) + body + PIPELINED)
        patched, following = wire.reply(), wire.reply()

        assert patched is not None
        assert (patched.status, patched.value("Range")) == (202, f"0-{size - 1}")
        assert following is not None
        assert (following.status, following.body) == (200, b"{}")
        assert wire.still_serves()
        assert is_stored(server, patched.value("Location"), data)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_body_that_drips_in_is_the_same_body(
    server: RunningServer, repository: str, form: Form
) -> None:
    """One byte a packet, in the middle of every size line, terminator and trailer."""
    data = content(300)[:300]
    header, body = form(data)
    with Wire(server.host) as wire:
        for byte in patch_head(open_upload(server.http, repository), header) + body:
            wire.send(bytes([byte]))
        patched = wire.reply()

        assert patched is not None
        assert patched.status == 202
        assert wire.still_serves()
        assert is_stored(server, patched.value("Location"), data)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_client_that_waits_for_100_is_told_to_continue(
    server: RunningServer, repository: str, form: Form
) -> None:
    """``Expect: 100-continue`` gets its interim answer, then the body is taken as ever."""
    data = content(200_000)[:200_000]
    header, body = form(data)
    head = patch_head(open_upload(server.http, repository), header, "Expect: 100-continue")
    with Wire(server.host) as wire:
        interim = wire.send(head).reply()
        assert interim is not None
        patched = wire.send(body).reply()

        assert interim.status == 100
        assert patched is not None
        assert patched.status == 202
        assert is_stored(server, patched.value("Location"), data)


def test_bodies_in_turn_on_one_connection_all_arrive(
    server: RunningServer, repository: str
) -> None:
    """Kept alive, a connection takes body after body, in changing forms."""
    data = content(400_000)[:100_000]
    with Wire(server.host) as wire:
        for form in [*FORMS.values()] * 3:
            header, body = form(data)
            location = open_upload(server.http, repository)
            patched = wire.exchange(patch_head(location, header) + body)

            assert patched.status == 202
            assert is_stored(server, patched.value("Location"), data)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_body_that_nobody_wants_is_not_the_next_request(
    server: RunningServer, repository: str, form: Form
) -> None:
    """A DELETE with a body, and a PUT that was answered before: 2xx, and what follows is in step."""
    data = content(70_000)[:70_000]
    header, body = form(data)
    replayed = with_digest(open_upload(server.http, repository), sha256(data))
    server.http.put(replayed, data)
    cancelled = open_upload(server.http, repository)
    with Wire(server.host) as wire:
        for method, target, status in (("PUT", replayed, 201), ("DELETE", cancelled, 204)):
            head = request(method, request_target(target), None, header)
            wire.send(head + body + PIPELINED)
            first, following = wire.reply(method), wire.reply()

            assert first is not None
            assert first.status == status
            assert following is not None
            assert (following.status, following.body) == (200, b"{}")


CHUNKED = "Transfer-Encoding: chunked"
FINE = b"5\r\nhello\r\n"

MALFORMED: dict[str, bytes] = {
    "a size with a sign": b"-1\r\nhello\r\n0\r\n\r\n",
    "a size with a plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "a size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "a size beyond all measure": b"F" * 20 + b"\r\nhello\r\n0\r\n\r\n",
    "a size that is no number": b"five\r\nhello\r\n0\r\n\r\n",
    "a space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "a bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "a bare CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "an extension without a name": b"5;=1\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than its size": b"4\r\nhello\r\n0\r\n\r\n",
    "a chunk without an end": b"5\r\nhello5\r\nhello\r\n0\r\n\r\n",
    "a size line without end": b"5;" + b"a" * 20_000,
    "a trailer that tells the length": b"0\r\nContent-Length: 5\r\n\r\n",
    "a trailer that tells the host": b"0\r\nHost: evil.test\r\n\r\n",
    "a trailer that is none": b"0\r\nnonsense\r\n\r\n",
    "a trailer with a bare LF": b"0\r\nX-A: 1\nX-B: 2\r\n\r\n",
}


def is_refused(reply: Reply | None) -> bool:
    """Whether this is the answer to a body that broke off, or none because the server closed."""
    return reply is None or (reply.status, reply.code) == (400, "BLOB_UPLOAD_INVALID")


@pytest.mark.parametrize("framing", MALFORMED.values(), ids=MALFORMED)
def test_framing_that_is_none_ends_the_connection(
    server: RunningServer, repository: str, framing: bytes
) -> None:
    """Broken framing gets 400 and no further answer: the request behind it is never taken for one."""
    location = open_upload(server.http, repository)
    with Wire(server.host) as wire:
        wire.send(patch_head(location, CHUNKED) + FINE + framing + PIPELINED).finish()
        first, second = wire.reply(), wire.reply()

    status = server.http.get(location, expect=204)

    assert first is not None
    assert is_refused(first)
    assert second is None
    # Where gunicorn believes a size beyond all measure, what follows is content.
    believed = len(FINE[3:-2] + framing[22:] + PIPELINED)
    assert status["Range"] in {"0-0", "0-3", "0-4", "0-8", "0-9", f"0-{believed - 1}"}


CUT: dict[str, tuple[str, bytes, int]] = {
    "with a length": ("Content-Length: 10", b"abc", 3),
    "with a length, after a block": ("Content-Length: 3000000", b"z" * 2_000_000, 2_000_000),
    "in a chunk": (CHUNKED, b"a\r\nabc", 3),
    "in a size": (CHUNKED, FINE + b"1", 5),
    "after a chunk": (CHUNKED, FINE, 5),
    "in the last chunk": (CHUNKED, FINE + b"0\r\n", 5),
    "in the trailers": (CHUNKED, FINE + b"0\r\nX-A: 1\r\n", 5),
}


@pytest.mark.parametrize(("header", "body", "size"), CUT.values(), ids=CUT)
def test_a_body_that_ends_early_is_no_upload_and_what_came_is_kept(
    server: RunningServer, repository: str, header: str, body: bytes, size: int
) -> None:
    """The client says no more (FIN): 400, the connection closes, and the session has what came."""
    location = open_upload(server.http, repository)
    with Wire(server.host) as wire:
        wire.send(patch_head(location, header) + body).finish()
        first, second = wire.reply(), wire.reply()

    status = server.http.get(location, expect=204)

    assert first is not None
    assert is_refused(first)
    assert second is None
    assert status["Range"] == f"0-{size - 1}"


@pytest.mark.parametrize(("header", "body", "size"), CUT.values(), ids=CUT)
def test_a_monolithic_push_that_ends_early_leaves_nothing(
    server: RunningServer, repository: str, header: str, body: bytes, size: int
) -> None:
    """POST with a digest and half a body: 400, and no blob, though the digest is of that half."""
    target = f"/v2/{repository}/blobs/uploads/?digest={sha256(body[-size:])}"
    with Wire(server.host) as wire:
        reply = wire.send(request("POST", target, None, header) + body).finish().reply()

    assert is_refused(reply)
    server.http.head(f"/v2/{repository}/blobs/{sha256(body[-size:])}", expect=404)


def test_a_reset_in_a_body_leaves_a_session_to_resume(
    server: RunningServer, repository: str
) -> None:
    """The connection breaks (RST) in a PATCH: the rest, sent on a new one, completes the blob."""
    data = content(2_500_000)[:2_500_000]
    location = open_upload(server.http, repository)
    with Wire(server.host) as wire:
        wire.send(patch_head(location, "Content-Length: 2500000") + data[:2_000_000])
        while not int(server.http.get(location, expect=204)["Range"].partition("-")[2]):
            pass
        wire.reset()
    status = server.http.get(location, expect=204)
    arrived = int(status["Range"].partition("-")[2]) + 1
    while True:
        answer = server.http.patch(status.location, data[arrived:], expect=None)
        if answer.status == 202:
            break
        status = server.http.get(location, expect=204)
        arrived = int(status["Range"].partition("-")[2]) + 1

    assert is_stored(server, answer.location, data)


def test_bytes_beyond_the_length_are_not_of_the_body(
    server: RunningServer, repository: str
) -> None:
    """What follows Content-Length bytes is taken for a request, and here refused as one."""
    location = open_upload(server.http, repository)
    with Wire(server.host) as wire:
        wire.send(patch_head(location, "Content-Length: 10") + b"0123456789" + b"surplus\r\n\r\n")
        patched, second = wire.reply(), wire.reply()

        assert patched is not None
        assert (patched.status, patched.value("Range")) == (202, "0-9")
        assert second is not None
        assert second.status == 400


def test_a_refused_body_is_not_taken_for_a_request(server: RunningServer, repository: str) -> None:
    """A PATCH without a session: 404 after its body was read, and the next request is answered."""
    inner = request("DELETE", f"/v2/{repository}/blobs/uploads/x") * 2000
    head = request("PATCH", f"/v2/{repository}/blobs/uploads/none?_state=x", inner)
    with Wire(server.host) as wire:
        wire.send(head + PIPELINED)
        first, second = wire.reply(), wire.reply()

        assert first is not None
        assert first.status == 404
        assert second is None or (second.status, second.body) == (200, b"{}")


def test_a_client_silent_in_a_body_is_given_up(
    fresh_registry: ServerFactory, way: str, repository: str
) -> None:
    """After ``server.body_timeout`` without a byte: 400, closed, and what came is kept."""
    settings = "[server]\nbody_timeout = 1\n"
    server = fresh_registry(environment=way_of(way), settings=settings)
    location = open_upload(server.http, repository)
    with Wire(server.host) as wire:
        wire.send(patch_head(location, "Content-Length: 10") + b"abc")
        first, second = wire.reply(), wire.reply()

    assert first is not None
    assert is_refused(first)
    assert second is None
    assert server.http.get(location, expect=204)["Range"] == "0-2"


DRIPS = {
    "a length": ("Content-Length: 10000", b"", b"xyz"),
    "chunks": (CHUNKED, b"", b"1\r\nx\r\n"),
    "an extension": (CHUNKED, b"1;a=", b"b"),
    "a trailer": (CHUNKED, b"0\r\nX-A: ", b"b"),
}
"""Bodies that come so slowly: the header, what comes first, and what comes again and again."""


def drip(wires: dict[str, Wire]) -> dict[str, Reply | None]:
    """Send to each now and then until it has an answer, for half a minute at most."""
    answered: dict[str, Reply | None] = {}
    readable = select.poll()
    for wire in wires.values():
        readable.register(wire.socket, select.POLLIN)
    for _ in range(150):
        if len(answered) == len(wires):
            break
        here = {descriptor for descriptor, _ in readable.poll(200)}
        for way, wire in wires.items():
            if way in answered:
                continue
            if wire.socket.fileno() in here:
                readable.unregister(wire.socket)
                answered[way] = wire.reply()
            else:
                wire.send(DRIPS[way][2])
    return answered


@contextmanager
def dripping(server: RunningServer, locations: Iterable[str]) -> Iterator[dict[str, Wire]]:
    """Connections with a body that has begun and goes on in drips, each in another way."""
    with ExitStack() as stack:
        wires: dict[str, Wire] = {}
        for (way, (header, first, _)), location in zip(DRIPS.items(), locations, strict=True):
            wires[way] = stack.enter_context(Wire(server.host))
            wires[way].send(patch_head(location, header) + first)
        yield wires


def test_a_body_that_only_drips_is_given_up(fresh_registry: ServerFactory, repository: str) -> None:
    """A client that sends a byte now and then, never silent for long, does not keep its thread."""
    settings = "[server]\nbody_timeout = 1\n"
    server = fresh_registry("--threads", "8", environment=way_of("fast"), settings=settings)
    locations = [open_upload(server.http, repository) for _ in DRIPS]
    with dripping(server, locations) as wires:
        replies = drip(wires)

    given_up = (400, "BLOB_UPLOAD_INVALID")
    assert {way: reply and (reply.status, reply.code) for way, reply in replies.items()} == (
        dict.fromkeys(DRIPS, given_up)
    )


def test_a_refused_body_that_only_drips_is_not_read_to_its_end(
    fresh_registry: ServerFactory,
) -> None:
    """The answer comes soon, though the client would go on for hours."""
    server = fresh_registry("--threads", "8", environment=way_of("fast"))
    with dripping(server, ["/v2/No/blobs/uploads/1"] * len(DRIPS)) as wires:
        replies = drip(wires)

    assert {way: reply and reply.status for way, reply in replies.items()} == (
        dict.fromkeys(DRIPS, 400)
    )


LARGE = content(3 << 20)[: 3 << 20]
BEGUN = 2 << 20
MEDIUM = LARGE[:200_000]
"""Less than a socket's buffer holds, more than what goes past the uploads' lane."""


@contextmanager
def slow_uploads(server: RunningServer, repository: str, count: int) -> Iterator[list[Wire]]:
    """Connections with a PATCH that has begun, at least the first one's, and does not go on."""
    locations = [open_upload(server.http, repository) for _ in range(count)]
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(server.host))]
        wires[0].send(patch_head(locations[0], f"Content-Length: {len(LARGE)}") + LARGE[:BEGUN])
        while server.http.get(locations[0], expect=204)["Range"] == "0-0":
            pass
        for location in locations[1:]:
            wires.append(stack.enter_context(Wire(server.host)))
            wires[-1].send(patch_head(location, f"Content-Length: {len(MEDIUM)}") + MEDIUM[:1000])
        yield wires


def test_slow_uploads_leave_room_for_others(
    fresh_registry: ServerFactory, way: str, repository: str
) -> None:
    """More uploads than threads have begun and stand still: small requests are answered."""
    server = fresh_registry("--workers", "1", "--threads", "3", environment=way_of(way))
    with slow_uploads(server, repository, 4) as wires:
        for turn in range(10):
            digest = push_blob(server.http, repository, b"%d" % turn)
            server.http.get(f"/v2/{repository}/blobs/{digest}")
        answers = [wires[0].send(LARGE[BEGUN:]).reply()]

    assert [answer and answer.status for answer in answers] == [202]


def test_uploads_wait_for_their_turn(fresh_registry: ServerFactory, repository: str) -> None:
    """With three threads one upload is received at a time, and all of them in the end."""
    server = fresh_registry("--workers", "1", "--threads", "3", environment=way_of("fast"))
    with slow_uploads(server, repository, 6) as wires:
        for wire in wires[1:]:
            wire.send(MEDIUM[1000:])
        answers = [wires[0].send(LARGE[BEGUN:]).reply(), *(wire.reply() for wire in wires[1:])]

    assert [answer and answer.status for answer in answers] == [202] * 6
