"""Several ranges of one blob in one answer: ``multipart/byteranges`` (RFC 9110, 14.6)."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from registry_wsgi.names import Digest
from registry_wsgi.web.conditions import Span


class Piece(NamedTuple):
    """Bytes of the framing, then a span of the file."""

    head: bytes
    span: Span


def multipart(
    digest: Digest, spans: Sequence[Span], size: int, media_type: str
) -> tuple[str, tuple[Piece, ...]]:
    """The media type and the pieces of these spans of a blob of ``size`` bytes, in their order."""
    # No blob contains a hash of its own digest by accident, nor can one be made that does.
    named = f"{digest} {' '.join(f'{span.first}+{span.length}' for span in spans)}"
    boundary = hashlib.sha256(named.encode()).hexdigest()
    pieces = [Piece(_head(boundary, media_type, span, size), span) for span in spans]
    pieces.append(Piece(f"\r\n--{boundary}--\r\n".encode(), Span(size, 0)))
    return f"multipart/byteranges; boundary={boundary}", tuple(pieces)


def _head(boundary: str, media_type: str, span: Span, size: int) -> bytes:
    # > the server that is responding with multiple parts MUST [...] generate a Content-Range
    # > header field [...] in the header area of each body part
    last = span.first + span.length - 1
    return (
        f"\r\n--{boundary}\r\nContent-Type: {media_type}\r\n"
        f"Content-Range: bytes {span.first}-{last}/{size}\r\n\r\n"
    ).encode()
