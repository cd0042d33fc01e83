"""Chunks that are alike, received each where it belongs: the same bytes as in any other way."""

import itertools
import mmap
import operator
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registry_wsgi.errors import BodyCut
from registry_wsgi.server import connection
from registry_wsgi.server.framing import ALIKE, Rhythm
from registry_wsgi.server.scatter import Scatter

BUFFER = 512
LARGE = 4 * BUFFER


class Source:
    """A connection whose bytes come in pieces of exactly these sizes, and then as they fit.

    A ``part`` of a piece is there before it is asked for. The last bytes, ``behind`` of them, need
    not come before there is an answer.
    """

    def __init__(self, raw: bytes, sizes: list[int], part: float = 1, behind: int = 0) -> None:
        self.socket = self
        self.asked: list[int] = []
        self.places: list[int] = []
        self.endless = False
        self.surplus: bytes | None = None
        self._raw = raw
        self._sizes = [*sizes]
        self._part = part
        self._behind = behind

    def claim(self) -> bytes:
        """Nothing was read ahead."""
        return b""

    def arrived(self) -> int:
        """What is there already of what the next call brings."""
        return int(self._next() * self._part)

    def release(self, surplus: bytes) -> None:
        """What was read behind the body, and what was not read."""
        self.surplus = surplus + self._raw

    def check_trailers(self, section: bytes) -> None:
        """They are all right."""

    def recvmsg_into(
        self, buffers: list[memoryview], ancillary: int, flags: int
    ) -> tuple[int, list[object], int, None]:
        """As a socket's."""
        asked = sum(map(len, buffers))
        assert ancillary == 0
        assert flags in {0, socket.MSG_WAITALL}
        self.endless |= bool(flags) and asked > len(self._raw) - self._behind
        self.asked.append(asked)
        self.places.append(len(buffers))
        room = min(asked, self._next())
        del self._sizes[:1]
        piece, self._raw = self._raw[:room], self._raw[room:]
        count = len(piece)
        for buffer in buffers:
            part, piece = piece[: len(buffer)], piece[len(buffer) :]
            buffer[: len(part)] = part
        return count, [], 0, None

    def _next(self) -> int:
        return self._sizes[0] if self._sizes else BUFFER


class SmallBuffers:
    """Buffers that few chunks fill; every other turn, all of those that are shared are in use."""

    def __init__(self) -> None:
        self._large = itertools.cycle([mmap.mmap(-1, LARGE), None])

    @contextmanager
    def small(self) -> Iterator[bytearray]:
        """One for a body."""
        yield bytearray(BUFFER)

    @contextmanager
    def large(self) -> Iterator[mmap.mmap | None]:
        """One for a turn."""
        yield next(self._large)


def received(source: Source, length: int | None = None) -> Iterator[bytes]:
    """The blocks of the body that comes from there, a chunked one unless it has a length."""
    with patch.object(connection, "BUFFERS", SmallBuffers()):
        # What only looks like gunicorn's objects: exact pieces cannot be had from a real socket.
        body = connection.ConnectionBody(source, length)  # type: ignore[arg-type]
        yield from map(bytes, body.blocks())


def frame(number: int, size: int, line: str) -> tuple[bytes, bytes]:
    """A chunk that is not like another one in what it carries: its payload, and all of it."""
    payload = (b"%d\r\n%x\r\n" % (number, size) * size)[:size]
    return payload, b"%b\r\n%b\r\n" % ((line % size).encode(), payload)


RUNS = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 8, 15, 16, 60, 100, 128, 200, BUFFER + 1, 2 * LARGE]),
        st.integers(1, 3 * ALIKE),
        st.sampled_from(["%x", "0%X", "%x;a"]),
    ),
    max_size=5,
)
"""Sizes of chunks, how many there are of each, and their size lines."""

PIECES = st.lists(
    st.one_of(st.integers(1, 20), st.integers(1, BUFFER), st.integers(1, LARGE)), max_size=40
)
PARTS = st.sampled_from([0, 0.5, 1])


def framed(runs: list[tuple[int, int, str]]) -> tuple[bytes, bytes]:
    """The payload of these chunks, and the chunks."""
    kinds = chain.from_iterable(repeat((size, line), times) for size, times, line in runs)
    frames = [frame(number, size, line) for number, (size, line) in enumerate(kinds)]
    return b"".join(payload for payload, _ in frames), b"".join(whole for _, whole in frames)


@given(runs=RUNS, pieces=PIECES, part=PARTS, surplus=st.binary(max_size=20))
@example(runs=[(16, 9, "%x")], pieces=[4 * 22, 16], part=1, surplus=b"")
@example(runs=[(16, 9, "%x")], pieces=[4 * 22 - 2, 2, 4, 16], part=1, surplus=b"")
@example(runs=[(16, 9, "%x")], pieces=[4 * 22 + 4, 16, *[1] * 6, 16], part=1, surplus=b"GET")
@example(runs=[(16, 9, "%x"), (2 * LARGE, 1, "%x")], pieces=[98, 1500], part=1, surplus=b"")
def test_the_payload_is_what_the_chunks_carry(
    runs: list[tuple[int, int, str]], pieces: list[int], part: float, surplus: bytes
) -> None:
    """However many chunks are alike, and wherever the bytes are cut.

    Nothing is waited for that may never come: its client waits for the answer.
    """
    payload, chunks = framed(runs)
    end = b"0\r\n\r\n" + surplus
    source = Source(chunks + end, pieces, part, behind=len(b"\r\n" + end))

    assert b"".join(received(source)) == payload
    assert source.surplus == surplus
    assert not source.endless


@given(size=st.integers(1, 3 * LARGE), pieces=PIECES, part=PARTS, surplus=st.binary(max_size=20))
def test_a_body_with_a_length_is_its_bytes(
    size: int, pieces: list[int], part: float, surplus: bytes
) -> None:
    """However it comes: what has arrived is taken at once, and little is waited for."""
    content = (b"%d," * size % (*range(size),))[:size]
    source = Source(content + surplus, pieces, part, behind=len(surplus))

    assert b"".join(received(source, size)) == content
    assert source.surplus == surplus
    assert not source.endless
    arrived = [int(piece * part) for piece in [*pieces, *[BUFFER] * len(source.asked)]]
    assert all(map(operator.le, source.asked, (max(here, BUFFER) for here in arrived)))


@pytest.mark.parametrize("line", ["%x", "%x;a"])
def test_chunks_that_are_alike_are_asked_for_together(line: str) -> None:
    """Once they are known to be, one call has a place for each chunk and for what is between.

    There are as many as a buffer has room for, and in a large one as many as have arrived.
    """
    _, chunks = framed([(32, 200, line)])
    period = 32 + 4 + len(line % 32)
    sizes = [period * ALIKE + 10, 15 * period, 20, 14 * period, 20 * period]
    source = Source(chunks + b"0\r\n\r\n", sizes)

    list(received(source))

    few = 2 * (BUFFER // period)
    assert source.places[0] == 1
    # All large ones are in use when 14 have arrived.
    assert source.places[1:5] == [2 * 16, few, few, 2 * 21]


@pytest.mark.parametrize("size", [32, 100])
@pytest.mark.parametrize("left", [0, 1, 31])
@pytest.mark.parametrize("most", [1, 32, 33, 200, 320])
def test_there_is_room_for_what_has_arrived(size: int, left: int, most: int) -> None:
    """And for less than one chunk more."""
    rhythm = Rhythm(size, b"\r\n%x\r\n" % size)
    room = sum(map(len, Scatter(memoryview(bytearray(1000)), rhythm).buffers(left, most)))

    assert most <= room <= most + size + len(rhythm.mark)


BEHIND = b"a" * BUFFER

BROKEN = {
    "a chunk that goes on": b"xx20\r\n" + BEHIND,
    "half an end": b"\rx20\r\n" + BEHIND,
    "no size": b"\r\n\r\n" + BEHIND,
    "a sign": b"\r\n-20\r\n" + BEHIND,
    "a space": b"\r\n20 \r\n" + BEHIND,
    "nothing": b"",
    "half a size": b"\r\n2",
    "a chunk that is cut": b"\r\n20\r\n" + b"a" * 31,
}


@given(alike=st.integers(ALIKE, 30), pieces=PIECES, part=PARTS)
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_broken_framing_among_alike_chunks_is_found(
    broken: bytes, alike: int, pieces: list[int], part: float
) -> None:
    """What comes instead of the next chunk raises, and only payload was given out before it."""
    payload, chunks = framed([(32, alike, "%x")])
    source = Source(chunks[:-2] + broken, pieces, part)
    got: list[bytes] = []

    with pytest.raises(BodyCut):
        got.extend(received(source))

    assert (payload + BEHIND[:32]).startswith(b"".join(got))
    assert source.surplus is None
