"""How connections to the index's file are opened, and with which settings."""

import sqlite3
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import quote

from registry_wsgi.errors import StorageFault
from registry_wsgi.names import Pattern

WAL_CHECKPOINT: Final = 8 << 20
"""Size of the WAL, in bytes, above which a writer checkpoints after its commit."""

_FULL: Final = 2
_SETTINGS: Final = (
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", _FULL),
    ("foreign_keys", "ON", 1),
    ("wal_autocheckpoint", "0", 0),
    ("trusted_schema", "OFF", 0),
    ("cell_size_check", "ON", 1),
    ("mmap_size", "0", 0),
    # Else a log that was long once stays that long, and every commit would checkpoint.
    ("journal_size_limit", str(WAL_CHECKPOINT), WAL_CHECKPOINT),
)


def connect(path: Path) -> sqlite3.Connection:
    """Open the index with every setting made and read back; raises StorageFault."""
    with ExitStack() as stack:
        try:
            connection = _connection(path, "mode=rw")
            stack.callback(connection.close)
            for name, value, expected in _SETTINGS:
                connection.execute(f"PRAGMA {name} = {value}")
                row = connection.execute(f"PRAGMA {name}").fetchone()
                if row is not None and row[0] != expected:
                    raise StorageFault(f"SQLite refused {name} = {value}: {row[0]}", str(path))
        except sqlite3.Error as error:
            raise StorageFault("the index cannot be opened", str(path), error) from error
        stack.pop_all()
    return connection


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open the index on a read-only file system; raises StorageFault.

    Without a log the file is all there is, and nobody can change it. With one, SQLite needs the
    log's own index, which a killed process leaves beside it.
    """
    log, shared = (path.with_name(f"{path.name}-{end}") for end in ("wal", "shm"))
    if log.exists() and not shared.exists():
        advice = "mount it writable and start once"
        raise StorageFault(f"the index was not closed, and {shared.name} is missing: {advice}")
    try:
        return _connection(path, "mode=ro" if log.exists() else "mode=ro&immutable=1")
    except sqlite3.Error as error:
        raise StorageFault("the index cannot be opened", str(path), error) from error


def _connection(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{options}",
        uri=True,
        timeout=5.0,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    connection.create_function("visible", 2, _visible, deterministic=True)
    return connection


def _visible(name: str, pattern: str) -> bool:
    """The SQL function that tells whether a rule's pattern means a repository."""
    return Pattern(pattern).matches(name)
