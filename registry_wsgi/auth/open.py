"""No sign-in back end is set: everybody may do everything."""

from registry_wsgi.auth.base import (
    ANONYMOUS,
    Environ,
    IssuedToken,
    Principal,
    TokenRequest,
)
from registry_wsgi.errors import ROUTE_UNKNOWN, RegistryError
from registry_wsgi.names import Name
from registry_wsgi.storage.base import EVERYTHING, Visible


class OpenAccess:
    """``Access`` without rules."""

    def identify(
        self,
        environ: Environ,  # noqa: ARG002 - the contract's
        action: str,  # noqa: ARG002 - as above
        repository: Name | None,  # noqa: ARG002 - as above
    ) -> Principal:
        """Nobody signs in; credentials that a client sends anyway are not looked at."""
        return ANONYMOUS

    def authorize(
        self, environ: Environ, principal: Principal, action: str, repository: Name | None
    ) -> None:
        """Everybody may."""

    def may(self, principal: Principal, action: str, repository: Name) -> bool:  # noqa: ARG002 - as above
        """Everybody may."""
        return True

    def visible(self, principal: Principal) -> Visible:  # noqa: ARG002 - as above
        """Everything."""
        return EVERYTHING

    def issue(self, environ: Environ, request: TokenRequest) -> IssuedToken:  # noqa: ARG002 - as above
        """There is nothing to get."""
        raise RegistryError(ROUTE_UNKNOWN, "/token")
