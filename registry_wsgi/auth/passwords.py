"""Password hashes: made and checked in bounded number, so that pulls are not starved."""

import hashlib
import hmac
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from werkzeug.security import check_password_hash, generate_password_hash

from registry_wsgi.errors import TOO_MANY_REQUESTS, RegistryError

WAIT: Final = 5.0
"""Seconds to wait for a turn to check a password, before 429."""

REMEMBERED: Final = 1024
"""Most verified pairs that are remembered."""

PASSWORD_LIMIT: Final = 1024
"""Longest password that is looked at, in characters."""


def make_hash(password: str) -> str:
    """A hash of a password, for the index (scrypt, 32 MiB and some 60 ms to check)."""
    return generate_password_hash(password)


class PasswordChecker:
    """Checks passwords with ``verify``, at most one for every two cores at a time.

    A pair that was right is remembered for ``seconds`` under an HMAC of it and of the stored hash,
    so that Basic on each request stays cheap and a changed password counts at once.
    """

    def __init__(
        self,
        verify: Callable[[str, str], bool] = check_password_hash,
        *,
        now: Callable[[], float],
        seconds: float = 60.0,
    ) -> None:
        self._verify = verify
        self._now = now
        self._seconds = seconds
        self._turns = threading.BoundedSemaphore(max(1, (os.cpu_count() or 1) // 2))
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, name: str, password: str, stored: str) -> bool:
        """Whether ``stored`` is of this password; raises RegistryError (TOOMANYREQUESTS)."""
        mark = self._mark(name, password, stored)
        with self._lock:
            if self._right.get(mark, 0.0) > self._now():
                return True
        with self._turn():
            right = self._verify(stored, password)
        if right:
            self._remember(mark)
        return right

    def _mark(self, name: str, password: str, stored: str) -> bytes:
        text = f"{name}\0{password}\0{stored}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, hashlib.sha256)

    def _remember(self, mark: bytes) -> None:
        with self._lock:
            self._right[mark] = self._now() + self._seconds
            while len(self._right) > REMEMBERED:
                self._right.popitem(last=False)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=WAIT):
            raise RegistryError(
                TOO_MANY_REQUESTS, "too many sign-ins at once", headers=(("Retry-After", "1"),)
            )
        try:
            yield
        finally:
            self._turns.release()


def fingerprint(stored: str) -> str:
    """What a bearer token remembers of the credential it was given for; changes with it."""
    return hashlib.sha256(stored.encode("utf-8")).hexdigest()[:16]
