"""The contract of moving in: another registry's files, and what the index keeps of them.

A link of docker distribution is a small file that names a digest. Most links also have one in
their path, the same but for blobs that were pushed by another algorithm than sha256.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.storage.base import Actor, ManifestPush

ELSEWHERE: Final = "another registry"
"""The address in the record of what happened there: nobody is notified of it."""

ADOPTER: Final = Actor("import-distribution", ELSEWHERE)


class SourceFault(Exception):  # noqa: N818 - as StorageFault: not the caller's error
    """A file of the other registry cannot be read; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Link:
    """One link file. ``place`` is its path from the tree's top, for people.

    ``named`` is the digest in its path, ``target`` the one in it: ``None`` where there is none, and
    ``is_empty`` where there is nothing at all. ``at`` is when it was written, RFC 3339.
    """

    place: str
    named: Digest | None
    target: Digest | None
    is_empty: bool
    at: str


class ForeignTree(Protocol):
    """The other registry's files. It may be running: what was listed may be gone when it is read.

    Every method raises SourceFault for what is there and cannot be read.
    """

    def repositories(self) -> Iterator[str]:
        """Names of directories that are repositories, in order; not all may be names here."""
        ...

    def holds(self, repository: Name) -> bool:
        """Whether there is such a repository."""
        ...

    def layers(self, repository: Name) -> Iterator[Link]:
        """Which blobs the repository may serve."""
        ...

    def layer(self, repository: Name, digest: Digest) -> Link | None:
        """The link of one blob, ``None`` if there is none."""
        ...

    def revisions(self, repository: Name) -> Iterator[Link]:
        """Which manifests the repository has."""
        ...

    def revision(self, repository: Name, digest: Digest) -> Link | None:
        """The link of one manifest, ``None`` if there is none."""
        ...

    def tags(self, repository: Name) -> Iterator[str]:
        """Names of directories that are tags, in order."""
        ...

    def tag(self, repository: Name, tag: str) -> Link | None:
        """Where a tag points, ``None`` if it has no link."""
        ...

    def history(self, repository: Name, tag: str) -> Iterator[Link]:
        """Where it ever pointed, oldest first."""
        ...

    def size(self, digest: Digest) -> int | None:
        """How many bytes are stored of a blob or manifest, ``None`` if there is no such file."""
        ...

    def read(self, digest: Digest, limit: int) -> bytes | None:
        """Its first ``limit`` bytes, ``None`` if there is no such file."""
        ...


class IncomingBlob(Protocol):
    """A blob on its way in, by nobody else seen yet."""

    @property
    def how(self) -> str:
        """How its bytes were taken: cloned, linked or copied."""
        ...

    @property
    def size(self) -> int:
        """How many bytes it has."""
        ...

    def blocks(self) -> Iterator[memoryview]:
        """All of its bytes, each block valid until the next."""
        ...

    def publish(self, digest: Digest) -> None:
        """Make it the blob, replacing what was there; durable on return.

        The caller holds ``BlobStore.lock(digest)``, and has hashed it. Raises StorageFault.
        """
        ...


class Intake(Protocol):
    """Takes blobs from the other registry's files."""

    def taken(self, digest: Digest) -> AbstractContextManager[IncomingBlob]:
        """The file that is stored there under ``digest``, until the end of the block.

        Raises SourceFault when it cannot be read, StorageFault when it cannot be kept.
        """
        ...


@dataclass(frozen=True, slots=True)
class TagOfOld:
    """When a tag was put where it is, and where it was before: digests and when, oldest first."""

    at: str
    past: Sequence[tuple[Digest, str]] = ()


class Adoption(Protocol):
    """What the index keeps of another registry: as it was there, when it was there."""

    def put(self, push: ManifestPush, at: str, tags: Mapping[Tag, TagOfOld]) -> None:
        """Store a manifest that was pushed ``at``, and move tags to it, with their history.

        All or nothing, durable on return; raises RegistryError as ``ManifestIndex.put`` does. The
        tags of ``push`` are not looked at.
        """
        ...

    def last_changed_from(self, repository: Name, tag: Tag) -> str | None:
        """From where the tag was last pushed, moved or deleted: an address, or ELSEWHERE.

        ``None`` when there never was such a tag.
        """
        ...

    def delete_tag(self, repository: Name, tag: Tag, at: str) -> None:
        """Remove a tag that was deleted there; raises RegistryError (MANIFEST_UNKNOWN)."""
        ...
