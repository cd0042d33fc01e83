"""What of a repository is new since some moment."""

from typing import Final

from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.storage.layouts import Listed
from registry_wsgi.storage.sqlite.database import Database

_MANIFESTS: Final = """
    SELECT m.digest, m.media_type, length(m.body) FROM manifests AS m
    JOIN repositories AS r ON r.id = m.repository_id
    WHERE r.name = ? AND m.pushed_at >= ? ORDER BY m.id
"""

_TAGS: Final = """
    SELECT t.name, m.digest, m.media_type, length(m.body) FROM tags AS t
    JOIN repositories AS r ON r.id = t.repository_id
    JOIN manifests AS m ON m.id = t.manifest_id
    WHERE r.name = ? AND t.moved_at >= ? ORDER BY t.name
"""


class SqliteTransfers:
    """``Transfers`` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def manifests(self, repository: Name, since: str) -> list[Listed]:
        """Manifests pushed then or later."""
        with self._database.reading() as connection:
            rows = connection.execute(_MANIFESTS, (repository, since)).fetchall()
        return [Listed(Digest.unpack(digest), *rest) for digest, *rest in rows]

    def tags(self, repository: Name, since: str) -> list[tuple[Tag, Listed]]:
        """Tags pushed or moved then or later."""
        with self._database.reading() as connection:
            rows = connection.execute(_TAGS, (repository, since)).fetchall()
        return [(Tag(tag), Listed(Digest.unpack(digest), *rest)) for tag, digest, *rest in rows]
