"""Chunks that are all alike, received each where it belongs.

Clients send a layer in chunks of one size: docker's, of 32 KiB. Where the next ones will begin is
known then, and recvmsg(2), which fills one buffer after the other, takes out the framing as it
copies: payload goes to payload, and what is between two chunks to a place of its own, where it is
compared with what it has to be. What turns out to be something else is put together again, as it
came. Nothing here reads or waits.
"""

from typing import Final, NamedTuple

from registry_wsgi.server.framing import Rhythm

MOST_CHUNKS: Final = 128
"""Received at once; the kernel would take 512."""


class Sorted(NamedTuple):
    """What came: payload from ``start`` to ``end``, then ``raw``, which is not as expected.

    Of the chunk that the payload ends in, ``left`` bytes are still to come.
    """

    start: int
    end: int
    left: int
    raw: bytes


class Scatter:
    """Where chunks of one rhythm go: payload into ``view``, which has room for two or more."""

    def __init__(self, view: memoryview, rhythm: Rhythm) -> None:
        self.view = view
        self._size, self._mark = rhythm
        self._period = self._size + len(self._mark)
        chunks = min(len(view) // self._period, MOST_CHUNKS)
        self._expected = self._mark * chunks
        self._marks = bytearray(len(self._expected))
        marks = memoryview(self._marks)
        self._buffers: list[memoryview] = []
        for number in range(chunks):
            self._buffers.append(view[number * self._size :][: self._size])
            self._buffers.append(marks[number * len(self._mark) :][: len(self._mark)])

    def buffers(self, left: int, most: int) -> list[memoryview]:
        """What to fill, one after the other, where a chunk still has to bring ``left`` bytes.

        There is room for ``most`` bytes, if the view has it, and for little more: each buffer costs
        something, also when nothing comes into it.
        """
        start = self._size - left
        self._buffers[0] = self.view[start : self._size]
        return self._buffers[: 2 * ((start + most) // self._period + 1)]

    def sort(self, left: int, count: int) -> Sorted:
        """What the ``count`` bytes are that came into the buffers."""
        start = self._size - left
        reached = start + count
        right = self._right(reached // self._period)
        filled = reached - right * self._period
        end = right * self._size
        if filled <= self._size:
            return Sorted(start, end + filled, self._size - filled, b"")
        behind = b"".join(self._buffers[2 * right + 1 : 2 * (reached // self._period + 1)])
        return Sorted(start, end + self._size, 0, behind[: filled - self._size])

    def _right(self, here: int) -> int:
        """How many of the first ``here`` marks are as expected, before one that is not."""
        size = len(self._mark)
        if self._marks.startswith(self._expected[: here * size]):
            return here
        return next(n for n in range(here) if not self._marks.startswith(self._mark, n * size))
