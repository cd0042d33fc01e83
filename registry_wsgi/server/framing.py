"""The framing of chunked bodies (RFC 9112, 7.1), taken out of a buffer in place.

Nothing here reads or waits: raw bytes are in a buffer, afterwards the payload is at its start.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from registry_wsgi.errors import BodyCut

LINE_LIMIT: Final = 8190
"""Longest line with a chunk's size, in bytes; gunicorn's limit for any header."""

TRAILER_LIMIT: Final = 1 << 16
"""Longest trailer section, in bytes."""

ALIKE: Final = 4
"""After how many chunks of one size the next ones are expected to have it, too."""

# > chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )   (RFC 9112, 7.1.1)
_TOKEN: Final = rb"[0-9A-Za-z!#$%&'*+.^_`|~-]++"
_QUOTED: Final = rb'"(?:[^\x00-\x08\x0a-\x1f\x7f"\\]|\\[^\x00-\x08\x0a-\x1f\x7f])*+"'
_EXTENSION: Final = rb"[ \t]*+;[ \t]*+%b(?:[ \t]*+=[ \t]*+(?:%b|%b))?" % (_TOKEN, _TOKEN, _QUOTED)
_SIZE_LINE: Final = re.compile(rb"0*+([0-9A-Fa-f]{0,15})(?:%b)*+" % _EXTENSION)

_END: Final = b"\r\n"


class Stripped(NamedTuple):
    """Where the payload ends, and where what is not understood yet or of no body starts."""

    end: int
    rest: int


class Rhythm(NamedTuple):
    """Chunks of ``size`` bytes each, with ``mark`` between any two."""

    size: int
    mark: bytes


class ChunkFraming:
    """Where one chunked body stands. ``check_trailers`` raises for a bad trailer section."""

    def __init__(self, check_trailers: Callable[[bytes], object]) -> None:
        self._check_trailers = check_trailers
        self._left = 0
        self._size = 0
        self._size_line = b""
        self._alike = 0
        self._after_chunk = False
        self._in_trailers = False
        self.finished = False

    @property
    def left(self) -> int:
        """Bytes that the current chunk still has to bring."""
        return self._left

    @property
    def rhythm(self) -> Rhythm | None:
        """What the bytes behind the current chunk look like if it goes on as before.

        ``None`` if nothing is to be said of that: between chunks, and before several were alike.
        """
        if self._alike < ALIKE or not (self._left or self._after_chunk):
            return None
        return Rhythm(self._size, _END + self._size_line + _END)

    def resume(self, left: int) -> None:
        """Go on in a chunk like the last one, of which ``left`` bytes are still to come."""
        self._left = left
        self._after_chunk = not left

    def strip(self, buffer: bytearray, view: memoryview, start: int, stop: int) -> Stripped:
        """Move the payload among ``buffer[start:stop]`` to the buffer's start.

        ``view`` is of the same buffer. Raises BodyCut for framing that is none.
        """
        end = 0
        while start < stop and not self.finished:
            if self._left:
                count = min(self._left, stop - start)
                if start != end:
                    view[end : end + count] = view[start : start + count]
                end += count
                self._left -= count
                self._after_chunk = not self._left
            else:
                count = self._line(buffer, start, stop)
            if not count:
                break
            start += count
        return Stripped(end, start)

    def _line(self, buffer: bytearray, start: int, stop: int) -> int:
        """Understand what is between two chunks; how many bytes it was, 0 to wait for more."""
        if self._after_chunk:
            if not _END.startswith(buffer[start : min(start + 2, stop)]):
                raise BodyCut("a chunk is longer than its size says")
            if stop - start < len(_END):
                return 0
            self._after_chunk = False
            return len(_END)
        if self._in_trailers:
            return self._trailers(buffer, start, stop)
        found = buffer.find(_END, start, stop)
        if (stop if found < 0 else found) - start > LINE_LIMIT:
            raise BodyCut("a chunk's size line is too long")
        if found < 0:
            return 0
        self._begin(bytes(buffer[start:found]))
        return found + len(_END) - start

    def _begin(self, line: bytes) -> None:
        if self._alike and line == self._size_line:
            self._alike += 1
        else:
            self._size, self._size_line, self._alike = _size(line), line, 1
        self._left = self._size
        self._in_trailers = not self._left

    def _trailers(self, buffer: bytearray, start: int, stop: int) -> int:
        if buffer.startswith(_END, start, stop):
            self.finished = True
            return len(_END)
        found = buffer.find(_END + _END, start, stop)
        if (stop if found < 0 else found) - start > TRAILER_LIMIT:
            raise BodyCut("the trailer section is too long")
        if found < 0:
            return 0
        self._check_trailers(bytes(buffer[start:found]))
        self.finished = True
        return found + 2 * len(_END) - start


def _size(line: bytes) -> int:
    match = _SIZE_LINE.fullmatch(line)
    if match is None or not line[:1].isalnum():
        raise BodyCut("a chunk's size is none")
    return int(match[1] or b"0", 16)
