"""Answers without gunicorn's ``Server`` header, whichever worker or settings serve them."""

from collections.abc import Callable, Iterable
from typing import Any

from gunicorn.http.wsgi import Response

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


class QuietResponse(Response):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's answer, but for that header: the recorded push has none, and it tells versions."""

    def default_headers(self) -> list[str]:
        """The status line and gunicorn's headers, as lines."""
        return [line for line in super().default_headers() if not line.startswith("Server: ")]


def without_server_header(app: WsgiApp) -> WsgiApp:
    """``app``, whose answers are quiet when gunicorn sends them."""

    def quiet(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        response = getattr(start_response, "__self__", None)
        if type(response) is Response:
            response.__class__ = QuietResponse
        return app(environ, start_response)

    return quiet
