"""gunicorn's threaded worker, which answers small requests from the thread that polls.

gunicorn hands each request to a pool: leaving and joining the poller, a queue, a pipe and a change
of threads cost more than the answer does. Here the poller's own thread reads what a kept-alive
connection has to say. A request that is certain to be answered at once, out of the index and
without waiting for anybody, is answered on the spot with one send; everything else goes to the
pool, with the bytes given back, as if nobody had looked.

Certain means: a GET or HEAD of a route that says it is quick and does not find that it would have
to wait after all (``WouldWait``, raised before anything was done), and whose headers are byte for
byte those of an earlier request on this connection, which gunicorn parsed and judged itself; only
the numbers of a range may be others. So no other header is ever read here, and gunicorn's rules
for them, and its limits, hold without being repeated. The reader that is too slow for its answer
is served by the poller as well, when it can take more: it keeps no thread waiting.

Whatever is not as known (another release of gunicorn, TLS, hooks on requests, the PROXY protocol)
turns all of this off, and this is gunicorn's worker.
"""

import re
import selectors
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final

from gunicorn.http import wsgi
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader

from registry_wsgi.errors import WouldWait
from registry_wsgi.server.answers import Answer
from registry_wsgi.server.known import is_known
from registry_wsgi.server.parking import ParkingWorker
from registry_wsgi.server.polling import ANSWERING

HEAD_LIMIT: Final = 8192
"""Longest request head, in bytes, that is looked at."""

TEMPLATES: Final = 8
"""How many different blocks of headers are remembered for one connection."""

_LINE: Final = re.compile(r"(GET|HEAD) ((/(?!/)[!\"$&->@-~]*)(?:\?([!\"$-~]*))?) HTTP/1\.1")
"""A request line whose path needs no decoding."""

_NUMBERS: Final = "[0-9]{1,18}-[0-9]{0,18}"
_RANGE: Final = re.compile(f"\r\nRange: bytes=({_NUMBERS})(?=\r\n)".encode())
"""The one header whose numbers may differ: whoever reads in parts never asks for one twice."""

_RANGE_VALUE: Final = re.compile(f"bytes={_NUMBERS}")
"""What gunicorn makes of it, unless there are several."""

_LOOKED_AT: Final = frozenset(
    {"CONTENT-LENGTH", "TRANSFER-ENCODING", "EXPECT", "UPGRADE", "HTTP2-SETTINGS"}
)
"""Headers that say more than what is asked for: gunicorn deals with each request that has one."""


Headers = tuple[bytes, bool]
"""A request's block of headers, without the numbers of its range, and whether there were any."""


class Template:
    """Headers that gunicorn accepted: its request, and the environ that it made of them."""

    __slots__ = ("environ", "request")

    def __init__(self, request: Any, environ: dict[str, Any]) -> None:
        self.request = request
        self.environ = environ


class _Guard:
    """What the application let through ends one connection, not the loop that all hang on."""

    def __init__(self, worker: "FastWorker", connection: Any) -> None:
        self._worker = worker
        self._connection = connection

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        if not isinstance(error, OSError):
            self._worker.log.error("Error answering a request", exc_info=error)
        self._worker.drop(self._connection)
        return True


class FastWorker(ParkingWorker):
    """``worker_class`` of ``serve``; see this module's text."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._quick: Callable[[str, str], bool] | None = None
        self._sending: dict[Any, memoryview] = {}
        self._next_sweep = 0.0

    def run(self) -> None:
        """Gunicorn's loop, with what this worker may do by itself decided once."""
        reason = self._why_not()
        if reason:
            self.log.info("Small requests are answered by the pool: %s", reason)
        else:
            self._quick = self.wsgi.quick
        super().run()

    def _why_not(self) -> str:
        """What keeps this worker from answering; empty if nothing does."""
        cfg = self.cfg
        hooks = [name for name in ("pre_request", "post_request") if _is_set(cfg, name)]
        reasons = {
            "gunicorn is not of the known release": not is_known(),
            "the application does not say what is quick": not hasattr(self.wsgi, "quick"),
            "TLS": cfg.is_ssl,
            "the PROXY protocol": cfg.proxy_protocol != "off",
            "the uwsgi protocol": getattr(cfg, "protocol", "http") != "http",
            f"hooks are set: {', '.join(hooks)}": bool(hooks),
        }
        return "; ".join(reason for reason, holds in reasons.items() if holds)

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """Answer what a kept-alive connection asks, or leave it to the pool."""
        if self._quick is None or not self.alive or not self._is_plain(conn):
            super().on_client_socket_readable(conn, client)
            return
        data, answered = b"", True
        with _Guard(self, conn):
            try:
                data = client.recv(HEAD_LIMIT)
            except BlockingIOError:
                return
            if data:
                answered = self._answer(conn, data)
            else:
                self.drop(conn)
        if not answered:
            conn.parser.unreader.unread(data)
            super().on_client_socket_readable(conn, client)

    def _is_plain(self, conn: Any) -> bool:
        parser = conn.parser
        return (
            type(conn.sock) is socket.socket
            and type(parser) is RequestParser
            and type(parser.unreader) is SocketUnreader
            and not parser.unreader.buf.tell()
            and self.nr + 1 < self.max_requests
            and len(self.keepalived_conns) <= self.max_keepalived
        )

    def _answer(self, conn: Any, data: bytes) -> bool:
        """Whether ``data`` was a request that could be answered here."""
        end = data.find(b"\r\n")
        if end <= 0:  # the line is not whole, or an empty one is before it, which gunicorn bears
            return False
        ranged = _RANGE.search(data, end)
        if ranged is None:
            headers: Headers = data[end:], False
        else:
            headers = data[end : ranged.start(1)] + data[ranged.end() :], True
        known: dict[Headers, Template] = conn.__dict__.setdefault("templates", {})
        template = known.get(headers)
        if template is None:
            if data.find(b"\r\n\r\n", end) == len(data) - 4 and len(known) < TEMPLATES:
                conn.fresh_headers = headers
            return False
        match = _LINE.fullmatch(data[:end].decode("latin-1"))
        if match is None or end > self.cfg.limit_request_line > 0:
            return False
        method, target, path, query = match.groups("")
        if not self._quick or not self._quick(method, path):
            return False
        environ = template.environ.copy()
        environ["REQUEST_METHOD"] = method
        environ["RAW_URI"] = target
        environ["PATH_INFO"] = path
        environ["QUERY_STRING"] = query
        if ranged is not None:
            environ["HTTP_RANGE"] = f"bytes={ranged[1].decode('ascii')}"
        return self._call(conn, template.request, environ)

    def _call(self, conn: Any, request: Any, environ: dict[str, Any]) -> bool:
        started = time.perf_counter()
        answer = Answer()
        try:
            with ANSWERING:
                parts = self.wsgi(environ, answer.start_response)
        except WouldWait:
            return False
        self.nr += 1
        rendered = answer.render(environ["REQUEST_METHOD"], b"".join(parts))
        if self.log.access_log_enabled:
            took = timedelta(seconds=time.perf_counter() - started)
            self.log.access(answer, request, environ, took)
        conn.set_timeout()
        self._send(conn, rendered)
        return True

    def _send(self, conn: Any, data: bytes) -> None:
        try:
            sent = conn.sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._sending[conn] = memoryview(data)[sent:]
            self.keepalived_conns.remove(conn)
            self.poller.modify(conn.sock, selectors.EVENT_WRITE, partial(self._send_more, conn))

    def _send_more(self, conn: Any, client: socket.socket) -> None:
        """Go on with an answer that the client had no room for."""
        with _Guard(self, conn):
            rest = self._sending[conn]
            rest = self._sending[conn] = rest[client.send(rest) :]
            conn.set_timeout()
            if not rest and not self.alive:
                self.drop(conn)
            elif not rest:
                del self._sending[conn]
                self.keepalived_conns.append(conn)
                again = partial(self.on_client_socket_readable, conn)
                self.poller.modify(client, selectors.EVENT_READ, again)

    def drop(self, conn: Any) -> None:
        """Close a connection that the poller has."""
        self._sending.pop(conn, None)
        if conn in self.keepalived_conns:
            self.keepalived_conns.remove(conn)
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def murder_keepalived(self, force: bool = False) -> None:
        """Close connections that were silent for too long, or all.

        Answers given here renew a connection where it stands in the queue, which gunicorn has
        sorted by time: so it is looked through, once a second.
        """
        now = time.monotonic()
        if now < self._next_sweep and self.alive and not force:
            return
        self._next_sweep = now + 1.0
        for conn in [*self.keepalived_conns, *self._sending]:
            if force or conn.timeout <= now:
                self.drop(conn)
        waiting = sorted(self.keepalived_conns, key=_timeout)
        self.keepalived_conns.clear()
        self.keepalived_conns.extend(waiting)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Gunicorn's way, in a thread of the pool; what it made of the headers is remembered."""
        headers = conn.__dict__.pop("fresh_headers", None)
        if headers is not None and is_plain_get(req) and not conn.parser.unreader.buf.tell():
            _, environ = wsgi.create(req, conn.sock, conn.client, conn.server, self.cfg)
            # It would write to the connection by itself.
            del environ["wsgi.early_hints"]
            environ["wsgi.multithread"] = True
            environ["registry_wsgi.at_once"] = True
            # Two headers are one value, of which the numbers that may differ would be a part.
            _, is_ranged = headers
            is_known_range = _RANGE_VALUE.fullmatch(environ.get("HTTP_RANGE", "")) is not None
            if not environ["SCRIPT_NAME"] and (is_known_range or not is_ranged):
                conn.templates[headers] = Template(req, environ)
        return super().handle_request(req, conn)


def _is_set(cfg: Any, hook: str) -> bool:
    setting = cfg.settings[hook]
    return setting.get() is not type(setting).default


def is_plain_get(request: Any) -> bool:
    """Whether the headers ask for nothing but what the request line says, of a guest or a token."""
    values: dict[str, list[str]] = {}
    for name, value in request.headers:
        values.setdefault(name, []).append(value.lower())
    credentials = values.get("AUTHORIZATION", [])
    # A password takes long to check, on purpose.
    quick = not credentials or (len(credentials) == 1 and credentials[0].startswith("bearer "))
    return (
        quick
        and request.method in {"GET", "HEAD"}
        and request.version == (1, 1)
        and not request.must_close
        and values.get("CONNECTION", ["keep-alive"]) == ["keep-alive"]
        and "HOST" in values
        and not values.keys() & _LOOKED_AT
    )


def _timeout(conn: Any) -> float:
    timeout: float = conn.timeout
    return timeout
