"""Machine tokens: credentials that bring their own grants, used as a password."""

import hashlib
import hmac
import logging
import secrets
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from registry_wsgi.auth.base import Grant, Principal
from registry_wsgi.errors import RegistryError, StorageFault
from registry_wsgi.storage.accounts import Accounts, MachineToken

LOG: Final = logging.getLogger(__name__)

PREFIX: Final = "rwt_"
"""How a secret starts, so that people and scanners know it for one."""

USED_EVERY: Final = timedelta(minutes=1)
"""How often the last use is written down."""


def new_secret() -> str:
    """A new secret: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(secret: str) -> bytes:
    """What is kept of a secret. It is random: no slow hash is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class MachineTokens:
    """``Authenticator`` over ``registry-wsgi token``."""

    kind = "token"

    def __init__(self, accounts: Accounts, now: Callable[[], datetime]) -> None:
        self._accounts = accounts
        self._now = now
        self._noted: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def recall(self, name: str, password: str) -> Principal | None:
        """The token of this name whose secret this is: that is no work."""
        return self.check(name, password)

    def check(self, name: str, password: str) -> Principal | None:
        """The token of this name whose secret this is."""
        if not password.startswith(PREFIX):
            return None
        token = self._accounts.token(name)
        stored = token.secret_hash if token else bytes(32)
        if not hmac.compare_digest(stored, hash_of(password)) or token is None:
            return None
        principal = self._principal(token)
        if principal is not None:
            self._note(name)
        return principal

    def find(self, name: str) -> Principal | None:
        """The token as the index has it now."""
        token = self._accounts.token(name)
        return self._principal(token) if token else None

    def _principal(self, token: MachineToken) -> Principal | None:
        """The token as a principal, ``None`` once it has expired."""
        expiry = token.expires_at
        if expiry is not None and datetime.fromisoformat(expiry) <= self._now():
            return None
        grant = Grant(token.repositories, token.actions)
        return Principal(token.name, frozenset(), "token", token.secret_hash.hex()[:16], grant)

    def _note(self, name: str) -> None:
        """Write the use down, now and then; a disk that cannot take it keeps nobody out."""
        now = self._now()
        with self._lock:
            last = self._noted.get(name)
            if last is not None and now - last < USED_EVERY:
                return
            self._noted[name] = now
        try:
            self._accounts.token_used(name, now.isoformat(timespec="seconds"))
        except (StorageFault, RegistryError) as error:
            LOG.warning("the use of token %s was not noted: %s", name, error)
