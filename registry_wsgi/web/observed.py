"""From an answer to the record that logs and metrics are told, when its last byte is sent."""

from collections.abc import Callable
from time import perf_counter
from typing import Any, BinaryIO, Self

from registry_wsgi.observing import Observer, Record
from registry_wsgi.web.request import Environ, Request
from registry_wsgi.web.responses import Response


class Watched:
    """A file that tells when the server is done with it; the rest is the file's own."""

    def __init__(self, content: BinaryIO, done: Callable[[], None]) -> None:
        self._content = content
        self._done = done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, once, and tell."""
        if not self._content.closed:
            self._content.close()
            self._done()


def observed(
    response: Response,
    environ: Environ,
    request: Request | None,
    started: float,
    observe: Observer,
) -> Response:
    """Tell of the answer now, or, if a file is sent with it, when that was closed."""

    def tell() -> None:
        observe(_record(response, environ, request, perf_counter() - started))

    if isinstance(response.body, bytes):
        tell()
        return response
    watched: Any = Watched(response.body, tell)
    return response._replace(body=watched)


def _record(
    response: Response, environ: Environ, request: Request | None, seconds: float
) -> Record:
    method = environ["REQUEST_METHOD"]
    return Record(
        method,
        environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""),
        request.rule if request else "",
        request.action if request else "",
        request.name if request else "",
        response.status,
        0 if method == "HEAD" else response.length + response.delegated,
        request.body.received if request else 0,
        seconds,
        request.principal.name if request else "",
        request.address if request else environ.get("REMOTE_ADDR", ""),
        environ.get("HTTP_USER_AGENT", ""),
        environ.get("HTTP_X_REQUEST_ID", ""),
    )
