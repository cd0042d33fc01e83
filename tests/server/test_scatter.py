"""Chunks that are alike, received each where it belongs: the same bytes as in any other way."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registry_wsgi.errors import BodyCut
from registry_wsgi.server import connection
from registry_wsgi.server.framing import ALIKE

BUFFER = 512


class Source:
    """A connection whose bytes come in pieces of exactly these sizes, and then as they fit."""

    def __init__(self, raw: bytes, sizes: list[int]) -> None:
        self.socket = self
        self.asked: list[int] = []
        self.surplus: bytes | None = None
        self._raw = raw
        self._sizes = iter(sizes)

    def claim(self) -> bytes:
        """Nothing was read ahead."""
        return b""

    def release(self, surplus: bytes) -> None:
        """What was read behind the body, and what was not read."""
        self.surplus = surplus + self._raw

    def check_trailers(self, section: bytes) -> None:
        """They are all right."""

    def recvmsg_into(
        self, buffers: list[memoryview], ancillary: int, flags: int
    ) -> tuple[int, list[object], int, None]:
        """As a socket's."""
        assert (ancillary, flags) == (0, 0)
        self.asked.append(len(buffers))
        room = min(sum(map(len, buffers)), next(self._sizes, BUFFER))
        piece, self._raw = self._raw[:room], self._raw[room:]
        count = len(piece)
        for buffer in buffers:
            part, piece = piece[: len(buffer)], piece[len(buffer) :]
            buffer[: len(part)] = part
        return count, [], 0, None


@contextmanager
def small_buffers() -> Iterator[None]:
    """Have bodies received into buffers that few chunks fill."""
    with (
        patch.object(connection, "BUFFER_SIZE", BUFFER),
        patch.object(connection, "_idle_buffers", []),
    ):
        yield


def received(source: Source) -> Iterator[bytes]:
    """The blocks of the chunked body that comes from there."""
    with small_buffers():
        # What only looks like gunicorn's objects: exact pieces cannot be had from a real socket.
        body = connection.ConnectionBody(source, None)  # type: ignore[arg-type]
        yield from map(bytes, body.blocks())


def frame(number: int, size: int, line: str) -> tuple[bytes, bytes]:
    """A chunk that is not like another one in what it carries: its payload, and all of it."""
    payload = (b"%d\r\n%x\r\n" % (number, size) * size)[:size]
    return payload, b"%b\r\n%b\r\n" % ((line % size).encode(), payload)


RUNS = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 8, 15, 16, 60, 100, 128, 200]),
        st.integers(1, 3 * ALIKE),
        st.sampled_from(["%x", "0%X", "%x;a"]),
    ),
    max_size=5,
)
"""Sizes of chunks, how many there are of each, and their size lines."""

PIECES = st.lists(st.one_of(st.integers(1, 20), st.integers(1, BUFFER)), max_size=40)


def framed(runs: list[tuple[int, int, str]]) -> tuple[bytes, bytes]:
    """The payload of these chunks, and the chunks."""
    kinds = chain.from_iterable(repeat((size, line), times) for size, times, line in runs)
    frames = [frame(number, size, line) for number, (size, line) in enumerate(kinds)]
    return b"".join(payload for payload, _ in frames), b"".join(whole for _, whole in frames)


@given(runs=RUNS, pieces=PIECES, surplus=st.binary(max_size=20))
@example(runs=[(16, 9, "%x")], pieces=[4 * 22, 16], surplus=b"")
@example(runs=[(16, 9, "%x")], pieces=[4 * 22 - 2, 2, 4, 16], surplus=b"")
@example(runs=[(16, 9, "%x")], pieces=[4 * 22 + 4, 16, 1, 1, 1, 1, 1, 1, 16], surplus=b"GET")
def test_the_payload_is_what_the_chunks_carry(
    runs: list[tuple[int, int, str]], pieces: list[int], surplus: bytes
) -> None:
    """However many chunks are alike, and wherever the bytes are cut."""
    payload, chunks = framed(runs)
    source = Source(chunks + b"0\r\n\r\n" + surplus, pieces)

    assert b"".join(received(source)) == payload
    assert source.surplus == surplus


@pytest.mark.parametrize("line", ["%x", "%x;a"])
def test_chunks_that_are_alike_are_asked_for_together(line: str) -> None:
    """Once they are known to be, one call has a place for each chunk and for what is between."""
    _, chunks = framed([(32, 60, line)])
    source = Source(chunks + b"0\r\n\r\n", [(32 + 4 + len(line % 32)) * ALIKE + 10])

    list(received(source))

    assert source.asked[0] == 1
    assert min(source.asked[1:-1]) >= 2 * 11


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


@given(alike=st.integers(ALIKE, 30), pieces=PIECES)
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_broken_framing_among_alike_chunks_is_found(
    broken: bytes, alike: int, pieces: list[int]
) -> None:
    """What comes instead of the next chunk raises, and only payload was given out before it."""
    payload, chunks = framed([(32, alike, "%x")])
    source = Source(chunks[:-2] + broken, pieces)
    got: list[bytes] = []

    with pytest.raises(BodyCut):
        got.extend(received(source))

    assert (payload + BEHIND[:32]).startswith(b"".join(got))
    assert source.surplus is None
