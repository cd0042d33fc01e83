"""How a file is sent to a client on this machine: what the kernel does for far ones is no help.

A client on the same machine competes for the processor's caches and cores with what sends to it.
With the kernel's own buffers, which are meant for long ways, sixteen clients get half of what they
could, and one client gets a quarter when the kernel wakes it on the core that sends.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

LARGE: Final = 1 << 20
"""Bytes from which a file's sending is worth a thought."""

SEND_BUFFER: Final = 512 << 10
"""What is asked for, in bytes: the kernel doubles it, and takes no more than its wmem_max."""

INCOMING_CPU: Final = 49
"""Linux's socket option, which Python does not name: the core that the last packet came in on."""


@contextmanager
def sending(connection: socket.socket, length: int) -> Iterator[None]:
    """In this block, ``length`` bytes of a file are sent by this thread."""
    if length < LARGE or not _is_local(connection):
        yield
        return
    allowed = _prepare(connection)
    try:
        yield
    finally:
        if allowed:
            with suppress(OSError):
                os.sched_setaffinity(0, allowed)


def _prepare(connection: socket.socket) -> set[int]:
    """Bound the buffer and leave the client its core; the cores to go back to, if it was left.

    All of this may be forbidden, in a container say: then the file is sent as any other.
    """
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        allowed = os.sched_getaffinity(0)
        others = allowed - {connection.getsockopt(socket.SOL_SOCKET, INCOMING_CPU)}
        if others and others != allowed:
            os.sched_setaffinity(0, others)
            return allowed
    return set()


def _is_local(connection: socket.socket) -> bool:
    """Whether the other end is on this machine, as far as its address tells."""
    if connection.family != socket.AF_INET:
        return False
    address: str = connection.getpeername()[0]
    return address.startswith("127.")
