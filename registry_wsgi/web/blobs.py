"""Blobs: end-2 and end-10 of the OCI distribution spec."""

from typing import BinaryIO

from registry_wsgi.errors import WouldWait
from registry_wsgi.names import Digest
from registry_wsgi.services.blobs import Blob
from registry_wsgi.web.conditions import Span, is_held, ranges_of, require_match
from registry_wsgi.web.context import Context
from registry_wsgi.web.multipart import multipart
from registry_wsgi.web.request import Request
from registry_wsgi.web.responses import (
    SMALL_FILE,
    Headers,
    Response,
    digest_header,
    empty,
    etag_header,
)

_MEDIA_TYPE = "application/octet-stream"
_FIXED = (
    ("Accept-Ranges", "bytes"),
    ("Cache-Control", "max-age=31536000"),
)


def _headers(blob: Blob, media_type: str = _MEDIA_TYPE) -> Headers:
    fixed = (*_FIXED, ("Content-Type", media_type))
    return [*fixed, digest_header(blob.digest), etag_header(blob.digest)]


def head(context: Context, request: Request, digest: str) -> Response:
    """Whether the blob exists; the answer is a lease (docs/durability.md)."""
    # > A successful response MUST contain the size in bytes of the uploaded blob or manifest in
    # > the header `Content-Length`.
    blob = context.blobs.stat(request.name, Digest.parse(digest))
    if is_held(request.environ, blob.digest):
        return _not_modified(blob)
    return Response(200, _headers(blob), b"", Span(0, blob.size))


def get(context: Context, request: Request, digest: str) -> Response:
    """The blob, or the ranges of it that are asked for."""
    blob = context.blobs.find(request.name, Digest.parse(digest))
    if is_held(request.environ, blob.digest):
        return _not_modified(blob)
    wanted, if_range = request.header("HTTP_RANGE"), request.header("HTTP_IF_RANGE")
    spans = ranges_of(wanted, if_range, blob.digest, blob.size)
    content = context.blobs.open(request.name, blob)
    if len(spans) > 1:
        return _several(request, blob, spans, content)
    span = spans[0] if spans else None
    if context.accelerator and _is_plain(request, span):
        place = context.accelerator.place(request.environ, blob.digest)
        if place is not None:
            content.close()
            return _delegated(blob, span, place)
    wanted_span = span or Span(0, blob.size)
    body = _at_once(context, content, wanted_span) if request.at_once else content
    if span is None:
        return Response(200, _headers(blob), body, wanted_span)
    last = span.first + span.length - 1
    part = ("Content-Range", f"bytes {span.first}-{last}/{blob.size}")
    return Response(206, [*_headers(blob), part], body, span)


def _several(request: Request, blob: Blob, spans: tuple[Span, ...], content: BinaryIO) -> Response:
    """These parts of the blob, in one answer."""
    if request.at_once:
        content.close()
        raise WouldWait
    media_type, pieces = multipart(blob.digest, spans, blob.size, _MEDIA_TYPE)
    return Response(206, _headers(blob, media_type), content, pieces=pieces)


def _is_plain(request: Request, span: Span | None) -> bool:
    """Whether nginx has nothing to judge that it would judge otherwise."""
    environ = request.environ
    wanted = environ.get("HTTP_RANGE")
    # It might not ignore a range that is ignored here, and takes one in a list for several.
    if (wanted is None) != (span is None) or (wanted is not None and "," in wanted):
        return False
    # It knows the date of its file, but no ETag.
    return "HTTP_IF_MATCH" not in environ and "HTTP_IF_UNMODIFIED_SINCE" not in environ


def _at_once(context: Context, content: BinaryIO, span: Span) -> bytes:
    """The bytes without waiting for the disk or the client; raises WouldWait."""
    with content:
        small = span.length <= SMALL_FILE
        found = context.blobs.cached(content, span.first, span.length) if small else None
    if found is None:
        raise WouldWait
    return found


def _delegated(blob: Blob, span: Span | None, place: str) -> Response:
    """The same, when nginx sends the bytes, picks the range, and says so."""
    headers = [*_headers(blob), ("X-Accel-Redirect", place)]
    if span is not None:
        return Response(206, headers, delegated=span.length)
    # To a whole blob nginx adds an Accept-Ranges of its own.
    headers.remove(_FIXED[0])
    return Response(200, headers, delegated=blob.size)


def _not_modified(blob: Blob) -> Response:
    return empty(304, _FIXED[1], digest_header(blob.digest), etag_header(blob.digest))


def delete(context: Context, request: Request, digest: str) -> Response:
    """Stop serving the blob in this repository."""
    parsed = Digest.parse(digest)
    require_match(request.environ, context.blobs.find(request.name, parsed).digest)
    context.blobs.delete(request.name, parsed, request.actor)
    return empty(202, digest_header(parsed))
