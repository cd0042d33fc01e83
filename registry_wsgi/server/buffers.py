"""Where the bodies of requests are received: large buffers of all processes, else small ones.

Every turn from receiving to hashing costs some 0.1 ms while the client is busy on the same machine:
with buffers of 1 MiB, four pushes take a sixth longer than with 4 MiB. So the processes of a server
share a few large ones. They are in memory from its start: a push needs no more than is taken
already, and whether all are received by one process makes no difference.
"""

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

SMALL: Final = 1 << 20
"""Bytes of a buffer that a process has for itself."""

LARGE: Final = 4 << 20
"""Bytes of a buffer that processes share."""

LARGE_FOR_EACH: Final = 2
"""How many of these there are for each process."""

Buffer = bytearray | mmap.mmap


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
        """Have enough large ones for so many processes; they are forked later."""
        if self._locks < 0:
            self._locks = os.memfd_create("registry_wsgi")
        for number in range(len(self._large), LARGE_FOR_EACH * processes):
            memory = mmap.mmap(-1, LARGE)
            for page in range(0, LARGE, mmap.PAGESIZE):
                memory[page] = 0
            self._large.append(memory)
            self._unused.append(number)

    @contextmanager
    def borrowed(self) -> Iterator[Buffer]:
        """Have a buffer for one body: a large one, unless all of them are in use."""
        number = self._claim()
        if number is not None:
            try:
                yield self._large[number]
            finally:
                fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, number)
                self._unused.append(number)
            return
        try:
            small = self._small.pop()
        except IndexError:
            small = bytearray(SMALL)
        try:
            yield small
        finally:
            self._small.append(small)

    def _claim(self) -> int | None:
        """A large buffer that nobody uses, of this process (the list) or another (the lock)."""
        elsewhere: list[int] = []
        try:
            while True:
                number = self._unused.pop()
                with suppress(OSError):  # it is in use
                    fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
                    return number
                elsewhere.append(number)
        except IndexError:
            return None
        finally:
            self._unused.extend(elsewhere)


BUFFERS: Final = Buffers()
"""Of this process and those that it forks."""
