"""What a request that gunicorn has parsed announces of its body, and which lane that takes."""

from typing import Any

from gunicorn.http.body import ChunkedReader, LengthReader

from registry_wsgi.server.connection import has_arrived
from registry_wsgi.server.lanes import Lane, Lanes, is_small


def has_no_body(request: Any) -> bool:
    """Whether it has none, or an empty one of known length."""
    reader: Any = getattr(request.body, "reader", None)
    return type(reader) is LengthReader and not reader.length


def left_of(request: Any) -> int:
    """Bytes of a small body that were not received with its head; 0 for one that is not small."""
    reader: Any = request.body.reader
    if type(reader) is not LengthReader or not is_small(reader.length):
        return 0
    return int(reader.length) - len(reader.unreader.buf.getbuffer())


def lane_of(request: Any, source: Any, lanes: Lanes | None) -> Lane | None:
    """The lane that the request's body takes, ``None`` for one without a body, or all here."""
    reader: Any = getattr(request.body, "reader", None)
    if lanes is None:
        return None
    if type(reader) is ChunkedReader:
        return lanes.of(None)
    if type(reader) is not LengthReader or not reader.length:
        return None
    here = is_small(reader.length) and has_arrived(request.body, source, reader.length)
    return None if here else lanes.of(reader.length)
