"""When a body is read past gunicorn's buffers, and what gunicorn finds afterwards."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.errors import ParseException
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader

from registry_wsgi.errors import BodyCut
from registry_wsgi.server import connection, known

SIZED = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTHS = {SIZED: 5, CHUNKED: None}
BODIES = {SIZED: b"hello", CHUNKED: b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"}
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


class Peers:
    """A client's socket, and gunicorn's parser at the other end."""

    def __init__(self) -> None:
        self.client, self.server = socket.socketpair()
        self.parser = RequestParser(Config(), self.server, ("127.0.0.1", 1))

    def request(self, data: bytes) -> dict[str, Any]:
        """Send bytes that begin with a request; the environ that gunicorn makes of its head."""
        self.client.sendall(data)
        address = ("127.0.0.1", 1)
        head = next(self.parser)
        environ: dict[str, Any]
        _, environ = wsgi.create(head, self.server, address, address, Config())
        return environ

    def close(self) -> None:
        """Close both."""
        self.client.close()
        self.server.close()


@pytest.fixture
def peers() -> Iterator[Peers]:
    """Both ends of a connection."""
    both = Peers()
    yield both
    both.close()


heads = pytest.mark.parametrize("head", LENGTHS, ids=["sized", "chunked"])


@heads
def test_gunicorns_own_structures_are_known(peers: Peers, head: bytes) -> None:
    """The gunicorn that is installed is one whose connections are found, or nothing here is fast."""
    found = connection.find(peers.request(head), LENGTHS[head])

    assert found is not None
    assert found.socket is peers.server


@heads
def test_a_whole_body_leaves_the_connection_as_gunicorn_would(peers: Peers, head: bytes) -> None:
    """The body is right, its end is gunicorn's end, and the request behind it is the next one."""
    environ = peers.request(head + BODIES[head] + NEXT)
    found = connection.find(environ, LENGTHS[head])
    assert found is not None
    body = connection.ConnectionBody(found, LENGTHS[head])
    peers.client.shutdown(socket.SHUT_WR)

    assert b"".join(map(bytes, body.blocks())) == b"hello"
    assert environ["wsgi.input"].read() == b""
    assert not environ["wsgi.input"].failed
    assert next(peers.parser).path == "/next"


def test_what_has_arrived_is_known_without_taking_it(peers: Peers) -> None:
    """So many bytes are received at once; nothing, where the connection is closed by now."""
    found = connection.find(peers.request(SIZED), LENGTHS[SIZED])
    assert found is not None
    before = found.arrived()
    peers.client.sendall(b"hello")
    arrived = found.arrived()
    received = peers.server.recv(99)
    peers.close()

    assert (before, arrived, received) == (0, 5, b"hello")
    assert found.arrived() == 0


@heads
def test_a_body_left_early_ends_the_connection(peers: Peers, head: bytes) -> None:
    """When its reader stops, or it was cut, gunicorn takes no further request from there."""
    environ = peers.request(head + BODIES[head][:3])
    found = connection.find(environ, LENGTHS[head])
    assert found is not None
    body = connection.ConnectionBody(found, LENGTHS[head])
    peers.client.shutdown(socket.SHUT_WR)

    with pytest.raises(BodyCut):
        list(body.blocks())
    with pytest.raises(BodyCut):
        list(body.blocks())
    with pytest.raises((OSError, ParseException)):
        environ["wsgi.input"].read(1)
    with pytest.raises(StopIteration):
        next(peers.parser)


def test_a_body_is_read_on_where_it_was_left(peers: Peers) -> None:
    """Blocks that one reader did not take are the next reader's."""
    environ = peers.request(CHUNKED + b"2\r\nhe\r\n")
    found = connection.find(environ, None)
    assert found is not None
    body = connection.ConnectionBody(found, None)
    first = bytes(next(iter(body.blocks())))
    peers.client.sendall(b"3\r\nllo\r\n0\r\n\r\n")

    assert first == b"he"
    assert b"".join(map(bytes, body.blocks())) == b"llo"


def read_one(environ: dict[str, Any]) -> None:
    """Somebody read a byte of it already."""
    environ["wsgi.input"].read(1)


def set_timeout(environ: dict[str, Any]) -> None:
    """The socket is one that does not block."""
    environ["gunicorn.socket"].settimeout(1)


def take_socket(environ: dict[str, Any]) -> None:
    """The socket is another one."""
    environ["gunicorn.socket"] = None


def wrap_socket(environ: dict[str, Any]) -> None:
    """The socket is of a class of its own, as TLS has one."""
    environ["gunicorn.socket"].__class__ = type("Wrapped", (socket.socket,), {"__slots__": ()})


def wrap_body(environ: dict[str, Any]) -> None:
    """A middleware put its own stream in place."""
    environ["wsgi.input"] = object()


def fail_body(environ: dict[str, Any]) -> None:
    """Reading has failed before."""
    environ["wsgi.input"].failed = True


def change_unreader(environ: dict[str, Any]) -> None:
    """Another class is behind gunicorn's reader."""
    reader = environ["wsgi.input"].reader
    owner = reader if hasattr(reader, "unreader") else reader.req
    owner.unreader = type("Other", (SocketUnreader,), {})(environ["gunicorn.socket"])


CHANGES = (read_one, set_timeout, take_socket, wrap_socket, wrap_body, fail_body, change_unreader)


@heads
@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_not_as_known_is_left_to_gunicorn(
    peers: Peers, head: bytes, change: Callable[[dict[str, Any]], None]
) -> None:
    """Any difference in what lies between the socket and the application: the slow way."""
    environ = peers.request(head + BODIES[head])
    change(environ)

    assert connection.find(environ, LENGTHS[head]) is None


def test_another_gunicorn_is_left_alone(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a release that is not known nothing is reached into, whatever it looks like."""
    environ = peers.request(SIZED)
    monkeypatch.setattr(known, "version_info", (28, 0, 0))

    assert connection.find(environ, 5) is None


@pytest.mark.parametrize(("size", "arrived"), [(0, False), (4, False), (5, True), (8000, True)])
def test_a_body_has_arrived_when_its_last_byte_is_here(
    peers: Peers, size: int, arrived: bool
) -> None:
    """Read ahead by gunicorn or waiting in the socket: both count, and neither is consumed."""
    whole = b"x" * 5 + NEXT * 300
    environ = peers.request(SIZED + whole[:2]) if size else peers.request(SIZED)
    peers.client.sendall(whole[2:size])
    found = connection.has_arrived(environ["wsgi.input"], peers.server, 5)

    assert found == arrived
    if arrived:
        assert environ["wsgi.input"].read() == b"xxxxx"


def test_what_is_not_as_known_has_not_arrived(peers: Peers) -> None:
    """A chunked body, another socket: nobody can tell."""
    environ = peers.request(CHUNKED + BODIES[CHUNKED])

    assert not connection.has_arrived(environ["wsgi.input"], peers.server, 5)
    assert not connection.has_arrived(environ["wsgi.input"], None, 5)
    assert not connection.has_arrived(None, peers.server, 5)


def test_another_length_than_gunicorns_is_not_believed(peers: Peers) -> None:
    """Where the application and gunicorn disagree on the length, gunicorn reads."""
    environ = peers.request(SIZED)

    assert connection.find(environ, 6) is None
    assert connection.find(environ, None) is None
