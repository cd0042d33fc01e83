"""The routes, as rows: what is where, who may, and which end of the spec it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from werkzeug.routing import BaseConverter, Map, Rule

from registry_wsgi.web import blobs, listings, manifests, system, token, uploads
from registry_wsgi.web.responses import Response

Handler = Callable[..., Response]


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One row. ``action`` is what the caller must be allowed to do; empty is nothing at all.

    ``source`` is the spec's id of the endpoint. ``quick`` routes are answered out of the index
    within a millisecond or so, and wait for nobody but the index's writer: the thread that polls
    may answer them.
    """

    method: str
    rule: str
    handler: Handler
    action: str
    source: str = ""
    quick: bool = False


REDIRECTED: Final = "/v2/"
"""The one path that is redirected to, from where only the slash at its end is missing."""

_BLOB: Final = "/v2/<name:name>/blobs/<digest>"
_UPLOADS: Final = "/v2/<name:name>/blobs/uploads/"
_UPLOAD: Final = "/v2/<name:name>/blobs/uploads/<uuid>"
_MANIFEST: Final = "/v2/<name:name>/manifests/<reference>"

ROUTES: Final = (
    Route("GET", REDIRECTED, system.base, "base", "end-1", quick=True),
    Route("HEAD", _BLOB, blobs.head, "pull", "end-2", quick=True),
    Route("GET", _BLOB, blobs.get, "pull", "end-2", quick=True),
    Route("HEAD", _MANIFEST, manifests.head, "pull", "end-3", quick=True),
    Route("GET", _MANIFEST, manifests.get, "pull", "end-3", quick=True),
    Route("POST", _UPLOADS, uploads.start, "push", "end-4a, end-4b, end-4c, end-11"),
    Route("PATCH", _UPLOAD, uploads.append, "push", "end-5"),
    Route("PUT", _UPLOAD, uploads.finish, "push", "end-6"),
    Route("PUT", _MANIFEST, manifests.put, "push", "end-7a, end-7b"),
    Route(
        "GET",
        "/v2/<name:name>/tags/list",
        listings.tags,
        "pull",
        "end-8a, end-8b",
        quick=True,
    ),
    Route("DELETE", _MANIFEST, manifests.delete, "delete", "end-9"),
    Route("DELETE", _BLOB, blobs.delete, "delete", "end-10"),
    Route(
        "GET", "/v2/<name:name>/referrers/<digest>", listings.referrers, "pull", "end-12a, end-12b"
    ),
    Route("GET", _UPLOAD, uploads.status, "push", "end-13"),
    Route("DELETE", _UPLOAD, uploads.cancel, "push", "end-14"),
    Route("GET", "/v2/_catalog", listings.catalog, "catalog", quick=True),
    Route("GET", "/token", token.get, ""),
    Route("POST", "/token", token.post, ""),
    Route("GET", "/metrics", system.metrics, ""),
    Route("GET", "/healthz", system.healthz, ""),
    Route("GET", "/readyz", system.readyz, ""),
)


class NameConverter(BaseConverter):
    """Anything where a repository name stands, so that a malformed one is told from no route."""

    regex = r"[\s\S]*"
    part_isolating = False


def build_map() -> Map:
    """Werkzeug's map of the rows."""
    return Map(
        [
            # A redirected POST would be followed by a GET: without its slash it is served as well.
            Rule(
                route.rule,
                methods=[route.method],
                endpoint=route,
                strict_slashes=route.rule != _UPLOADS,
            )
            for route in ROUTES
        ],
        converters={"name": NameConverter},
        merge_slashes=False,
        redirect_defaults=False,
    )
