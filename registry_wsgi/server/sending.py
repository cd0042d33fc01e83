"""How a file is sent to a client on this machine: what the kernel does for far ones is no help.

A client on the same machine competes for the processor's caches and cores with what sends to it.
With the kernel's own buffers, which are meant for long ways, sixteen clients get half of what they
could, and one client gets a quarter when the kernel wakes it on the core that sends.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LARGE: Final = 1 << 20
"""Bytes from which a file's sending is worth a thought."""

SEND_BUFFER: Final = 512 << 10
"""Bytes of a file that are on their way to a client on this machine."""

INCOMING_CPU: Final = 49
"""Linux's socket option, which Python does not name: the core that the last packet came in on."""


@contextmanager
def sending(connection: socket.socket, length: int) -> Iterator[None]:
    """In this block, ``length`` bytes of a file are sent by this thread."""
    if length < LARGE or not _is_local(connection):
        yield
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    allowed = os.sched_getaffinity(0)
    others = allowed - {connection.getsockopt(socket.SOL_SOCKET, INCOMING_CPU)}
    moves = bool(others) and others != allowed and _move_to(others)
    try:
        yield
    finally:
        if moves:
            _move_to(allowed)


def _move_to(cores: set[int]) -> bool:
    """Have this thread run on these cores; false where that is forbidden, in a container say."""
    try:
        os.sched_setaffinity(0, cores)
    except OSError:
        return False
    return True


def _is_local(connection: socket.socket) -> bool:
    """Whether the other end is on this machine, as far as its address tells."""
    if connection.family != socket.AF_INET:
        return False
    address: str = connection.getpeername()[0]
    return address.startswith("127.")
