"""Who is asking and what they may do: the contract that sign-in back ends and rules fulfil."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from registry_wsgi.names import Name
from registry_wsgi.storage.base import EVERYTHING, Visible


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who asks; the name is empty for anonymous callers."""

    name: str = ""


ANONYMOUS = Principal()


class Access(Protocol):
    """Decides, for every route, in one place."""

    def identify(self, environ: Mapping[str, Any]) -> Principal:
        """Who sends this request; raises RegistryError (UNAUTHORIZED) for wrong credentials."""
        ...

    def authorize(
        self, environ: Mapping[str, Any], principal: Principal, action: str, repository: Name | None
    ) -> None:
        """Return when the caller may; raises RegistryError (UNAUTHORIZED or DENIED).

        ``repository`` is ``None`` for what belongs to none. ``environ`` is of the request, for the
        challenge of a refusal.
        """
        ...

    def may(self, principal: Principal, action: str, repository: Name) -> bool:
        """The same as a question."""
        ...

    def visible(self, principal: Principal) -> Visible:
        """Which repositories listings and anonymous mounts may reveal to the caller."""
        ...


class OpenAccess:
    """Everybody may do everything: no sign-in back end is set."""

    def identify(self, environ: Mapping[str, Any]) -> Principal:  # noqa: ARG002 - the contract's
        """Nobody signs in."""
        return ANONYMOUS

    def authorize(
        self, environ: Mapping[str, Any], principal: Principal, action: str, repository: Name | None
    ) -> None:
        """Everybody may."""

    def may(self, principal: Principal, action: str, repository: Name) -> bool:  # noqa: ARG002 - as above
        """Everybody may."""
        return True

    def visible(self, principal: Principal) -> Visible:  # noqa: ARG002 - as above
        """Everything."""
        return EVERYTHING
