"""Locks that hold across threads and processes, and that the kernel frees when a holder dies.

Lock order everywhere: upload session, digest, index writer.
"""

import errno
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from registry_wsgi.errors import UNAVAILABLE, RegistryError, StorageFault, again_in


class FileLock:
    """One lock, a flock on a file.

    A flock belongs to an open file description, which threads share and forked children inherit:
    so a mutex orders the threads of this process, and each process opens its own description.
    ``timeout`` is in seconds. With ``queueing`` false it also bounds the wait for other processes,
    whose order then is chance; otherwise the kernel's queue decides, which is fair.
    """

    def __init__(self, path: Path, *, timeout: float = 30.0, queueing: bool = True) -> None:
        self._path = path
        self._timeout = timeout
        self._queueing = queueing
        self._descriptor = -1
        self._mutex = threading.Lock()
        _LOCKS.add(self)

    def after_fork(self) -> None:
        """Start anew in a forked child."""
        # Closing a copy frees nothing of the parent's; keeping it would hold the lock of a parent
        # that died.
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self._mutex = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; raises RegistryError (UNAVAILABLE) after the timeout, or StorageFault.

        Only one thread of a process ever waits for other processes; the others wait for it here,
        and give up.
        """
        deadline = time.monotonic() + self._timeout
        if not self._mutex.acquire(timeout=self._timeout):
            raise _busy()
        try:
            self._wait(deadline)
            try:
                yield
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        finally:
            self._mutex.release()

    @contextmanager
    def trying(self) -> Iterator[bool]:
        """Hold the lock if nobody has it: yields whether it is held; raises StorageFault."""
        if not self._mutex.acquire(blocking=False):
            yield False
            return
        try:
            held = self._flock_at_once()
            try:
                yield held
            finally:
                if held:
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        finally:
            self._mutex.release()

    def _wait(self, deadline: float) -> None:
        if self._queueing:
            fcntl.flock(self._opened(), fcntl.LOCK_EX)
            return
        pause = 0.001
        while not self._flock_at_once():
            if time.monotonic() > deadline:
                raise _busy()
            time.sleep(pause)
            pause = min(2 * pause, 0.05)

    def _flock_at_once(self) -> bool:
        try:
            fcntl.flock(self._opened(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _opened(self) -> int:
        if self._descriptor < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            try:
                self._descriptor = os.open(self._path, flags, 0o600)
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise self._fault(error) from error
                self._descriptor = self._opened_to_read()
        return self._descriptor

    def _opened_to_read(self) -> int:
        """Where nobody can write; a file is locked no less for being open for reading alone."""
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise self._fault(error) from error

    def _fault(self, error: OSError) -> StorageFault:
        return StorageFault("a lock cannot be opened", str(self._path), error)


_LOCKS: Final[weakref.WeakSet[FileLock]] = weakref.WeakSet()


def _after_fork() -> None:
    for lock in list(_LOCKS):
        lock.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _busy() -> RegistryError:
    return RegistryError(UNAVAILABLE, "the registry is busy", headers=again_in(1))


class DigestLocks:
    """256 locks, one for each first byte of a digest's hash."""

    def __init__(self, directory: Path) -> None:
        self._locks = [FileLock(directory / f"{byte:02x}", queueing=False) for byte in range(256)]

    def of(self, hexadecimal: str) -> FileLock:
        """The lock that the digest with this hash falls under."""
        return self._locks[int(hexadecimal[:2], 16)]
