"""Looking at the whole index: in windows, so that no reader keeps the WAL from shrinking."""

import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from registry_wsgi.names import Digest, Name
from registry_wsgi.storage.inspecting import (
    BlobRow,
    Event,
    EventFilter,
    Keeper,
    Measures,
    Missing,
    Statistics,
    UploadRow,
)
from registry_wsgi.storage.sqlite.changes import KIND_BLOB, KIND_CHILD
from registry_wsgi.storage.sqlite.database import Database

WINDOW: Final = 500

_BLOBS: Final = """
    SELECT id, digest, size, doomed FROM blobs WHERE id > ? ORDER BY id LIMIT ?
"""

_MANIFESTS: Final = """
    SELECT m.id, r.name, m.digest, m.body FROM manifests AS m
    JOIN repositories AS r ON r.id = m.repository_id
    WHERE m.id > ? ORDER BY m.id LIMIT ?
"""

_MISSING: Final = """
    SELECT r.name, m.digest, f.digest, f.kind FROM manifest_references AS f
    JOIN manifests AS m ON m.id = f.manifest_id
    JOIN repositories AS r ON r.id = f.repository_id
    WHERE f.manifest_id > ?1 AND f.manifest_id <= ?2 AND (
        f.kind = 0 AND NOT EXISTS (
            SELECT 1 FROM blobs AS b JOIN repository_blobs AS rb ON rb.blob_id = b.id
            WHERE b.digest = f.digest AND rb.repository_id = f.repository_id)
        OR f.kind = 1 AND NOT EXISTS (
            SELECT 1 FROM manifests AS c
            WHERE c.repository_id = f.repository_id AND c.digest = f.digest))
"""

_KEEPERS: Final = """
    SELECT r.name, 'tag', t.name FROM manifests AS m
    JOIN tags AS t ON t.manifest_id = m.id
    JOIN repositories AS r ON r.id = m.repository_id
    WHERE m.digest = ?1
    UNION ALL
    SELECT r.name, CASE f.kind WHEN 1 THEN 'child' WHEN 2 THEN 'subject' ELSE 'layer' END, p.digest
    FROM repositories AS r
    JOIN manifest_references AS f ON f.repository_id = r.id AND f.digest = ?1
    JOIN manifests AS p ON p.id = f.manifest_id
    UNION ALL
    SELECT r.name, 'referrer of', m.subject FROM manifests AS m
    JOIN repositories AS r ON r.id = m.repository_id
    WHERE m.digest = ?1 AND m.subject IS NOT NULL
    UNION ALL
    SELECT r.name, 'lease', rb.seen_age FROM blobs AS b
    JOIN repository_blobs AS rb ON rb.blob_id = b.id
    JOIN repositories AS r ON r.id = rb.repository_id
    WHERE b.digest = ?1
    UNION ALL
    SELECT r.name, 'lease', l.seen_age FROM manifests AS m
    JOIN manifest_leases AS l ON l.manifest_id = m.id
    JOIN repositories AS r ON r.id = m.repository_id
    WHERE m.digest = ?1
    UNION ALL
    SELECT u.repository, 'upload', u.uuid FROM uploads AS u WHERE u.prefix_hash = ?1
"""

_STATISTICS: Final = """
    SELECT
        (SELECT count(*) FROM repositories AS r
         WHERE EXISTS (SELECT 1 FROM manifests AS m WHERE m.repository_id = r.id)),
        (SELECT count(*) FROM tags),
        (SELECT count(*) FROM manifests),
        (SELECT count(*) FROM blobs WHERE doomed = 0),
        (SELECT count(*) FROM uploads),
        (SELECT count(*) FROM blobs WHERE doomed = 1),
        (SELECT coalesce(sum(size), 0) FROM blobs),
        (SELECT coalesce(sum(b.size), 0) FROM repository_blobs AS rb
         JOIN blobs AS b ON b.id = rb.blob_id),
        (SELECT coalesce(sum(length(body)), 0) FROM manifests)
"""


EVENT_COLUMNS: Final = (
    "at, action, repository, tag, digest, previous, actor, address, media_type, size, request_id"
)

_MEASURES: Final = """
    SELECT
        (SELECT count(*) FROM uploads),
        (SELECT count(*) FROM gc_runs),
        (SELECT coalesce(sum(freed), 0) FROM gc_runs)
"""


class SqliteInspection:
    """``Inspection`` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def integrity(self) -> list[str]:
        """``PRAGMA integrity_check`` and ``foreign_key_check``."""
        with self._database.reading() as connection:
            found = [text for (text,) in connection.execute("PRAGMA integrity_check")]
            keys = connection.execute("PRAGMA foreign_key_check").fetchall()
        problems = [text for text in found if text != "ok"]
        return problems + [f"{table} row {row} names a missing {of}" for table, row, of, _ in keys]

    def _windows(self, statement: str) -> Iterator[tuple[Any, ...]]:
        """Rows of a statement that takes an id to go on after and a limit; ids come first."""
        after = 0
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(statement, (after, WINDOW)).fetchall()
            if not rows:
                return
            yield from rows
            after = rows[-1][0]

    def blobs(self) -> Iterator[BlobRow]:
        """Every blob row."""
        for _, digest, size, doomed in self._windows(_BLOBS):
            yield BlobRow(Digest.unpack(digest), size, bool(doomed))

    def blob(self, digest: Digest) -> BlobRow | None:
        """One blob row, as it is now."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT size, doomed FROM blobs WHERE digest = ?", (digest.pack(),)
            ).fetchone()
        return BlobRow(digest, row[0], bool(row[1])) if row else None

    def uploads(self) -> list[UploadRow]:
        """Every upload session."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT uuid, repository, stored FROM uploads").fetchall()
        return [UploadRow(uuid, Name(name), stored) for uuid, name, stored in rows]

    def missing(self) -> Iterator[Missing]:
        """Every need of a manifest that its repository cannot serve."""
        with self._database.reading() as connection:
            most = connection.execute("SELECT coalesce(max(id), 0) FROM manifests").fetchone()[0]
        kinds = {KIND_BLOB: "blob", KIND_CHILD: "child"}
        for after in range(0, most, WINDOW):
            with self._database.reading() as connection:
                rows = connection.execute(_MISSING, (after, after + WINDOW)).fetchall()
            for name, manifest, needed, kind in rows:
                parent, digest = Digest.unpack(manifest), Digest.unpack(needed)
                yield Missing(Name(name), parent, digest, kinds[kind])

    def manifests(self) -> Iterator[tuple[Name, Digest, bytes]]:
        """Every manifest with its bytes."""
        for _, name, digest, body in self._windows(_MANIFESTS):
            yield Name(name), Digest.unpack(digest), body

    def drop_blob(self, digest: Digest) -> None:
        """Forget a blob that has no good file."""

        def work(connection: sqlite3.Connection) -> None:
            row = (digest.pack(),)
            links = "DELETE FROM repository_blobs WHERE blob_id IN "
            connection.execute(f"{links}(SELECT id FROM blobs WHERE digest = ?)", row)  # noqa: S608 - a literal
            connection.execute("DELETE FROM blobs WHERE digest = ?", row)

        self._database.write(work)

    def keepers(self, digest: Digest) -> Iterator[Keeper]:
        """Everything that keeps a blob or manifest."""
        with self._database.reading() as connection:
            rows = connection.execute(_KEEPERS, (digest.pack(),)).fetchall()
        for name, why, by in rows:
            named = Digest.unpack(by) if isinstance(by, bytes) else str(by)
            yield Keeper(Name(name), why, named)

    def events(self, chosen: EventFilter, limit: int) -> list[Event]:
        """The newest events that are meant, oldest first."""
        given = {name: value for name, value in asdict(chosen).items() if value is not None}
        conditions = [f"{name} = :{name}" for name in given if name != "since"]
        if chosen.since is not None:
            conditions.append("at >= :since")
        where = " AND ".join(conditions) or "1"
        statement = f"""SELECT {EVENT_COLUMNS} FROM events
                        WHERE {where} ORDER BY id DESC LIMIT :limit"""  # noqa: S608 - names, not values
        with self._database.reading() as connection:
            rows = connection.execute(statement, {**given, "limit": limit}).fetchall()
        return [event_of(row) for row in reversed(rows)]

    def measures(self) -> Measures:
        """What monitoring asks for."""
        with self._database.reading() as connection:
            counts = connection.execute(_MEASURES).fetchone()
        size = self._database.path.stat().st_size
        return Measures(size, self._database.wal_size(), *counts)

    def statistics(self) -> Statistics:
        """How much there is."""
        with self._database.reading() as connection:
            return Statistics(*connection.execute(_STATISTICS).fetchone())


def event_of(row: tuple[Any, ...]) -> Event:
    """The event that a row of ``EVENT_COLUMNS`` is."""
    at, action, repository, tag, digest, previous, *rest = row
    new = Digest.unpack(digest) if digest is not None else None
    old = Digest.unpack(previous) if previous is not None else None
    return Event(at, action, repository, tag, new, old, *rest)
