"""A bar that shows how far a long command is, on a terminal only."""

import sys
import time
from types import TracebackType
from typing import Final, Self, TextIO

from registry_wsgi.cli.common import human

WIDTH: Final = 30
EVERY: Final = 0.1
"""Seconds between two drawings."""

_CLEAR: Final = "\r\x1b[K"


class Bar:
    """How much of ``total`` bytes is done; drawn on standard error while the block lasts."""

    def __init__(self, label: str, stream: TextIO | None = None) -> None:
        self._label = label
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._drawn = 0.0
        self._total = 0
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def begin(self, total: int) -> None:
        """Say how many bytes there will be."""
        self._total, self._done = total, 0
        self._draw()

    def advance(self, size: int) -> None:
        """Count ``size`` more bytes as done."""
        self._done += size
        if self._shown and time.monotonic() - self._drawn >= EVERY:
            self._draw()

    def clear(self) -> None:
        """Take the bar away, before a line is printed."""
        if self._shown:
            self._stream.write(_CLEAR)
            self._stream.flush()

    def _draw(self) -> None:
        if not self._shown:
            return
        self._drawn = time.monotonic()
        part = min(1.0, self._done / self._total) if self._total else 1.0
        bar = "#" * round(part * WIDTH)
        sizes = f"{human(self._done)} of {human(self._total)}"
        self._stream.write(f"{_CLEAR}{self._label} [{bar:{WIDTH}}] {part:4.0%} {sizes}")
        self._stream.flush()
