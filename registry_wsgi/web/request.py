"""A request as the handlers see it: nothing is parsed before it is asked for."""

from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qs

from registry_wsgi.auth.base import ANONYMOUS, Principal
from registry_wsgi.errors import PARAMETER_INVALID, RegistryError
from registry_wsgi.names import Name
from registry_wsgi.services.manifests import Actor
from registry_wsgi.services.uploads import Body

Environ = dict[str, Any]

REQUEST_ID_LIMIT = 200
"""How much of a client's request id is written down, in characters."""

_NO_NAME = Name("")


class RequestBody(Body, Protocol):
    """A body that can be told of its refusal, and that counts."""

    @property
    def received(self) -> int:
        """Bytes that came in so far, of which framing is none."""
        ...

    def discarding(self) -> None:
        """What is left will be read to be thrown away: it is not worth waiting for."""
        ...


@dataclass(slots=True)
class Request:
    """One request. What follows ``body`` is set on the way to a handler, as far as it came."""

    environ: Environ
    method: str
    body: RequestBody
    name: Name = _NO_NAME
    principal: Principal = ANONYMOUS
    address: str = ""
    rule: str = ""
    action: str = ""
    _query: dict[str, list[str]] | None = field(default=None, init=False)

    def header(self, variable: str) -> str | None:
        """A header by the name that WSGI gives it, such as ``HTTP_RANGE``; ``None`` if absent."""
        value: str | None = self.environ.get(variable)
        return value

    def many(self, parameter: str) -> list[str]:
        """Every value of a query parameter. The body is never looked at."""
        if self._query is None:
            text = self.environ.get("QUERY_STRING", "")
            self._query = parse_qs(text, keep_blank_values=True, errors="replace") if text else {}
        return self._query.get(parameter, [])

    def one(self, parameter: str) -> str | None:
        """The value of a parameter that takes one; raises RegistryError when it comes twice."""
        values = self.many(parameter)
        if len(values) > 1:
            raise RegistryError(PARAMETER_INVALID, f"{parameter} is given {len(values)} times")
        return values[0] if values else None

    @property
    def actor(self) -> Actor:
        """Who asks, for the record of a change."""
        return Actor(
            self.principal.name,
            self.address,
            self.environ.get("HTTP_X_REQUEST_ID", "")[:REQUEST_ID_LIMIT],
        )
