"""Pages of tags, repositories and referrers, in byte order (SQLite's BINARY collation)."""

from typing import Final

from registry_wsgi.names import Digest, Name
from registry_wsgi.storage.base import REFERRERS_LENGTH, Referrer, Visible
from registry_wsgi.storage.sqlite.database import Database
from registry_wsgi.storage.sqlite.visibility import visible_clause

# One row of all names costs half of a row for each; no name has a comma.
_TAGS: Final = """
    SELECT group_concat(name) FROM (
        SELECT t.name FROM tags AS t
        WHERE t.repository_id = ? AND t.name > ? ORDER BY t.name LIMIT ?
    )
"""

_REFERRERS: Final = """
    SELECT m.digest, m.media_type, length(m.body), m.artifact_type, m.annotations
    FROM repositories AS r
    JOIN manifests AS m ON m.repository_id = r.id
    WHERE r.name = ?1 AND m.subject = ?2 AND m.digest > ?3
      AND (?4 IS NULL OR m.artifact_type = ?4)
    ORDER BY m.digest LIMIT ?5
"""


def _names(joined: str | None) -> list[str]:
    """The names in their order, which SQLite does not promise for ``group_concat``."""
    return sorted(joined.split(",")) if joined else []


class SqliteListings:
    """``Listings`` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tags(self, repository: Name, last: str, limit: int) -> list[str] | None:
        """Tags after ``last``; ``None`` when there is no such repository."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT id FROM repositories WHERE name = ?", (repository,)
            ).fetchone()
            if row is None:
                return None
            found = connection.execute(_TAGS, (row[0], last, limit)).fetchone()
            return _names(found[0])

    def repositories(self, last: str, limit: int, visible: Visible) -> list[str]:
        """Repositories after ``last`` that hold a manifest and that the caller may see."""
        where, parameters = visible_clause(visible)
        statement = f"""
            SELECT group_concat(name) FROM (
                SELECT r.name FROM repositories AS r
                WHERE r.name > ? AND {where}
                  AND EXISTS (SELECT 1 FROM manifests AS m WHERE m.repository_id = r.id)
                ORDER BY r.name LIMIT ?
            )"""  # noqa: S608 - a clause, not a value
        with self._database.reading() as connection:
            found = connection.execute(statement, (last, *parameters, limit)).fetchone()
        return _names(found[0])

    def referrers(
        self,
        repository: Name,
        subject: Digest,
        artifact_type: str | None,
        last: Digest | None,
        limit: int,
    ) -> list[Referrer]:
        """Manifests with this subject, after the digest ``last``, or from the start."""
        after = last.pack() if last else b""
        parameters = (repository, subject.pack(), after, artifact_type, limit)
        found: list[Referrer] = []
        length = 0
        with self._database.reading() as connection:
            rows = connection.execute(_REFERRERS, parameters)
            for digest, *rest in rows:
                found.append(Referrer(Digest.unpack(digest), *rest))
                length += found[-1].length
                if length > REFERRERS_LENGTH and len(found) > 1:
                    break
            rows.close()
        return found
