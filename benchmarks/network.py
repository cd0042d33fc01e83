"""A network of the benchmark's own: a loopback interface, as Linux makes one, and nothing else.

How a machine is tuned for far clients says nothing of a registry. With BBR for instance, which
paces what is sent by timers, the numbers of one server are three or ten times apart by chance,
within one run, and most are the timers'.
"""

import ctypes
import fcntl
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

CONTROLS: Final = ("cubic", "reno")
"""Linux's default, and what is always there: only the machine's owner may allow the former."""

_CONTROL: Final = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_CLONE_NEWNET: Final = 0x40000000
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1


def enter_own() -> None:
    """Have this process, and those that it starts, in a network of their own.

    Raises OSError where that is not allowed: it takes root.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    with socket.socket() as any_socket:
        up = struct.pack("16sh14x", b"lo", _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, up)
    for name in CONTROLS:
        with suppress(OSError):
            _CONTROL.write_text(name, "ascii")
            return


def congestion_control() -> str:
    """The one of new connections."""
    return _CONTROL.read_text("ascii").strip()
