"""Reading another registry's files: what was found there, and what its links and bytes mean."""

import json
from dataclasses import dataclass
from typing import Any, Final

from registry_wsgi.errors import RegistryError
from registry_wsgi.names import Digest
from registry_wsgi.oci import MANIFEST_LIMIT, OCI_INDEX, OCI_MANIFEST, Manifest, parse_manifest
from registry_wsgi.storage.adopting import Link

MISSING: Final = "missing blob"
EMPTY: Final = "zero-byte link"
WRONG: Final = "wrong digest"
DANGLING: Final = "dangling tag"
SCHEMA1: Final = "schema1"
REFUSED: Final = "refused manifest"
SPARSE: Final = "sparse index"
UNREADABLE: Final = "unreadable"
NO_NAME: Final = "no name"
KEPT: Final = "kept"
"""A tag that was changed here since the import brought it, or without it."""

DELETED: Final = "deleted there"
DIFFERS: Final = "differs"

KINDS: Final = (
    *(MISSING, EMPTY, WRONG, DANGLING, SCHEMA1, REFUSED),
    *(SPARSE, UNREADABLE, NO_NAME, KEPT, DELETED, DIFFERS),
)
"""What a finding may be."""

HERE: Final = "here"
"""The registry had it already."""

SHARED: Final = "shared"
"""Another repository had it, so no bytes were read."""

STORED: Final = "stored"
PLANNED: Final = "planned"
"""A dry run would take it."""

SAME: Final = "same"
"""It was compared."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Something that is here now. ``kind``: blob, manifest or tag; ``how`` it came."""

    kind: str
    what: str
    how: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. ``lost``: something there does not get here."""

    where: str
    kind: str
    message: str
    lost: bool


Outcome = Taken | Finding


def source_of(link: Link) -> tuple[Digest | None, Finding | None]:
    """Under which digest the bytes are stored that a link means, and what is wrong with it.

    The digest in its path is what clients ask for, and bytes are hashed: so a link that a crash
    emptied is mended by it.
    """
    if link.named is None:
        return None, Finding(link.place, WRONG, "its path names no known digest", lost=True)
    if link.target == link.named:
        return link.named, None
    if link.target is None:
        message = "is mended: its path names the digest"
        return link.named, Finding(link.place, EMPTY, message, lost=False)
    # A blob that was pushed by another algorithm is stored under sha256.
    if link.target.algorithm != link.named.algorithm:
        return link.target, None
    message = f"names {link.target}; its path is believed"
    return link.named, Finding(link.place, WRONG, message, lost=False)


def read_manifest(where: str, digest: Digest, body: bytes) -> Manifest | Finding:
    """What a manifest's bytes say, or why they cannot be taken."""
    if len(body) > MANIFEST_LIMIT:
        return Finding(where, REFUSED, f"longer than {MANIFEST_LIMIT} bytes", lost=True)
    # Before the digest, which is not of all the bytes where these are signed.
    if _member(body, "schemaVersion") == 1:
        return Finding(where, SCHEMA1, "this registry takes no schema 1", lost=True)
    actual = Digest.of(body, digest.algorithm)
    if actual != digest:
        return Finding(where, WRONG, f"its bytes are {actual}", lost=True)
    try:
        return parse_manifest(body, _media_type_of(body))
    except RegistryError as error:
        return Finding(where, REFUSED, str(error.detail), lost=True)


def _media_type_of(body: bytes) -> str | None:
    """The type that docker distribution serves a manifest as, which it does not keep.

    ``None`` where the manifest says so itself. OCI manifests need not: the one with a list of
    manifests is an index.
    """
    if _member(body, "mediaType"):
        return None
    return OCI_INDEX if _member(body, "manifests") is not None else OCI_MANIFEST


def _member(body: bytes, name: str) -> Any:
    """A member of a JSON object that may be none; the strict reader comes later."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document.get(name) if isinstance(document, dict) else None
