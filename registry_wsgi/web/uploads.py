"""Upload sessions: end-4, end-5, end-6, end-11, end-13 and end-14."""

from urllib.parse import quote

from registry_wsgi.errors import DIGEST_MALFORMED, RegistryError
from registry_wsgi.names import ALGORITHMS, Digest, Name
from registry_wsgi.services.uploads import OutOfOrder, Progress
from registry_wsgi.web.conditions import chunk_of
from registry_wsgi.web.context import Context
from registry_wsgi.web.request import Request
from registry_wsgi.web.responses import Headers, Response, digest_header, empty


def _session_headers(context: Context, request: Request, progress: Progress) -> Headers:
    upload = progress.upload
    state = quote(context.state.sign(progress), safe="")
    path = f"/v2/{upload.repository}/blobs/uploads/{upload.uuid}?_state={state}"
    return [
        ("Docker-Upload-Uuid", upload.uuid),
        ("Location", context.locator.url(request.environ, path)),
        # An empty upload has no last byte; clients know this form of it.
        ("Range", f"0-{max(progress.offset - 1, 0)}"),
    ]


def _blob_headers(context: Context, request: Request, digest: Digest) -> Headers:
    # > <blob-location> being a pullable blob URL.
    path = f"/v2/{request.name}/blobs/{digest}"
    return [digest_header(digest), ("Location", context.locator.url(request.environ, path))]


def _digest(request: Request) -> Digest:
    text = request.one("digest")
    if text is None:
        raise RegistryError(DIGEST_MALFORMED, "the digest parameter is missing")
    return Digest.parse(text)


def start(context: Context, request: Request) -> Response:
    """Mount a blob, take one whole, or open a session."""
    mount, digest = request.one("mount"), request.one("digest")
    if mount is not None and _mounted(context, request, mount):
        return Response(201, _blob_headers(context, request, Digest(mount)))
    if digest is not None:
        parsed = Digest.parse(digest)
        context.uploads.push(request.name, parsed, request.body)
        return Response(201, _blob_headers(context, request, parsed))
    algorithm = request.one("digest-algorithm")
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise RegistryError(DIGEST_MALFORMED, algorithm[:40])
    progress = context.uploads.start(request.name, algorithm or "sha256")
    return Response(202, _session_headers(context, request, progress))


def _mounted(context: Context, request: Request, mount: str) -> bool:
    # > Alternatively, if a registry [...] is unable to mount the requested blob, it SHOULD return
    # > a `202`.
    # A source that is malformed, unknown, or not the caller's to pull from: all the same 202.
    digest, source = Digest.maybe(mount), request.one("from")
    if digest is None:
        return False
    if source is None:
        visible = context.access.visible(request.principal)
        return context.uploads.mount(request.name, digest, None, visible)
    name = Name.maybe(source)
    if name is None or not context.access.may(request.principal, "pull", name):
        return False
    return context.uploads.mount(request.name, digest, name)


def append(context: Context, request: Request, uuid: str) -> Response:
    """Add a chunk."""
    offset = context.state.offset(request.one("_state"), request.name, uuid)
    chunk = chunk_of(request.header("HTTP_CONTENT_RANGE"))
    try:
        progress = context.uploads.append(request.name, uuid, offset, request.body, chunk)
    except OutOfOrder as error:
        raise _with_headers(context, request, error) from error
    return Response(202, _session_headers(context, request, progress))


def finish(context: Context, request: Request, uuid: str) -> Response:
    """Add the last chunk, if any, and close the session."""
    offset = context.state.offset(request.one("_state"), request.name, uuid)
    chunk = chunk_of(request.header("HTTP_CONTENT_RANGE"))
    digest = _digest(request)
    try:
        context.uploads.finish(request.name, uuid, offset, digest, request.body, chunk)
    except OutOfOrder as error:
        raise _with_headers(context, request, error) from error
    return Response(201, _blob_headers(context, request, digest))


def _with_headers(context: Context, request: Request, error: OutOfOrder) -> RegistryError:
    headers = tuple(_session_headers(context, request, error.progress))
    return RegistryError(error.row, error.detail, headers=headers)


def status(context: Context, request: Request, uuid: str) -> Response:
    """Where the session stands, with a fresh ``_state`` to go on from."""
    # > The response to an active upload `<blob-push-location>` MUST be a `204 No Content`
    return Response(
        204, _session_headers(context, request, context.uploads.status(request.name, uuid))
    )


def cancel(context: Context, request: Request, uuid: str) -> Response:
    """End the session."""
    context.state.offset(request.one("_state"), request.name, uuid)
    context.uploads.cancel(request.name, uuid)
    return empty(204)
