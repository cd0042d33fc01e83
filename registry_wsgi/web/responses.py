"""Every answer's headers, in one place, and how an answer is sent."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, BinaryIO, Final, NamedTuple

from registry_wsgi.errors import RegistryError
from registry_wsgi.names import Digest
from registry_wsgi.web.conditions import Span
from registry_wsgi.web.multipart import Piece

Headers = list[tuple[str, str]]

StartResponse = Callable[[str, Headers], object]

STATUS_LINES: Final = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}

VERSION_HEADERS: Final = (
    ("Docker-Distribution-Api-Version", "registry/2.0"),
    ("X-Content-Type-Options", "nosniff"),
)

JSON_TYPE: Final = "application/json; charset=utf-8"

NO_LENGTH: Final = frozenset({204, 304})
"""Statuses without a body, whose answers carry no Content-Length of their own."""

SMALL_FILE: Final = 64 << 10
"""Bytes up to which reading a file and sending it costs less than sendfile(2) does to set up."""

PIECEWISE: Final = "registry_wsgi.piecewise"
"""Set in the environ by a server that sends the ``pieces`` of a file wrapper: head, begin, end."""

_FILE_BLOCK: Final = 1 << 18


class Response(NamedTuple):
    """An answer: ``body`` is its bytes, or a file to send ``span`` of.

    ``delegated`` is how many bytes the proxy sends in place of ``body``. ``pieces`` are sent of the
    file where it is not one span.
    """

    status: int
    headers: Headers
    body: bytes | BinaryIO = b""
    span: Span | None = None
    delegated: int = 0
    pieces: tuple[Piece, ...] = ()

    @property
    def length(self) -> int:
        """Bytes of the body."""
        if self.span is not None:
            return self.span.length
        if isinstance(self.body, bytes):
            return len(self.body)
        return sum(len(piece.head) + piece.span.length for piece in self.pieces)


def empty(status: int, *headers: tuple[str, str]) -> Response:
    """An answer without a body."""
    return Response(status, list(headers))


def json_answer(status: int, document: object, *headers: tuple[str, str]) -> Response:
    """A JSON document, compact, and a newline."""
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8") + b"\n"
    return Response(status, [("Content-Type", JSON_TYPE), *headers], body)


def error(failure: RegistryError) -> Response:
    """The one form of every error."""
    # > If the response body is in JSON format, it MUST have the following format:
    entries = [
        {"code": row.code, "message": row.message, "detail": detail}
        for row, detail in ((failure.row, failure.detail), *failure.more)
    ]
    return json_answer(failure.row.status, {"errors": entries}, *failure.headers)


def digest_header(digest: Digest) -> tuple[str, str]:
    """The digest of what is sent or was stored."""
    return ("Docker-Content-Digest", digest)


def etag_header(digest: Digest) -> tuple[str, str]:
    """Content never changes under its digest, so that is its strong validator."""
    return ("Etag", f'"{digest}"')


def link_header(path: str, query: Mapping[str, str]) -> tuple[str, str]:
    """Where the next page is, relative, quoted already (RFC 8288)."""
    parameters = "&".join(f"{name}={value}" for name, value in query.items())
    return ("Link", f'<{path}?{parameters}>; rel="next"')


def send(
    response: Response, environ: Mapping[str, Any], start_response: StartResponse
) -> Iterable[bytes]:
    """Start the answer and return what WSGI iterates; a HEAD has the headers of its GET."""
    status, headers, body, span = response[:4]
    if status not in NO_LENGTH:
        headers.append(("Content-Length", str(response.length)))
    headers.extend(VERSION_HEADERS)
    start_response(STATUS_LINES[status], headers)
    if isinstance(body, bytes):
        return () if environ["REQUEST_METHOD"] == "HEAD" or not body else (body,)
    if environ["REQUEST_METHOD"] == "HEAD":
        body.close()
        return ()
    if response.pieces:
        return _several(body, response.pieces, environ)
    return _file(body, span or Span(0, 0), environ)


def _file(content: BinaryIO, span: Span, environ: Mapping[str, Any]) -> Iterable[bytes]:
    """The file, left to the server's sendfile where it honours position and Content-Length."""
    content.seek(span.first)
    wrapper = environ.get("wsgi.file_wrapper")
    if span.length <= SMALL_FILE:
        return _blocks(content, span.length)
    if wrapper is not None and environ.get("SERVER_SOFTWARE", "").startswith("gunicorn"):
        wrapped: Iterable[bytes] = wrapper(content, _FILE_BLOCK)
        return wrapped
    return _blocks(content, span.length)


def _several(
    content: BinaryIO, pieces: tuple[Piece, ...], environ: Mapping[str, Any]
) -> Iterable[bytes]:
    """Pieces of the file, left to a server that says it sends such."""
    if environ.get(PIECEWISE):
        wrapped: Any = environ["wsgi.file_wrapper"](content, _FILE_BLOCK)
        wrapped.pieces = [(head, span.first, span.first + span.length) for head, span in pieces]
        found: Iterable[bytes] = wrapped
        return found
    return _pieces(content, pieces)


def _pieces(content: BinaryIO, pieces: tuple[Piece, ...]) -> Iterator[bytes]:
    with content:
        for head, span in pieces:
            yield head
            content.seek(span.first)
            yield from _read(content, span.length)


def _blocks(content: BinaryIO, length: int) -> Iterator[bytes]:
    with content:
        yield from _read(content, length)


def _read(content: BinaryIO, length: int) -> Iterator[bytes]:
    """``length`` bytes of the file, or an error that cuts the connection: never a short answer."""
    while length:
        block = content.read(min(length, _FILE_BLOCK))
        if not block:
            raise EOFError(content.name)
        length -= len(block)
        yield block
