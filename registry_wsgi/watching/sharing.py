"""Where worker processes count together; apart, since it must come before prometheus_client."""

import atexit
import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import Final

DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client looks at it once, when it is imported."""

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a directory that nobody else may enter


def place(data: Path) -> Path:
    """Where the processes that serve a data directory count: in memory, not on its disk.

    Counters are mapped files: touching a new page of one on a full disk kills the process
    (SIGBUS), and on a read-only one there can be none.
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
    """Have this process and those it forks count into files in ``directory``."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ[DIRECTORY_VARIABLE] = str(directory)
