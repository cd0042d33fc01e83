"""Chunk framing taken out of a buffer in place: nothing but the payload stays, however it came."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_wsgi.errors import BodyCut
from registry_wsgi.server.framing import LINE_LIMIT, TRAILER_LIMIT, ChunkFraming


def strip(raw: bytes, cuts: list[int]) -> tuple[bytes, bytes, bool]:
    """The payload of ``raw``, what is left behind it, and whether the body ended.

    The bytes come in pieces, as from recv(2), into the space behind what was not understood.
    """
    buffer = bytearray(len(raw) + 1)
    view = memoryview(buffer)
    framing = ChunkFraming(refuse_length)
    payload, kept = b"", 0
    edges = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
    for start, stop in itertools.pairwise(edges):
        view[kept : kept + stop - start] = raw[start:stop]
        end, rest = framing.strip(buffer, view, 0, kept + stop - start)
        payload += view[:end]
        kept += stop - start - rest
        view[:kept] = view[rest : rest + kept]
        if framing.finished:
            return payload, bytes(view[:kept]) + raw[stop:], True
    return payload, bytes(view[:kept]), False


def refuse_length(section: bytes) -> None:
    """The check of trailers: one of them must not be there."""
    if re.search(rb"(?im)^content-length:", section):
        raise BodyCut("Content-Length")


def frame(chunks: list[bytes], extension: bytes, trailers: bytes) -> bytes:
    """These chunks and the end of the body."""
    frames = [b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks]
    return b"".join(frames) + b"0" + extension + b"\r\n" + trailers + b"\r\n"


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    extension=st.sampled_from([b"", b";a", b" ; a = b", b';a="\\"\t;";b']),
    trailers=st.sampled_from([b"", b"X-A: 1\r\n", b"X-A: 1\r\nX-B: 2\r\n"]),
    surplus=st.binary(max_size=20),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_the_payload_is_what_the_chunks_carry(
    chunks: list[bytes], extension: bytes, trailers: bytes, surplus: bytes, cuts: list[int]
) -> None:
    """Whatever the chunks are and wherever the bytes are cut: payload, surplus and end are right."""
    raw = frame(chunks, extension, trailers) + surplus

    payload, behind, finished = strip(raw, cuts)

    assert finished
    assert payload == b"".join(chunks)
    assert behind == surplus


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4),
    data=st.data(),
)
def test_a_body_cut_anywhere_has_no_end(chunks: list[bytes], data: st.DataObject) -> None:
    """Of a body that breaks off, at most its payload is yielded, and never its end."""
    whole = frame(chunks, b"", b"X-A: 1\r\n")
    stop = data.draw(st.integers(0, len(whole) - 1))
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=6))

    payload, _, finished = strip(whole[:stop], cuts)

    assert not finished
    assert b"".join(chunks).startswith(payload)


BROKEN = {
    "no size": b"\r\n",
    "an extension without a size": b";a\r\n",
    "a sign": b"-1\r\n",
    "a prefix": b"0x3\r\n",
    "a space": b" 3\r\n",
    "a space behind the size": b"3 \r\n",
    "an empty extension": b"3;\r\n",
    "an extension without its value": b"3;a=\r\n",
    "an open quotation": b'3;a="b\r\n',
    "a size of 20 digits": b"F" * 20 + b"\r\n",
    "no digit": b"g\r\n",
    "a chunk without an end": b"1\r\nab\r\n",
    "half an end": b"1\r\na\rb",
    "a line without end": b"1" * (LINE_LIMIT + 1),
    "a long line": b"1;a=" + b"b" * LINE_LIMIT + b"\r\n",
    "trailers without end": b"0\r\n" + b"a: b\r\n" * (TRAILER_LIMIT // 6 + 1),
    "a trailer that is refused": b"0\r\nContent-Length: 1\r\n\r\n",
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN)
def test_broken_framing_is_found(raw: bytes) -> None:
    """Each of these raises, at once and also byte by byte."""
    with pytest.raises(BodyCut):
        strip(raw, [])
    with pytest.raises(BodyCut):
        strip(raw, list(range(0, len(raw), 1 + len(raw) // 500)))
