"""A request's body read straight from its connection, past gunicorn's buffers.

gunicorn reads into new byte strings and copies them on their way through its readers. Here the
kernel writes into one large buffer, which is used again for every block; chunk framing is taken
out of it in place, or is not even put into it. Only where everything in between is exactly as
known, and nothing of the body was read yet: see ``find``.

From the first block until the last the connection is marked as failed, and its reader as one that
cannot read: whatever ends a request early, gunicorn then closes the connection instead of taking
the rest of the body for the next request.
"""

import fcntl
import inspect
import socket
import sys
import termios
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from gunicorn.http.body import Body as GunicornBody
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import ParseException
from gunicorn.http.unreader import SocketUnreader

from registry_wsgi.errors import BodyCut
from registry_wsgi.server.buffers import BUFFERS
from registry_wsgi.server.framing import ChunkFraming, Rhythm
from registry_wsgi.server.known import is_known
from registry_wsgi.server.scatter import Scatter


class _NoReader:
    """What is left of a body's reader while, or after, its bytes were taken from the socket."""

    @staticmethod
    def read(size: int) -> bytes:
        """Fail, so that gunicorn closes the connection."""
        raise OSError(f"the body was not read to its end, {size} bytes were asked for")


class Connection:
    """What one request's body comes through: gunicorn's objects for it."""

    def __init__(self, body: Any, unreader: Any) -> None:
        self._body = body
        self._unreader = unreader
        self._reader = body.reader
        self.socket: socket.socket = unreader.sock

    def claim(self) -> bytes:
        """Take over; returns what gunicorn has read ahead."""
        self._body.failed = True
        self._body.reader = _NoReader
        buffered: bytes = self._unreader.take_buffered()
        return buffered

    def arrived(self) -> int:
        """Bytes that the kernel has of it, and of what follows."""
        return _arrived(self.socket)

    def release(self, surplus: bytes) -> None:
        """Hand back after the whole body, with what was read behind it."""
        if surplus:
            self._unreader.unread(surplus)
        if isinstance(self._reader, LengthReader):
            self._reader.length = 0
        else:
            self._reader.parser = None
        self._body.reader = self._reader
        self._body.failed = False

    def check_trailers(self, section: bytes) -> None:
        """Refuse what gunicorn refuses in a trailer section; raises BodyCut."""
        try:
            self._reader.req.parse_headers(section, from_trailer=True)
        except ParseException as error:
            raise BodyCut(f"bad trailer section: {error}") from error


def find(environ: dict[str, Any], length: int | None) -> Connection | None:
    """The connection that the body comes through, ``None`` unless all of it is as known."""
    body: Any = environ.get("wsgi.input")
    if not is_known() or type(body) is not GunicornBody or body.failed or body.buf.tell():
        return None
    reader: Any = body.reader
    unreader: Any
    if type(reader) is LengthReader and reader.length == length:
        unreader = reader.unreader
    elif type(reader) is ChunkedReader and length is None and _untouched(reader):
        unreader = reader.req.unreader
    else:
        return None
    source: Any = environ.get("gunicorn.socket")
    if type(unreader) is not SocketUnreader or type(source) is not socket.socket:
        return None
    plain = unreader.sock is source and source.gettimeout() is None
    return Connection(body, unreader) if plain else None


class HeldBack:
    """A body that its client sends when it is asked to (``Expect: 100-continue``)."""

    def __init__(self, body: Any, source: socket.socket) -> None:
        self._body = body
        self._socket = source

    def ask(self) -> None:
        """Ask for it; raises BodyCut when the client is gone."""
        self._body.is_held_back = False
        # > The origin server MUST NOT wait for the request content before sending the 100
        # > (Continue) response.                                        (RFC 9110, 10.1.1)
        try:
            self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        except OSError as error:
            raise BodyCut(str(error)) from error

    def is_coming(self) -> bool:
        """Whether the client did not wait: some of it is here, if that can be seen."""
        reader: Any = self._body.reader
        unreader: Any = getattr(reader, "unreader", None) or reader.req.unreader
        if unreader.buf.getbuffer():
            return True
        if type(self._socket) is not socket.socket:
            return False
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False


def hold_back(request: Any) -> None:
    """Have gunicorn not ask for a body before it is clear that it is wanted."""
    reader: Any = request.body.reader
    announced = type(reader) is ChunkedReader or (type(reader) is LengthReader and reader.length)
    if announced and request._expected_100_continue:  # noqa: SLF001 - what gunicorn asks by
        request._expected_100_continue = False  # noqa: SLF001
        request.body.is_held_back = True


def ends_connection(body: Any) -> bool:
    """Whether nothing can follow a request's body: it was cut, or the client may still send it.

    Of the latter gunicorn is told: it would wait for the rest of the body.
    """
    if getattr(body, "is_held_back", False):
        body.failed = True
    return bool(getattr(body, "failed", False))


def wants_close(environ: dict[str, Any]) -> bool:
    """Whether this is to be the client's last request; gunicorn sees it in no list of options."""
    # > A server that receives a "close" connection option MUST initiate closure of the connection
    # > [...] after it sends the final response to the request that contained the "close"
    # > connection option.                                            (RFC 9112, 9.6)
    options: str = environ.get("HTTP_CONNECTION", "")
    return "," in options and "close" in (one.strip().lower() for one in options.split(","))


def held_back(environ: dict[str, Any]) -> HeldBack | None:
    """The body that ``hold_back`` was called for, if it was."""
    body = environ.get("wsgi.input")
    if getattr(body, "is_held_back", False):
        return HeldBack(body, environ["gunicorn.socket"])
    return None


def has_arrived(body: Any, source: Any, length: int) -> bool:
    """Whether all ``length`` bytes of an untouched body are here: to read them is not to wait."""
    reader: Any = getattr(body, "reader", None)
    if type(reader) is not LengthReader or type(source) is not socket.socket:
        return False
    unreader: Any = reader.unreader
    if type(unreader) is not SocketUnreader or unreader.sock is not source:
        return False
    left = length - len(unreader.buf.getbuffer())
    return left <= 0 or _arrived(source) >= left


def left_over(body: Any) -> bytes:
    """What gunicorn's readers have of a body whose reading failed: they drop none of it."""
    reader: Any = getattr(body, "reader", None)
    if type(body) is not GunicornBody or not getattr(body, "failed", False):
        return b""
    begun: bytes = body.buf.getvalue()
    if type(reader) is ChunkedReader:
        return begun + bytes(reader.buf.getvalue())
    if type(reader) is LengthReader:
        return begun + bytes(reader.unreader.buf.getvalue()[: reader.length])
    return begun


def _arrived(source: socket.socket) -> int:
    """Bytes that can be received without waiting; 0 if the kernel cannot be asked."""
    # > SIOCINQ: Returns the amount of queued unread data in the receive buffer.  (tcp(7))
    try:
        return int.from_bytes(fcntl.ioctl(source, termios.FIONREAD, bytes(4)), sys.byteorder)
    except (OSError, ValueError):  # whoever receives next is told why
        return 0


def _untouched(reader: Any) -> bool:
    parser = reader.parser
    return (
        inspect.isgenerator(parser)
        and inspect.getgeneratorstate(parser) == inspect.GEN_CREATED
        and not reader.buf.tell()
    )


class ConnectionBody:
    """A body as ``services`` want it. What one call of ``blocks`` leaves, the next one yields."""

    def __init__(self, connection: Connection, length: int | None) -> None:
        self.length = length
        self._connection = connection
        self._blocks: Iterator[memoryview] | None = None
        self._complete = False

    def blocks(self) -> Iterator[memoryview]:
        """The bytes, each block valid until the next; raises BodyCut before a premature end.

        A block is empty where nothing but framing came.
        """
        if self._blocks is None:
            buffered = self._connection.claim()
            if self.length is None:
                self._blocks = self._chunked(buffered)
            else:
                self._blocks = self._sized(buffered, self.length)
        while (block := next(self._blocks, None)) is not None:
            yield block
        if not self._complete:
            raise BodyCut("the body was cut before")

    def _finish(self, surplus: bytes) -> None:
        self._complete = True
        self._connection.release(surplus)

    def _sized(self, buffered: bytes, left: int) -> Iterator[memoryview]:
        first, surplus = memoryview(buffered)[:left], buffered[left:]
        left -= len(first)
        if not left:
            self._finish(surplus)
        if first:
            yield first
        if left:
            with BUFFERS.small() as buffer:
                yield from self._sure(memoryview(buffer), left, partial(self._finish, b""))

    def _sure(self, view: memoryview, left: int, end: Callable[[], None]) -> Iterator[memoryview]:
        """Receive bytes that are announced, and so may be waited for; ``end`` is called there."""
        while left:
            with self._room(view) as room:
                count = self._receive([room[:left]], socket.MSG_WAITALL)
                left -= count
                if not left:
                    end()
                yield room[:count]

    @contextmanager
    def _room(self, view: memoryview) -> Iterator[memoryview]:
        """Where to receive next: the view, or a larger place for more that has arrived."""
        arrived = self._connection.arrived()
        if arrived <= len(view):
            yield view
            return
        with BUFFERS.large() as large:
            yield view if large is None else memoryview(large)[:arrived]

    def _chunked(self, buffered: bytes) -> Iterator[memoryview]:
        with BUFFERS.small() as buffer:
            yield from self._stripped(buffered, buffer)

    def _stripped(self, ahead: bytes, buffer: bytearray) -> Iterator[memoryview]:
        """The payload of chunks, of which ``ahead`` came already."""
        framing = ChunkFraming(self._connection.check_trailers)
        view = memoryview(buffer)
        stop = 0
        while True:
            if ahead:
                count = min(len(ahead), len(view) - stop)
                view[stop : stop + count], ahead = ahead[:count], ahead[count:]
            else:
                count = self._receive([view[stop:]])
            stop += count
            end, rest = framing.strip(buffer, view, 0, stop)
            if framing.finished:
                self._finish(bytes(view[rest:stop]) + ahead)
            yield view[:end]
            if framing.finished:
                return
            view[: stop - rest] = view[rest:stop]
            stop -= rest
            if stop or ahead:
                continue
            rhythm = framing.rhythm
            # The framing of large chunks costs little, and few would fit.
            if rhythm and rhythm.size <= len(view) // 4:
                ahead = yield from self._alike(framing, view, rhythm)
            elif framing.left >= len(view):
                yield from self._sure(view, framing.left, partial(framing.resume, 0))

    def _alike(
        self, framing: ChunkFraming, view: memoryview, rhythm: Rhythm
    ) -> Generator[memoryview, None, bytes]:
        """Receive chunks while they are alike; returns what came behind the last one."""
        scatters: dict[int, Scatter] = {}
        while True:
            with self._room(view) as room:
                place = room.obj
                scatter = scatters.get(id(place))
                if scatter is None:
                    scatter = scatters[id(place)] = Scatter(memoryview(place), rhythm)
                count = self._receive(scatter.buffers(framing.left, len(room)))
                start, end, left, raw = scatter.sort(framing.left, count)
                framing.resume(left)
                yield scatter.view[start:end]
            if raw:
                return raw

    def _receive(self, buffers: list[memoryview], flags: int = 0) -> int:
        try:
            count = self._connection.socket.recvmsg_into(buffers, 0, flags)[0]
        except BlockingIOError as error:
            raise BodyCut("the client has been silent for too long") from error
        except OSError as error:
            raise BodyCut(str(error)) from error
        if not count:
            raise BodyCut("the client closed the connection")
        return count
