"""HTTP as plain verbs, each with the status that it usually gets."""

import dataclasses
import http.client
import json
import ssl
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

SECONDS = 60
SHOWN = 2_000

Body = bytes | Iterable[bytes] | None


@dataclasses.dataclass(frozen=True)
class Answer:
    """A whole response; ``headers`` finds a name in any case."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def location(self) -> str:
        """The ``Location`` header; a ``KeyError`` if there is none."""
        return self["Location"]

    def __getitem__(self, name: str) -> str:
        value = self.headers[name]
        if value is None:
            raise KeyError(name)
        return str(value)

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Verbs:
    """A client that makes one connection a request, so that no request depends on another.

    ``path`` may be an absolute URL, as in a ``Location``: only its path and query are used. A
    body that is no ``bytes`` is sent in chunks, one an item. A status other than ``expect``
    fails the test; ``expect=None`` takes any. With a ``context`` it speaks TLS.
    """

    def __init__(
        self,
        host: str,
        headers: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.host = host
        self.context = context
        self.headers = dict(headers or {})

    def get(self, path: str, expect: int | None = 200, **headers: str) -> Answer:
        """GET; an underscore in a header's name stands for a hyphen, as in all the verbs."""
        return self.request("GET", path, None, expect, headers)

    def head(self, path: str, expect: int | None = 200, **headers: str) -> Answer:
        """HEAD."""
        return self.request("HEAD", path, None, expect, headers)

    def post(
        self, path: str, body: Body = None, expect: int | None = 202, **headers: str
    ) -> Answer:
        """POST."""
        return self.request("POST", path, body, expect, headers)

    def patch(
        self, path: str, body: Body = None, expect: int | None = 202, **headers: str
    ) -> Answer:
        """PATCH."""
        return self.request("PATCH", path, body, expect, headers)

    def put(self, path: str, body: Body = None, expect: int | None = 201, **headers: str) -> Answer:
        """PUT."""
        return self.request("PUT", path, body, expect, headers)

    def delete(self, path: str, expect: int | None = 202, **headers: str) -> Answer:
        """DELETE."""
        return self.request("DELETE", path, None, expect, headers)

    def request(
        self,
        method: str,
        path: str,
        body: Body,
        expect: int | None,
        headers: Mapping[str, str],
    ) -> Answer:
        """One request and its whole answer."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = self._connect()
        try:
            connection.request(method, request_target(path), body, {**self.headers, **sent})
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        finally:
            connection.close()
        assert expect in {None, answer.status}, (
            f"{method} {path}: {answer.status} instead of {expect}\n"
            f"{answer.headers}{answer.body[:SHOWN]!r}"
        )
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        if self.context is None:
            return http.client.HTTPConnection(self.host, timeout=SECONDS)
        return http.client.HTTPSConnection(self.host, timeout=SECONDS, context=self.context)


def request_target(url: str) -> str:
    """What follows the method in a request for ``url``: its path and query."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
