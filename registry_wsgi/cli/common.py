"""What a command is."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from registry_wsgi.config import Config
from registry_wsgi.errors import UNAVAILABLE, RegistryError
from registry_wsgi.storage.opening import Storage
from registry_wsgi.wiring import open_existing, open_or_make


class CommandError(Exception):
    """Something the operator asked for that cannot be; the message says why."""


def _no_flags(options: argparse.Namespace) -> Mapping[str, Any]:  # noqa: ARG001 - the form of a hook
    return {}


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its name, its help, its arguments, and what it does.

    ``run`` returns the exit status. ``flags`` turns options into settings (``section.key``).
    """

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Config], int]
    flags: Callable[[argparse.Namespace], Mapping[str, Any]] = _no_flags


@contextmanager
def opened(config: Config, *, making: bool = False, writing: bool = False) -> Iterator[Storage]:
    """The data directory, whose index is closed afterwards as its locks want it.

    Where there is none it is made with ``making``, else StorageFault is raised. With either flag
    RegistryError is raised where nothing may be written.
    """
    storage = open_or_make(config) if making else open_existing(config)
    try:
        if making or writing:
            refuse_latched(storage)
        yield storage
    finally:
        storage.index.database.close()


def refuse_latched(storage: Storage) -> None:
    """Raise RegistryError where nothing may be written."""
    if storage.read_only:
        raise RegistryError(UNAVAILABLE, "the data directory is on a read-only file system")
    if storage.latch.is_set():
        raise RegistryError(UNAVAILABLE, "a disk error stopped writes: start the registry anew")


def moment(text: str) -> str:
    """A time as the index writes times; without an offset it is UTC. Raises ValueError."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    try:
        return found.astimezone(UTC).isoformat(timespec="milliseconds")
    except OverflowError as error:
        raise ValueError(text) from error


def number(text: str) -> int:
    """As argparse's type: a whole number that the index can hold. Raises ValueError."""
    found = int(text)
    if not 0 <= found < 1 << 63:
        raise ValueError(text)
    return found


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def human(size: float) -> str:
    """Bytes as people read them, such as ``1.5 GiB``."""
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:  # noqa: PLR2004 - the units' base
        size, unit = size / 1024, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{int(size)} B"
