"""Who is asking and what they may do: the contract that sign-in back ends and rules fulfil."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from registry_wsgi.names import Name
from registry_wsgi.storage.base import Visible

Environ = Mapping[str, Any]

BASE: str = "base"
"""The action of asking whether there is a registry: whoever is recognised may."""

CATALOG: str = "catalog"
"""The action of listing repositories, as far as the caller may pull from them."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a machine token brings along: these actions in these repositories."""

    repositories: tuple[str, ...]
    actions: tuple[str, ...]


class Principal(NamedTuple):
    """Somebody who asks; the name is empty for anonymous callers.

    ``kind`` is anonymous, user, proxy or token. ``fingerprint`` changes with the credential.
    ``grant`` is of a machine token, which no rule has to name. ``scope`` is of a bearer token:
    (type, name, action) triples, ``None`` where the credential itself was sent.
    """

    name: str = ""
    groups: frozenset[str] = frozenset()
    kind: str = "anonymous"
    fingerprint: str = ""
    grant: Grant | None = None
    scope: frozenset[tuple[str, str, str]] | None = None


ANONYMOUS = Principal()


class Finder(Protocol):
    """Who knows the principals of bearer tokens given out before, all of one ``kind``."""

    @property
    def kind(self) -> str:
        """The ``kind`` of all principals from here."""
        ...

    def find(self, name: str) -> Principal | None:
        """The principal of this name as it is now; changes nothing and takes no time."""
        ...


class Authenticator(Finder, Protocol):
    """A sign-in back end that checks names and passwords."""

    def recall(self, name: str, password: str) -> Principal | None:
        """The principal whose password this is, where that is known without working for it."""
        ...

    def check(self, name: str, password: str) -> Principal | None:
        """The principal whose password this is; an unknown name takes as long as a known one.

        Raises RegistryError: TOOMANYREQUESTS when too many passwords are being checked.
        """
        ...


class Access(Protocol):
    """Decides, for every route, in one place."""

    def identify(self, environ: Environ, action: str, repository: Name | None) -> Principal:
        """Who sends this request, for whatever ``authorize`` will be asked about it.

        Raises RegistryError: UNAUTHORIZED for wrong credentials, TOOMANYREQUESTS for too many.
        """
        ...

    def authorize(
        self, environ: Environ, principal: Principal, action: str, repository: Name | None
    ) -> None:
        """Return when the caller may; raises RegistryError (UNAUTHORIZED or DENIED).

        ``repository`` is ``None`` for what belongs to none. ``environ`` is of the request, for the
        challenge of a refusal.
        """
        ...

    def may(self, principal: Principal, action: str, repository: Name) -> bool:
        """Whether the caller may, whatever the credential was given for."""
        ...

    def visible(self, principal: Principal) -> Visible:
        """Which repositories the catalog may reveal, and a mount that names none may take from."""
        ...

    def issue(self, environ: Environ, request: "TokenRequest") -> "IssuedToken":
        """A bearer token for what was asked and may be given, perhaps nothing.

        Raises RegistryError: as ``identify``; ROUTE_UNKNOWN where nobody signs in.
        """
        ...


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What a client asks of the token endpoint. ``name`` and ``password`` are of a form, if any."""

    scopes: tuple[str, ...]
    service: str = ""
    name: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A bearer token, its life in seconds, when it was made (RFC 3339) and what it is for."""

    token: str
    expires_in: int
    issued_at: str
    scope: str
