"""Failed sign-ins are slowed, for each account and each address, without locking anybody out."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from registry_wsgi.errors import TOO_MANY_REQUESTS, RegistryError

BURST: Final = 20
"""Failures in a row that are answered as fast as the check goes."""

REFILL: Final = 3.0
"""Seconds after which one more try is taken, once they are used up."""

KEPT: Final = 4096
"""Most accounts and addresses that are watched."""


class Throttle:
    """A bucket of tries for each key; a failure takes one, time gives it back."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def require(self, keys: Iterable[str]) -> None:
        """Raise RegistryError (TOOMANYREQUESTS) while a key's tries are used up."""
        with self._lock:
            wait = max((self._wait(key) for key in keys), default=0.0)
        if wait > 0:
            seconds = str(int(wait) + 1)
            raise RegistryError(
                TOO_MANY_REQUESTS, "too many failed sign-ins", headers=(("Retry-After", seconds),)
            )

    def failed(self, keys: Iterable[str]) -> None:
        """Take a try from each key."""
        with self._lock:
            for key in keys:
                self._used[key] = (self._count(key) + 1, self._now())
                self._used.move_to_end(key)
            while len(self._used) > KEPT:
                self._used.popitem(last=False)

    def _count(self, key: str) -> float:
        used, since = self._used.get(key, (0.0, 0.0))
        return max(0.0, used - (self._now() - since) / REFILL)

    def _wait(self, key: str) -> float:
        return (self._count(key) - BURST + 1) * REFILL if self._count(key) > BURST - 1 else 0.0
