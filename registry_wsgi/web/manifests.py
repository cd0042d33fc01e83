"""Manifests: end-3, end-7 and end-9."""

from registry_wsgi.auth.base import ANONYMOUS
from registry_wsgi.errors import DENIED, MANIFEST_TOO_LARGE, MANIFEST_UNKNOWN, RegistryError
from registry_wsgi.names import Digest, Reference, Tag, parse_reference
from registry_wsgi.oci import MANIFEST_LIMIT
from registry_wsgi.services.manifests import Expectation, Put, StoredManifest
from registry_wsgi.web.bodies import read_all
from registry_wsgi.web.conditions import entity_tags, is_held, strong_tags
from registry_wsgi.web.context import Context
from registry_wsgi.web.request import Request
from registry_wsgi.web.responses import Headers, Response, digest_header, empty, etag_header


def _known(reference: str) -> Reference:
    """The reference of a manifest that may exist; raises RegistryError (404) for what cannot."""
    parsed = parse_reference(reference)
    if parsed is None:
        raise RegistryError(MANIFEST_UNKNOWN, reference[:300])
    return parsed


def _headers(manifest: StoredManifest) -> Headers:
    # > In a successful response, the `Content-Type` header will indicate the type of the returned
    # > manifest. The registry SHOULD NOT include parameters on the `Content-Type` header.
    return [
        ("Content-Type", manifest.media_type),
        digest_header(manifest.digest),
        etag_header(manifest.digest),
    ]


def _answer(request: Request, manifest: StoredManifest) -> Response:
    # Accept is no reason to refuse: there is one representation, and clients that cannot read it
    # say so better than a 404 does. A tag on an index is served as that index.
    if is_held(request.environ, manifest.digest):
        return empty(304, digest_header(manifest.digest), etag_header(manifest.digest))
    return Response(200, _headers(manifest), manifest.body)


def get(context: Context, request: Request, reference: str) -> Response:
    """The manifest, byte for byte as it was pushed."""
    return _answer(request, context.manifests.pull(request.name, _known(reference), request.actor))


def head(context: Context, request: Request, reference: str) -> Response:
    """The same without the body; the answer is a lease (docs/durability.md)."""
    return _answer(request, context.manifests.stat(request.name, _known(reference)))


def put(context: Context, request: Request, reference: str) -> Response:
    """Check and keep a manifest, and put tags on it."""
    target = Digest.parse(reference) if ":" in reference else Tag.parse(reference)
    tags = tuple(dict.fromkeys(Tag.parse(tag) for tag in request.many("tag")))
    body = read_all(request.body, MANIFEST_LIMIT)
    if body is None:
        # > A registry that enforces this limit SHOULD respond to a request to push a manifest
        # > over this limit with a response code `413 Payload Too Large`.
        raise RegistryError(MANIFEST_TOO_LARGE, {"limit": MANIFEST_LIMIT})
    push = Put(
        request.name,
        target,
        tags,
        body,
        request.header("CONTENT_TYPE"),
        request.actor,
        _expectation(request),
        context.access.may(request.principal, "overwrite", request.name),
    )
    try:
        digest, manifest = context.manifests.put(push)
    except RegistryError as error:
        if error.row is DENIED and request.principal.kind == ANONYMOUS.kind:
            # Somebody who signs in may be allowed to: clients do when they are asked to.
            context.access.authorize(request.environ, request.principal, "overwrite", request.name)
        raise
    path = f"/v2/{request.name}/manifests/{digest}"
    answer = empty(
        201, digest_header(digest), ("Location", context.locator.url(request.environ, path))
    )
    # > MUST include an `OCI-Tag` response header [...] for each accepted tag.
    answer.headers.extend(("OCI-Tag", tag) for tag in tags)
    if manifest.subject is not None:
        # > MUST respond with the response header `OCI-Subject: <subject digest>`
        answer.headers.append(("OCI-Subject", manifest.subject.digest))
    return answer


def _expectation(request: Request) -> Expectation:
    """The precondition of a change."""
    match = request.header("HTTP_IF_MATCH")
    unwanted = entity_tags(request.header("HTTP_IF_NONE_MATCH") or "")
    wanted = strong_tags(match) if match is not None else None
    return Expectation(wanted, "*" in unwanted, unwanted)


def delete(context: Context, request: Request, reference: str) -> Response:
    """Delete a tag alone, or a manifest with its tags."""
    context.manifests.delete(request.name, _known(reference), request.actor, _expectation(request))
    return empty(202)
