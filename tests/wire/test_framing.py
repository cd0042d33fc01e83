"""Bodies that end too early, go on too long or are framed wrongly: none becomes a blob.

Each is sent as a PATCH, as the PUT that would close an upload, and as a POST of a whole blob. The
numbers in ids are as in ``test_requests.py``.
"""

import dataclasses
import time
from collections.abc import Iterator

import pytest
from support.images import noise, sha256
from support.pushes import open_upload, with_digest
from support.server import RunningServer
from support.variants import Variants
from support.verbs import Verbs, request_target
from support.wire import SECONDS, Wire, chunked, request

NAME = "wire/framing"
TEN = b"0123456789"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module", params=["fast", "plain"])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """A server that reads bodies its own way, and one that reads them through gunicorn."""
    with Variants({"fast": "", "plain": "fast = false\n"}) as servers:
        yield servers[request.param]


@dataclasses.dataclass(frozen=True)
class Broken:
    """A body, how it is announced, and what may be left of it when the request has failed.

    ``content`` is what the client meant, were the framing right. ``kept`` is how many bytes of it
    may be in the session afterwards.
    """

    name: str
    header: str
    body: bytes
    content: bytes = TEN
    kept: frozenset[int] = frozenset({0})


def cut(size: int) -> frozenset[int]:
    """The size that a session has after a body that was cut: what arrived is kept."""
    return frozenset({size})


def malformed(*sizes: int) -> frozenset[int]:
    """Sizes that it may have after one with bad framing, of which what was sound may be kept."""
    return frozenset(sizes) | {0}


BROKEN = [
    Broken("47-short", "Content-Length: 10", b"012", kept=cut(3)),
    Broken("47-nothing", "Content-Length: 10", b""),
    Broken("47-all-but-one", "Content-Length: 10", b"012345678", kept=cut(9)),
    Broken(
        "47-short-and-large",
        "Content-Length: 3000000",
        b"x" * 2_500_000,
        b"x" * 3_000_000,
        cut(2_500_000),
    ),
    Broken("53-negative-size", CHUNKED, b"-1\r\n0\r\n\r\n"),
    Broken("53-hexadecimal-size", CHUNKED, b"0xa\r\n" + TEN + b"\r\n0\r\n\r\n"),
    Broken("53-plus-size", CHUNKED, b"+a\r\n" + TEN + b"\r\n0\r\n\r\n"),
    Broken("53-empty-size", CHUNKED, b"\r\n" + TEN + b"\r\n0\r\n\r\n"),
    Broken("53-space-and-size", CHUNKED, b" a\r\n" + TEN + b"\r\n0\r\n\r\n"),
    Broken("53-underscore-in-size", CHUNKED, b"0_a\r\n" + TEN + b"\r\n0\r\n\r\n"),
    Broken("53-twenty-f", CHUNKED, b"F" * 20 + b"\r\n" + TEN, kept=malformed(10)),
    Broken("53-no-hexadecimal", CHUNKED, b"ten\r\n" + TEN + b"\r\n0\r\n\r\n"),
    Broken("53-nonsense-as-the-end", CHUNKED, b"x\r\n\r\n"),
    Broken("53-minus-zero-as-the-end", CHUNKED, b"-0\r\n\r\n"),
    Broken("53-prefixed-zero-as-the-end", CHUNKED, b"0x0\r\n\r\n"),
    Broken("53-nothing-as-the-end", CHUNKED, b"\r\n\r\n"),
    Broken("53-extension-alone-as-the-end", CHUNKED, b";a=b\r\n\r\n"),
    Broken("53-endless-size", CHUNKED, b"0" * 100_000),
    Broken("53-bad-extension", CHUNKED, b"a;\x01=\r\n" + TEN + b"\r\n0\r\n\r\n"),
    Broken(
        "54-longer-than-declared", CHUNKED, b"5\r\n" + TEN + b"\r\n0\r\n\r\n", kept=malformed(5)
    ),
    Broken(
        "54-shorter-than-declared",
        CHUNKED,
        b"f\r\n" + TEN + b"\r\n0\r\n\r\n",
        kept=malformed(10, 12, 15),
    ),
    Broken("54-no-line-break", CHUNKED, b"a\r\n" + TEN + b"0\r\n\r\n", kept=malformed(10)),
    Broken("54-bare-line-feeds", CHUNKED, b"a\n" + TEN + b"\n0\n\n"),
    Broken("55-no-last-chunk", CHUNKED, b"a\r\n" + TEN + b"\r\n", kept=cut(10)),
    Broken("55-half-a-last-chunk", CHUNKED, b"a\r\n" + TEN + b"\r\n0\r\n", kept=cut(10)),
    Broken("55-half-a-chunk", CHUNKED, b"a\r\n01234", kept=cut(5)),
    Broken(
        "55-large-and-no-last-chunk",
        CHUNKED,
        b"100000\r\n" + bytes(1 << 20) + b"\r\n100000\r\n" + bytes(500_000),
        bytes(2 << 20),
        cut((1 << 20) + 500_000),
    ),
    Broken("55-no-chunk", CHUNKED, b""),
    Broken("55-half-a-size", CHUNKED, b"a\r\n" + TEN + b"\r\n1", kept=cut(10)),
    Broken(
        "57-length-in-the-trailer",
        CHUNKED,
        b"a\r\n" + TEN + b"\r\n0\r\nContent-Length: 5\r\n\r\n",
        kept=malformed(10),
    ),
    Broken(
        "57-host-in-the-trailer",
        CHUNKED,
        b"a\r\n" + TEN + b"\r\n0\r\nHost: evil\r\n\r\n",
        kept=malformed(10),
    ),
    Broken(
        "57-coding-in-the-trailer",
        CHUNKED,
        b"a\r\n" + TEN + b"\r\n0\r\nTransfer-Encoding: x\r\n\r\n",
        kept=malformed(10),
    ),
    Broken(
        "57-no-colon-in-the-trailer",
        CHUNKED,
        b"a\r\n" + TEN + b"\r\n0\r\nnonsense\r\n\r\n",
        kept=malformed(10),
    ),
    Broken(
        "57-endless-trailer",
        CHUNKED,
        b"a\r\n" + TEN + b"\r\n0\r\n" + b"X: y\r\n" * 200_000,
        kept=malformed(10),
    ),
]

each = pytest.mark.parametrize("broken", BROKEN, ids=[broken.name for broken in BROKEN])


def send_broken(server: RunningServer, method: str, target: str, broken: Broken) -> int | None:
    """Send the request and its end; the status, ``None`` when the connection was closed."""
    with Wire(server.host) as wire:
        wire.send(request(method, request_target(target), None, broken.header))
        reply = wire.send(broken.body).finish().reply(method)
        assert not wire.still_serves()
    return None if reply is None else reply.status


def session_size(http: Verbs, location: str) -> int:
    """How many bytes a session has, from its range, of which one and none look the same."""
    return int(http.get(location, 204)["Range"].removeprefix("0-")) + 1


def complete(http: Verbs, location: str, content: bytes, kept: int) -> None:
    """Go on from where the session is, and make the blob."""
    fresh = http.get(location, 204).location
    answer = http.put(with_digest(fresh, sha256(content)), content[kept:])
    assert http.get(answer.location).body == content


@each
def test_a_broken_patch_is_refused_and_can_be_resumed(
    server: RunningServer, broken: Broken
) -> None:
    """400 or a closed connection; what arrived in order may be kept, and nothing else is."""
    location = open_upload(server.http, NAME)
    status = send_broken(server, "PATCH", location, broken)
    size = session_size(server.http, location)
    kept = 0 if size == 1 else size

    assert status in {None, 400, 431}
    assert kept in broken.kept
    if broken.name != "54-shorter-than-declared":  # what follows counted as content
        complete(server.http, location, broken.content, kept)


@each
def test_a_broken_put_makes_no_blob(server: RunningServer, broken: Broken) -> None:
    """400 or a closed connection, and the digest of neither what was meant nor what came is there."""
    location = open_upload(server.http, NAME + "/put")
    status = send_broken(server, "PUT", with_digest(location, sha256(broken.content)), broken)

    assert status in {None, 400, 431}
    for content in (broken.content, broken.body):
        server.http.head(f"/v2/{NAME}/put/blobs/{sha256(content)}", 404)


@each
def test_a_broken_post_makes_no_blob(server: RunningServer, broken: Broken) -> None:
    """The same for a blob in one request, be the digest that of what came, or of nothing."""
    for content in (broken.content, broken.body, b""):
        target = f"/v2/{NAME}/post/blobs/uploads/?digest={sha256(content)}"
        assert send_broken(server, "POST", target, broken) in {None, 400, 431}
        server.http.head(f"/v2/{NAME}/post/blobs/{sha256(content)}", 404)


@each
def test_a_broken_manifest_is_not_kept(server: RunningServer, broken: Broken) -> None:
    """A manifest whose body is cut or framed wrongly is refused."""
    status = send_broken(server, "PUT", f"/v2/{NAME}/manifest/manifests/v1", broken)

    assert status in {None, 400, 431}
    server.http.head(f"/v2/{NAME}/manifest/manifests/v1", 404)


@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
def test_what_comes_after_a_body_is_the_next_request(server: RunningServer, method: str) -> None:
    """48: bytes beyond the length are no content; they are refused as the request they are not."""
    location = request_target(open_upload(server.http, NAME))
    target = {
        "PATCH": location,
        "PUT": with_digest(location, sha256(TEN)),
        "POST": f"/v2/{NAME}/blobs/uploads/?digest={sha256(TEN)}",
    }[method]
    with Wire(server.host) as wire:
        first = wire.exchange(request(method, target, TEN) + b"xxxxxxxxxx\r\n\r\n")
        second = wire.reply()
        assert not wire.still_serves()

    assert first.status == (202 if method == "PATCH" else 201)
    assert second is None or second.status == 400
    if method == "PATCH":
        assert first.value("Range") == "0-9"
        complete(server.http, location, TEN, 10)


def test_what_comes_after_a_chunked_body_is_the_next_request(server: RunningServer) -> None:
    """48: the same when the body ended with its last chunk."""
    location = request_target(open_upload(server.http, NAME))
    with Wire(server.host) as wire:
        wire.send(request("PATCH", location, None, CHUNKED) + chunked(TEN) + request("GET", "/v2/"))
        first, second = wire.reply("PATCH"), wire.reply()
        assert wire.still_serves()

    assert first is not None
    assert first.value("Range") == "0-9"
    assert second is not None
    assert second.body == b"{}"


FRAMINGS = {
    "one-chunk": chunked(TEN),
    "many-chunks": chunked(*(TEN[at : at + 1] for at in range(10))),
    "extension": b'5;a=b\r\n01234\r\n5;c="d e"\r\n56789\r\n0\r\n\r\n',
    "leading-zeros": b"0000005\r\n01234\r\n005\r\n56789\r\n000\r\n\r\n",
    "trailer": b"a\r\n0123456789\r\n0\r\nX-Checksum: y\r\n\r\n",
    "upper-case-hex": b"A\r\n0123456789\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("pause", [False, True], ids=["at-once", "byte-by-byte"])
def test_a_well_framed_body_is_its_content(
    server: RunningServer, framing: str, pause: bool
) -> None:
    """Chunks of any size and form, however they arrive, are the bytes in them."""
    location = request_target(open_upload(server.http, NAME))
    raw = request("PATCH", location, None, CHUNKED) + FRAMINGS[framing]
    with Wire(server.host) as wire:
        for piece in [raw[at : at + 1] for at in range(len(raw))] if pause else [raw]:
            wire.send(piece)
        reply = wire.reply("PATCH")
        assert wire.still_serves()

    assert reply is not None
    assert (reply.status, reply.value("Range")) == (202, "0-9")
    complete(server.http, location, TEN, 10)


@pytest.mark.parametrize("header", ["Content-Length: 5000000", CHUNKED])
def test_a_reset_connection_leaves_a_session_to_resume(server: RunningServer, header: str) -> None:
    """47: after RST in the middle of a body the session is free again, with a prefix of it."""
    content = noise(5_000_000, "reset")
    location = open_upload(server.http, NAME)
    body = content[:3_000_000]
    framed = body if header != CHUNKED else b"%x\r\n%b" % (len(content), body)
    wire = Wire(server.host)
    wire.send(request("PATCH", request_target(location), None, header) + framed)
    wire.reset()
    answer = server.http.put(with_digest(location, sha256(content)), content, None)
    deadline = time.monotonic() + SECONDS
    while answer.status in {409, 416} and time.monotonic() < deadline:
        fresh = server.http.get(location, 204)
        kept = int(fresh["Range"][2:]) + 1 if fresh["Range"] != "0-0" else 0
        target = with_digest(fresh.location, sha256(content))
        answer = server.http.put(target, content[kept:], None)

    assert answer.status == 201
    assert server.http.get(answer.location).body == content


def test_an_expectation_is_met_before_the_body(server: RunningServer) -> None:
    """A client that waits for 100 is told to go on, and then gets its answer."""
    location = request_target(open_upload(server.http, NAME))
    with Wire(server.host) as wire:
        head = request("PATCH", location, None, "Content-Length: 10", "Expect: 100-continue")
        first = wire.exchange(head)
        second = wire.send(TEN).reply("PATCH")

    assert first.status == 100
    assert second is not None
    assert (second.status, second.value("Range")) == (202, "0-9")


def test_a_huge_refused_body_is_answered_and_not_read(server: RunningServer) -> None:
    """61: of a body of a gibibyte that is not wanted some MiB are read, then the answer is sent."""
    sent, block = 0, b"x" * (1 << 20)
    with Wire(server.host) as wire:
        wire.send(
            request("PATCH", f"/v2/{NAME}/blobs/uploads/x", None, f"Content-Length: {1 << 30}")
        )
        while sent < (1 << 30) and wire.accepts(block):
            sent += len(block)
        reply = wire.reply("PATCH")

    assert sent < 64 << 20
    assert reply is not None
    assert reply.code == "BLOB_UPLOAD_INVALID"
