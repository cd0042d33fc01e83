"""Clients that stop in a head, in a body or before they close: others are served meanwhile."""

import contextlib
import socket
import ssl
from collections.abc import Iterator

import pytest
from support.images import sha256
from support.pushes import open_upload, push_image, with_digest
from support.server import RunningServer, ServerFactory
from support.unix import OnUnixSocket
from support.variants import Variants
from support.verbs import request_target
from support.wire import Reply, Wire, request

NAME = "wire/slow"
THREADS = 4
SETTINGS = {
    "patient": f"threads = {THREADS}\nbody_timeout = 600\n",
    "unix": f"threads = {THREADS}\n",
    "impatient": f"threads = {THREADS}\nbody_timeout = 1\n",
}
HALF = b"0123456789"


@pytest.fixture(scope="module")
def servers() -> Iterator[Variants]:
    """One process with few threads, that bears silence for ten minutes or for a second."""
    with Variants(SETTINGS, kinds={"unix": OnUnixSocket}) as variants:
        yield variants


def send_half(server: RunningServer, location: str, header: str) -> Wire:
    """Begin a PATCH of twenty bytes or as many as the header says, and stop after ten."""
    half = HALF if "Length" in header else b"14\r\n" + HALF
    return Wire(server.host).send(request("PATCH", request_target(location), None, header) + half)


@pytest.mark.parametrize("header", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_silent_uploads_do_not_keep_others_from_being_served(
    servers: Variants, header: str
) -> None:
    """65: while more clients are silent than there are threads, pulls go on."""
    server = servers["patient"]
    pushed = push_image(server.http, NAME, "v1")
    locations = [open_upload(server.http, NAME) for _ in range(THREADS * 2)]
    with contextlib.ExitStack() as stack:
        for location in locations:
            stack.enter_context(send_half(server, location, header))
        found = [server.http.get(f"/v2/{NAME}/manifests/v1").body for _ in range(10)]

    assert found == [pushed.body] * 10
    push_image(server.http, NAME, "v2", content=header.encode())


def put_head(server: RunningServer, number: int) -> tuple[bytes, bytes]:
    """The head of a PUT that closes an upload, and its small body."""
    body = f"small body {number}".encode()
    with Wire(server.host) as wire:
        opened = wire.exchange(request("POST", f"/v2/{NAME}/blobs/uploads/", b""))
    target = with_digest(opened.value("Location"), sha256(body))
    return request("PUT", request_target(target), None, f"Content-Length: {len(body)}"), body


@pytest.mark.parametrize("others", [1, 5])
@pytest.mark.parametrize("way", ["patient", "unix"])
def test_small_bodies_that_are_here_wait_for_nobody(
    servers: Variants, way: str, others: int
) -> None:
    """Heads came first, and one body does not come: the others are taken, whoever has the place."""
    server = servers[way]
    uploads = [put_head(server, number) for number in range(1 + others)]
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(server.host)) for _ in uploads]
        for wire, (head, _) in zip(wires, uploads, strict=True):
            wire.send(head)
            with Wire(server.host) as other:
                other.exchange(request("GET", "/v2/"))
        replies = [
            wire.send(body[:5]).send(body[5:]).reply("PUT")
            for wire, (_, body) in reversed(list(zip(wires, uploads, strict=True)))
        ]

    assert [reply and reply.status for reply in replies] == [201] * len(uploads)


def test_a_small_body_of_a_client_that_leaves_while_it_waits_is_given_up(
    servers: Variants,
) -> None:
    """It gets 400, and the place goes to who comes next."""
    server = servers["patient"]
    first, second, third = (put_head(server, number) for number in (10, 11, 12))
    with Wire(server.host) as holding, Wire(server.host) as waiting:
        holding.send(first[0])
        server.http.get("/v2/")
        with Wire(server.host) as leaving:
            leaving.send(second[0] + b"a").finish()
            waiting.send(third[0])
            server.http.get("/v2/")
            holding.send(first[1])
            waiting.send(third[1])
            replies = [wire.reply("PUT") for wire in (holding, leaving, waiting)]

    assert [reply and reply.status for reply in replies] == [201, 400, 201]


@pytest.mark.parametrize("header", ["Content-Length: 20", "Transfer-Encoding: chunked"])
def test_a_silent_upload_is_given_up_and_can_be_resumed(servers: Variants, header: str) -> None:
    """65: after ``server.body_timeout`` the request has failed, and the session goes on."""
    server = servers["impatient"]
    location = open_upload(server.http, NAME)
    with send_half(server, location, header) as wire:
        reply = wire.reply("PATCH")
        assert not wire.still_serves()
    fresh = server.http.get(location, 204)
    kept = 10 if fresh["Range"] == "0-9" else 0
    target = with_digest(fresh.location, sha256(HALF * 2))
    answer = server.http.put(target, (HALF * 2)[kept:])

    assert reply is None or reply.status in {400, 408}
    assert server.http.get(answer.location).body == HALF * 2


HEAD = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("begun", [1, 5, 12, 20, len(HEAD) - 1])
@pytest.mark.parametrize("before", ["nothing", "a request", "a request at once"])
def test_silent_heads_keep_nobody_waiting(servers: Variants, begun: int, before: str) -> None:
    """More clients than threads stop in the middle of a head; when they go on they are answered."""
    server = servers["patient"]
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(server.host)) for _ in range(THREADS * 2)]
        if before == "a request":
            assert [answer and answer.status for answer in map(ask, wires)] == [200] * len(wires)
        for wire in wires:
            wire.send(HEAD * (before == "a request at once") + HEAD[:begun])
        if before == "a request at once":
            assert [wire.reply() is not None for wire in wires] == [True] * len(wires)
        others = [server.http.get("/v2/").status for _ in range(10)]
        for byte in HEAD[begun:]:
            for wire in wires:
                wire.send(bytes([byte]))
        answers = [wire.reply() for wire in wires]

    assert others == [200] * 10
    assert [answer and answer.status for answer in answers] == [200] * len(wires)


@pytest.mark.parametrize("kept", [False, True])
def test_a_client_that_ends_in_a_head_is_let_go(servers: Variants, kept: bool) -> None:
    """Nothing more can come: the connection is closed, and not looked at again and again."""
    with Wire(servers["patient"].host) as wire:
        if kept:
            assert ask(wire) is not None
        wire.send(HEAD[:10]).socket.shutdown(socket.SHUT_WR)

        assert wire.reply() is None


def ask(wire: Wire) -> Reply | None:
    """Send a whole head."""
    return wire.send(HEAD).reply()


def test_a_head_without_an_end_is_refused(servers: Variants) -> None:
    """It is not waited for until there is no memory left."""
    with Wire(servers["patient"].host) as wire:
        wire.send(HEAD[:-2])
        for number in range(200):
            if not wire.accepts(b"X-%d: %b\r\n" % (number, b"x" * 1000)):
                break
        reply = wire.reply()

    assert reply is None or reply.status == 431


def test_a_client_that_tries_tls_first_is_answered_and_not_logged(
    fresh_registry: ServerFactory,
) -> None:
    """As podman, skopeo and crane do: it is told that this is HTTP, and nobody is warned."""
    server = fresh_registry()
    with Wire(server.host) as wire, pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER"):
        ssl.create_default_context().wrap_socket(wire.socket, server_hostname="localhost")
    server.http.get("/v2/")

    assert "/v2/" in server.log
    assert "WARNING" not in server.log


@pytest.mark.parametrize("before", [b"", request("GET", "/v2/")], ids=["first", "second"])
@pytest.mark.parametrize("nonsense", [b"\x16\x03\x01", b"({[;", b"GET  ", b"GET /" + b"a" * 5000])
def test_nonsense_without_an_end_keeps_no_thread(
    servers: Variants, before: bytes, nonsense: bytes
) -> None:
    """More clients than threads stop in a line that begins no request: each is refused at once."""
    server = servers["patient"]
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(server.host)) for _ in range(THREADS * 2)]
        for wire in wires:
            wire.send(before + nonsense)
        replies = [(before and wire.reply(), wire.reply()) for wire in wires]

    assert {reply and reply.status for _, reply in replies} == {400}
    assert server.http.get("/v2/").status == 200


@pytest.mark.parametrize("behind", [b"\x16\x03\x01\r\n", b"({[;"])
def test_what_is_no_head_behind_a_request_ends_the_connection(
    servers: Variants, behind: bytes
) -> None:
    """It came with a request, which is answered first."""
    with Wire(servers["patient"].host) as wire:
        first = wire.send(request("GET", "/v2/") + behind).reply()
        second = wire.reply()

    assert (first and first.status, second and second.status) == (200, 400)


@pytest.mark.parametrize("begun", [b"\x16\x03\x01\x02\x00\r\n", b"GET / HTTP/9.9\r\n", b"({[;\r\n"])
def test_what_is_no_head_is_refused_at_once(servers: Variants, begun: bytes) -> None:
    """Nobody waits for the end of what is wrong from its beginning."""
    with Wire(servers["patient"].host) as wire:
        reply = wire.send(begun).reply()

    assert reply is not None
    assert reply.status in {400, 505}


def linger(stack: contextlib.ExitStack, server: RunningServer) -> list[Wire]:
    """Clients that keep their connections open when the server has ended them, on request."""
    wires = [stack.enter_context(Wire(server.host)) for _ in range(60)]
    for wire in wires:
        assert wire.send(request("GET", "/v2/", None, "Connection: close")).reply() is not None
    return wires


def test_a_slow_close_keeps_no_other_waiting(servers: Variants) -> None:
    """Clients that keep a connection open which the server has ended are not waited for in turn."""
    with contextlib.ExitStack() as stack:
        wires = linger(stack, servers["patient"])
        at_its_end = wires[-1].socket.recv(1)

    assert at_its_end == b""


def test_a_stop_does_not_wait_for_slow_closes_in_turn(fresh_registry: ServerFactory) -> None:
    """Each would be given two seconds, and ``stop`` bears twenty in all."""
    server = fresh_registry("--workers", "1")
    with contextlib.ExitStack() as stack:
        linger(stack, server)

        assert server.stop() == 0
