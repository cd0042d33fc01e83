"""Connections within this machine are not slowed down by BBR; all others are left as they are."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.congestion import (
    congestion_control,
    congestion_controls,
    default_congestion_control,
)
from support.server import RunningServer
from support.wire import Wire, request

from registry_wsgi.server import pacing
from registry_wsgi.server.pacing import INSTEAD, NAME_LENGTH, hurry_within

OTHERS = [name.encode() for name in congestion_controls() if name != "reno"]
"""What there is to choose but what is chosen for them."""

needs_another = pytest.mark.skipif(not OTHERS, reason="the system has one congestion control")


@contextmanager
def accepted(family: int, address: Any, bind: Any) -> Iterator[socket.socket]:
    """The server's end of a connection, of which the client's end is bound to an address."""
    with socket.socket(family) as listener, socket.socket(family) as client:
        listener.bind(address)
        if family != socket.AF_UNIX:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, OTHERS[0])
        listener.listen()
        if bind is not None:
            client.bind(bind)
        client.connect(listener.getsockname())
        connection, _ = listener.accept()
        with connection:
            yield connection


def control_of(connection: socket.socket) -> bytes:
    """The name of the connection's congestion control."""
    given = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, NAME_LENGTH)
    return given.rstrip(b"\0")


@needs_another
@pytest.mark.parametrize(
    ("family", "address", "bind", "changed"),
    [
        (socket.AF_INET, ("127.0.0.1", 0), None, True),
        (socket.AF_INET6, ("::1", 0), None, True),
        (socket.AF_INET, ("127.0.0.1", 0), ("127.0.0.2", 0), False),
    ],
    ids=["127.0.0.1", "::1", "another address"],
)
def test_what_is_slow_within_the_machine_is_replaced(
    monkeypatch: pytest.MonkeyPatch, family: int, address: object, bind: object, changed: bool
) -> None:
    """Both ends have one address: then it is the same machine's."""
    monkeypatch.setattr(pacing, "SLOW_WITHIN", (OTHERS[0],))
    with accepted(family, address, bind) as connection:
        hurry_within(connection)

        assert control_of(connection) == (INSTEAD if changed else OTHERS[0])


@needs_another
def test_what_is_not_slow_stays_as_the_system_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those whose names are known are changed."""
    monkeypatch.setattr(pacing, "SLOW_WITHIN", (b"another",))
    with accepted(socket.AF_INET, ("127.0.0.1", 0), None) as connection:
        hurry_within(connection)

        assert control_of(connection) == OTHERS[0]


def test_unix_sockets_and_clients_that_are_gone_are_no_error() -> None:
    """There is nothing to choose for them."""
    with accepted(socket.AF_UNIX, "", None) as connection:
        hurry_within(connection)
    closed = socket.socket()
    closed.close()
    hurry_within(closed)


def test_the_server_does_not_serve_local_clients_by_bbr(way: str, server: RunningServer) -> None:
    """Whatever the system's default is, BBR it is not; through gunicorn alone it is the default."""
    default = default_congestion_control()
    with Wire(server.host) as wire:
        wire.exchange(request("GET", "/v2/"))
        near, far = wire.socket.getpeername(), wire.socket.getsockname()

        found = congestion_control(near, far)

    assert found == ("reno" if default.startswith("bbr") and way != "plain" else default)
