"""Signing in: from credentials to a principal, with the back ends asked in order."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from registry_wsgi.auth.base import Authenticator, Environ, Finder, Principal
from registry_wsgi.auth.passwords import PASSWORD_LIMIT
from registry_wsgi.auth.proxy import ProxyBackend
from registry_wsgi.auth.throttle import Throttle
from registry_wsgi.names import USER

NOBODY = "-"
"""Stands for every name that cannot be one; no back end has it."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """The back ends together. ``address`` is where a request comes from.

    ``proxy_first`` believes the proxy whatever else the request has; without it the request's own
    credentials go first.
    """

    authenticators: Sequence[Authenticator]
    throttle: Throttle
    address: Callable[[Environ], str]
    proxy: ProxyBackend | None = None
    proxy_first: bool = False

    def by_proxy(self, environ: Environ) -> Principal | None:
        """Whom the proxy vouches for, unless the request's own credentials go before that."""
        if self.proxy is None or ("HTTP_AUTHORIZATION" in environ and not self.proxy_first):
            return None
        return self.proxy.identify(environ)

    def by_basic(self, environ: Environ, value: str) -> Principal | None:
        """Whose credentials these are, the word behind ``Basic``; raises as ``by_password``."""
        try:
            text = base64.b64decode(value, validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            return None
        name, separator, password = text.partition(":")
        return self.by_password(environ, name, password) if separator else None

    def by_password(self, environ: Environ, name: str, password: str) -> Principal | None:
        """Whose password this is; raises RegistryError (TOOMANYREQUESTS)."""
        # HMAC, and scrypt with it, takes a password for the same with NULs behind it.
        if not USER.fullmatch(name) or len(password) > PASSWORD_LIMIT or "\0" in password:
            name, password = NOBODY, ""  # takes as long to find out
        # Nothing to guess: this passes however many failed.
        for authenticator in self.authenticators:
            principal = authenticator.recall(name, password)
            if principal is not None:
                return principal
        address = self.address(environ)
        self.throttle.require(name, address)
        for authenticator in self.authenticators:
            principal = authenticator.check(name, password)
            if principal is not None:
                self.throttle.succeeded(name, address)
                return principal
        self.throttle.failed(name, address)
        return None

    def find(self, claimed: Principal) -> Principal | None:
        """The principal as it is now, if its credential is still the one that was shown."""
        finders: list[Finder] = [*self.authenticators]
        if self.proxy is not None:
            finders.append(self.proxy)
        for finder in finders:
            found = finder.find(claimed.name) if finder.kind == claimed.kind else None
            if found and found.fingerprint == claimed.fingerprint:
                return found
        return None
