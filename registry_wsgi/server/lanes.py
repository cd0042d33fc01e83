"""How many bodies are received at a time, so that slow uploads leave threads for everybody else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from registry_wsgi.errors import UNAVAILABLE, RegistryError

WAIT_SECONDS: Final = 30.0
"""How long a body waits for its turn before it is answered 503."""

WAITING: Final = 1
"""Threads of a process that may wait for a turn; who comes after them is answered at once."""

RETRY_AFTER: Final = (("Retry-After", "5"),)


class Lane:
    """Room for ``places`` bodies in this process, made before the fork and used after it."""

    def __init__(self, places: int) -> None:
        self._places = threading.Semaphore(places)
        self._waiting = threading.Semaphore(WAITING)
        self.on_leave: Callable[[], None] = _nothing

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have a place; raises RegistryError (UNAVAILABLE) when none comes free in time."""
        if not self._places.acquire(blocking=False) and not self._wait():
            raise RegistryError(UNAVAILABLE, "too many uploads at once", headers=RETRY_AFTER)
        try:
            yield
        finally:
            self._places.release()
            self.on_leave()

    def _wait(self) -> bool:
        if not self._waiting.acquire(blocking=False):
            return False
        try:
            return self._places.acquire(timeout=WAIT_SECONDS)
        finally:
            self._waiting.release()


def _nothing() -> None:
    pass
