"""A copy of the index as a file by itself, and what is asked of it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from registry_wsgi.errors import StorageFault
from registry_wsgi.names import Digest
from registry_wsgi.storage.backups import Extent
from registry_wsgi.storage.inspecting import BlobRow
from registry_wsgi.storage.sqlite.changes import KIND_BLOB
from registry_wsgi.storage.sqlite.database import Database
from registry_wsgi.storage.sqlite.migrations import VERSION, version

# Sessions stay behind with their bytes, and what is doomed has no bytes any more, or soon.
_STRIP: Final = ("DELETE FROM uploads", "DELETE FROM blobs WHERE doomed = 1")

_LACKING: Final = """
    SELECT DISTINCT f.digest FROM manifest_references AS f
    WHERE f.kind = ?1 AND NOT EXISTS (SELECT 1 FROM blobs AS b WHERE b.digest = f.digest)
    ORDER BY f.digest
"""

_LINK_AGAIN: Final = """
    INSERT INTO repository_blobs (repository_id, blob_id, seen_age)
    SELECT DISTINCT f.repository_id, ?1, 0 FROM manifest_references AS f
    WHERE f.digest = ?2 AND f.kind = ?3
"""


def take(database: Database, target: Path) -> None:
    """Write the index as it is now to the empty file ``target``; raises StorageFault.

    One step: it reads as of one moment, however many commits come meanwhile, and ends. (The
    stepwise interface starts again at each commit of another process.) Nothing is synced.
    """
    with database.reading() as connection:
        try:
            connection.execute("VACUUM INTO ?", (str(target),))
        except sqlite3.Error as error:
            raise StorageFault("the index cannot be copied", str(target), error) from error


class Snapshot:
    """The copy at ``path``, open until the end of the ``with`` block; raises StorageFault."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        try:
            self._connection = sqlite3.connect(self._path, isolation_level=None)
            # The file is nobody else's, and worth nothing until it is whole and synced.
            self._connection.execute("PRAGMA journal_mode = MEMORY")
            self._connection.execute("PRAGMA synchronous = OFF")
            found = version(self._connection)
        except sqlite3.Error as error:
            raise StorageFault(
                "the copy of the index is damaged", str(self._path), error
            ) from error
        if not 0 < found <= VERSION:
            self._connection.close()
            raise StorageFault(
                f"the index is of version {found}, this program knows 1 to {VERSION}: "
                "use the registry_wsgi that wrote it",
                str(self._path),
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def strip(self) -> None:
        """Remove what has no bytes in a copy."""
        for statement in _STRIP:
            self._connection.execute(statement)

    def extent(self) -> Extent:
        """How many blobs there are, and their bytes."""
        row = self._connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM blobs")
        return Extent(*row.fetchone())

    def blobs(self) -> Iterator[BlobRow]:
        """Every blob row, in the order of the files."""
        rows = self._connection.execute("SELECT digest, size, doomed FROM blobs ORDER BY digest")
        for digest, size, doomed in rows:
            yield BlobRow(Digest.unpack(digest), size, bool(doomed))

    def lacking(self) -> list[Digest]:
        """Blobs that manifests need and that have no row, as fsck --repair leaves them."""
        rows = self._connection.execute(_LACKING, (KIND_BLOB,))
        return [Digest.unpack(digest) for (digest,) in rows]

    def add(self, digest: Digest, size: int) -> None:
        """Give such a blob a row again, and let every repository serve it that needs it."""
        row = (digest.pack(), size)
        added = self._connection.execute("INSERT INTO blobs (digest, size) VALUES (?, ?)", row)
        self._connection.execute(_LINK_AGAIN, (added.lastrowid, digest.pack(), KIND_BLOB))

    def knows(self, digest: Digest) -> bool:
        """Whether there is a row for the blob."""
        row = self._connection.execute("SELECT 1 FROM blobs WHERE digest = ?", (digest.pack(),))
        return row.fetchone() is not None
