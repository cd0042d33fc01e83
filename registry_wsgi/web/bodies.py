"""The body of a request, read through WSGI and counted."""

import re
import time
from collections.abc import Iterator
from typing import Any, Final

from registry_wsgi.errors import CODING_UNSUPPORTED, LENGTH_MALFORMED, BodyCut, RegistryError
from registry_wsgi.services.uploads import Body
from registry_wsgi.web.request import Environ, RequestBody

BLOCK: Final = 1 << 20
"""Bytes read at once."""

DRAIN_LIMIT: Final = 16 << 20
"""Bytes of a refused body that are read, so that a client still sending sees the answer."""

DRAIN_SECONDS: Final = 2.0

_LENGTH: Final = re.compile(r"[0-9]{1,18}")


def announced_length(environ: Environ) -> int | None:
    """The body's length in bytes, ``None`` when it is chunked; raises RegistryError (400, 501)."""
    coding = environ.get("HTTP_TRANSFER_ENCODING")
    if coding is not None:
        if coding.strip().lower() != "chunked":
            raise RegistryError(CODING_UNSUPPORTED, coding[:100])
        return None
    text = environ.get("CONTENT_LENGTH") or "0"
    # > Content-Length = 1*DIGIT       (RFC 9110, 8.6; not every server checks)
    if not _LENGTH.fullmatch(text):
        raise RegistryError(LENGTH_MALFORMED, text[:100])
    return int(text)


class StreamBody:
    """``wsgi.input``, whose short read is an error: a server may report it as a clean end."""

    def __init__(self, environ: Environ, errors: tuple[type[Exception], ...] = (OSError,)) -> None:
        self.length = announced_length(environ)
        self._stream: Any = environ["wsgi.input"]
        self._errors = errors
        self.received = 0

    def discarding(self) -> None:
        """How long a read waits is the server's affair."""

    def blocks(self) -> Iterator[memoryview]:
        """The bytes; raises BodyCut when the client goes away or its framing is broken."""
        while self.length is None or self.received < self.length:
            wanted = BLOCK if self.length is None else min(BLOCK, self.length - self.received)
            try:
                block = self._stream.read(wanted)
            except self._errors as error:
                raise BodyCut(str(error)) from error
            if not block:
                if self.length is None:
                    return
                raise BodyCut(f"{self.received} of {self.length} bytes came")
            self.received += len(block)
            yield memoryview(block)


def read_all(body: Body, limit: int) -> bytes | None:
    """The whole body, ``None`` if it is longer than ``limit`` bytes, of which no more are kept."""
    if body.length is not None and body.length > limit:
        return None
    parts: list[bytes] = []
    size = 0
    for block in body.blocks():
        size += len(block)
        if size > limit:
            return None
        parts.append(bytes(block))
    return b"".join(parts)


def drain(body: RequestBody) -> None:
    """Read what is left of a refused body, within bounds."""
    if body.length == 0:
        return
    body.discarding()
    deadline = time.monotonic() + DRAIN_SECONDS
    size = 0
    try:
        for block in body.blocks():
            size += len(block)
            if size > DRAIN_LIMIT or time.monotonic() > deadline:
                return
    except BodyCut:
        return
