"""Where the bodies of requests are received: each in a small buffer, and at times in a large one.

Every turn from receiving to hashing costs some 0.1 ms while the client is busy on the same machine:
in turns of 1 MiB, four pushes take a sixth longer than in turns of 4 MiB. So the processes of a
server share a few large buffers, which are in memory from its start. A body has one for as long as
it takes to receive what has arrived already, write and hash it, and never while it waits.
"""

import fcntl
import logging
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

LOG: Final = logging.getLogger(__name__)

SMALL: Final = 512 << 10
"""Bytes of a buffer that a body has for itself."""

LARGE: Final = 4 << 20
"""Bytes of a buffer that processes share."""

LARGE_FOR_EACH: Final = 2
"""How many of these there are for each process."""

MOST_LARGE: Final = 16
"""How many there are at most, however many processes."""


class Buffers:
    """The buffers of this process and of those that it forks."""

    def __init__(self) -> None:
        self._small: list[bytearray] = []
        self._large: list[mmap.mmap] = []
        self._unused: list[int] = []
        # Who holds a buffer is told by a lock on the byte of its number: the kernel takes it back
        # from a process that dies.
        self._locks = -1

    def share(self, processes: int) -> None:
        """Have enough large ones for so many processes, which are forked later, if it can be."""
        wanted = min(LARGE_FOR_EACH * processes, MOST_LARGE)
        try:
            if self._locks < 0:
                self._locks = os.memfd_create("registry_wsgi")
            while len(self._large) < wanted:
                memory = mmap.mmap(-1, LARGE)
                for page in range(0, LARGE, mmap.PAGESIZE):
                    memory[page] = 0
                self._unused.append(len(self._large))
                self._large.append(memory)
        except OSError as error:
            LOG.warning("bodies are received in small buffers alone: %s", error)

    @contextmanager
    def small(self) -> Iterator[bytearray]:
        """Have a buffer of ``SMALL`` bytes for one body."""
        try:
            buffer = self._small.pop()
        except IndexError:
            buffer = bytearray(SMALL)
        try:
            yield buffer
        finally:
            self._small.append(buffer)

    @contextmanager
    def large(self) -> Iterator[mmap.mmap | None]:
        """Have one of ``LARGE`` bytes for one turn; ``None`` when all are in use."""
        number = self._claim()
        if number is None:
            yield None
            return
        try:
            yield self._large[number]
        finally:
            fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, number)
            self._unused.append(number)

    def _claim(self) -> int | None:
        """A large buffer that nobody uses, of this process (the list) or another (the lock)."""
        elsewhere: list[int] = []
        try:
            while True:
                number = self._unused.pop()
                # > it fails with EACCES or EAGAIN if a conflicting lock is held      (fcntl(2))
                with suppress(BlockingIOError, PermissionError):
                    fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
                    return number
                elsewhere.append(number)
        except IndexError:
            return None
        finally:
            self._unused.extend(elsewhere)


BUFFERS: Final = Buffers()
"""Of this process and those that it forks."""
