"""From an older index to the schema of this program: numbered, each in one transaction."""

import importlib.resources
import sqlite3
from pathlib import Path
from typing import Final

from registry_wsgi.errors import StorageFault

MIGRATIONS: Final[dict[int, str]] = {
    2: """
        CREATE TABLE users (
            name          TEXT PRIMARY KEY,
            password_hash TEXT NOT NULL,
            created_at    TEXT NOT NULL
        ) WITHOUT ROWID;

        CREATE TABLE memberships (
            group_name TEXT NOT NULL,
            user_name  TEXT NOT NULL,
            PRIMARY KEY (user_name, group_name)
        ) WITHOUT ROWID;

        CREATE TABLE tokens (
            name         TEXT PRIMARY KEY,
            secret_hash  BLOB NOT NULL,
            repositories TEXT NOT NULL,
            actions      TEXT NOT NULL,
            created_at   TEXT NOT NULL,
            expires_at   TEXT,
            last_used_at TEXT
        ) WITHOUT ROWID;
    """,
    3: """
        ALTER TABLE events ADD COLUMN media_type TEXT NOT NULL DEFAULT '';
        ALTER TABLE events ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE events ADD COLUMN request_id TEXT NOT NULL DEFAULT '';

        CREATE TABLE gc_runs (
            id      INTEGER PRIMARY KEY AUTOINCREMENT,
            at      TEXT NOT NULL,
            removed INTEGER NOT NULL,
            freed   INTEGER NOT NULL
        );

        CREATE TABLE deliveries (
            endpoint   TEXT PRIMARY KEY,
            last_event INTEGER NOT NULL,
            failures   INTEGER NOT NULL,
            next_age   INTEGER NOT NULL,
            problem    TEXT NOT NULL
        ) WITHOUT ROWID;
    """,
}
"""SQL that leads to a version from the one before; ``schema.sql`` is the sum of all."""

VERSION: Final = 1 + len(MIGRATIONS)
"""The version of ``schema.sql``, kept in ``PRAGMA user_version``."""


def schema() -> str:
    """The text of ``schema.sql``: beside the modules when installed, else in the checkout."""
    packaged = importlib.resources.files("registry_wsgi") / "schema.sql"
    if packaged.is_file():
        return packaged.read_text("utf-8")
    return (Path(__file__).parents[3] / "schema.sql").read_text("utf-8")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the index to this version; raises StorageFault for one that a newer program wrote."""
    found = version(connection)
    if found > VERSION:
        raise StorageFault(
            f"the index is of version {found}, this program knows {VERSION}: "
            "start the newer registry_wsgi that wrote it, or restore a backup"
        )
    if found == 0:
        _apply(connection, schema(), VERSION)
    for number in range(found + 1 if found else VERSION + 1, VERSION + 1):
        _apply(connection, MIGRATIONS[number], number)


def version(connection: sqlite3.Connection) -> int:
    """The version of an index, 0 for an empty one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _apply(connection: sqlite3.Connection, script: str, number: int) -> None:
    connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")
