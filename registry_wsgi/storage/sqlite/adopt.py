"""Another registry's manifests, tags and their history, with the moments they had there."""

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from registry_wsgi.names import Name, Tag
from registry_wsgi.storage.adopting import ADOPTER, ELSEWHERE, TagOfOld
from registry_wsgi.storage.base import Clock, ManifestPush
from registry_wsgi.storage.sqlite.changes import Change, repository_id
from registry_wsgi.storage.sqlite.database import Database
from registry_wsgi.storage.sqlite.manifests import Storing, move_tags, remove_tag

_LAST: Final = """
    SELECT digest, address FROM events
    WHERE repository = ? AND tag = ? AND action <> 'pull' ORDER BY id DESC LIMIT 1
"""

_RECORDED: Final = """
    SELECT 1 FROM events WHERE repository = ? AND tag = ? AND digest = ? AND address = ?
"""


class SqliteAdoption:
    """``Adoption`` in SQLite."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def _change(self, connection: sqlite3.Connection, name: Name, at: str) -> Change:
        repository = repository_id(connection, name)
        return Change(connection, repository, name, self._clock.age(), at, ADOPTER)

    def put(self, push: ManifestPush, at: str, tags: Mapping[Tag, TagOfOld]) -> None:
        """Check and store, in one transaction."""
        storing = Storing(push)

        def work(connection: sqlite3.Connection) -> None:
            change = self._change(connection, push.repository, at)
            manifest = storing.store(change)
            for tag, old in tags.items():
                for digest, moment in old.past:
                    _record_past(replace(change, at=moment), tag, digest.pack())
                move_tags(replace(change, at=old.at), replace(push, tags=(tag,)), manifest)

        self._database.write(work)

    def last_changed_from(self, repository: Name, tag: Tag) -> str | None:
        """The address of the newest event."""
        with self._database.reading() as connection:
            last = connection.execute(_LAST, (repository, tag)).fetchone()
        return str(last[1]) if last else None

    def delete_tag(self, repository: Name, tag: Tag, at: str) -> None:
        """See ``remove_tag``."""
        self._database.write(
            lambda connection: remove_tag(self._change(connection, repository, at), tag)
        )


def _record_past(change: Change, tag: Tag, digest: bytes) -> None:
    """Record that the tag pointed there then, unless that is no news."""
    key = (change.name, tag, digest, ELSEWHERE)
    if change.connection.execute(_RECORDED, key).fetchone() is None:
        last = change.connection.execute(_LAST, (change.name, tag)).fetchone()
        previous = last[0] if last else None
        change.record("move" if previous else "push", tag, digest, previous)
