"""What is done to a connection, and to the thread, while a large file is sent to a local client."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from registry_wsgi.server import sending as module
from registry_wsgi.server.sending import LARGE, SEND_BUFFER, sending

LINUX_KEEPS = 2 * min(SEND_BUFFER, int(Path("/proc/sys/net/core/wmem_max").read_text()))
"""The kernel doubles what it is asked for, up to a limit: socket(7), SO_SNDBUF."""


@contextmanager
def accepted(family: int, address: Any) -> Iterator[socket.socket]:
    """The server's end of a connection."""
    with socket.socket(family) as listener, socket.socket(family) as client:
        listener.bind(address)
        listener.listen()
        client.connect(listener.getsockname())
        client.sendall(b"a request")
        connection, _ = listener.accept()
        with connection:
            yield connection


def buffer_of(connection: socket.socket) -> int:
    """Bytes that the kernel holds for sending."""
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


@pytest.mark.parametrize(
    ("family", "address", "length", "bound"),
    [
        (socket.AF_INET, ("127.0.0.1", 0), LARGE, True),
        (socket.AF_INET, ("127.0.0.1", 0), LARGE - 1, False),
        (socket.AF_INET6, ("::1", 0), LARGE, False),
        (socket.AF_UNIX, "", LARGE, False),
    ],
    ids=["a large file", "a small file", "over IPv6", "over a unix socket"],
)
def test_a_local_client_gets_a_small_buffer_for_a_large_file(
    family: int, address: object, length: int, bound: bool
) -> None:
    """Only on a connection from loopback, and only where it is worth it."""
    with accepted(family, address) as connection:
        before = buffer_of(connection)
        with sending(connection, length):
            during = buffer_of(connection)

    assert during == (LINUX_KEEPS if bound else before)


@pytest.mark.parametrize(
    ("own", "other", "moved"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_the_core_of_the_client_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch, own: bool, other: bool, moved: bool
) -> None:
    """The thread moves off the core that the request came in on, if it may use another, and back."""
    moves: list[set[int]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, given: moves.append(given))
    with accepted(socket.AF_INET, ("127.0.0.1", 0)) as connection:
        cpu = connection.getsockopt(socket.SOL_SOCKET, module.INCOMING_CPU)
        cores = ({cpu} if own else set()) | ({cpu + 1} if other else set())
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
        with sending(connection, LARGE):
            during = [*moves]

    assert during == ([{cpu + 1}] if moved else [])
    assert moves == ([{cpu + 1}, cores] if moved else [])


def test_where_threads_may_not_be_moved_files_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may forbid it: that is no reason to fail."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    with accepted(socket.AF_INET, ("127.0.0.1", 0)) as connection, sending(connection, LARGE):
        assert buffer_of(connection) == LINUX_KEEPS
