"""Which repository may serve which blob."""

import sqlite3
from typing import Final

from registry_wsgi.errors import BLOB_REFERENCED, BLOB_UNKNOWN, RegistryError
from registry_wsgi.names import Digest, Name
from registry_wsgi.storage.base import NOBODY, Actor, Blob, Clock, Visible
from registry_wsgi.storage.sqlite.changes import Change, drop_if_empty, repository_id
from registry_wsgi.storage.sqlite.database import Database
from registry_wsgi.storage.sqlite.visibility import visible_clause

_FIND: Final = """
    SELECT b.size, rb.seen_age FROM repositories AS r
    JOIN blobs AS b ON b.digest = ?
    JOIN repository_blobs AS rb ON rb.repository_id = r.id AND rb.blob_id = b.id
    WHERE r.name = ?
"""

_LEASE: Final = """
    UPDATE repository_blobs SET seen_age = max(seen_age, ?)
    WHERE repository_id = (SELECT id FROM repositories WHERE name = ?)
      AND blob_id = (SELECT id FROM blobs WHERE digest = ?)
"""

_REVIVE: Final = """
    INSERT INTO blobs (digest, size) VALUES (?1, ?2)
    ON CONFLICT (digest) DO UPDATE
    SET size = ?2, doomed = 0, generation = generation + 1
    RETURNING id
"""

_LINK: Final = """
    INSERT INTO repository_blobs (repository_id, blob_id, seen_age) VALUES (?1, ?2, ?3)
    ON CONFLICT DO UPDATE SET seen_age = max(seen_age, ?3)
"""


class SqliteBlobs:
    """``BlobIndex`` in SQLite."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def find(self, repository: Name, digest: Digest) -> Blob | None:
        """The live blob: a doomed one is in no repository."""
        with self._database.reading() as connection:
            row = connection.execute(_FIND, (digest.pack(), repository)).fetchone()
        return Blob(digest, *row) if row else None

    def lease(self, repository: Name, digest: Digest) -> bool:
        """Note that a client was told the blob is here; a power cut may undo it, a kill not."""
        age = self._clock.age()

        def work(connection: sqlite3.Connection) -> bool:
            parameters = (age, repository, digest.pack())
            return connection.execute(_LEASE, parameters).rowcount == 1

        return self._database.write(work, durable=False)

    def link(self, repository: Name, digest: Digest, source: Name | None, visible: Visible) -> bool:
        """Let ``repository`` serve what another serves."""
        age = self._clock.age()

        def work(connection: sqlite3.Connection) -> bool:
            blob = self._mountable(connection, digest, source, visible)
            if blob is None:
                return False
            connection.execute(_LINK, (repository_id(connection, repository), blob, age))
            return True

        return self._database.write(work)

    @staticmethod
    def _mountable(
        connection: sqlite3.Connection, digest: Digest, source: Name | None, visible: Visible
    ) -> int | None:
        where, parameters = visible_clause(visible)
        if source is not None:
            where, parameters = "r.name = ?", [source]
        row = connection.execute(
            f"""SELECT b.id FROM blobs AS b
                JOIN repository_blobs AS rb ON rb.blob_id = b.id
                JOIN repositories AS r ON r.id = rb.repository_id
                WHERE b.digest = ? AND {where} LIMIT 1""",  # noqa: S608 - clauses, not values
            (digest.pack(), *parameters),
        ).fetchone()
        return int(row[0]) if row else None

    def commit(self, repository: Name, digest: Digest, size: int, upload: str | None) -> None:
        """Make the published file live here and end its session, in one transaction."""
        age = self._clock.age()

        def work(connection: sqlite3.Connection) -> None:
            blob = connection.execute(_REVIVE, (digest.pack(), size)).fetchone()[0]
            connection.execute(_LINK, (repository_id(connection, repository), blob, age))
            if upload is not None:
                connection.execute("DELETE FROM uploads WHERE uuid = ?", (upload,))
                connection.execute(
                    "INSERT OR REPLACE INTO finished_uploads VALUES (?, ?, ?, ?)",
                    (upload, repository, digest.pack(), age),
                )

        self._database.write(work)

    def unlink(self, repository: Name, digest: Digest, actor: Actor = NOBODY) -> None:
        """Stop serving the blob here; raises RegistryError (BLOB_UNKNOWN, BLOB_REFERENCED)."""
        age, at = self._clock.age(), self._clock.now().isoformat(timespec="milliseconds")

        def work(connection: sqlite3.Connection) -> None:
            row = connection.execute(
                """SELECT rb.repository_id, rb.blob_id, b.size FROM repositories AS r
                   JOIN blobs AS b ON b.digest = ?
                   JOIN repository_blobs AS rb ON rb.repository_id = r.id AND rb.blob_id = b.id
                   WHERE r.name = ?""",
                (digest.pack(), repository),
            ).fetchone()
            if row is None:
                raise RegistryError(BLOB_UNKNOWN, digest)
            needed = connection.execute(
                """SELECT m.digest FROM manifest_references AS f
                   JOIN manifests AS m ON m.id = f.manifest_id
                   WHERE f.repository_id = ? AND f.digest = ? AND f.kind IN (0, 3) LIMIT 1""",
                (row[0], digest.pack()),
            ).fetchone()
            if needed is not None:
                parent = Digest.unpack(needed[0])
                raise RegistryError(BLOB_REFERENCED, {"digest": digest, "manifest": parent})
            connection.execute(
                "DELETE FROM repository_blobs WHERE repository_id = ? AND blob_id = ?", row[:2]
            )
            change = Change(connection, row[0], repository, age, at, actor)
            change.record_blob_deleted(digest.pack(), row[2])
            drop_if_empty(connection, row[0])

        self._database.write(work)
