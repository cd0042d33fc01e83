"""Machine tokens: credentials that bring their own grants, used as a password."""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from registry_wsgi.auth.base import Grant, Principal
from registry_wsgi.storage.accounts import Accounts, MachineToken

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

    def __init__(self, accounts: Accounts, now: Callable[[], datetime]) -> None:
        self._accounts = accounts
        self._now = now
        self._noted: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def check(self, name: str, password: str) -> Principal | None:
        """The token of this name whose secret this is."""
        if not password.startswith(PREFIX):
            return None
        token = self._accounts.token(name)
        stored = token.secret_hash if token else bytes(32)
        if not hmac.compare_digest(stored, hash_of(password)) or token is None:
            return None
        return self._used(token)

    def find(self, name: str) -> Principal | None:
        """The token as the index has it now."""
        token = self._accounts.token(name)
        return self._used(token) if token else None

    def _used(self, token: MachineToken) -> Principal | None:
        now = self._now()
        if token.expires_at is not None and datetime.fromisoformat(token.expires_at) <= now:
            return None
        self._note(token.name, now)
        grant = Grant(token.repositories, token.actions)
        return Principal(token.name, frozenset(), "token", token.secret_hash.hex()[:16], grant)

    def _note(self, name: str, now: datetime) -> None:
        with self._lock:
            last = self._noted.get(name)
            if last is not None and now - last < USED_EVERY:
                return
            self._noted[name] = now
        self._accounts.token_used(name, now.isoformat(timespec="seconds"))
