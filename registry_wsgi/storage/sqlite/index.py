"""The index as one object, and how its file is made ready before anybody opens it."""

import sqlite3
from pathlib import Path
from typing import Final

from registry_wsgi.errors import StorageFault
from registry_wsgi.storage.base import Clock
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.locks import FileLock
from registry_wsgi.storage.sqlite.accounts import SqliteAccounts
from registry_wsgi.storage.sqlite.blobs import SqliteBlobs
from registry_wsgi.storage.sqlite.collect import SqliteCollection
from registry_wsgi.storage.sqlite.database import Database, connect
from registry_wsgi.storage.sqlite.inspect import SqliteInspection
from registry_wsgi.storage.sqlite.listings import SqliteListings
from registry_wsgi.storage.sqlite.manifests import SqliteManifests
from registry_wsgi.storage.sqlite.migrations import migrate
from registry_wsgi.storage.sqlite.uploads import SqliteUploads
from registry_wsgi.storage.uptime import SAVE_EVERY, SavedAge, boottime, continued, read_boot_id

NAME: Final = "registry.sqlite3"


def prepare(path: Path, lock: FileLock, ops: FileOps) -> SavedAge:
    """Create or migrate the index and note this boot; safe to repeat, alone under ``lock``.

    Returns the age as of now. Raises StorageFault, whose reason says what an operator can do.
    """
    with lock.held():
        if not path.exists():
            ops.write_new(path, b"")
        connection = connect(path)
        try:
            migrate(connection)
            saved = save_age(connection)
        except sqlite3.DatabaseError as error:
            raise StorageFault(
                f"{error}: the index is damaged; restore a backup, or move it away and run fsck",
                str(path),
                error,
            ) from error
        finally:
            connection.close()
        ops.sync_directory(path.parent)
    return saved


def save_age(connection: sqlite3.Connection) -> SavedAge:
    """Carry the accumulated uptime forward to now, and keep it."""
    row = connection.execute(
        "SELECT boot_id, boottime_ms, age_ms, boot_age_ms FROM clock"
    ).fetchone()
    saved = continued(SavedAge(*row) if row else None, read_boot_id(), boottime())
    connection.execute(
        """INSERT INTO clock (only, boot_id, boottime_ms, age_ms, boot_age_ms)
           VALUES (1, ?1, ?2, ?3, ?4)
           ON CONFLICT DO UPDATE
           SET boot_id = ?1, boottime_ms = ?2, age_ms = ?3, boot_age_ms = ?4""",
        (saved.boot_id, saved.boottime, saved.age, saved.boot_age),
    )
    return saved


class SqliteIndex:
    """``Index`` in SQLite."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.blobs = SqliteBlobs(database, clock)
        self.manifests = SqliteManifests(database, clock)
        self.listings = SqliteListings(database)
        self.uploads = SqliteUploads(database, clock)
        self.collection = SqliteCollection(database, clock)
        self.inspection = SqliteInspection(database)
        self.accounts = SqliteAccounts(database)

    def keep_age(self) -> None:
        """Save the accumulated uptime, unless it was saved within the last few minutes."""
        with self.database.reading() as connection:
            saved: int = connection.execute("SELECT boottime_ms FROM clock").fetchone()[0]
        if boottime() - saved >= SAVE_EVERY:
            self.database.write(save_age)

    def ready(self) -> None:
        """Raise StorageFault unless the index can be read."""
        with self.database.reading() as connection:
            connection.execute("SELECT 1 FROM clock").fetchone()
