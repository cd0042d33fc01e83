"""How bytes are sent to a client on this machine: as fast as it takes them.

BBR, which some systems have for all connections, learns what a path can carry by pacing: a timer
for every 64 KiB. On a way through memory the timers take longer than the sending, and a client
gets a fifth or a tenth of what it could. To clients elsewhere, what the system chose stays.
"""

import socket
from contextlib import suppress
from typing import Final

SLOW_WITHIN: Final = (b"bbr",)
"""How the names of congestion controls begin that are slow within a machine."""

INSTEAD: Final = b"reno"
"""What such connections get.

"The algorithm "reno" is always available" (Linux, ip-sysctl, tcp_congestion_control). The kernel
goes on pacing a connection that began with BBR, but at a rate that reno sets well above what the
client takes.
"""

NAME_LENGTH: Final = 16
"""TCP_CA_NAME_MAX."""


def hurry_within(connection: socket.socket) -> None:
    """Have a connection that both ends of are on this machine not be slowed down by BBR."""
    if connection.family == socket.AF_UNIX:
        return
    # The client may be gone already, and an emulated kernel may know of no such choice.
    with suppress(OSError):
        if connection.getpeername()[0] != connection.getsockname()[0]:
            return
        name = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, NAME_LENGTH)
        if name.startswith(SLOW_WITHIN):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, INSTEAD)
