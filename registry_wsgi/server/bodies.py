"""How the body of a request is received: by whom, how long silence is borne, how many at a time."""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, Final, Protocol

from gunicorn.http.errors import ParseException

from registry_wsgi.errors import BodyCut
from registry_wsgi.server import connection
from registry_wsgi.server.lanes import Lanes, is_small

BODY_ERRORS: Final[tuple[type[Exception], ...]] = (OSError, ParseException)
"""A connection that broke, and framing that is none."""

SLOWEST: Final = 256
"""Bytes a second that a body must bring, counted over the seconds that it may be silent."""

DISCARD_SECONDS: Final = 2.0
"""How long a refused body may take."""

UNASKED: Final = 1 << 20
"""Bytes that are read of a body that is refused and that the client need not have sent yet."""

Environ = dict[str, Any]

Place = Callable[[], AbstractContextManager[None]]
"""What a body is received in."""


class Readable(Protocol):
    """A body as the application knows it."""

    @property
    def length(self) -> int | None:
        """Bytes announced; ``None`` when the end is found while reading."""
        ...

    def blocks(self) -> Iterator[memoryview]:
        """The bytes; raises BodyCut before a premature end."""
        ...


class NoBody:
    """What a request without a body has."""

    length = 0
    received = 0

    def blocks(self) -> Iterator[memoryview]:
        """Nothing."""
        return iter(())

    def discarding(self) -> None:
        """Nothing is left."""


NO_BODY: Final = NoBody()


class Reception:
    """One body's reception: it waits for a place, and is cut when silent or too slow.

    One that is ``held_back`` is asked for when it has a place. ``left_over`` tells what came of one
    that broke off and was not yielded.
    """

    def __init__(
        self,
        body: Readable,
        source: Any,
        place: Place,
        seconds: float,
        held_back: connection.HeldBack | None = None,
        left_over: Callable[[], bytes] = bytes,
    ) -> None:
        self.length = body.length
        self.received = 0
        self._body = body
        self._source = source
        self._place = place
        self._seconds = seconds
        self._held_back = held_back
        self._left_over = left_over
        self._most: int | None = None
        self._wanted = True

    def discarding(self) -> None:
        """What is left will be thrown away: wait for neither a place nor, for long, the client."""
        self._wanted = False
        self._place = nullcontext
        self._seconds = DISCARD_SECONDS

    def blocks(self) -> Iterator[memoryview]:
        """The bytes; raises BodyCut, and RegistryError (UNAVAILABLE) without a place in time."""
        with self._place(), _silence(self._source, self._seconds):
            self._ask()
            since, size = time.monotonic(), 0
            for block in self._arriving():
                self.received += len(block)
                size += len(block)
                if self._most is not None and self.received > self._most:
                    raise BodyCut("the client did not wait for the answer")
                if block:
                    yield block
                passed = time.monotonic() - since
                if passed > self._seconds:
                    if size < passed * SLOWEST or not self._wanted:
                        raise BodyCut(f"{size} bytes came in {passed:.0f} s")
                    since, size = time.monotonic(), 0

    def _arriving(self) -> Iterator[memoryview]:
        try:
            yield from self._body.blocks()
        except BodyCut:
            if left := self._left_over():
                yield memoryview(left)
            raise

    def _ask(self) -> None:
        held, self._held_back = self._held_back, None
        if held is None:
            return
        if self._wanted:
            held.ask()
        elif held.is_coming():
            self._most = UNASKED
        else:
            raise BodyCut("the client was not asked for it")


class BodyReader:
    """Makes the bodies of requests.

    ``fallback`` makes one that reads through WSGI. ``threads`` is how many requests a process
    serves at once; ``seconds`` is how long a body may be silent. ``fast`` reads past gunicorn's
    buffers where that is known to be safe.
    """

    def __init__(
        self, fallback: Callable[[Environ], Readable], threads: int, seconds: float, *, fast: bool
    ) -> None:
        self._fallback = fallback
        self._seconds = seconds
        self._fast = fast
        self.lanes = Lanes(threads)

    def __call__(self, environ: Environ) -> NoBody | Reception:
        """The body of this request; raises what ``fallback`` raises."""
        if not has_body(environ):
            return NO_BODY
        body = self._fallback(environ)
        source = environ.get("gunicorn.socket")
        is_here = is_small(body.length) and connection.has_arrived(
            environ.get("wsgi.input"), source, body.length
        )
        found = connection.find(environ, body.length) if self._fast else None
        if found is not None:
            body = connection.ConnectionBody(found, body.length)
            source = _Plain(found.socket)
        held_back = connection.held_back(environ)
        # What is here needs no place to wait in, and no limit of silence.
        place = nullcontext if is_here else self.lanes.of(body.length).entered
        left_over = partial(connection.left_over, environ.get("wsgi.input"))
        return Reception(
            body, None if is_here else source, place, self._seconds, held_back, left_over
        )


def has_body(environ: Environ) -> bool:
    """Whether the request has one, be it an empty one in chunks."""
    return (
        environ.get("CONTENT_LENGTH", "0") not in {"0", ""} or "HTTP_TRANSFER_ENCODING" in environ
    )


class _Plain:
    """A socket that only blocking calls are made on: the kernel counts its time."""

    def __init__(self, plain: socket.socket) -> None:
        self._socket = plain

    def gettimeout(self) -> float | None:
        """Without end until it is set: gunicorn's sockets are."""
        return None

    def settimeout(self, seconds: float | None) -> None:
        """Set SO_RCVTIMEO: unlike Python's own timeouts it costs no poll(2) for each recv(2)."""
        whole = int(seconds or 0)
        value = struct.pack("ll", whole, int(((seconds or 0) - whole) * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)


@contextmanager
def _silence(source: Any, seconds: float) -> Iterator[None]:
    """Have reads of ``source`` fail after this time without a byte, and afterwards not any more."""
    if source is None:
        yield
        return
    before = source.gettimeout()
    source.settimeout(seconds)
    try:
        yield
    finally:
        with suppress(OSError):  # the connection may be closed by now
            source.settimeout(before)
