"""Whether the head of a request is here, so that no thread has to wait for the rest of it.

Looked at where connections are polled; what it says is gunicorn's to judge, in a thread.
"""

import re
import socket
from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from gunicorn.http.errors import LimitRequestHeaders

MOST: Final = 64 << 10
"""Bytes of a head that are waited for; no field of it can be longer, either."""

FIELD: Final = 8190
"""Longest value of a field in bytes: what gunicorn takes unless told otherwise, and a name."""

LONG_FIELDS: Final = frozenset({"RANGE"})
"""Those that may be as long as a head: clients ask for a thousand ranges of a layer at once."""

_TLS: Final = b"\x16"
"""What a client of TLS begins with (RFC 8446, 5.1)."""

_METHOD: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}"
_LINE: Final = re.compile(_METHOD + rb" \S+ HTTP/1\.[01]")
_LINE_SO_FAR: Final = re.compile(_METHOD + rb"(?: (?:\S{1,4096}(?: [HTP/1.0]{0,8}\r?)?)?)?")
"""What may still become a request line that gunicorn accepts."""


class State(Enum):
    """How much of a head is here."""

    BEGUN = auto()
    DECIDABLE = auto()
    """All of it, or a whole line that gunicorn refuses; or the client is gone."""
    ENDLESS = auto()
    """``MOST`` bytes, and no end of it."""
    NONSENSE = auto()
    """What can become no head, of which gunicorn would wait for the end of its line.

    TLS is: podman, skopeo and crane try it first.
    """


_NO_MORE: Final = b"Connection: close\r\nContent-Length: 0\r\n\r\n"
REFUSALS: Final = {
    State.ENDLESS: b"HTTP/1.1 431 Request Header Fields Too Large\r\n" + _NO_MORE,
    State.NONSENSE: b"HTTP/1.1 400 Bad Request\r\n" + _NO_MORE,
}
"""The answers to what is no head; nobody is told of them."""


def require_short(headers: Iterable[tuple[str, str]]) -> None:
    """Raise what gunicorn does for a field that is too long, where it was told to take longer."""
    if any(len(value) > FIELD and name not in LONG_FIELDS for name, value in headers):
        raise LimitRequestHeaders("limit request headers fields size")


def state_of(data: bytes) -> State:
    """How much of a head ``data`` is."""
    # > a server that is expecting to receive and parse a request-line SHOULD ignore at least one
    # > empty line (CRLF) received prior to the request-line.            (RFC 9112, 2.2)
    head = data.lstrip(b"\r\n")
    if head.startswith(_TLS):
        return State.NONSENSE
    line, is_whole, _ = head.partition(b"\r\n")
    if is_whole and (b"\r\n\r\n" in head or _LINE.fullmatch(line) is None):
        return State.DECIDABLE
    if not is_whole and line and _LINE_SO_FAR.fullmatch(line) is None:
        return State.NONSENSE
    return State.BEGUN if len(data) < MOST else State.ENDLESS


def look(client: socket.socket, begun: bytes) -> State:
    """How much is here of the head that begins with ``begun``, which was received already.

    Of what is still in the socket nothing is taken. While the head is not whole, the poller is told
    of the socket when there is more than now.
    """
    if begun and (state := state_of(begun)) is not State.BEGUN:
        return state
    # A unix socket has no mark: it would be told of without end. Behind it is a proxy, which sends
    # whole heads.
    if client.family == socket.AF_UNIX:
        return State.DECIDABLE
    # > SO_RCVLOWAT [...] select(2), poll(2), and epoll(7) indicate a socket as readable only if at
    # > least SO_RCVLOWAT bytes are available.        (Linux, socket(7), since 2.6.28)
    try:
        mark = client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)
        more = client.recv(MOST, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        # Readable with less than was asked for: nothing more will come.
        state = state_of(begun + more) if len(more) >= mark else State.DECIDABLE
        wanted = len(more) + 1 if state is State.BEGUN else 1
        if wanted != mark:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
    except BlockingIOError:
        return State.BEGUN
    except OSError:
        return State.DECIDABLE
    return state
