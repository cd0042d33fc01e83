"""What a refused caller is told: how to sign in, where, and what to ask for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from registry_wsgi.auth.base import CATALOG, Environ
from registry_wsgi.errors import UNAUTHORIZED, RegistryError
from registry_wsgi.names import Name

ASKED_FOR: Final = {"push": "pull,push", "overwrite": "pull,push"}
"""What a client is told to ask for, where that is not the action alone.

Whoever pushes looks first at what is there; to move a tag is a push, which the rules judge.
"""


@dataclass(frozen=True, slots=True)
class Challenge:
    """Makes the refusals. ``service`` is this registry's name.

    ``realm_base`` is the registry's URL as a client may be told it, empty where nobody trusted
    says it: then the challenge is Basic.
    """

    realm_base: Callable[[Environ], str]
    service: str

    def bearer(
        self, environ: Environ, action: str = "", repository: Name | None = None, error: str = ""
    ) -> RegistryError:
        """The refusal of a request that a bearer token would help; ``error`` is RFC 6750's."""
        base = self.realm_base(environ)
        if not base:
            return self.basic(action, repository)
        challenge = f'Bearer realm="{base}/token",service="{self.service}"'
        if repository is not None:
            challenge += f',scope="repository:{repository}:{ASKED_FOR.get(action, action)}"'
        elif action == CATALOG:
            challenge += ',scope="registry:catalog:*"'
        if error:
            challenge += f',error="{error}"'
        return _refusal(challenge, action, repository)

    def basic(self, action: str = "", repository: Name | None = None) -> RegistryError:
        """The refusal of a request that needs a name and a password."""
        # > The only allowed value is "UTF-8"                              (RFC 7617, 2.1)
        return _refusal(f'Basic realm="{self.service}", charset="UTF-8"', action, repository)


def _refusal(challenge: str, action: str, repository: Name | None) -> RegistryError:
    detail = {"action": action, "repository": repository} if repository else None
    return RegistryError(UNAUTHORIZED, detail, headers=(("WWW-Authenticate", challenge),))
