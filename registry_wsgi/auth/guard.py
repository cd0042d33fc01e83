"""The one place that decides: who sends a request, and whether they may do what it asks."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from registry_wsgi.auth.base import (
    ANONYMOUS,
    BASE,
    CATALOG,
    Authenticator,
    Environ,
    IssuedToken,
    Principal,
    TokenRequest,
)
from registry_wsgi.auth.bearer import BearerTokens, Scope, parse_scopes
from registry_wsgi.auth.passwords import PASSWORD_LIMIT
from registry_wsgi.auth.proxy import USER, ProxyBackend
from registry_wsgi.auth.rules import Rules
from registry_wsgi.auth.throttle import Throttle
from registry_wsgi.errors import DENIED, UNAUTHORIZED, RegistryError
from registry_wsgi.names import Name
from registry_wsgi.storage.base import Visible

SCOPE_OF: Final = {"pull": "pull", "push": "push", "overwrite": "push", "delete": "delete"}
"""Docker asks for pull and push only: push covers moving a tag, which the rules judge."""

CHALLENGED: Final = {"pull": "pull", "push": "pull,push", "delete": "delete"}
"""What a client is told to ask for; whoever pushes looks first at what is there."""


@dataclass(frozen=True, slots=True)
class Guard:
    """``Access`` by back ends and rules.

    ``authenticators`` are asked in order. ``realm_base`` is the registry's URL as a client may be
    told it, empty where nobody trusted says it: then the challenge is Basic.
    """

    authenticators: Sequence[Authenticator]
    rules: Rules
    bearer: BearerTokens
    throttle: Throttle
    realm_base: Callable[[Environ], str]
    now: Callable[[], datetime]
    service: str
    proxy: ProxyBackend | None = None

    def identify(self, environ: Environ) -> Principal:
        """Who sends this request; raises RegistryError (UNAUTHORIZED, TOOMANYREQUESTS)."""
        principal = self._recognise(environ)
        if principal is None:
            raise self._unauthorized(environ, error="invalid_token")
        return principal

    def _recognise(self, environ: Environ) -> Principal | None:
        """The caller; anonymous without credentials, ``None`` for wrong ones."""
        header = environ.get("HTTP_AUTHORIZATION")
        if header is None:
            vouched = self.proxy.identify(environ) if self.proxy else None
            return vouched or ANONYMOUS
        kind, _, value = header.partition(" ")
        if kind.lower() == "bearer":
            return self._by_bearer(value.strip())
        return self._by_basic(environ, value.strip()) if kind.lower() == "basic" else None

    def _by_bearer(self, token: str) -> Principal | None:
        claimed = self.bearer.read(token)
        if claimed is None or claimed.kind == ANONYMOUS.kind:
            return claimed
        found = self._find(claimed)
        return replace(found, scope=claimed.scope) if found else None

    def _find(self, claimed: Principal) -> Principal | None:
        """The principal as it is now, if the credential is the one the token is of."""
        for authenticator in self.authenticators:
            found = authenticator.find(claimed.name)
            if found and (found.kind, found.fingerprint) == (claimed.kind, claimed.fingerprint):
                return found
        return None

    def _by_basic(self, environ: Environ, value: str) -> Principal | None:
        try:
            text = base64.b64decode(value, validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            return None
        name, separator, password = text.partition(":")
        return self._sign_in(environ, name, password) if separator else None

    def _sign_in(self, environ: Environ, name: str, password: str) -> Principal | None:
        if not USER.fullmatch(name) or len(password) > PASSWORD_LIMIT or "\0" in password:
            name, password = "-", ""  # is nobody, and takes as long to find out
        keys = (f"user {name}", f"address {environ.get('REMOTE_ADDR', '')}")
        self.throttle.require(keys)
        for authenticator in self.authenticators:
            principal = authenticator.check(name, password)
            if principal is not None:
                return principal
        self.throttle.failed(keys)
        return None

    def authorize(
        self, environ: Environ, principal: Principal, action: str, repository: Name | None
    ) -> None:
        """Return when the caller may; raises RegistryError (UNAUTHORIZED or DENIED).

        Before anything is looked up: what is forbidden and what is not there look the same.
        """
        anonymous = principal.kind == ANONYMOUS.kind
        if repository is None:
            # > This endpoint MAY be used for authentication/authorization purposes
            # Clients that get a 200 here never sign in.
            if anonymous and principal.scope is None and action == BASE:
                raise self._unauthorized(environ)
            if action == CATALOG:
                self._authorize_catalog(environ, principal)
            return
        if self.rules.deciding(principal, action, repository) is None:
            if anonymous:
                raise self._unauthorized(environ, action, repository)
            raise RegistryError(DENIED, {"action": action, "repository": repository})
        needed = ("repository", repository, SCOPE_OF[action])
        if principal.scope is not None and needed not in principal.scope:
            raise self._unauthorized(environ, action, repository, "insufficient_scope")

    def _authorize_catalog(self, environ: Environ, principal: Principal) -> None:
        scope = ("registry", "catalog", "catalog")
        if principal.scope is not None and scope not in principal.scope:
            raise self._unauthorized(environ, CATALOG, error="insufficient_scope")
        if principal.kind == ANONYMOUS.kind and self.rules.visible(principal).patterns == ():
            raise self._unauthorized(environ, CATALOG)

    def may(self, principal: Principal, action: str, repository: Name) -> bool:
        """By the rules as they are now, whatever a token was given for."""
        return self.rules.deciding(principal, action, repository) is not None

    def visible(self, principal: Principal) -> Visible:
        """Where the caller may pull."""
        return self.rules.visible(principal)

    def issue(self, environ: Environ, request: TokenRequest) -> IssuedToken:
        """A token for what may be done of what was asked; granting less is no error."""
        if request.name is not None:
            principal = self._sign_in(environ, request.name, request.password or "")
        else:
            principal = self._recognise(environ)
        if principal is None:
            raise self._unauthorized(environ, basic=True)
        granted = [self._granted(principal, scope) for scope in parse_scopes(request.scopes)]
        scopes = [scope for scope in granted if scope[2]]
        return IssuedToken(
            self.bearer.make(principal, scopes),
            self.bearer.seconds,
            self.now().isoformat(timespec="seconds").replace("+00:00", "Z"),
            " ".join(f"{kind}:{name}:{','.join(sorted(acts))}" for kind, name, acts in scopes),
        )

    def _granted(self, principal: Principal, scope: Scope) -> Scope:
        kind, name, actions = scope
        if principal.scope is not None:
            actions = frozenset(act for act in actions if (kind, name, act) in principal.scope)
        if kind == "repository":
            rules, repository = self.rules, Name(name)
            actions = frozenset(
                act for act in actions if rules.deciding(principal, act, repository)
            )
        return kind, name, actions

    def _unauthorized(
        self,
        environ: Environ,
        action: str = "",
        repository: Name | None = None,
        error: str = "",
        *,
        basic: bool = False,
    ) -> RegistryError:
        base = "" if basic else self.realm_base(environ)
        if not base:
            challenge = f'Basic realm="{self.service}", charset="UTF-8"'
        else:
            challenge = f'Bearer realm="{base}/token",service="{self.service}"'
            if repository is not None:
                challenge += f',scope="repository:{repository}:{CHALLENGED[action]}"'
            elif action == CATALOG:
                challenge += ',scope="registry:catalog:*"'
            if error:
                challenge += f',error="{error}"'
        detail = {"action": action, "repository": repository} if repository else None
        return RegistryError(UNAUTHORIZED, detail, headers=(("WWW-Authenticate", challenge),))
