"""Requests that are refused before their body is of any use: the client still sees why."""

import socket
from collections.abc import Iterator

import pytest
from support.accounts import add_user, basic, opened_data
from support.images import MIB
from support.server import RunningServer, throwaway_directory
from support.variants import QUICK
from support.wire import Wire, chunked, request

SETTINGS = QUICK + '[auth]\nbackends = ["users"]\n'
UPLOADS = "/v2/team/app/blobs/uploads/"
GIGABYTE = 1 << 30
CREDENTIALS = {
    "none": [],
    "a bad bearer": ["Authorization: Bearer rubbish"],
    "a wrong password": [f"Authorization: {basic('anna', 'wrong')['Authorization']}"],
}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A server with a user."""
    with throwaway_directory() as folder:
        with opened_data(folder / "data") as storage:
            add_user(storage.index.accounts, "anna")
        with RunningServer(folder / "data", settings=SETTINGS) as running:
            yield running


def head(method: str, path: str, length: int, *headers: str) -> bytes:
    """The head of a request whose body is announced, and does not follow."""
    return request(method, path, None, f"Content-Length: {length}", *headers)


@pytest.mark.parametrize(
    ("credentials", "expects"),
    [("none", False), ("a bad bearer", True), ("a wrong password", True)],
    ids=["without credentials", "a bad bearer, asking first", "a wrong password, asking first"],
)
def test_a_gigabyte_that_may_not_come_is_not_waited_for(
    server: RunningServer, credentials: str, expects: bool
) -> None:
    """The client sees the 401 after the little that it sent, and the connection ends."""
    headers = [*CREDENTIALS[credentials], *(["Expect: 100-continue"] if expects else [])]
    with Wire(server.host) as wire:
        wire.send(head("POST", f"{UPLOADS}?digest=sha256:{'0' * 64}", GIGABYTE, *headers))
        first = wire.reply("POST")
        after = wire.send(b"x" * 1000).reply()

    assert first is not None
    assert (first.status, first.code) == (401, "UNAUTHORIZED")
    assert first.values("WWW-Authenticate")
    assert first.value("Connection") == "close"
    assert after is None


def test_a_client_that_does_not_wait_is_heard_out_for_a_mebibyte(server: RunningServer) -> None:
    """It asked, and sends all the same: a MiB is taken, what fits into buffers, and no more."""
    headers = [*CREDENTIALS["a bad bearer"], "Expect: 100-continue"]
    with Wire(server.host) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        wire.send(head("POST", UPLOADS, GIGABYTE, *headers) + bytes(MIB))
        sent = 1
        while wire.accepts(bytes(MIB)):
            sent += 1

    assert sent < 16


@pytest.mark.parametrize("in_chunks", [False, True], ids=["sized", "chunked"])
def test_a_client_that_does_not_wait_sees_the_answer(
    server: RunningServer, in_chunks: bool
) -> None:
    """It asked, and sent a little all the same: it is told 401, and never to continue."""
    body = chunked(bytes(70_000)) if in_chunks else bytes(70_000)
    length = "Transfer-Encoding: chunked" if in_chunks else f"Content-Length: {len(body)}"
    headers = [*CREDENTIALS["a bad bearer"], "Expect: 100-continue", length]
    with Wire(server.host) as wire:
        first = wire.send(request("POST", UPLOADS, None, *headers) + body).reply("POST")

    assert first is not None
    assert first.status == 401


def test_a_body_that_is_not_needed_is_not_asked_for(server: RunningServer) -> None:
    """A request that succeeds without its body is answered, and the connection ends."""
    with Wire(server.host) as wire:
        first = wire.send(head("GET", "/healthz", 10, "Expect: 100-continue")).reply()
        after = wire.send(request("GET", "/healthz")).reply()

    assert first is not None
    assert (first.status, first.value("Connection")) == (200, "close")
    assert after is None


def test_an_expectation_without_a_body_keeps_the_connection(server: RunningServer) -> None:
    """There is nothing that could come."""
    asked = request("GET", "/healthz", None, "Expect: 100-continue")
    with Wire(server.host) as wire:
        wire.send(asked * 2)
        replies = [wire.reply() for _ in range(4)]

    assert [reply and reply.status for reply in replies] == [100, 200, 100, 200]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("in_chunks", [False, True], ids=["sized", "chunked"])
def test_a_refused_body_is_not_taken_for_a_request(
    server: RunningServer, method: str, in_chunks: bool
) -> None:
    """After a MiB that was refused the connection is in step, or at its end."""
    smuggled = b"GET /v2/evil HTTP/1.1\r\nHost: x\r\n\r\n" * (MIB // 35)
    path = UPLOADS if method == "POST" else f"{UPLOADS}some-session"
    sent = request(method, path, None if in_chunks else smuggled, "Authorization: Bearer rubbish")
    if in_chunks:
        sent = sent.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n", 1)
        sent += chunked(smuggled)
    with Wire(server.host) as wire:
        refused = wire.exchange(sent)
        again = wire.send(request("GET", "/healthz")).reply()
        third = wire.send(request("GET", "/healthz")).reply() if again else None

    assert refused.status == 401
    assert again is None or (again.status, again.json()) == (200, {"status": "ok"})
    assert third is None or third.status == 200


def test_a_refused_upload_leaves_nothing(server: RunningServer) -> None:
    """No session, no bytes, no repository."""
    with Wire(server.host) as wire:
        wire.exchange(request("POST", UPLOADS, b"x" * 1000, "Authorization: Bearer rubbish"))

    assert list((server.data / "uploads").iterdir()) == []
    with opened_data(server.data) as storage, storage.index.database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM repositories").fetchone() == (0,)
