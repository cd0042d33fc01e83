"""The WSGI application: route, authorise, handle, answer; the one place that catches everything."""

import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final, NamedTuple

from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import MapAdapter, RequestRedirect

from registry_wsgi.errors import (
    HOST_MISSING,
    INTERNAL,
    ROUTE_UNKNOWN,
    STORAGE_FULL,
    UNAVAILABLE,
    UNSUPPORTED,
    UPLOAD_CUT_SHORT,
    BodyCut,
    RegistryError,
    StorageFault,
    again_in,
)
from registry_wsgi.names import Name
from registry_wsgi.observing import Observer, nobody
from registry_wsgi.web.bodies import StreamBody, drain
from registry_wsgi.web.context import Context
from registry_wsgi.web.observed import observed
from registry_wsgi.web.request import Environ, Request, RequestBody
from registry_wsgi.web.responses import Response, StartResponse, empty, error, send
from registry_wsgi.web.routes import REDIRECTED, Route, build_map

LOG: Final = logging.getLogger(__name__)

_READING: Final = frozenset({"GET", "HEAD"})

BodyReader = Callable[[Environ], RequestBody]


REMEMBERED: Final = 4096
"""How many paths' routes are remembered, and up to which length, in characters."""

REMEMBERED_LENGTH: Final = 400


class Matched(NamedTuple):
    """What a path means: its route, the repository in it, and what else stands in it."""

    route: Route
    name: Name | None
    values: dict[str, Any]


class App:
    """The registry as a WSGI application.

    ``read_body`` makes a request's body from its environ; ``observe`` is told of every answer.
    """

    def __init__(
        self, context: Context, read_body: BodyReader = StreamBody, observe: Observer = nobody
    ) -> None:
        self._context = context
        self._read_body = read_body
        self._observe = observe
        self._routes: MapAdapter = build_map().bind("")
        self._matched: dict[tuple[str, str], Matched] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        started = perf_counter()
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
        if request is not None and (response.status >= 400 or not request.body.received):  # noqa: PLR2004 - the 4xx and 5xx
            # What is left unread would be taken for the next request, or end the connection.
            drain(request.body)
        if response.status == HTTPStatus.METHOD_NOT_ALLOWED:
            # > The origin server MUST generate an Allow header field in a 405 response containing a
            # > list of the target resource's currently supported methods.       (RFC 9110, 15.5.6)
            response.headers.append(("Allow", self._allowed(environ)))
        if (request_id := environ.get("HTTP_X_REQUEST_ID")) is not None:
            response.headers.append(("X-Request-Id", request_id))
        if self._observe is not nobody:
            response = observed(response, environ, request, started, self._observe)
        return send(response, environ, start_response)

    def _handle(self, request: Request) -> Response:
        environ = request.environ
        request.address = self._context.locator.client(environ)
        # > A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request
        # > message that lacks a Host header field                    (RFC 9112, 3.2)
        if "HTTP_HOST" not in environ and _is_of_http_1_1(environ):
            raise RegistryError(HOST_MISSING)
        path = _path(environ)
        try:
            found = self._match(request.method, path)
        except RequestRedirect:
            return empty(301, ("Location", REDIRECTED))
        except NotFound:
            raise RegistryError(ROUTE_UNKNOWN, path[:300]) from None
        except MethodNotAllowed:
            raise _not_allowed(request, "this path has no such method") from None
        return self._dispatch(request, found)

    def _match(self, method: str, path: str) -> Matched:
        """The route of a path and what stands in it; quick routes' are remembered, in bounds.

        Raises werkzeug's NotFound, MethodNotAllowed and RequestRedirect, and RegistryError for a
        name that is none.
        """
        found = self._matched.get((method, path))
        if found is not None:
            return found
        # Werkzeug takes any number of slashes at the start for one.
        if not path.startswith("/") or path.startswith("//"):
            raise NotFound
        route, values = self._routes.match(path, method)
        rest = dict(values)
        name = rest.pop("name", None)
        found = Matched(route, None if name is None else Name.parse(name), rest)
        if route.quick and len(path) <= REMEMBERED_LENGTH:
            if len(self._matched) >= REMEMBERED:
                self._matched.clear()
            self._matched[method, path] = found
        return found

    def is_quick(self, method: str, path: str) -> bool:
        """Whether a request without a body is answered out of the index and without waiting."""
        try:
            return self._match(method, path).route.quick
        except (HTTPException, RegistryError):
            return False

    def _dispatch(self, request: Request, found: Matched) -> Response:
        context = self._context
        route, repository, values = found
        if repository is not None:
            request.name = repository
        request.rule, request.action = route.rule, route.action
        if route.action:
            environ, access = request.environ, context.access
            request.principal = access.identify(environ, route.action, repository)
            access.authorize(environ, request.principal, route.action, repository)
        if route.action and request.method not in _READING:
            if context.read_only:
                raise _not_allowed(request, "the registry is read-only")
            context.health.require_writable()
        if route.action == "delete" and not context.deleting:
            raise _not_allowed(request, "deleting is turned off")
        return route.handler(context, request, **values)

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
        LOG.error("storage: %s", fault)
        row = STORAGE_FULL if fault.full else UNAVAILABLE
        return RegistryError(row, fault.reason, headers=again_in(5))


def _is_of_http_1_1(environ: Environ) -> bool:
    """Whether this came over a connection, in that version: WSGI alone asks for no Host."""
    return "RAW_URI" in environ and environ.get("SERVER_PROTOCOL") == "HTTP/1.1"


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
