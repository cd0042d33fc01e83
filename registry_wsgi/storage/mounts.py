"""Which file system a path is on: locks and syncs mean nothing on some."""

import errno
import os
import re
from pathlib import Path
from typing import Final

from registry_wsgi.errors import StorageFault

_MOUNTS: Final = Path("/proc/self/mountinfo")

NETWORK: Final = re.compile(r"nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|glusterfs|lustre|fuse\..*|fuse")
"""File systems whose flock and fsync are another machine's or another program's promise."""

_TYPE_AFTER: Final = "-"


def filesystem_type(path: Path, mountinfo: str) -> str:
    """The type of the file system that ``path`` is on, by proc(5)'s mountinfo."""
    best, kind = "", ""
    for line in mountinfo.splitlines():
        words = line.split(" ")
        point = words[4].encode("ascii", "replace").decode("unicode_escape")
        inside = path == Path(point) or Path(point) in path.parents
        if inside and len(point) >= len(best):
            best, kind = point, words[words.index(_TYPE_AFTER, 6) + 1]
    return kind


def is_read_only(path: Path) -> bool:
    """Whether an existing file cannot be written because its file system is read-only."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.errno == errno.EROFS
    return False


def refuse_network(data: Path) -> None:
    """Raise StorageFault when the data directory is on a network file system."""
    kind = filesystem_type(data.resolve(), _MOUNTS.read_text("utf-8"))
    if NETWORK.fullmatch(kind):
        raise StorageFault(
            f"the data directory is on {kind}, where locks and syncs cannot be trusted: use a "
            "local disk, or set storage.network_filesystem = true to take the risk",
            str(data),
        )
