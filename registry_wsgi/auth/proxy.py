"""The ``proxy`` back end: a user name that nginx vouches for, in a header."""

from collections.abc import Callable

from registry_wsgi.auth.base import Environ, Principal
from registry_wsgi.names import USER
from registry_wsgi.storage.accounts import Accounts


class ProxyBackend:
    """Believes the header of peers that ``trusts`` accepts, and of nobody else."""

    kind = "proxy"

    def __init__(self, header: str, trusts: Callable[[Environ], bool], accounts: Accounts) -> None:
        self._variable = "HTTP_" + header.upper().replace("-", "_")
        self._trusts = trusts
        self._accounts = accounts

    def identify(self, environ: Environ) -> Principal | None:
        """The user that a trusted peer names; an empty header is nobody."""
        name = environ.get(self._variable, "")
        if not name or not self._trusts(environ) or not USER.fullmatch(name):
            return None
        return self.find(name)

    def find(self, name: str) -> Principal:
        """Any user: only the proxy knows who there is, and it is asked once a bearer token."""
        return Principal(name, self._accounts.groups(name), "proxy")
