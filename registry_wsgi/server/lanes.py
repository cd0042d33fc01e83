"""How many bodies are received at a time, so that slow uploads leave threads for everybody else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeGuard

from registry_wsgi.errors import UNAVAILABLE, RegistryError, again_in

WAIT_SECONDS: Final = 30.0
"""How long a body waits for its turn before it is answered 503."""

WAITING: Final = 1
"""Threads of a process that may wait for a turn; who comes after them is answered at once."""

SMALL: Final = 64 << 10
"""Announced length, in bytes, up to which a body takes the lane that uploads do not."""


class _Reserved(threading.local):
    """Per thread, whether it has a place that its request did not enter yet."""

    place = False


class Lane:
    """Room for ``places`` bodies in this process, made before the fork and used after it."""

    def __init__(self, places: int, waiting: int = WAITING) -> None:
        self._places = threading.Semaphore(places)
        self._waiting = threading.Semaphore(waiting)
        self._reserved = _Reserved()
        self.threads_wait = True
        """Whether a thread may wait for a place: not where requests wait without one."""
        self.on_leave: Callable[[], None] = _nothing
        """Called when a place came free, by the thread that left it."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have a place; raises RegistryError (UNAVAILABLE) when none comes free in time."""
        if self._reserved.place:
            self._reserved.place = False
        elif not self._places.acquire(blocking=False) and not self._wait():
            raise RegistryError(UNAVAILABLE, "too many uploads at once", headers=again_in(5))
        try:
            yield
        finally:
            self._leave()

    def has_room(self) -> bool:
        """Whether a place was free just now."""
        free = self._places.acquire(blocking=False)
        if free:
            self._places.release()
        return free

    def reserve(self) -> bool:
        """Have a place for the request that this thread is about to serve, if one is free."""
        self._reserved.place = self._places.acquire(blocking=False)
        return self._reserved.place

    def unreserve(self) -> None:
        """Give the place back if the request did not take it."""
        if self._reserved.place:
            self._reserved.place = False
            self._leave()

    def _leave(self) -> None:
        self._places.release()
        self.on_leave()

    def _wait(self) -> bool:
        if not self.threads_wait or not self._waiting.acquire(blocking=False):
            return False
        try:
            return self._places.acquire(timeout=WAIT_SECONDS)
        finally:
            self._waiting.release()


class Lanes:
    """The lanes of a process that serves ``threads`` requests at once.

    Small bodies have one of their own, so that no slow upload keeps them waiting: they are there
    in no time, or are cut. One thread is left to whoever sends no body at all.
    """

    def __init__(self, threads: int) -> None:
        self.uploads = Lane(max(1, threads - 2))
        self.small = Lane(1, max(1, threads - 2))

    def of(self, length: int | None) -> Lane:
        """The lane of a body that announces this length, ``None`` for a chunked one."""
        return self.small if is_small(length) else self.uploads


def is_small(length: int | None) -> TypeGuard[int]:
    """Whether a body that announces this length is small; a chunked one may be anything."""
    return length is not None and length <= SMALL


def _nothing() -> None:
    pass
