"""Upload sessions."""

import sqlite3
from typing import Final

from registry_wsgi.names import Digest, Name
from registry_wsgi.storage.base import Clock, Upload
from registry_wsgi.storage.sqlite.database import Database

_FIND: Final = """
    SELECT algorithm, stored, prefix_hash, boot_id, started_at FROM uploads
    WHERE uuid = ? AND repository = ?
"""

_FINISHED: Final = """
    SELECT f.digest FROM finished_uploads AS f
    JOIN repositories AS r ON r.name = f.repository
    JOIN blobs AS b ON b.digest = f.digest
    JOIN repository_blobs AS rb ON rb.repository_id = r.id AND rb.blob_id = b.id
    WHERE f.uuid = ? AND f.repository = ?
"""


class SqliteUploads:
    """``UploadIndex`` in SQLite."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def open(self, upload: Upload) -> None:
        """Record a new session, which a power cut may undo before ``advance``."""
        row = (
            upload.uuid,
            upload.repository,
            upload.algorithm,
            upload.stored,
            upload.prefix.pack() if upload.prefix else None,
            upload.boot_id,
            upload.started_at,
            self._clock.age(),
        )
        insert = "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        self._database.write(
            lambda connection: connection.execute(insert, row) and None, durable=False
        )

    def find(self, repository: Name, uuid: str) -> Upload | None:
        """The open session of this repository."""
        with self._database.reading() as connection:
            row = connection.execute(_FIND, (uuid, repository)).fetchone()
        if row is None:
            return None
        algorithm, stored, prefix, boot_id, started_at = row
        known = Digest.unpack(prefix) if prefix is not None else None
        return Upload(uuid, repository, algorithm, stored, known, boot_id, started_at)

    def advance(self, upload: Upload, stored: int, prefix: Digest | None) -> bool:
        """Move the session on, if it still is where ``upload`` has it."""
        parameters = (
            stored,
            prefix.pack() if prefix else None,
            self._clock.boot_id(),
            self._clock.age(),
            upload.uuid,
            upload.stored,
        )

        def work(connection: sqlite3.Connection) -> bool:
            moved = connection.execute(
                """UPDATE uploads SET stored = ?, prefix_hash = ?, boot_id = ?, seen_age = ?
                   WHERE uuid = ? AND stored = ?""",
                parameters,
            )
            return moved.rowcount == 1

        return self._database.write(work)

    def drop(self, uuid: str) -> bool:
        """Forget the session."""

        def work(connection: sqlite3.Connection) -> bool:
            return connection.execute("DELETE FROM uploads WHERE uuid = ?", (uuid,)).rowcount == 1

        return self._database.write(work)

    def finished(self, repository: Name, uuid: str) -> Digest | None:
        """The blob an ended session became, while it is live in the repository."""
        with self._database.reading() as connection:
            row = connection.execute(_FINISHED, (uuid, repository)).fetchone()
        return Digest.unpack(row[0]) if row else None
