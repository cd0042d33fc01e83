"""Manifests, and the tags on them."""

import json
import sqlite3
from typing import Final

from registry_wsgi.errors import (
    DENIED,
    MANIFEST_UNKNOWN,
    NAME_UNKNOWN,
    PRECONDITION_FAILED,
    ErrorRow,
    RegistryError,
)
from registry_wsgi.names import Digest, Name, Reference, Tag
from registry_wsgi.storage.base import (
    NO_EXPECTATION,
    Actor,
    Clock,
    Expectation,
    ManifestPush,
    StoredManifest,
)
from registry_wsgi.storage.sqlite.changes import (
    Change,
    drop_if_empty,
    repository_id,
)
from registry_wsgi.storage.sqlite.database import Database
from registry_wsgi.storage.sqlite.needs import Needs

_BY_TAG: Final = """
    SELECT m.digest, m.media_type, m.body FROM repositories AS r
    JOIN tags AS t ON t.repository_id = r.id AND t.name = ?
    JOIN manifests AS m ON m.id = t.manifest_id
    WHERE r.name = ?
"""

_BY_DIGEST: Final = """
    SELECT m.digest, m.media_type, m.body FROM repositories AS r
    JOIN manifests AS m ON m.repository_id = r.id AND m.digest = ?
    WHERE r.name = ?
"""

_LEASE: Final = """
    INSERT INTO manifest_leases (manifest_id, seen_age)
    SELECT m.id, ?1 FROM manifests AS m JOIN repositories AS r ON r.id = m.repository_id
    WHERE r.name = ?2 AND m.digest = ?3
    ON CONFLICT DO UPDATE SET seen_age = max(seen_age, ?1)
"""

_SEEN: Final = """
    SELECT l.seen_age FROM repositories AS r
    JOIN manifests AS m ON m.repository_id = r.id AND m.digest = ?
    JOIN manifest_leases AS l ON l.manifest_id = m.id
    WHERE r.name = ?
"""

_INSERT: Final = """
    INSERT INTO manifests
        (repository_id, pushed_at, digest, media_type, artifact_type, annotations, subject, body)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (repository_id, digest) DO UPDATE
    SET body = excluded.body -- the type was decided once, when it was first pushed
    RETURNING id
"""

_PUT_TAG: Final = """
    INSERT INTO tags (repository_id, name, manifest_id, moved_at) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET manifest_id = ?3, moved_at = ?4
"""


def _require(expect: Expectation, reference: Reference, found: Digest | None) -> None:
    """Raise RegistryError (PRECONDITION_FAILED) unless what was found is as the client wants it."""
    # > An origin server MUST NOT perform the requested method if the condition evaluates
    # > to false                                                       (RFC 9110, 13.1.1-2)
    if not expect.is_met(found):
        raise RegistryError(PRECONDITION_FAILED, {"reference": reference, "digest": found})


def _check_expectation(change: Change, push: ManifestPush) -> None:
    """Raise RegistryError (PRECONDITION_FAILED) unless every tag is as the client wants it."""
    if push.expect == NO_EXPECTATION:
        return
    for reference in push.tags or (push.digest,):
        if isinstance(reference, Digest):
            current = _manifest_id(change.connection, change.repository, reference)
            found = reference if current else None
        else:
            target = change.tag_target(reference)
            found = Digest.unpack(target[1]) if target else None
        _require(push.expect, reference, found)


def _manifest_id(connection: sqlite3.Connection, repository: int, digest: Digest) -> int | None:
    row = connection.execute(
        "SELECT id FROM manifests WHERE repository_id = ? AND digest = ?",
        (repository, digest.pack()),
    ).fetchone()
    return int(row[0]) if row else None


class Storing:
    """What a push puts into the index but for tags, made ready before the writer's lock is held."""

    def __init__(self, push: ManifestPush) -> None:
        manifest = push.manifest
        self._needs = Needs(push)
        self._row = (
            push.digest.pack(),
            manifest.media_type,
            manifest.artifact_type,
            json.dumps(dict(manifest.annotations)),
            manifest.subject.digest.pack() if manifest.subject else None,
            push.body,
        )

    def store(self, change: Change) -> int:
        """Insert the manifest and its edges, and lease both ends; returns its id.

        Raises RegistryError unless what it needs is there.
        """
        self._needs.require(change)
        row = (change.repository, change.at, *self._row)
        stored = int(change.connection.execute(_INSERT, row).fetchone()[0])
        change.lease(stored)
        self._needs.put_edges(change, stored)
        return stored


def move_tags(change: Change, push: ManifestPush, manifest: int) -> None:
    """Put the tags on the manifest; raises RegistryError (DENIED) for a forbidden move."""
    digest = push.digest.pack()
    for tag in push.tags:
        target = change.tag_target(tag)
        previous = target[1] if target else None
        if target and previous != digest:
            if not push.may_overwrite:
                raise RegistryError(DENIED, {"tag": tag, "action": "overwrite"})
            change.lease(target[0])
        change.connection.execute(_PUT_TAG, (change.repository, tag, manifest, change.at))
        moved = previous is not None and previous != digest
        change.record("move" if moved else "push", tag, digest, previous if moved else None)


def remove_tag(change: Change, tag: Tag, expect: Expectation = NO_EXPECTATION) -> None:
    """Remove the tag alone; its manifest stays, and counts as seen now.

    Raises RegistryError (MANIFEST_UNKNOWN, PRECONDITION_FAILED).
    """
    target = change.tag_target(tag)
    if target is None:
        raise RegistryError(MANIFEST_UNKNOWN, tag)
    _require(expect, tag, Digest.unpack(target[1]))
    change.connection.execute(
        "DELETE FROM tags WHERE repository_id = ? AND name = ?", (change.repository, tag)
    )
    change.record("delete", tag, None, target[1])
    change.lease(target[0])


class SqliteManifests:
    """``ManifestIndex`` in SQLite."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def find(self, repository: Name, reference: Reference) -> StoredManifest | None:
        """One SELECT, and no file."""
        with self._database.reading() as connection:
            if isinstance(reference, Digest):
                found = connection.execute(_BY_DIGEST, (reference.pack(), repository))
            else:
                found = connection.execute(_BY_TAG, (reference, repository))
            row = found.fetchone()
        return StoredManifest(Digest.unpack(row[0]), row[1], row[2]) if row else None

    def lease(self, repository: Name, digest: Digest) -> bool:
        """Note that a client was told the manifest is here."""
        age = self._clock.age()

        def work(connection: sqlite3.Connection) -> bool:
            return connection.execute(_LEASE, (age, repository, digest.pack())).rowcount == 1

        return self._database.write(work, durable=False)

    def seen_age(self, repository: Name, digest: Digest) -> int | None:
        """One SELECT."""
        with self._database.reading() as connection:
            row = connection.execute(_SEEN, (digest.pack(), repository)).fetchone()
        return int(row[0]) if row else None

    def note_pull(self, repository: Name, tag: Tag | None, digest: Digest, actor: Actor) -> None:
        """Record a pull."""

        def work(connection: sqlite3.Connection) -> None:
            self._change(connection, repository, actor).record("pull", tag, digest.pack())

        self._database.write(work, durable=False)

    def put(self, push: ManifestPush) -> None:
        """Check and store, in one transaction; raises RegistryError as the contract says."""
        storing = Storing(push)

        def work(connection: sqlite3.Connection) -> None:
            change = self._change(connection, push.repository, push.actor, missing=None)
            _check_expectation(change, push)
            manifest = storing.store(change)
            if not push.tags:
                change.record("push", None, push.digest.pack())
            move_tags(change, push, manifest)

        self._database.write(work)

    def delete(
        self,
        repository: Name,
        digest: Digest,
        actor: Actor,
        expect: Expectation = NO_EXPECTATION,
    ) -> None:
        """Remove the manifest and every tag on it."""

        def work(connection: sqlite3.Connection) -> None:
            change = self._change(connection, repository, actor)
            manifest = _manifest_id(connection, change.repository, digest)
            if manifest is None:
                raise RegistryError(MANIFEST_UNKNOWN, digest)
            _require(expect, digest, digest)
            for (tag,) in connection.execute(
                "DELETE FROM tags WHERE manifest_id = ? RETURNING name", (manifest,)
            ).fetchall():
                change.record("delete", tag, None, digest.pack())
            change.record("delete", None, digest.pack())
            change.remove(manifest)
            drop_if_empty(connection, change.repository)

        self._database.write(work)

    def delete_tag(
        self, repository: Name, tag: Tag, actor: Actor, expect: Expectation = NO_EXPECTATION
    ) -> None:
        """See ``remove_tag``."""
        self._database.write(
            lambda connection: remove_tag(self._change(connection, repository, actor), tag, expect)
        )

    def delete_repository(self, repository: Name, actor: Actor) -> None:
        """Remove a repository with its tags, manifests and its right to serve its blobs."""

        def work(connection: sqlite3.Connection) -> None:
            change = self._change(connection, repository, actor, missing=NAME_UNKNOWN)
            for tag, digest in connection.execute(
                """SELECT t.name, m.digest FROM tags AS t JOIN manifests AS m
                   ON m.id = t.manifest_id WHERE t.repository_id = ? ORDER BY t.name""",
                (change.repository,),
            ).fetchall():
                change.record("delete", tag, None, digest)
            for (digest,) in connection.execute(
                "SELECT digest FROM manifests WHERE repository_id = ?", (change.repository,)
            ).fetchall():
                change.record("delete", None, digest)
            for table in ("tags", "manifests", "repository_blobs"):
                connection.execute(
                    f"DELETE FROM {table} WHERE repository_id = ?",  # noqa: S608 - three literals
                    (change.repository,),
                )
            connection.execute("DELETE FROM repositories WHERE id = ?", (change.repository,))
            connection.execute("DELETE FROM uploads WHERE repository = ?", (repository,))

        self._database.write(work)

    def _change(
        self,
        connection: sqlite3.Connection,
        name: Name,
        actor: Actor,
        *,
        missing: ErrorRow | None = MANIFEST_UNKNOWN,
    ) -> Change:
        """A change to a repository; ``missing`` is raised if there is none, ``None`` makes it."""
        row = connection.execute("SELECT id FROM repositories WHERE name = ?", (name,)).fetchone()
        if row is None and missing is not None:
            raise RegistryError(missing, name)
        repository = row[0] if row else repository_id(connection, name)
        at = self._clock.now().isoformat(timespec="milliseconds")
        return Change(connection, repository, name, self._clock.age(), at, actor)
