"""Which process takes a new connection: the one that has the fewest.

All processes poll the same listening socket and are woken together. One that is awake anyway is
faster than the others each time: of a client's many connections it would take most, and answer
them alone while the other processes, and processors, have nothing to do.
"""

import mmap
import time
from typing import Final

SLOTS: Final = 64
"""Processes that know of each other; more share a slot, which does no harm."""

SILENT: Final = 5.0
"""Seconds after which a process that said nothing is taken for dead, or hung."""

PATIENCE: Final = 4
"""How many times in a row a process leaves a connection to others; then it takes it."""

PAUSE: Final = 50e-6
"""Seconds that it gives them each time: longer than it takes to wake up."""


class Shares:
    """How many connections each process has, in memory that they share: made before the fork.

    Each process writes its own slot only, and a torn or old number costs a pause, no more.
    """

    def __init__(self) -> None:
        self._counts = memoryview(mmap.mmap(-1, SLOTS * 8)).cast("q")
        self._times = memoryview(mmap.mmap(-1, SLOTS * 8)).cast("d")

    def tell(self, slot: int, connections: int, now: float) -> None:
        """Say how many connections a process has; ``now`` is of the monotonic clock."""
        self._counts[slot] = connections
        self._times[slot] = now

    def leave(self, slot: int) -> None:
        """This process takes no more connections."""
        self._times[slot] = 0.0

    def least_elsewhere(self, slot: int, now: float) -> int | None:
        """The fewest connections that another process has, ``None`` where there is none."""
        return min(
            (
                self._counts[other]
                for other, told in enumerate(self._times)
                if told > now - SILENT and other != slot
            ),
            default=None,
        )


SHARES: Final = Shares()
"""Of this process and those that it forks."""


class Share:
    """One process's view: ``number`` is one that no other process has."""

    def __init__(self, number: int, shares: Shares = SHARES) -> None:
        self._slot = number % SLOTS
        self._shares = shares
        self._told = (-1, 0.0)
        self._declined = 0

    def tell(self, connections: int) -> None:
        """Say how many there are, when that is news, or once a second."""
        now = time.monotonic()
        count, then = self._told
        if connections != count or now - then >= 1.0:
            self._told = (connections, now)
            self._shares.tell(self._slot, connections, now)

    def leave(self) -> None:
        """Take no more."""
        self._shares.leave(self._slot)

    def declines(self, connections: int) -> bool:
        """Whether a process with so many had better leave the next one to others; may pause."""
        self.tell(connections)
        least = self._shares.least_elsewhere(self._slot, time.monotonic())
        if least is None or connections <= least or self._declined >= PATIENCE:
            self._declined = 0
            return False
        self._declined += 1
        time.sleep(PAUSE)
        return True
