"""Requests as bytes, and the answers to them: for what HTTP libraries are too polite to send."""

import contextlib
import dataclasses
import json
import socket
import struct
from types import TracebackType
from typing import Any, Self

SECONDS = 20
BODILESS = frozenset({204, 304})


@dataclasses.dataclass(frozen=True)
class Reply:
    """One response; ``headers`` are as they were sent, in order."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        """All values of a header, whose name may be in any case."""
        return [value for found, value in self.headers if found.lower() == name.lower()]

    def value(self, name: str) -> str:
        """The value of a header that comes once."""
        (value,) = self.values(name)
        return value

    @property
    def names(self) -> set[str]:
        """The names of all headers, in lower case."""
        return {name.lower() for name, _ in self.headers}

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The code of the first error, ``None`` for what is no error of the registry's."""
        if self.status < 400 or not self.body.startswith(b'{"errors":'):
            return None
        code: str = self.json()["errors"][0]["code"]
        return code


class Wire:
    """A connection to ``HOST:PORT`` or to a unix socket's path, as bytes."""

    def __init__(self, host: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX if host.startswith("/") else socket.AF_INET)
        self.socket.settimeout(SECONDS)
        name, _, port = host.rpartition(":")
        try:
            self.socket.connect(host if host.startswith("/") else (name, int(port)))
        except OSError:
            self.socket.close()
            raise
        self._reader = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection: the server sees its end."""
        self._reader.close()
        self.socket.close()

    def send(self, data: bytes) -> Self:
        """Send bytes; that the server has closed already shows in the reply."""
        self.accepts(data)
        return self

    def accepts(self, data: bytes) -> bool:
        """Send bytes; whether the server still took them."""
        try:
            self.socket.sendall(data)
        except ConnectionError:
            return False
        return True

    def finish(self) -> Self:
        """Say that nothing more will be sent (FIN), and still listen."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        return self

    def reset(self) -> None:
        """Break the connection (RST)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def reply(self, method: str = "GET") -> Reply | None:
        """The next response, to a request with this method; ``None`` when the server closed."""
        try:
            return self._reply(method)
        except ConnectionResetError:
            return None

    def exchange(self, data: bytes) -> Reply:
        """Send a whole request and return its response, which there must be."""
        reply = self.send(data).reply(data.split(b" ", 1)[0].decode())
        assert reply is not None, f"closed without an answer to {data[:200]!r}"
        return reply

    def still_serves(self) -> bool:
        """Whether this connection answers one more request, and with nothing but that answer."""
        reply = self.send(request("GET", "/v2/")).reply()
        if reply is None:
            return False
        assert (reply.status, reply.body) == (200, b"{}"), f"out of step: {reply}"
        return True

    def _reply(self, method: str) -> Reply | None:
        line = self._reader.readline()
        if not line:
            return None
        status = int(line.split()[1])
        headers: list[tuple[str, str]] = []
        while header := self._reader.readline().rstrip(b"\r\n"):
            name, _, value = header.decode("latin-1").partition(":")
            headers.append((name, value.strip()))
        reply = Reply(status, tuple(headers), b"")
        if method == "HEAD" or status < 200 or status in BODILESS:
            return reply
        lengths = reply.values("Content-Length")
        body = self._reader.read(int(lengths[0]) if lengths else -1)
        return dataclasses.replace(reply, body=body)


def request(method: str, target: str, body: bytes | None = None, *headers: str) -> bytes:
    """A request as bytes; ``Host`` is there, and ``Content-Length`` when there is a body."""
    lines = [f"{method} {target} HTTP/1.1", "Host: registry.test", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(*blocks: bytes) -> bytes:
    """A body in chunks, with its end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in [*blocks, b""])


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
