"""Letting nginx read blobs, and nothing else, of the data directory."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from registry_wsgi.errors import StorageFault

SEARCHABLE: Final = stat.S_IXGRP
"""What a directory needs so that its group opens what it knows the name of, and lists nothing."""


def share_blobs(data: Path) -> None:
    """Let the group of the data directory open blobs; safe to repeat.

    Blobs are readable by everybody who gets as far as them; the index, the secret and staged
    uploads are not, wherever they are. Raises StorageFault.
    """
    for folder in _folders(data):
        try:
            mode = stat.S_IMODE(folder.stat().st_mode)
            if not mode & SEARCHABLE:
                folder.chmod(mode | SEARCHABLE)
        except OSError as error:
            raise StorageFault("blobs cannot be shared with nginx", str(folder), error) from error


def _folders(data: Path) -> Iterator[Path]:
    """The directories on the way to a blob, the innermost first: nothing opens up too early."""
    blobs = data / "blobs"
    for algorithm in sorted(blobs.iterdir()):
        yield from sorted(algorithm.iterdir())
        yield algorithm
    yield blobs
    yield data
