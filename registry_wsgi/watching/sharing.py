"""Where worker processes count together: a file each, which its process replaces."""

import atexit
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a directory that nobody else may enter


def place(data: Path) -> Path:
    """Where the processes that serve a data directory count: in memory, not on its disk.

    On a full disk counting would stop, and on a read-only one there can be none.
    """
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()
    found = _MEMORY / f"registry-wsgi-{os.getuid()}-{digest[:16]}"
    return found if _MEMORY.is_dir() and _may_be_mine(found) else data / "metrics"


def _may_be_mine(directory: Path) -> bool:
    """Whether nobody else made this directory, where everybody may make one."""
    try:
        found = directory.lstat()
    except FileNotFoundError:
        return True
    private = found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
    return stat.S_ISDIR(found.st_mode) and private


def begin(directory: Path) -> None:
    """Count from nothing: an operator's start; what was counted goes at its end."""
    forget(directory)
    atexit.register(_end, directory, os.getpid())


def _end(directory: Path, process: int) -> None:
    if os.getpid() == process:  # and not a worker that was forked off it
        forget(directory)


def forget(directory: Path) -> None:
    """Remove what was counted."""
    shutil.rmtree(directory, ignore_errors=True)


def share(directory: Path) -> None:
    """Have a place for the files of this process and of those it forks."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def publish(directory: Path, name: str, text: str) -> None:
    """Replace what the process of this name has counted; raises OSError."""
    fresh = directory / f"{name}.new"
    fresh.write_text(text, "utf-8")
    fresh.replace(directory / f"{name}.json")


def published(directory: Path, but: str) -> Iterator[str]:
    """What every process has counted, also those that are gone, except the one named ``but``."""
    for path in directory.glob("*.json"):
        if path.stem != but:
            # An operator's start forgets all of them.
            with suppress(FileNotFoundError):
                yield path.read_text("utf-8")
