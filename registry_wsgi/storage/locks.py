"""Locks that hold across threads and processes, and that the kernel frees when a holder dies.

Lock order everywhere: upload session, digest, index writer.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry_wsgi.errors import UNAVAILABLE, RegistryError

RETRY_AFTER = (("Retry-After", "1"),)


class FileLock:
    """One lock, a flock on a file.

    A flock belongs to an open file description, which threads share and forked children inherit:
    so a mutex orders the threads of this process, and each process opens its own description.
    """

    def __init__(self, path: Path, *, timeout: float = 30.0) -> None:
        self._path = path
        self._timeout = timeout
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._mutex = threading.Lock()
        self._descriptor = -1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; raises RegistryError (UNAVAILABLE) after the timeout, in seconds.

        Only one thread of a process ever waits in the kernel, where the queue is fair; the others
        wait for it here, and give up.
        """
        if not self._mutex.acquire(timeout=self._timeout):
            raise RegistryError(UNAVAILABLE, "the registry is busy", headers=RETRY_AFTER)
        try:
            fcntl.flock(self._opened(), fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        finally:
            self._mutex.release()

    @contextmanager
    def trying(self) -> Iterator[bool]:
        """Hold the lock if nobody has it: yields whether it is held."""
        held = self._mutex.acquire(blocking=False)
        try:
            if held:
                held = self._flock_at_once()
                if not held:
                    self._mutex.release()
            yield held
        finally:
            if held:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
                self._mutex.release()

    def _flock_at_once(self) -> bool:
        try:
            fcntl.flock(self._opened(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _opened(self) -> int:
        if self._descriptor < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o600)
        return self._descriptor


class DigestLocks:
    """256 locks, one for each first byte of a digest's hash."""

    def __init__(self, directory: Path) -> None:
        self._locks = [FileLock(directory / f"{byte:02x}") for byte in range(256)]

    def of(self, hexadecimal: str) -> FileLock:
        """The lock that the digest with this hash falls under."""
        return self._locks[int(hexadecimal[:2], 16)]
