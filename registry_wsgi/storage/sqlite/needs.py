"""What a manifest needs: whether it is there, and the edges that say so from then on."""

import json
from collections.abc import Iterator, Sequence
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

_EDGES: Final = "INSERT OR IGNORE INTO manifest_references VALUES {}"


def _sizes(change: Change, sizes: str, descriptors: Sequence[Descriptor]) -> dict[Digest, int]:
    """Of what is stored of these, asked of the index in as few steps as can be.

    Between two steps another thread may take the interpreter, and the writer's lock waits for it.
    """
    found: dict[str, int] = {}
    for some in _chunks([one.digest.pack() for one in descriptors]):
        statement = sizes.format(_places("?", some))
        row = change.connection.execute(statement, (change.repository, *some)).fetchone()
        found.update(json.loads(row[0]))
    return {
        one.digest: found[key] for one in descriptors if (key := one.digest.hex.upper()) in found
    }


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]


def _places(place: str, values: Sequence[Any]) -> str:
    return ", ".join([place] * len(values))


def check_needs(change: Change, push: ManifestPush) -> None:
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


def put_edges(change: Change, manifest: Manifest, stored: int) -> None:
    """Note what the manifest with the id ``stored`` needs."""
    edges = [(change.repository, digest, kind, stored) for digest, kind in _edges(manifest)]
    for some in _chunks(edges):
        statement = _EDGES.format(_places("(?, ?, ?, ?)", some))
        change.connection.execute(statement, [value for edge in some for value in edge])


def _edges(manifest: Manifest) -> Iterator[tuple[bytes, int]]:
    for descriptor in manifest.blobs:
        yield descriptor.digest.pack(), KIND_BLOB
    for descriptor in manifest.foreign:
        yield descriptor.digest.pack(), KIND_FOREIGN
    for descriptor in manifest.children:
        yield descriptor.digest.pack(), KIND_CHILD
    if manifest.subject:
        yield manifest.subject.digest.pack(), KIND_SUBJECT
