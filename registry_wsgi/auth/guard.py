"""The one place that decides: who sends a request, and whether they may do what it asks."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from registry_wsgi.auth.base import (
    ANONYMOUS,
    BASE,
    CATALOG,
    Environ,
    IssuedToken,
    Principal,
    TokenRequest,
)
from registry_wsgi.auth.bearer import BearerTokens, Scope, parse_scopes
from registry_wsgi.auth.challenge import Challenge
from registry_wsgi.auth.rules import Rules
from registry_wsgi.auth.signin import SignIn
from registry_wsgi.errors import DENIED, RegistryError
from registry_wsgi.names import Name
from registry_wsgi.storage.base import Visible

SCOPE_OF: Final = {"pull": "pull", "push": "push", "overwrite": "push", "delete": "delete"}
"""Docker asks for pull and push only: push covers moving a tag, which the rules judge."""


@dataclass(frozen=True, slots=True)
class Guard:
    """``Access`` by back ends, rules and bearer tokens."""

    sign_in: SignIn
    rules: Rules
    bearer: BearerTokens
    challenge: Challenge
    now: Callable[[], datetime]

    def identify(self, environ: Environ, action: str, repository: Name | None) -> Principal:
        """Who sends this request; raises RegistryError (UNAUTHORIZED, TOOMANYREQUESTS)."""
        principal = self._recognise(environ, bearer=True)
        if principal is None:
            scheme, _ = _credentials(environ)
            error = "invalid_token" if scheme == "bearer" else ""
            raise self.challenge.bearer(environ, action, repository, error)
        return principal

    def _recognise(self, environ: Environ, *, bearer: bool) -> Principal | None:
        """The caller; anonymous without credentials, ``None`` for wrong ones."""
        vouched = self.sign_in.by_proxy(environ)
        if vouched is not None:
            return vouched
        if "HTTP_AUTHORIZATION" not in environ:
            return ANONYMOUS
        scheme, value = _credentials(environ)
        if scheme == "basic":
            return self.sign_in.by_basic(environ, value)
        return self._by_bearer(value) if scheme == "bearer" and bearer else None

    def _by_bearer(self, token: str) -> Principal | None:
        claimed = self.bearer.read(token)
        if claimed is None or claimed.kind == ANONYMOUS.kind:
            return claimed
        found = self.sign_in.find(claimed)
        if found is None:
            return None
        # _replace() takes as long as the rest of this.
        return Principal(
            found.name, found.groups, found.kind, found.fingerprint, found.grant, claimed.scope
        )

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
                raise self.challenge.bearer(environ)
            if action == CATALOG:
                self._authorize_catalog(environ, principal)
            return
        if self.rules.deciding(principal, action, repository) is None:
            if anonymous:
                raise self.challenge.bearer(environ, action, repository)
            raise RegistryError(DENIED, {"action": action, "repository": repository})
        if not _in_scope(principal, action, repository):
            raise self.challenge.bearer(environ, action, repository, "insufficient_scope")

    def _authorize_catalog(self, environ: Environ, principal: Principal) -> None:
        scope = ("registry", "catalog", "catalog")
        if principal.scope is not None and scope not in principal.scope:
            raise self.challenge.bearer(environ, CATALOG, error="insufficient_scope")
        if principal.kind != ANONYMOUS.kind:
            return
        # As for BASE: of what is left out here, clients that could sign in would never be told.
        # Who comes with a token has been asked.
        seen = self.rules.visible(principal).patterns
        if seen == () or (seen is not None and principal.scope is None):
            raise self.challenge.bearer(environ, CATALOG)

    def may(self, principal: Principal, action: str, repository: Name) -> bool:
        """By the rules as they are now, whatever a bearer token was given for.

        Of a push that is in its scope: whether it may move a tag, and where it may mount from. A
        mount that names no source leaves nobody a way to ask for a scope.
        """
        return self.rules.deciding(principal, action, repository) is not None

    def visible(self, principal: Principal) -> Visible:
        """Where the caller may pull."""
        return self.rules.visible(principal)

    def issue(self, environ: Environ, request: TokenRequest) -> IssuedToken:
        """A token for what may be done of what was asked; granting less is no error."""
        principal = self._applicant(environ, request)
        granted = [self._granted(principal, scope) for scope in parse_scopes(request.scopes)]
        scopes = [scope for scope in granted if scope[2]]
        return IssuedToken(
            self.bearer.make(principal, scopes),
            self.bearer.seconds,
            self.now().isoformat(timespec="seconds").replace("+00:00", "Z"),
            " ".join(f"{kind}:{name}:{','.join(sorted(acts))}" for kind, name, acts in scopes),
        )

    def _applicant(self, environ: Environ, request: TokenRequest) -> Principal:
        """Who asks for a token. Another one is no credential: it would never end."""
        if request.name is not None:
            principal = self.sign_in.by_password(environ, request.name, request.password or "")
        else:
            principal = self._recognise(environ, bearer=False)
        if principal is None:
            raise self.challenge.basic()
        return principal

    def _granted(self, principal: Principal, scope: Scope) -> Scope:
        kind, name, actions = scope
        if kind == "repository":
            repository, rules = Name(name), self.rules
            actions = frozenset(
                action for action in actions if rules.deciding(principal, action, repository)
            )
        return kind, name, actions


def _credentials(environ: Environ) -> tuple[str, str]:
    """The scheme, in lower case, and what follows it."""
    scheme, _, value = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    return scheme.lower(), value.strip()


def _in_scope(principal: Principal, action: str, repository: Name) -> bool:
    """Whether the credential is for this; only a bearer token is for less than the rules give."""
    if principal.scope is None:
        return True
    return ("repository", repository, SCOPE_OF.get(action, action)) in principal.scope
