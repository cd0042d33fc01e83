"""Password hashes: made and checked in bounded number, so that pulls are not starved."""

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Final

from werkzeug.security import check_password_hash, generate_password_hash

from registry_wsgi.errors import TOO_MANY_REQUESTS, RegistryError, again_in

REMEMBERED: Final = 1024
"""Most verified pairs that are remembered."""

PASSWORD_LIMIT: Final = 1024
"""Longest password that is looked at, in characters."""

Turn = Callable[[], AbstractContextManager[None]]
"""Makes what is held while a password is checked; may raise RegistryError (UNAVAILABLE)."""


def make_hash(password: str) -> str:
    """A hash of a password, for the index (scrypt, 32 MiB and some 60 ms to check)."""
    return generate_password_hash(password)


class Turns:
    """Who may check a password now, over all back ends.

    ``waiting`` threads of a process wait for the one whose turn it is; who comes after them is
    answered at once, so that never all threads wait. ``turn`` bounds the checks on the machine.
    """

    def __init__(self, waiting: int, turn: Turn = nullcontext) -> None:
        self._places = threading.BoundedSemaphore(waiting + 1)
        self._turn = turn

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Have a turn; raises RegistryError (TOOMANYREQUESTS) when too many wait already."""
        if not self._places.acquire(blocking=False):
            raise RegistryError(TOO_MANY_REQUESTS, "too many sign-ins at once", headers=again_in(1))
        try:
            with self._turn():
                yield
        finally:
            self._places.release()


class PasswordChecker:
    """Checks passwords with ``verify``, when it has a turn.

    A pair that was right is remembered for ``seconds`` under an HMAC of it and of the stored hash,
    so that Basic on each request stays cheap and a changed password counts at once.
    """

    def __init__(
        self,
        turns: Turns,
        now: Callable[[], float],
        verify: Callable[[str, str], bool] = check_password_hash,
        *,
        seconds: float = 60.0,
    ) -> None:
        self._turns = turns
        self._now = now
        self._verify = verify
        self._seconds = seconds
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, name: str, password: str, stored: str) -> bool:
        """Whether ``stored`` was found to be of this password a moment ago."""
        mark = self._mark(name, password, stored)
        with self._lock:
            return self._right.get(mark, 0.0) > self._now()

    def check(self, name: str, password: str, stored: str) -> bool:
        """Whether ``stored`` is of this password; raises RegistryError (TOOMANYREQUESTS)."""
        if self.recall(name, password, stored):
            return True
        with self._turns.taken():
            # Somebody who waited for the same pair need not work for it again.
            if self.recall(name, password, stored):
                return True
            right = self._verify(stored, password)
            if right:
                self._remember(self._mark(name, password, stored))
        return right

    def _mark(self, name: str, password: str, stored: str) -> bytes:
        text = f"{name}\0{password}\0{stored}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, hashlib.sha256)

    def _remember(self, mark: bytes) -> None:
        with self._lock:
            self._right[mark] = self._now() + self._seconds
            self._right.move_to_end(mark)
            while len(self._right) > REMEMBERED:
                self._right.popitem(last=False)


@lru_cache(maxsize=1024)
def fingerprint(stored: str) -> str:
    """What a bearer token remembers of the credential it was given for; changes with it."""
    return hashlib.sha256(stored.encode("utf-8")).hexdigest()[:16]
