"""What is unneeded, in SQL: anti-joins over windows of rows, each window one transaction."""

import sqlite3
from collections.abc import Iterator
from functools import partial
from typing import Final

from registry_wsgi.names import Digest, Name
from registry_wsgi.storage.base import Actor, Clock
from registry_wsgi.storage.collecting import Doomed, Plan, Rule, Unneeded
from registry_wsgi.storage.sqlite.changes import Change, drop_if_empty
from registry_wsgi.storage.sqlite.database import Database

WINDOW: Final = 1000
"""Rows looked at in one transaction."""

COLLECTOR: Final = Actor("gc")

# In a dry run temp.gone has the manifests that would be gone, in a real run nothing.
_GONE: Final = "CREATE TEMP TABLE IF NOT EXISTS gone (id INTEGER PRIMARY KEY)"
_GONE_LINKS: Final = """
    CREATE TEMP TABLE IF NOT EXISTS gone_links
    (repository_id INTEGER, blob_id INTEGER, PRIMARY KEY (repository_id, blob_id)) WITHOUT ROWID
"""

_REFERRED: Final = """
    EXISTS (SELECT 1 FROM manifest_references AS f
            WHERE f.repository_id = m.repository_id AND f.digest = m.digest AND f.kind = {kind}
              AND f.manifest_id NOT IN (SELECT id FROM temp.gone))
"""

_MANIFESTS: Final = f"""
    SELECT m.id, m.repository_id, r.name, m.digest FROM manifests AS m
    JOIN repositories AS r ON r.id = m.repository_id
    LEFT JOIN manifest_leases AS l ON l.manifest_id = m.id
    WHERE m.id > :after AND m.id <= :last
      AND m.id NOT IN (SELECT id FROM temp.gone)
      AND coalesce(l.seen_age, 0) < :before
      AND NOT EXISTS (SELECT 1 FROM tags AS t WHERE t.manifest_id = m.id)
      AND NOT {_REFERRED.format(kind=1)}
      AND NOT (:keep_subjects AND {_REFERRED.format(kind=2)})
      AND NOT EXISTS (
          SELECT 1 FROM manifests AS s
          WHERE s.repository_id = m.repository_id AND s.digest = m.subject
            AND s.id NOT IN (SELECT id FROM temp.gone))
    ORDER BY m.id
"""  # noqa: S608 - made of literals

_LINKS: Final = """
    SELECT w.repository_id, w.blob_id, r.name, b.digest
    FROM (SELECT * FROM repository_blobs
          WHERE (repository_id, blob_id) > (:repository, :blob)
          ORDER BY repository_id, blob_id LIMIT :window) AS w
    JOIN repositories AS r ON r.id = w.repository_id
    JOIN blobs AS b ON b.id = w.blob_id
    WHERE w.seen_age < :before
      AND NOT EXISTS (
          SELECT 1 FROM manifest_references AS f
          WHERE f.repository_id = w.repository_id AND f.digest = b.digest AND f.kind IN (0, 3)
            AND f.manifest_id NOT IN (SELECT id FROM temp.gone))
"""

LINKS_END: Final = """
    SELECT repository_id, blob_id FROM repository_blobs
    WHERE (repository_id, blob_id) > (?, ?)
    ORDER BY repository_id, blob_id LIMIT 1 OFFSET ?
"""

_UNSERVED: Final = """
    SELECT b.id FROM blobs AS b
    WHERE b.id > ? AND b.id <= ? AND b.doomed = 0
      AND NOT EXISTS (SELECT 1 FROM repository_blobs AS rb WHERE rb.blob_id = b.id)
"""

_CONDEMN: Final = """
    INSERT INTO blobs (digest, size, doomed, generation) VALUES (?1, ?2, 1, ?3 + 1)
    ON CONFLICT (digest) DO UPDATE SET generation = generation + 1
    WHERE doomed = 1 AND generation = ?3
    RETURNING generation
"""

_EMPTY: Final = """
    SELECT id FROM repositories AS r
    WHERE NOT EXISTS (SELECT 1 FROM manifests AS m WHERE m.repository_id = r.id)
      AND NOT EXISTS (SELECT 1 FROM repository_blobs AS rb WHERE rb.repository_id = r.id)
"""

_WOULD_BE_DOOMED: Final = """
    SELECT b.digest, b.size, b.generation FROM blobs AS b
    WHERE b.doomed = 1 OR NOT EXISTS (
        SELECT 1 FROM repository_blobs AS rb
        WHERE rb.blob_id = b.id AND NOT EXISTS (
            SELECT 1 FROM temp.gone_links AS g
            WHERE g.repository_id = rb.repository_id AND g.blob_id = rb.blob_id))
"""


class SqliteCollection:
    """``Collection`` in SQLite."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def boot_age(self) -> int:
        """The age at which this boot was first seen."""
        return self._one("SELECT boot_age_ms FROM clock")

    def last_run(self) -> int:
        """The age at which gc last finished."""
        return self._one("SELECT gc_age_ms FROM clock")

    def _one(self, statement: str, *parameters: object) -> int:
        with self._database.reading() as connection:
            row = connection.execute(statement, parameters).fetchone()
        return int(row[0] or 0) if row else 0

    def manifests(self, rule: Rule) -> Iterator[Unneeded]:
        """Remove unneeded manifests; with ``cascade`` until none is left."""
        found = rule.untagged
        while found:
            found = False
            for after in range(0, self._one("SELECT max(id) FROM manifests"), WINDOW):
                with self._database.reading() as connection:
                    if not unneeded_manifests(connection, rule, after):
                        continue
                removed = self._database.write(partial(self._remove, rule=rule, after=after))
                found = found or (rule.cascade and bool(removed))
                yield from removed

    def _remove(self, connection: sqlite3.Connection, rule: Rule, after: int) -> list[Unneeded]:
        at = self._clock.now().isoformat(timespec="milliseconds")
        age = 0 if rule.cascade else self._clock.age()
        removed = []
        for manifest, repository, name, digest in unneeded_manifests(connection, rule, after):
            change = Change(connection, repository, Name(name), age, at, COLLECTOR)
            change.record("delete", None, digest)
            change.remove(manifest)
            removed.append(Unneeded(Name(name), Digest.unpack(digest)))
        return removed

    def links(self, rule: Rule) -> Iterator[Unneeded]:
        """Remove unneeded links between repositories and blobs."""
        position: tuple[int, int] | None = (0, 0)
        while position is not None:
            with self._database.reading() as connection:
                rows = unneeded_links(connection, rule, position)
                end = connection.execute(LINKS_END, (*position, WINDOW - 1)).fetchone()
            if rows:
                yield from self._database.write(partial(_unlink, rule=rule, start=position))
            position = end

    def doom(self) -> Iterator[Doomed]:
        """Doom what no repository serves; the commit is synced in every durability mode."""
        for after in range(0, self._one("SELECT max(id) FROM blobs"), WINDOW):
            window = (after, after + WINDOW)
            if self._one(_UNSERVED, *window):
                self._database.write(partial(_doom, window=window), always_durable=True)
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT digest, size, generation FROM blobs WHERE doomed = 1"
            ).fetchall()
        for digest, size, generation in rows:
            yield Doomed(Digest.unpack(digest), size, generation)

    def condemn(self, doomed: Doomed) -> Doomed | None:
        """Write the row anew: a commit that changed nothing would not be in the log."""
        row = (doomed.digest.pack(), doomed.size, doomed.generation)

        def work(connection: sqlite3.Connection) -> Doomed | None:
            written = connection.execute(_CONDEMN, row).fetchone()
            return Doomed(doomed.digest, doomed.size, written[0]) if written else None

        return self._database.write(work, always_durable=True)

    def forget(self, doomed: Doomed) -> None:
        """Drop the row."""
        parameters = (doomed.digest.pack(), doomed.generation)
        statement = "DELETE FROM blobs WHERE digest = ? AND doomed = 1 AND generation = ?"
        self._database.write(
            lambda connection: connection.execute(statement, parameters) and None, durable=False
        )

    def knows(self, digest: Digest) -> bool:
        """Whether there is a row for the blob."""
        return bool(self._one("SELECT 1 FROM blobs WHERE digest = ?", digest.pack()))

    def expired_uploads(self, before: int) -> list[str]:
        """Sessions silent since ``before``."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT uuid FROM uploads WHERE seen_age < ?", (before,))
            return [uuid for (uuid,) in rows]

    def expire_upload(self, uuid: str, before: int) -> bool:
        """Drop the session's row if it is still that old."""
        statement = "DELETE FROM uploads WHERE uuid = ? AND seen_age < ?"
        return self._database.write(
            lambda connection: connection.execute(statement, (uuid, before)).rowcount == 1
        )

    def has_upload(self, uuid: str) -> bool:
        """Whether there is a row for the session."""
        return bool(self._one("SELECT 1 FROM uploads WHERE uuid = ?", uuid))

    def expire_finished(self, before: int) -> None:
        """Forget sessions that became blobs before then."""
        statement = "DELETE FROM finished_uploads WHERE finished_age < ?"
        self._database.write(
            lambda connection: connection.execute(statement, (before,)) and None, durable=False
        )

    def finish_run(self, removed: int, freed: int) -> None:
        """Forget empty repositories, and note when this run was and what it gave back."""
        age = self._clock.age()
        row = (self._clock.now().isoformat(timespec="seconds"), removed, freed)
        with self._database.reading() as connection:
            empty = connection.execute(_EMPTY).fetchall()

        def work(connection: sqlite3.Connection) -> None:
            for (repository,) in empty:
                drop_if_empty(connection, repository)
            connection.execute("UPDATE clock SET gc_age_ms = ?", (age,))
            connection.execute("INSERT INTO gc_runs (at, removed, freed) VALUES (?, ?, ?)", row)

        self._database.write(work)

    def plan(self, rule: Rule) -> Plan:
        """The same selections, with what would be gone kept in temporary tables."""
        with self._database.reading() as connection:
            try:
                _make_temporary(connection)
                manifests = self._plan_manifests(connection, rule)
                links = self._plan_links(connection, rule)
                blobs = [
                    Doomed(Digest.unpack(digest), size, generation)
                    for digest, size, generation in connection.execute(_WOULD_BE_DOOMED)
                ]
            finally:
                connection.execute("DROP TABLE IF EXISTS temp.gone")
                connection.execute("DROP TABLE IF EXISTS temp.gone_links")
        return Plan(manifests, links, blobs)

    @staticmethod
    def _plan_manifests(connection: sqlite3.Connection, rule: Rule) -> list[Unneeded]:
        planned: list[Unneeded] = []
        most = connection.execute("SELECT coalesce(max(id), 0) FROM manifests").fetchone()[0]
        found = rule.untagged
        while found:
            found = False
            for after in range(0, most, WINDOW):
                rows = unneeded_manifests(connection, rule, after)
                # Without cascade what they needed counts as seen just now, and stays.
                if rule.cascade:
                    ids = [row[:1] for row in rows]
                    connection.executemany("INSERT INTO temp.gone VALUES (?)", ids)
                planned += [Unneeded(Name(r[2]), Digest.unpack(r[3])) for r in rows]
                found = found or (rule.cascade and bool(rows))
        return planned

    @staticmethod
    def _plan_links(connection: sqlite3.Connection, rule: Rule) -> list[Unneeded]:
        planned: list[Unneeded] = []
        position: tuple[int, int] | None = (0, 0)
        while position is not None:
            rows = unneeded_links(connection, rule, position)
            connection.executemany(
                "INSERT INTO temp.gone_links VALUES (?, ?)", [row[:2] for row in rows]
            )
            planned += [Unneeded(Name(name), Digest.unpack(raw)) for _, _, name, raw in rows]
            position = connection.execute(LINKS_END, (*position, WINDOW - 1)).fetchone()
        return planned


def _unlink(connection: sqlite3.Connection, rule: Rule, start: tuple[int, int]) -> list[Unneeded]:
    rows = unneeded_links(connection, rule, start)
    connection.executemany(
        "DELETE FROM repository_blobs WHERE repository_id = ? AND blob_id = ?",
        [row[:2] for row in rows],
    )
    return [Unneeded(Name(name), Digest.unpack(raw)) for _, _, name, raw in rows]


def _doom(connection: sqlite3.Connection, window: tuple[int, int]) -> None:
    connection.execute(
        f"UPDATE blobs SET doomed = 1, generation = generation + 1 WHERE id IN ({_UNSERVED})",  # noqa: S608 - a literal
        window,
    )


def _make_temporary(connection: sqlite3.Connection) -> None:
    connection.execute(_GONE)
    connection.execute(_GONE_LINKS)


_Row = tuple[int, int, str, bytes]


def unneeded_manifests(connection: sqlite3.Connection, rule: Rule, after: int) -> list[_Row]:
    """(id, repository, its name, hash) of what nothing needs among a window of manifests."""
    _make_temporary(connection)
    parameters = {
        "after": after,
        "last": after + WINDOW,
        "before": rule.before,
        "keep_subjects": rule.keep_subjects,
    }
    return connection.execute(_MANIFESTS, parameters).fetchall()


def unneeded_links(
    connection: sqlite3.Connection, rule: Rule, start: tuple[int, int]
) -> list[_Row]:
    """(repository, blob, name, hash) of what nothing needs among a window of links."""
    _make_temporary(connection)
    parameters = {
        "repository": start[0],
        "blob": start[1],
        "window": WINDOW,
        "before": rule.before,
    }
    return connection.execute(_LINKS, parameters).fetchall()
