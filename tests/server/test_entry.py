"""The outermost layer: what it does to a connection before a file is sent."""

import socket
from typing import Any

import pytest

from registry_wsgi.server.entry import LARGE, LOCAL_SEND_BUFFER, bound_send_buffer

LINUX_KEEPS = 2 * LOCAL_SEND_BUFFER
"""The kernel doubles what it is asked for (socket(7), SO_SNDBUF)."""


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
    family: int, address: Any, length: int, bound: bool
) -> None:
    """Only on a connection from loopback, and only where it is worth it."""
    with socket.socket(family) as listener, socket.socket(family) as client:
        listener.bind(address)
        listener.listen()
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            before = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            bound_send_buffer(accepted, length)
            after = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    assert after == (LINUX_KEEPS if bound else before)
