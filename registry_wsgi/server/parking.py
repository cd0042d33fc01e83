"""gunicorn's threaded worker, in which nobody who has to wait keeps a thread.

A connection gets one when the head of a request is here (see ``heads``); gunicorn lets a thread
wait for that. The process that has the fewest connections takes a new one (see ``balance``).

As many bodies are received at a time as leave threads for everybody else (see ``lanes``). A
request that has to wait is put aside when its head is read, before its body is: no thread waits
with it. A client that holds its body back is asked for it only when its turn has come and the
body is wanted.
"""

import contextlib
import errno
import resource
import selectors
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from gunicorn.workers.gthread import PollableMethodQueue, TConn, ThreadWorker

from registry_wsgi.server import heads
from registry_wsgi.server.announced import has_no_body, lane_of, left_of
from registry_wsgi.server.balance import Share
from registry_wsgi.server.buffers import BUFFERS
from registry_wsgi.server.connection import hold_back
from registry_wsgi.server.known import is_known
from registry_wsgi.server.lanes import WAIT_SECONDS, Lane, Lanes
from registry_wsgi.server.outgoing import DEFERRAL, NO_DESCRIPTOR, Rest, Sender
from registry_wsgi.server.pacing import hurry_within

CLOSERS: Final = 2
"""Threads that wait with connections that are being closed."""

NO_DESCRIPTOR_PAUSE: Final = 0.01
"""Seconds that are waited where no connection can be accepted, so as not to ask without end."""

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether the body of a request that waits is here."""

_PARKED: Final = object()


class _Again:
    """In a parser's place, the request that it has parsed already."""

    def __init__(self, conn: Any, request: Any) -> None:
        self._conn = conn
        self._parser = conn.parser
        self._request = request

    def __next__(self) -> Any:
        """The request, once; the parser is in its place again."""
        self._conn.parser = self._parser
        return self._request


class _StaysOpen(PollableMethodQueue):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's queue, for threads that outlive the loop by a moment.

    They would write their wake-up to a descriptor that may be another file's by then.
    """

    def close(self) -> None:
        """Leave it to the end of the process."""


class ParkingWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """A worker that puts requests aside until there is room for their bodies."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # gunicorn makes its workers before it forks them.
        BUFFERS.share(self.cfg.workers)
        self.method_queue = _StaysOpen()
        self._lanes: Lanes | None = None
        self._parked: list[Any] = []
        self._share = Share(self.age)
        self._next_beat = 0.0
        self._next_look = 0.0
        self._closing = ThreadPoolExecutor(CLOSERS, "closing")
        self._sender = Sender()
        self._awaiting_heads = False

    def init_process(self) -> None:
        """Start, with as many open files as may be: a connection that is sent a file has two."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        super().init_process()

    def run(self) -> None:
        """Gunicorn's loop, for an application that says which lane its uploads take."""
        lanes = getattr(self.wsgi, "lanes", None)
        if lanes is not None and is_known():
            self._lanes = lanes
            for lane in (lanes.small, lanes.uploads):
                lane.threads_wait = False
                lane.on_leave = partial(self.method_queue.defer, partial(self._unpark, lane))
        plain = not self.cfg.is_ssl and self.cfg.proxy_protocol == "off"
        self._awaiting_heads = plain and is_known()
        try:
            super().run()
        finally:
            self._share.leave()
            # Those that still wait for their turn are closed with the process.
            self._closing.shutdown(wait=False, cancel_futures=True)

    def notify(self) -> None:
        """Tell gunicorn's master, at most once a second, that this process lives.

        And the others, whenever it changes, how many connections it has.
        """
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + 1.0
            super().notify()
        if self.alive:
            self._share.tell(self.nr_conns)
        else:
            self._share.leave()

    def accept(self, listener: Any) -> None:
        """Take a new connection, and wait in the poller for what it says."""
        if not is_known():
            super().accept(listener)
            return
        if self._share.declines(self.nr_conns):
            return
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in NO_DESCRIPTOR:
                # It is asked again at once, until a connection is closed.
                time.sleep(NO_DESCRIPTOR_PAUSE)
            elif error.errno not in {errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK}:
                raise
            return
        hurry_within(client)
        self.nr_conns += 1
        conn = TConn(self.cfg, client, address, listener.getsockname())
        conn.set_timeout()
        self.pending_conns.append(conn)
        readable = partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, readable)

    def on_pending_socket_readable(self, conn: Any, client: Any) -> None:
        """Have a thread for what a new connection asks, once that is clear."""
        if self._is_asked(conn, client, self.pending_conns):
            super().on_pending_socket_readable(conn, client)

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """The same for a connection that was kept."""
        if self._is_asked(conn, client, self.keepalived_conns):
            super().on_client_socket_readable(conn, client)

    def _is_asked(self, conn: Any, client: Any, waiting: Any) -> bool:
        """Whether a head is here; what can be none ends the connection.

        Its time ends it too, which bytes that come one by one do not prolong.
        """
        if not self._awaiting_heads:
            return True
        begun = conn.parser.unreader.buf.getvalue() if conn.parser else b""
        state = heads.look(client, begun)
        if state in heads.REFUSALS:
            self.poller.unregister(client)
            waiting.remove(conn)
            self._refuse(conn, state)
        return state is heads.State.DECIDABLE

    def _refuse(self, conn: Any, state: heads.State) -> None:
        with contextlib.suppress(OSError):
            # Whatever became of its last answer, nobody waits for this client.
            conn.sock.send(heads.REFUSALS[state], socket.MSG_DONTWAIT)
        self._close_later(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Serve the request, in a thread of the pool, or say that it has to wait."""
        heads.require_short(req.headers)
        lane = lane_of(req, conn.sock, self._lanes)
        if is_known():
            hold_back(req)
        waited_for = conn.__dict__.pop("waits_for", None)
        if lane is None:
            conn.__dict__.pop("waits_until", None)
            if waited_for is not None:
                # Its body came while it waited: a place that it was woken for is another's.
                waited_for.on_leave()
            return self._answer_in_part(req, conn)
        until = conn.__dict__.pop("waits_until", None)
        if until is None:
            until = time.monotonic() + WAIT_SECONDS
            # Watched for once: a client that is gone would be woken for without end.
            conn.left = left_of(req)
        if not lane.reserve() and time.monotonic() < until:
            conn.waits_until = until
            conn.waits_for = lane
            conn.waiting_request = req
            return _PARKED
        try:
            return super().handle_request(req, conn)
        finally:
            lane.unreserve()

    def _answer_in_part(self, req: Any, conn: Any) -> Any:
        """Serve a request whose body, if any, is here; a file that it gets may be sent later."""
        if not is_known() or type(conn.sock) is not socket.socket or not has_no_body(req):
            return super().handle_request(req, conn)
        with DEFERRAL.allowed() as left:
            reusable = super().handle_request(req, conn)
            conn.rest = left.take()
        return reusable

    def _keepalive_after(self, conn: Any, keepalive: Any) -> Any:
        if keepalive is _PARKED or conn.__dict__.get("rest") is not None:
            return keepalive
        return super()._keepalive_after(conn, keepalive)

    def finish_request(self, conn: Any, fs: "Future[Any]") -> None:
        """What becomes of a connection that a thread is done with, in the thread that polls."""
        rest = conn.__dict__.pop("rest", None)
        answered = not fs.cancelled() and fs.exception() is None
        if rest is not None:
            self._send_rest(conn, rest, reusable=fs.result())
        elif answered and fs.result() is _PARKED:
            self._parked.append(conn)
            self._watch(conn)
            # A place may have come free since it was refused one.
            self._unpark(conn.waits_for)
        elif answered and is_known() and not fs.result():
            self._close_later(conn)
        elif answered and (behind := self._behind(conn)) in heads.REFUSALS:
            self._refuse(conn, behind)
        elif answered and behind is heads.State.BEGUN:
            # As gunicorn does where nothing follows; here it would have a thread wait for more.
            conn.sock.setblocking(False)
            conn.set_timeout()
            self.keepalived_conns.append(conn)
            readable = partial(self.on_client_socket_readable, conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, readable)
        else:
            super().finish_request(conn, fs)

    def _behind(self, conn: Any) -> heads.State:
        """What came of the next head with the request that was just answered."""
        if not (self._awaiting_heads and self.alive) or conn.is_http2:
            return heads.State.DECIDABLE
        begun = conn.parser.unreader.buf.getvalue()
        return heads.look(conn.sock, begun) if begun else heads.State.DECIDABLE

    def _close_later(self, conn: Any) -> None:
        """Close gracefully: to wait, for seconds it may be, until the client closes too."""
        self.nr_conns -= 1
        with contextlib.suppress(OSError):
            # Now, so that a client that reads to the end waits for none that is slow to close.
            conn.sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(RuntimeError):  # it came to its end meanwhile
            self._closing.submit(_close, conn)

    def _send_rest(self, conn: Any, rest: Rest, *, reusable: bool) -> None:
        """Have the rest of an answer sent, after which the connection may be reusable."""
        try:
            done = partial(self.method_queue.defer, self._sent, conn, reusable)
            self._sender.send(conn.sock, rest, done)
        except (OSError, RuntimeError) as error:
            self.log.error("%s cannot be sent: %s", rest.name, error)  # noqa: TRY400 - as in outgoing
            rest.close()
            self._sent(conn, reusable, False)

    def _sent(self, conn: Any, reusable: bool, complete: bool) -> None:
        """What becomes of a connection whose file was sent, or could not be."""
        outcome: Future[bool] = Future()
        outcome.set_result(reusable and complete)
        self.finish_request(conn, outcome)

    def _watch(self, conn: Any) -> None:
        """Have a small body resumed when it is here: then it needs no place, whoever has that."""
        left = conn.__dict__.pop("left", 0)
        if not left or type(conn.sock) is not socket.socket:
            return
        with contextlib.suppress(OSError):
            # As in ``heads``. A unix socket has no mark: it is resumed by the first bytes.
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, left)
        conn.is_watched = True
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._came, conn))

    def _came(self, conn: Any, client: socket.socket) -> None:  # noqa: ARG002 - as the poller calls
        if conn in self._parked:  # else it was resumed in this very turn
            self._resume(conn)

    def _unpark(self, lane: Lane) -> None:
        """Let the one that waits longest for this lane try again if there is room."""
        waiting = [conn for conn in self._parked if conn.waits_for is lane]
        if waiting and lane.has_room():
            self._resume(min(waiting, key=_waits_until))

    def murder_pending(self) -> None:
        """Gunicorn's regular look at its connections: some may have waited for too long."""
        super().murder_pending()
        now = time.monotonic()
        looking = now >= self._next_look
        if looking:
            self._next_look = now + LOOK_SECONDS
        for conn in list(self._parked):
            if conn.waits_until <= now or (looking and self._is_here(conn)):
                self._resume(conn)

    def _is_here(self, conn: Any) -> bool:
        """Whether its body needs no place by now: of a unix socket the poller may not say so."""
        return lane_of(conn.waiting_request, conn.sock, self._lanes) is None

    def _resume(self, conn: Any) -> None:
        self._parked.remove(conn)
        if conn.__dict__.pop("is_watched", False):
            self.poller.unregister(conn.sock)
            with contextlib.suppress(OSError):
                conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        conn.parser = _Again(conn, conn.__dict__.pop("waiting_request"))
        self.enqueue_req(conn)


def _close(conn: Any) -> None:
    with contextlib.suppress(OSError):
        conn.close(graceful=True)


def _waits_until(conn: Any) -> float:
    until: float = conn.waits_until
    return until
