"""The application's outermost layer, whichever gunicorn worker and settings serve it."""

import io
import os
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO, Final

from gunicorn.http.wsgi import Response

from registry_wsgi.server.background import Background
from registry_wsgi.server.connection import ends_connection, wants_close
from registry_wsgi.server.lanes import Lanes
from registry_wsgi.server.outgoing import (
    DEFERRAL,
    NO_DESCRIPTOR,
    Piece,
    Rest,
    report_cut,
    send_eagerly,
)

PIECEWISE: Final = "registry_wsgi.piecewise"
"""Tells the application that files may be sent in pieces."""

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


class QuietResponse(Response):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's answer, but for that header: the recorded push has none, and it tells versions."""

    def default_headers(self) -> list[str]:
        """The status line and gunicorn's headers, as lines."""
        return [line for line in super().default_headers() if not line.startswith("Server: ")]

    def write_file(self, respiter: Any) -> None:
        """Send a file; one that turned out too short ends the connection: nobody waits for more."""
        content = respiter.filelike
        begin: int = content.tell()
        end = begin + (self.response_length or 0)
        pieces = deque([Piece(b"", begin, end)])
        if (several := getattr(respiter, "pieces", None)) is not None:
            pieces = deque(Piece(*one) for one in several)
            end = max(piece.end for piece in pieces)
        if self.response_length and self.sends_pieces():
            self.send_headers()
            self._send(content, pieces, end)
        else:
            super().write_file(respiter)
        if os.fstat(content.fileno()).st_size < end:
            report_cut(content.name)
            self.force_close()

    def sends_pieces(self) -> bool:
        """Whether parts of files are sent by the kernel, and later where a client is slow."""
        return DEFERRAL.is_allowed and bool(self.can_sendfile())

    def _send(self, content: BinaryIO, pieces: deque[Piece], end: int) -> None:
        """Send parts of a file, or leave the rest of them for later if the client is slow."""
        try:
            send_eagerly(self.sock, content.fileno(), pieces)
            if pieces and end <= os.fstat(content.fileno()).st_size:
                DEFERRAL.leave(Rest.of(content, pieces))
                return
        except io.UnsupportedOperation:
            pass
        except OSError as error:
            if error.errno not in NO_DESCRIPTOR:
                raise
        self.sock.setblocking(True)
        for piece in pieces:
            self.sock.sendall(piece.head)
            left = piece.end - piece.offset
            # Python's own way copies what the kernel cannot send.
            if left and self.sock.sendfile(content, piece.offset, left) < left:
                return


def nothing_is(method: str, path: str) -> bool:  # noqa: ARG001 - what ``Entry.quick`` is asked
    """No route is quick."""
    return False


class Entry:
    """The application as a server calls it: quiet under gunicorn, and keeping house.

    ``quick`` tells of a method and a path whether the answer waits for nothing (see ``worker``),
    ``lanes`` are what bodies take (see ``parking``).
    """

    def __init__(
        self,
        app: WsgiApp,
        background: Sequence[Background],
        quick: Callable[[str, str], bool] = nothing_is,
        lanes: Lanes | None = None,
    ) -> None:
        self._app = app
        self.quick = quick
        self.lanes = lanes
        self._background = background
        self._pid = 0

    def start(self) -> None:
        """Start what runs beside requests, once in each process, after the fork."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            for task in self._background:
                task.start()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        self.start()
        source = environ.get("gunicorn.socket")
        if source is not None:
            # gunicorn lets a proxy on this machine say it; the application alone judges proxies.
            environ["wsgi.url_scheme"] = "https" if isinstance(source, ssl.SSLSocket) else "http"
        response: Any = getattr(start_response, "__self__", None)
        if type(response) is not Response:
            return self._app(environ, start_response)
        response.__class__ = QuietResponse
        environ[PIECEWISE] = response.sends_pieces()
        parts = self._app(environ, start_response)
        if ends_connection(environ["wsgi.input"]) or wants_close(environ):
            response.force_close()
        return parts
