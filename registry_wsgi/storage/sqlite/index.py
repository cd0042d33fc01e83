"""The index as one object, and how its file is made ready before anybody opens it."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from registry_wsgi.errors import StorageFault
from registry_wsgi.storage.base import Clock
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.locks import FileLock
from registry_wsgi.storage.sqlite.accounts import SqliteAccounts
from registry_wsgi.storage.sqlite.blobs import SqliteBlobs
from registry_wsgi.storage.sqlite.collect import SqliteCollection
from registry_wsgi.storage.sqlite.connections import connect, connect_read_only
from registry_wsgi.storage.sqlite.database import Database
from registry_wsgi.storage.sqlite.inspect import SqliteInspection
from registry_wsgi.storage.sqlite.listings import SqliteListings
from registry_wsgi.storage.sqlite.manifests import SqliteManifests
from registry_wsgi.storage.sqlite.migrations import VERSION, migrate, version
from registry_wsgi.storage.sqlite.outbox import SqliteOutbox
from registry_wsgi.storage.sqlite.uploads import SqliteUploads
from registry_wsgi.storage.uptime import SAVE_EVERY, SavedAge, boottime, continued, read_boot_id

NAME: Final = "registry.sqlite3"


def prepare(
    path: Path,
    lock: FileLock,
    ops: FileOps,
    *,
    is_new: Callable[[], bool] = lambda: True,
    make_room: Callable[[], bool] = lambda: False,
) -> SavedAge:
    """Create or migrate the index and note this boot; safe to repeat, alone under ``lock``.

    ``is_new`` says whether there is nothing yet that an index would tell of. ``make_room`` is asked
    once when the disk is full. Returns the age as of now. Raises StorageFault, whose reason says
    what an operator can do.
    """
    with lock.held():
        _refuse_if_parts_are_missing(path, is_new)
        if not path.exists():
            ops.write_new(path, b"")
            ops.sync_directory(path.parent.parent)
        try:
            saved = _migrated(path)
        except StorageFault as fault:
            if not (_lacks_room(fault.cause) and make_room()):
                raise
            saved = _migrated(path)
        ops.sync_directory(path.parent)
    return saved


def _refuse_if_parts_are_missing(path: Path, is_new: Callable[[], bool]) -> None:
    """Raise StorageFault where going on would forget what was acknowledged.

    An index that is begun anew knows no blob, and gc would take all for strays.
    """
    size = path.stat().st_size if path.exists() else 0
    if not size and not is_new():
        raise StorageFault(
            "the index is missing or empty, but there are blobs: restore a backup "
            "(registry-wsgi restore), or move blobs/ away to begin anew",
            str(path),
        )
    log, shared = (path.with_name(f"{path.name}-{end}") for end in ("wal", "shm"))
    # SQLite makes the log first and removes it last: another process may just do either.
    if not log.exists() and shared.exists() and not log.exists():
        raise StorageFault(
            f"{log.name} is missing, and with it the last changes: put it back, or restore a "
            f"backup; if it is lost, remove {shared.name} and run registry-wsgi fsck --deep",
            str(log),
        )


def _migrated(path: Path) -> SavedAge:
    """The age in an index that was brought to this version; raises StorageFault."""
    try:
        connection = connect(path)
        try:
            migrate(connection)
            return save_age(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise _explained(path, error) from error
    except StorageFault as fault:
        if isinstance(fault.cause, sqlite3.Error):
            raise _explained(path, fault.cause) from fault.cause
        raise


def _lacks_room(error: BaseException | None) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    return code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}


def _explained(path: Path, error: sqlite3.Error) -> StorageFault:
    """What an operator can do about an index that cannot be prepared."""
    if _lacks_room(error):
        return StorageFault("the disk is full: free some space first", str(path), error)
    if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        advice = f"restore a backup, or salvage it with: sqlite3 {path.name} .recover"
        return StorageFault(f"the index is damaged: {advice}", str(path), error)
    return StorageFault("the index cannot be prepared", str(path), error)


def saved_age(path: Path) -> SavedAge:
    """The age as of now in an index that nobody can write to; raises StorageFault."""
    connection = connect_read_only(path)
    try:
        found = version(connection)
        if found != VERSION:
            raise StorageFault(
                f"the index is of version {found}, this program reads {VERSION}: mount it "
                "writable and start once",
                str(path),
            )
        return _age_now(connection)
    except sqlite3.Error as error:
        raise _explained(path, error) from error
    finally:
        connection.close()


def save_age(connection: sqlite3.Connection) -> SavedAge:
    """Carry the accumulated uptime forward to now, and keep it."""
    saved = _age_now(connection)
    connection.execute(
        """INSERT INTO clock (only, boot_id, boottime_ms, age_ms, boot_age_ms)
           VALUES (1, ?1, ?2, ?3, ?4)
           ON CONFLICT DO UPDATE
           SET boot_id = ?1, boottime_ms = ?2, age_ms = ?3, boot_age_ms = ?4""",
        (saved.boot_id, saved.boottime, saved.age, saved.boot_age),
    )
    return saved


def _age_now(connection: sqlite3.Connection) -> SavedAge:
    row = connection.execute(
        "SELECT boot_id, boottime_ms, age_ms, boot_age_ms FROM clock"
    ).fetchone()
    return continued(SavedAge(*row) if row else None, read_boot_id(), boottime())


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
        self.outbox = SqliteOutbox(database)

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
