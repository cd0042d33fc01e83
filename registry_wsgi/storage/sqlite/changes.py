"""What a change to a repository consists of, whichever index method makes it."""

import sqlite3
from dataclasses import dataclass
from typing import Final

from registry_wsgi.names import Name
from registry_wsgi.storage.base import Actor

KIND_BLOB: Final = 0
KIND_CHILD: Final = 1
KIND_SUBJECT: Final = 2
KIND_FOREIGN: Final = 3

_EVENT: Final = """
    INSERT INTO events
        (at, action, repository, tag, digest, previous, actor, address, request_id,
         media_type, size)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
        coalesce(max(media_type), ''), coalesce(max(length(body)), 0)
    FROM manifests WHERE repository_id = ?10 AND digest = coalesce(?5, ?6)
"""

BLOB_TYPE: Final = "application/octet-stream"
"""What the record has for a blob, where it has a manifest's media type."""

_BLOB_EVENT: Final = """
    INSERT INTO events
        (at, action, repository, digest, actor, address, request_id, media_type, size)
    VALUES (?, 'delete', ?, ?, ?, ?, ?, ?, ?)
"""


def repository_id(connection: sqlite3.Connection, name: Name) -> int:
    """The id of a repository, made if it is new."""
    row = connection.execute("SELECT id FROM repositories WHERE name = ?", (name,)).fetchone()
    if row is None:
        made = connection.execute("INSERT INTO repositories (name) VALUES (?)", (name,))
        return int(made.lastrowid or 0)
    return int(row[0])


def drop_if_empty(connection: sqlite3.Connection, repository: int) -> None:
    """Forget a repository that holds nothing any more, so that no listing shows a ghost."""
    connection.execute(
        """DELETE FROM repositories WHERE id = ?1
           AND NOT EXISTS (SELECT 1 FROM manifests WHERE repository_id = ?1)
           AND NOT EXISTS (SELECT 1 FROM repository_blobs WHERE repository_id = ?1)""",
        (repository,),
    )


@dataclass(frozen=True, slots=True)
class Change:
    """One change under way: its transaction, its repository, its moment, and who makes it."""

    connection: sqlite3.Connection
    repository: int
    name: Name
    age: int
    at: str
    actor: Actor

    def record(
        self, action: str, tag: str | None, digest: bytes | None, previous: bytes | None = None
    ) -> None:
        """Append to the record of who changed what, while the manifest is there."""
        who = (self.actor.name, self.actor.address, self.actor.request_id)
        row = (self.at, action, self.name, tag, digest, previous, *who, self.repository)
        self.connection.execute(_EVENT, row)

    def record_blob_deleted(self, digest: bytes, size: int) -> None:
        """The same of a blob that this repository serves no longer."""
        who = (self.actor.name, self.actor.address, self.actor.request_id)
        self.connection.execute(_BLOB_EVENT, (self.at, self.name, digest, *who, BLOB_TYPE, size))

    def tag_target(self, tag: str) -> tuple[int, bytes] | None:
        """The manifest a tag is on: its id and hash."""
        row = self.connection.execute(
            """SELECT m.id, m.digest FROM tags AS t JOIN manifests AS m ON m.id = t.manifest_id
               WHERE t.repository_id = ? AND t.name = ?""",
            (self.repository, tag),
        ).fetchone()
        return (row[0], row[1]) if row else None

    def lease(self, manifest: int) -> None:
        """Note that the manifest was seen: pushed, or a reference to it lost."""
        self.connection.execute(
            """INSERT INTO manifest_leases VALUES (?1, ?2)
               ON CONFLICT DO UPDATE SET seen_age = max(seen_age, ?2)""",
            (manifest, self.age),
        )

    def lease_blobs(self, manifest: int) -> None:
        """The same for the blobs that this manifest needs."""
        self.connection.execute(
            """UPDATE repository_blobs SET seen_age = max(seen_age, ?1)
               WHERE repository_id = ?2 AND blob_id IN (
                   SELECT b.id FROM manifest_references AS f JOIN blobs AS b ON b.digest = f.digest
                   WHERE f.manifest_id = ?3 AND f.kind IN (0, 3))""",
            (self.age, self.repository, manifest),
        )

    def lease_manifests(self, manifest: int) -> None:
        """The same for the manifests that this manifest needs: children, or a subject."""
        self.connection.execute(
            """INSERT INTO manifest_leases
               SELECT m.id, ?1 FROM manifest_references AS f
               JOIN manifests AS m ON m.repository_id = f.repository_id AND m.digest = f.digest
               WHERE f.manifest_id = ?2 AND f.kind IN (1, 2)
               ON CONFLICT DO UPDATE SET seen_age = max(seen_age, ?1)""",
            (self.age, manifest),
        )

    def remove(self, manifest: int) -> None:
        """Delete a manifest with its edges; what only it needed or kept counts as seen now."""
        self.lease_blobs(manifest)
        self.lease_manifests(manifest)
        self.connection.execute(
            """INSERT INTO manifest_leases
               SELECT r.id, ?1 FROM manifests AS m
               JOIN manifests AS r ON r.repository_id = m.repository_id AND r.subject = m.digest
               WHERE m.id = ?2
               ON CONFLICT DO UPDATE SET seen_age = max(seen_age, ?1)""",
            (self.age, manifest),
        )
        self.connection.execute("DELETE FROM manifests WHERE id = ?", (manifest,))
