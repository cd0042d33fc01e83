"""The WSGI application: route, authorise, handle, answer; the one place that catches everything."""

import logging
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import MapAdapter, RequestRedirect

from registry_wsgi.errors import (
    INTERNAL,
    ROUTE_UNKNOWN,
    STORAGE_FULL,
    UNAVAILABLE,
    UNSUPPORTED,
    UPLOAD_CUT_SHORT,
    BodyCut,
    RegistryError,
    StorageFault,
)
from registry_wsgi.names import Name
from registry_wsgi.web.bodies import StreamBody, drain
from registry_wsgi.web.context import Context
from registry_wsgi.web.request import Environ, Request, RequestBody
from registry_wsgi.web.responses import Response, StartResponse, empty, error, send
from registry_wsgi.web.routes import REDIRECTED, Route, build_map

LOG: Final = logging.getLogger(__name__)

_READING: Final = frozenset({"GET", "HEAD"})

RETRY_AFTER: Final = (("Retry-After", "5"),)

BodyReader = Callable[[Environ], RequestBody]


class App:
    """The registry as a WSGI application. ``read_body`` makes a request's body from its environ."""

    def __init__(self, context: Context, read_body: BodyReader = StreamBody) -> None:
        self._context = context
        self._read_body = read_body
        self._routes: MapAdapter = build_map().bind("")

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request: Request | None = None
        try:
            request = Request(environ, environ["REQUEST_METHOD"], self._read_body(environ))
            response = self._handle(request)
        except RegistryError as failure:
            response = error(failure)
        except StorageFault as fault:
            response = error(self._storage_failure(fault))
        except BodyCut as cut:
            response = error(RegistryError(UPLOAD_CUT_SHORT, str(cut)))
        except Exception:  # the edge: whatever went wrong, the client gets an answer and we a trace
            LOG.exception("unexpected error in %s %s", environ["REQUEST_METHOD"], _path(environ))
            response = error(RegistryError(INTERNAL))
        if response.status >= 400 and request is not None:  # noqa: PLR2004 - the 4xx and 5xx
            drain(request.body)
        if response.status == HTTPStatus.METHOD_NOT_ALLOWED:
            # > The origin server MUST generate an Allow header field in a 405 response containing a
            # > list of the target resource's currently supported methods.       (RFC 9110, 15.5.6)
            response.headers.append(("Allow", self._allowed(environ)))
        if (request_id := environ.get("HTTP_X_REQUEST_ID")) is not None:
            response.headers.append(("X-Request-Id", request_id))
        return send(response, environ, start_response)

    def _handle(self, request: Request) -> Response:
        path = _path(request.environ)
        try:
            # Werkzeug takes any number of slashes at the start for one.
            if not path.startswith("/") or path.startswith("//"):
                raise NotFound
            route, values = self._routes.match(path, request.method)
        except RequestRedirect:
            return empty(301, ("Location", REDIRECTED))
        except NotFound:
            raise RegistryError(ROUTE_UNKNOWN, path[:300]) from None
        except MethodNotAllowed:
            raise _not_allowed(request, "method") from None
        return self._dispatch(request, route, values)

    def _dispatch(self, request: Request, route: Route, values: Mapping[str, Any]) -> Response:
        context = self._context
        repository: Name | None = None
        if "name" in values:
            repository = request.name = Name.parse(values["name"])
        if route.action:
            request.principal = context.access.identify(request.environ)
            context.access.authorize(request.environ, request.principal, route.action, repository)
        if route.action and request.method not in _READING:
            if context.read_only:
                raise _not_allowed(request, "the registry is read-only")
            context.health.require_writable()
        if route.action == "delete" and not context.deleting:
            raise _not_allowed(request, "deleting is turned off")
        rest = {key: value for key, value in values.items() if key != "name"}
        return route.handler(context, request, **rest)

    def _allowed(self, environ: Environ) -> str:
        """The methods that this path has for now, but for the one just refused."""
        path = _path(environ)
        methods = set(self._routes.allowed_methods(path)) - {environ["REQUEST_METHOD"]}
        if self._context.read_only:
            methods &= _READING
        elif "DELETE" in methods and not self._context.deleting:
            route, _ = self._routes.match(path, "DELETE")
            if route.action == "delete":
                methods.discard("DELETE")
        return ", ".join(sorted(methods))

    @staticmethod
    def _storage_failure(fault: StorageFault) -> RegistryError:
        LOG.error("storage: %s (%s): %s", fault.reason, fault.path, fault.cause)
        row = STORAGE_FULL if fault.full else UNAVAILABLE
        return RegistryError(row, fault.reason, headers=RETRY_AFTER)


def _not_allowed(request: Request, why: str) -> RegistryError:
    return RegistryError(UNSUPPORTED, {"method": request.method, "why": why})


def _path(environ: Environ) -> str:
    """The whole path as the client sent it, decoded once.

    SCRIPT_NAME is put back: no header may move the border between the two.
    """
    path: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    if path.isascii():
        return path
    return path.encode("latin-1").decode("utf-8", "replace")
