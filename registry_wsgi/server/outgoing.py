"""Files for clients that take them more slowly than they are read: no thread waits with these.

A thread of the pool begins to send a file and goes on for as long as the client takes it. When it
has waited for a while in all, a descriptor of the file and the connection go to a thread of their
own, which sends to all such clients in turns, as they have room. (Not to the one that polls all
connections: reading a file may wait for the disk.)
"""

import errno
import io
import logging
import os
import select
import selectors
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import BinaryIO, Final

LOG: Final = logging.getLogger(__name__)

PATIENCE: Final = 0.05
"""Seconds that a thread of the pool waits in all for the client of one file."""

TURN: Final = 4 << 20
"""Most bytes for one client before the others get theirs."""

SILENT: Final = 60.0
"""Seconds after which a client that takes nothing is given up."""

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether there are such."""

GONE: Final = frozenset(
    {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTUNREACH}
)
"""How a client's end shows; anything else is the file's, or the machine's."""

UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""What a file system says whose files sendfile(2) cannot send."""

NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE})
"""What the kernel says when no more files can be open."""


@dataclass(slots=True)
class Piece:
    """Bytes that go first, then what is from ``offset`` to ``end`` in a file."""

    head: bytes
    offset: int
    end: int


@dataclass
class Rest:
    """What is still to be sent of a file, by whoever has this: it owns ``descriptor``."""

    descriptor: int
    pieces: deque[Piece]
    name: str

    @classmethod
    def of(cls, content: BinaryIO, pieces: deque[Piece]) -> "Rest":
        """The rest of a file that its reader closes soon; raises OSError."""
        return cls(os.dup(content.fileno()), pieces, content.name)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.descriptor)


class Deferral(threading.local):
    """What a thread of the pool leaves undone of the one answer that it is giving."""

    is_allowed = False
    """Whether a file need not be sent to its end."""

    _rest: Rest | None = None

    @contextmanager
    def allowed(self) -> Iterator["Deferral"]:
        """In this block it is; what is left and not taken by its end is given up."""
        self.is_allowed = True
        try:
            yield self
        finally:
            self.is_allowed = False
            left = self.take()
            if left is not None:
                left.close()

    def leave(self, rest: Rest) -> None:
        """Leave this for later."""
        self._rest = rest

    def take(self) -> Rest | None:
        """What was left."""
        rest, self._rest = self._rest, None
        return rest


DEFERRAL: Final = Deferral()


def report_cut(name: str) -> None:
    """Tell that a file turned out shorter than its answer says."""
    LOG.error("%s lost its end while it was sent: run fsck", name)


def send_eagerly(connection: socket.socket, descriptor: int, pieces: deque[Piece]) -> None:
    """Send pieces of a file while the client is quick; what was sent is taken off them.

    Some are left also when the file is shorter. The connection does not block afterwards. Raises
    OSError; of those io.UnsupportedOperation when the pieces have to be sent in another way.
    """
    connection.setblocking(False)
    waited = 0.0
    while pieces:
        try:
            if not _send_some(connection, descriptor, pieces, sys.maxsize):
                break
        except BlockingIOError:
            if waited >= PATIENCE:
                break
            waited += _wait(connection, PATIENCE - waited)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                raise io.UnsupportedOperation("sendfile") from error
            raise


def _send_some(connection: socket.socket, descriptor: int, pieces: deque[Piece], most: int) -> int:
    """Send what the client takes of the first piece; 0 where the file has come to its end.

    Raises OSError.
    """
    piece = pieces[0]
    if piece.head:
        # With content behind it, a packet is not sent for a head alone.
        more = socket.MSG_MORE if piece.offset < piece.end else 0
        sent = connection.send(piece.head, more)
        piece.head = piece.head[sent:]
    else:
        length = min(most, piece.end - piece.offset)
        sent = os.sendfile(connection.fileno(), descriptor, piece.offset, length)
        piece.offset += sent
    if not piece.head and piece.offset >= piece.end:
        pieces.popleft()
    return sent


def _wait(connection: socket.socket, seconds: float) -> float:
    """Wait until there is room; how long that took."""
    started = time.monotonic()
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    poll.poll(seconds * 1000)
    return time.monotonic() - started


@dataclass(eq=False)
class _Client:
    """One connection that a file is on its way to."""

    connection: socket.socket
    rest: Rest
    done: Callable[[bool], None]
    until: float


class Sender:
    """The thread that sends; it starts with the first file, after the fork."""

    def __init__(self) -> None:
        self._arriving: SimpleQueue[_Client] = SimpleQueue()
        self._starting = threading.Lock()
        self._wake = -1

    def send(self, connection: socket.socket, rest: Rest, done: Callable[[bool], None]) -> None:
        """Send the rest, then call ``done`` with whether all of it was sent, in that thread.

        Raises OSError or RuntimeError when there can be no such thread: the rest is the caller's.
        """
        with self._starting:
            if self._wake < 0:
                self._start()
        self._arriving.put(_Client(connection, rest, done, time.monotonic() + SILENT))
        os.eventfd_write(self._wake, 1)

    def _start(self) -> None:
        with ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            stack.callback(os.close, wake)
            selector.register(wake, selectors.EVENT_READ)
            threading.Thread(
                target=self._serve, args=(selector, wake), name="sender", daemon=True
            ).start()
            stack.pop_all()
        self._wake = wake

    def _serve(self, selector: selectors.BaseSelector, wake: int) -> None:
        look = time.monotonic() + LOOK_SECONDS
        while True:
            for key, _ in selector.select(LOOK_SECONDS):
                if key.data is None:
                    os.eventfd_read(wake)
                    self._welcome(selector)
                else:
                    self._advance(selector, key.data)
            now = time.monotonic()
            if now >= look:
                look = now + LOOK_SECONDS
                for client in [key.data for key in selector.get_map().values() if key.data]:
                    if client.until <= now:
                        self._judge(selector, client)

    def _welcome(self, selector: selectors.BaseSelector) -> None:
        with suppress(Empty):
            while True:
                client = self._arriving.get_nowait()
                try:
                    client.connection.setblocking(False)
                    selector.register(client.connection, selectors.EVENT_WRITE, client)
                except (OSError, ValueError) as error:
                    LOG.error("%s cannot be sent: %s", client.rest.name, error)  # noqa: TRY400 - no trace is needed
                    _end(client, sent=False)

    def _judge(self, selector: selectors.BaseSelector, client: _Client) -> None:
        """Give up a client that has taken nothing for too long.

        The kernel tells of room when there is much of it: a slow client may have made some.
        """
        until = client.until
        if self._advance(selector, client) and client.until == until:
            _finish(selector, client, sent=False)

    @staticmethod
    def _advance(selector: selectors.BaseSelector, client: _Client) -> bool:
        """Send what the client takes now; whether it is still to be sent something."""
        rest = client.rest
        try:
            sent = _send_some(client.connection, rest.descriptor, rest.pieces, TURN)
        except BlockingIOError:
            return True
        except OSError as error:
            level = logging.DEBUG if error.errno in GONE else logging.ERROR
            LOG.log(level, "%s was not sent to its end: %s", rest.name, error)
            _finish(selector, client, sent=False)
            return False
        if not sent:
            report_cut(rest.name)
            _finish(selector, client, sent=False)
            return False
        client.until = time.monotonic() + SILENT
        if rest.pieces:
            return True
        _finish(selector, client, sent=True)
        return False


def _finish(selector: selectors.BaseSelector, client: _Client, *, sent: bool) -> None:
    selector.unregister(client.connection)
    _end(client, sent=sent)


def _end(client: _Client, *, sent: bool) -> None:
    client.rest.close()
    client.done(sent)
