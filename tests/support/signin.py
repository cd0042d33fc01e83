"""A service that says who a client is, as nginx's ``auth_request`` asks one."""

import base64
import http.server
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self


class SignInService:
    """Knows users by their passwords, while the ``with`` block lasts; ``asked`` counts."""

    def __init__(self, users: Mapping[str, str]) -> None:
        service = self
        self.asked = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked += 1
                status, headers = service.judge(self.headers.get("Authorization"))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._users = {
            base64.b64encode(f"{name}:{password}".encode()).decode(): name
            for name, password in users.items()
        }
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def judge(self, authorization: str | None) -> tuple[int, dict[str, str]]:
        """Everybody without credentials is nobody, everybody else has to be known."""
        if authorization is None:
            return 200, {}
        user = self._users.get(authorization.removeprefix("Basic "))
        if user is None:
            return 401, {"WWW-Authenticate": 'Basic realm="tests"'}
        return 200, {"X-Remote-User": user}

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
