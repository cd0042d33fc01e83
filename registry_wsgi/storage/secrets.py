"""The keys that sign ``_state`` and tokens: one file, made once, shared by all workers."""

import logging
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from registry_wsgi.errors import StorageFault
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.locks import FileLock

LOG: Final = logging.getLogger(__name__)

NAME: Final = "secret"

KEY_SIZE: Final = 32
"""Bytes of a key, and the least that is accepted."""


def prepare(path: Path, lock: FileLock, ops: FileOps) -> None:
    """Make the file if there is none; safe to repeat, alone under ``lock``."""
    with lock.held():
        if not path.exists():
            ops.write_new(path, new_key() + b"\n")


def new_key() -> bytes:
    """A new key, as hexadecimal text."""
    return secrets.token_hex(KEY_SIZE).encode("ascii")


def read(path: Path) -> list[bytes]:
    """The keys, oldest first; raises StorageFault for a file that others can read, or none."""
    try:
        mode = path.stat().st_mode
        keys = path.read_bytes().split()
    except OSError as error:
        raise StorageFault("the secret cannot be read", str(path), error) from error
    if stat.S_IMODE(mode) & 0o077:
        raise StorageFault(f"the secret is readable by others: chmod 600 {path}", str(path))
    if not keys or min(map(len, keys)) < KEY_SIZE:
        raise StorageFault("the secret has no key, or a short one: restore or remove it", str(path))
    return keys


def rotate(path: Path, lock: FileLock, ops: FileOps, keep: int) -> int:
    """Add a new key, which signs from now on, and keep the ``keep`` newest before it.

    Returns how many older keys stay valid. Raises StorageFault as ``read`` does.
    """
    with lock.held():
        keys = read(path)
        kept = keys[len(keys) - keep :] if keep < len(keys) else keys
        ops.write_new(path, b"\n".join([*kept, new_key()]) + b"\n")
    return len(kept)


class Keys:
    """The keys as they are now: a rotation counts in every process from its next use of one.

    The same tuple is returned for as long as the file is the same.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = str(path)
        self._mark = self._signature()
        self._keys = tuple(read(path))

    def __call__(self) -> tuple[bytes, ...]:
        """The keys, oldest first; those read last while the file cannot be read."""
        mark = self._signature()
        if mark != self._mark:
            self._mark = mark
            try:
                self._keys = tuple(read(self._path))
            except StorageFault as fault:
                LOG.error("%s; the keys read last stay in force", fault)  # noqa: TRY400 - no trace is needed
        return self._keys

    def __iter__(self) -> Iterator[bytes]:
        return iter(self())

    def _signature(self) -> tuple[int, int, int] | None:
        """What changes with the file, ``None`` while there is none."""
        try:
            found = os.stat(self._name)  # noqa: PTH116 - asked in each request
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
