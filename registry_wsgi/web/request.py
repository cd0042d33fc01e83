"""A request as the handlers see it: nothing is parsed before it is asked for."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import parse_qs

from registry_wsgi.auth.base import ANONYMOUS, Principal
from registry_wsgi.errors import PARAMETER_INVALID, RegistryError
from registry_wsgi.names import Name
from registry_wsgi.services.manifests import Actor
from registry_wsgi.services.uploads import Body

Environ = dict[str, Any]

AT_ONCE = "registry_wsgi.at_once"
"""Set in the environ by a server whose own thread asks (see ``registry_wsgi.server.worker``)."""

SHORT = 100
"""Length of a query, in characters, up to which it is remembered how it parsed."""

REQUEST_ID_LIMIT = 200
"""How much of a client's request id is written down, in characters."""

_NO_NAME = Name("")


def _parse(text: str) -> dict[str, list[str]]:
    return parse_qs(text, keep_blank_values=True, errors="replace") if text else {}


_parsed = lru_cache(maxsize=512)(_parse)


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
            self._query = (_parsed if len(text) <= SHORT else _parse)(text)
        return self._query.get(parameter, [])

    def one(self, parameter: str) -> str | None:
        """The value of a parameter that takes one; raises RegistryError when it comes twice."""
        values = self.many(parameter)
        if len(values) > 1:
            raise RegistryError(PARAMETER_INVALID, f"{parameter} is given {len(values)} times")
        return values[0] if values else None

    @property
    def at_once(self) -> bool:
        """Whether the server wants an answer that waits for nothing, or WouldWait."""
        return bool(self.environ.get(AT_ONCE))

    @property
    def actor(self) -> Actor:
        """Who asks, for the record of a change."""
        return Actor(
            self.principal.name,
            self.address,
            self.environ.get("HTTP_X_REQUEST_ID", "")[:REQUEST_ID_LIMIT],
        )
