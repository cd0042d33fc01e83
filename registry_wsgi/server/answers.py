"""An answer as gunicorn would send it, put together at once: one send for head and body."""

import re
import time
from typing import Any, Final

from gunicorn.util import http_date

_HEADERS: Final = re.compile(r"(?:[0-9A-Za-z!#$%&'*+.^_`|~-]++: [\t\x20-\x7e\x80-\xff]*+\r\n)*+")

NO_LENGTH: Final = frozenset({"204", "304"})


class InvalidHeaderError(Exception):
    """The application tried to send a header that would break the answer apart."""


class Answer:
    """What ``start_response`` belongs to, and what gunicorn's access log reads."""

    __slots__ = ("headers", "response_length", "sent", "status")

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.sent = 0
        self.response_length: int | None = None

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> None:
        """Note the head; WSGI's ``write`` callable is not offered (PEP 3333 discourages it)."""
        if self.status and not exc_info:
            raise AssertionError("the answer was started before")
        self.status = status
        self.headers = headers

    def render(self, method: str, body: bytes) -> bytes:
        """The bytes to send; raises InvalidHeaderError."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in self.headers])
        if lines.count("\n") != len(self.headers) or _HEADERS.fullmatch(lines) is None:
            raise InvalidHeaderError(repr(lines))
        if method == "HEAD" or self.status[:3] in NO_LENGTH:
            body = b""
        elif "\r\ncontent-length: " not in f"\r\n{lines}".lower():
            lines += f"Content-Length: {len(body)}\r\n"
        self.sent = len(body)
        head = f"HTTP/1.1 {self.status}\r\nDate: {_date()}\r\nConnection: keep-alive\r\n{lines}\r\n"
        return head.encode("latin-1") + body


_dated: list[Any] = [0, ""]


def _date() -> str:
    """Now, as a Date header has it; the poller's thread alone asks."""
    second = int(time.time())
    if _dated[0] != second:
        _dated[:] = [second, http_date(second)]
    return str(_dated[1])
