"""Pages: end-8, end-12 and the catalog."""

import json
import re
from collections.abc import Mapping
from urllib.parse import quote

from registry_wsgi.errors import WouldWait
from registry_wsgi.names import Digest
from registry_wsgi.oci import OCI_INDEX
from registry_wsgi.services.listings import Page, Referrer
from registry_wsgi.web.conditions import page_size
from registry_wsgi.web.context import Context
from registry_wsgi.web.request import Request
from registry_wsgi.web.responses import Response, json_answer, link_header


def _window(context: Context, request: Request) -> tuple[str, int]:
    """Where a page starts and how many items it may have."""
    return request.one("last") or "", page_size(request.one("n"), context.page_size)


def _named(path: str, document: Mapping[str, object], page: Page[str], size: int) -> Response:
    """A page of names, and where the next one is."""
    answer = json_answer(200, document)
    # > When `n` is zero, this endpoint MUST return an empty list, and MUST NOT include a `Link`
    # > header.
    if page.more and page.items:
        query = {"last": quote(page.items[-1], safe=""), "n": str(size)}
        answer.headers.append(link_header(path, query))
    return answer


def catalog(context: Context, request: Request) -> Response:
    """Repositories that hold something, as far as the caller may see them."""
    last, size = _window(context, request)
    visible = context.access.visible(request.principal)
    if request.at_once and visible.patterns is not None:
        raise WouldWait  # for a look at every repository, it may be
    page = context.listings.repositories(last, size, visible)
    return _named("/v2/_catalog", {"repositories": page.items}, page, size)


def tags(context: Context, request: Request) -> Response:
    """Tags of a repository, in byte order."""
    last, size = _window(context, request)
    page = context.listings.tags(request.name, last, size)
    document = {"name": request.name, "tags": page.items}
    return _named(f"/v2/{request.name}/tags/list", document, page, size)


def referrers(context: Context, request: Request, digest: str) -> Response:
    """Manifests whose subject is ``digest``, always 200: an unknown subject has none."""
    # > If the request is invalid, such as a `<digest>` with an invalid syntax, a
    # > `400 Bad Request` MUST be returned.
    subject = Digest.parse(digest)
    text, size = _window(context, request)
    last = Digest.parse(text) if text else None
    wanted = request.one("artifactType") or None
    # There is no space in a media type before its parameters, where an unescaped plus sign in a
    # query reads as one.
    if wanted:
        name, *parameters = re.split("(?= *;)", wanted, maxsplit=1)
        wanted = "".join([name.replace(" ", "+"), *parameters])
    page = context.listings.referrers(request.name, subject, wanted, last, size)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [_descriptor(referrer) for referrer in page.items],
    }
    answer = json_answer(200, document)
    answer.headers[0] = ("Content-Type", OCI_INDEX)
    if wanted is not None:
        # > the response MUST include a header `OCI-Filters-Applied: artifactType`
        answer.headers.append(("OCI-Filters-Applied", "artifactType"))
    if page.more and page.items:
        query = {"last": page.items[-1].digest, "n": str(size)}
        if wanted is not None:
            query["artifactType"] = quote(wanted, safe="")
        # > A `Link` header MUST be included in the response when the descriptor list cannot be
        # > returned in a single manifest.
        answer.headers.append(link_header(f"/v2/{request.name}/referrers/{subject}", query))
    return answer


def _descriptor(referrer: Referrer) -> dict[str, object]:
    descriptor: dict[str, object] = {
        "mediaType": referrer.media_type,
        "digest": referrer.digest,
        "size": referrer.size,
    }
    # > If the `artifactType` is empty or missing in an index, the `artifactType` MUST be omitted.
    if referrer.artifact_type:
        descriptor["artifactType"] = referrer.artifact_type
    # > The descriptors MUST include annotations from the image manifest or index.
    annotations = json.loads(referrer.annotations)
    if annotations:
        descriptor["annotations"] = annotations
    return descriptor
