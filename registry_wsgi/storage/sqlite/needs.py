"""What a manifest needs: whether it is there, and the edges that say so from then on.

While the writer's lock is held nothing is made that can be made before, and as few steps as can be
are taken: between two of them another thread may take the interpreter, and the lock waits for it.
"""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from registry_wsgi.errors import MANIFEST_BLOB_UNKNOWN, MANIFEST_INVALID, RegistryError
from registry_wsgi.names import Digest
from registry_wsgi.oci import Descriptor, Manifest
from registry_wsgi.storage.base import ManifestPush
from registry_wsgi.storage.sqlite.changes import (
    KIND_BLOB,
    KIND_CHILD,
    KIND_FOREIGN,
    KIND_SUBJECT,
    Change,
)

T = TypeVar("T")

_AT_ONCE: Final = 250
"""Most digests in one statement: 127 layers are an image's, an artifact may have any number."""

# The digests first, whatever SQLite thinks of an index's statistics: a repository may be large.
_BLOB_SIZES: Final = """
    SELECT json_group_object(hex(b.digest), b.size) FROM blobs AS b
    CROSS JOIN repository_blobs AS rb ON rb.blob_id = b.id AND rb.repository_id = ?
    WHERE b.digest IN ({})
"""

_CHILD_SIZES: Final = """
    SELECT json_group_object(hex(digest), length(body)) FROM manifests
    WHERE repository_id = ? AND digest IN ({})
"""

# Each of these has two values of its own, then two for each of what it is about.
_EDGES: Final = ("INSERT OR IGNORE INTO manifest_references VALUES {}", "(?1, ?{}, ?{}, ?2)")

_LEASES: Final = (
    """
    UPDATE repository_blobs SET seen_age = max(seen_age, ?1)
    WHERE repository_id = ?2 AND blob_id IN (
        SELECT b.id FROM (VALUES {}) AS needed
        CROSS JOIN blobs AS b ON b.digest = needed.column1 AND b.size = needed.column2
    )""",
    "(?{}, ?{})",
)


@lru_cache(1000)
def _statement(form: tuple[str, str], count: int) -> str:
    """A statement about so many pairs of values."""
    statement, pair = form
    return statement.format(", ".join(pair.format(n, n + 1) for n in range(3, 3 + 2 * count, 2)))


class Pairs:
    """Pairs of values, and the statement about them, in parts that SQLite takes at once."""

    def __init__(self, form: tuple[str, str], pairs: Sequence[tuple[Any, int]]) -> None:
        self._parts = [
            (_statement(form, len(some)), [value for pair in some for value in pair])
            for some in _chunks(pairs)
        ]

    def execute(self, change: Change, first: int, second: int) -> int:
        """Run it with the two values that are for all of them; how many rows it changed."""
        return sum(
            change.connection.execute(statement, [first, second, *values]).rowcount
            for statement, values in self._parts
        )


class Needs:
    """What a push of a manifest needs, in the index's own terms."""

    def __init__(self, push: ManifestPush) -> None:
        self._push = push
        manifest = push.manifest
        self._blobs = Pairs(_LEASES, [(one.digest.pack(), one.size) for one in manifest.blobs])
        self._edges = Pairs(_EDGES, list(_edges(manifest)))

    def require(self, change: Change) -> None:
        """Lease what the manifest needs; raises RegistryError unless all is there, of its size."""
        manifest = self._push.manifest
        leased = self._blobs.execute(change, change.age, change.repository)
        if leased < len(manifest.blobs) or manifest.children or manifest.subject:
            _check(change, self._push)

    def put_edges(self, change: Change, stored: int) -> None:
        """Note what the manifest ``stored`` needs, and lease what ``require`` left out."""
        self._edges.execute(change, change.repository, stored)
        manifest = self._push.manifest
        if manifest.foreign:
            change.lease_blobs(stored)
        if manifest.children or manifest.subject:
            change.lease_manifests(stored)


def _sizes(change: Change, sizes: str, descriptors: Sequence[Descriptor]) -> dict[Digest, int]:
    """Of what is stored of these."""
    found: dict[str, int] = {}
    for some in _chunks([one.digest.pack() for one in descriptors]):
        statement = sizes.format(", ".join("?" * len(some)))
        row = change.connection.execute(statement, (change.repository, *some)).fetchone()
        found.update(json.loads(row[0]))
    return {
        one.digest: found[key] for one in descriptors if (key := one.digest.hex.upper()) in found
    }


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]


def _check(change: Change, push: ManifestPush) -> None:
    """Raise RegistryError unless what the manifest needs is in its repository, at those sizes."""
    needs: list[tuple[tuple[Descriptor, ...], str, bool]] = [
        (push.manifest.blobs, _BLOB_SIZES, False),
        (push.manifest.children, _CHILD_SIZES, push.sparse),
        # > A registry MUST initially accept an otherwise valid manifest with a `subject` field
        # > that references a manifest that does not exist in the repository
        ((push.manifest.subject,) if push.manifest.subject else (), _CHILD_SIZES, True),
    ]
    missing: list[Digest] = []
    for descriptors, sizes, may_miss in needs:
        sizes_stored = _sizes(change, sizes, descriptors)
        for descriptor in descriptors:
            stored = sizes_stored.get(descriptor.digest)
            if stored is None:
                if not may_miss:
                    missing.append(descriptor.digest)
            elif stored != descriptor.size:
                detail = f"{descriptor.digest} is {stored} bytes, not {descriptor.size}"
                raise RegistryError(MANIFEST_INVALID, detail)
    if missing:
        # > When a manifest is rejected for this reason, it MUST result in one or more
        # > `MANIFEST_BLOB_UNKNOWN` errors
        more = tuple((MANIFEST_BLOB_UNKNOWN, digest) for digest in missing[1:])
        raise RegistryError(MANIFEST_BLOB_UNKNOWN, missing[0], more=more)


def _edges(manifest: Manifest) -> Iterator[tuple[bytes, int]]:
    for descriptor in manifest.blobs:
        yield descriptor.digest.pack(), KIND_BLOB
    for descriptor in manifest.foreign:
        yield descriptor.digest.pack(), KIND_FOREIGN
    for descriptor in manifest.children:
        yield descriptor.digest.pack(), KIND_CHILD
    if manifest.subject:
        yield manifest.subject.digest.pack(), KIND_SUBJECT
