"""The application's outermost layer, whichever gunicorn worker and settings serve it."""

from collections.abc import Callable, Iterable
from typing import Any

from gunicorn.http.wsgi import Response

from registry_wsgi.server.background import Background

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


class QuietResponse(Response):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's answer, but for that header: the recorded push has none, and it tells versions."""

    def default_headers(self) -> list[str]:
        """The status line and gunicorn's headers, as lines."""
        return [line for line in super().default_headers() if not line.startswith("Server: ")]


class Entry:
    """The application as a server calls it: quiet under gunicorn, and keeping house."""

    def __init__(self, app: WsgiApp, background: Background) -> None:
        self._app = app
        self.background = background

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        self.background.start()
        response = getattr(start_response, "__self__", None)
        if type(response) is Response:
            response.__class__ = QuietResponse
        return self._app(environ, start_response)
