"""The contract of the index and what travels over it; that of the blob store is in `store`.

A second implementation of either is an added module that passes the contract tests in
``tests/storage``; nothing outside ``storage`` and ``wiring`` names a concrete class.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from registry_wsgi.names import Digest, Name, Reference, Tag
from registry_wsgi.oci import Manifest


class Clock(Protocol):
    """Time as the registry counts it; injected, so that tests can turn it."""

    def age(self) -> int:
        """Milliseconds of accumulated uptime: never set back, never ahead of time lived."""
        ...

    def boot_id(self) -> str:
        """What boot of the machine this is; another one means unsynced bytes are lost."""
        ...

    def now(self) -> datetime:
        """The wall clock in UTC, for people and logs; nothing is decided by it."""
        ...


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob that a repository may serve. ``seen_age`` is when it was last leased."""

    digest: Digest
    size: int
    seen_age: int


class StoredManifest(NamedTuple):
    """A manifest as it was pushed, byte for byte."""

    digest: Digest
    media_type: str
    body: bytes


DESCRIPTOR_LENGTH: Final = 100
"""Most bytes of a referrer's descriptor but for the values of its texts."""

REFERRERS_LENGTH: Final = 4 * 1024 * 1024 - 1024
"""Bytes of descriptors after which a page of referrers ends: with what is around them, it is no
larger than any other manifest, which is all that clients read."""


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest that names another as its subject; ``annotations`` is a JSON object, in ASCII."""

    digest: Digest
    media_type: str
    size: int
    artifact_type: str
    annotations: str

    @property
    def length(self) -> int:
        """Bytes that its descriptor has in JSON, at most."""
        named = len(self.media_type) + len(self.digest) + len(self.artifact_type)
        return len(self.annotations) + named + DESCRIPTOR_LENGTH


@dataclass(frozen=True, slots=True)
class Upload:
    """An open upload session.

    ``stored`` is how many bytes were synced; ``prefix`` their digest, where it is known without
    reading them again.
    """

    uuid: str
    repository: Name
    algorithm: str
    stored: int
    prefix: Digest | None
    boot_id: str
    started_at: str


class Actor(NamedTuple):
    """Who changes something and from where, for the record that the change leaves."""

    name: str = ""
    address: str = ""
    request_id: str = ""


NOBODY = Actor()


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a conditional PUT or DELETE wants a tag to point at (RFC 9110, 13.1).

    ``match`` is the digests of If-Match, ``("*",)`` for any; ``absent`` is If-None-Match: ``*``,
    ``differs`` the digests of any other.
    """

    match: tuple[str, ...] | None = None
    absent: bool = False
    differs: tuple[str, ...] = ()

    def is_met(self, found: Digest | None) -> bool:
        """Whether this is what it wants, ``None`` standing for nothing."""
        if found is not None and (self.absent or found in self.differs):
            return False
        return self.match is None or (found is not None and not {"*", found}.isdisjoint(self.match))


NO_EXPECTATION: Final = Expectation()


@dataclass(frozen=True, slots=True)
class ManifestPush:
    """Everything one manifest PUT changes."""

    repository: Name
    digest: Digest
    manifest: Manifest
    body: bytes
    tags: tuple[Tag, ...]
    actor: Actor = NOBODY
    expect: Expectation = NO_EXPECTATION
    sparse: bool = False
    may_overwrite: bool = True


@dataclass(frozen=True, slots=True)
class Visible:
    """Which repositories a listing or an anonymous mount may reveal.

    ``patterns`` are GLOB patterns of the index's own matching; ``None`` is everything.
    """

    patterns: tuple[str, ...] | None = None


EVERYTHING = Visible()


class BlobIndex(Protocol):
    """Which repository may serve which blob."""

    def find(self, repository: Name, digest: Digest) -> Blob | None:
        """The live blob, ``None`` where this repository has none."""
        ...

    def lease(self, repository: Name, digest: Digest) -> bool:
        """Note that a client was told the blob is here; ``False`` when it no longer is."""
        ...

    def link(self, repository: Name, digest: Digest, source: Name | None, visible: Visible) -> bool:
        """Let ``repository`` serve what ``source`` (``None``: any visible one) serves; leases it.

        ``False`` when there is no such live blob there.
        """
        ...

    def commit(self, repository: Name, digest: Digest, size: int, upload: str | None) -> None:
        """Make the file just published live in ``repository`` and end its upload session.

        Durable on return. The caller holds the digest's lock.
        """
        ...

    def unlink(self, repository: Name, digest: Digest, actor: Actor = NOBODY) -> None:
        """Stop serving the blob in ``repository``; raises RegistryError.

        BLOB_UNKNOWN when it is not there, BLOB_REFERENCED while one of the repository's manifests
        needs it.
        """
        ...


class ManifestIndex(Protocol):
    """Manifests, their tags and what they refer to."""

    def find(self, repository: Name, reference: Reference) -> StoredManifest | None:
        """The manifest a tag or digest names."""
        ...

    def lease(self, repository: Name, digest: Digest) -> bool:
        """As ``BlobIndex.lease``."""
        ...

    def seen_age(self, repository: Name, digest: Digest) -> int | None:
        """When the manifest was last leased, ``None`` if it never was or is not here."""
        ...

    def note_pull(self, repository: Name, tag: Tag | None, digest: Digest, actor: Actor) -> None:
        """Record a pull for those who want to hear of it; a power cut may undo it."""
        ...

    def put(self, push: ManifestPush) -> None:
        """Store the manifest and move its tags, all or nothing, durable on return.

        Raises RegistryError: MANIFEST_BLOB_UNKNOWN (one a missing digest), MANIFEST_INVALID (a
        size differs from the stored one), PRECONDITION_FAILED, DENIED (a tag would move).
        """
        ...

    def delete(
        self,
        repository: Name,
        digest: Digest,
        actor: Actor,
        expect: Expectation = NO_EXPECTATION,
    ) -> None:
        """Remove the manifest and every tag on it.

        Raises RegistryError (MANIFEST_UNKNOWN, PRECONDITION_FAILED).
        """
        ...

    def delete_tag(
        self, repository: Name, tag: Tag, actor: Actor, expect: Expectation = NO_EXPECTATION
    ) -> None:
        """Remove the tag alone; raises what ``delete`` raises."""
        ...

    def delete_repository(self, repository: Name, actor: Actor) -> None:
        """Remove a repository with all it holds; raises RegistryError (NAME_UNKNOWN)."""
        ...


class Listings(Protocol):
    """Pages in byte order: what is after ``last``, at most ``limit`` rows."""

    def tags(self, repository: Name, last: str, limit: int) -> list[str] | None:
        """Tags of a repository; ``None`` when there is no such repository."""
        ...

    def repositories(self, last: str, limit: int, visible: Visible) -> list[str]:
        """Repositories that hold a manifest."""
        ...

    def referrers(
        self,
        repository: Name,
        subject: Digest,
        artifact_type: str | None,
        last: Digest | None,
        limit: int,
    ) -> list[Referrer]:
        """Manifests whose subject is ``subject``, in the order of their digests.

        None comes after the second or later one with which they exceed ``REFERRERS_LENGTH``.
        """
        ...


class UploadIndex(Protocol):
    """Upload sessions."""

    def open(self, upload: Upload) -> None:
        """Record a new session; a power cut may undo that before ``advance``."""
        ...

    def find(self, repository: Name, uuid: str) -> Upload | None:
        """The open session of this repository."""
        ...

    def advance(self, upload: Upload, stored: int, prefix: Digest | None) -> bool:
        """Move the session from where ``upload`` has it, durable on return.

        ``False`` if it is elsewhere or gone.
        """
        ...

    def drop(self, uuid: str) -> bool:
        """Forget the session; ``False`` if it was not open."""
        ...

    def finished(self, repository: Name, uuid: str) -> Digest | None:
        """The blob that an ended session became, for as long as that is live in the repository."""
        ...


class Index(Protocol):
    """Everything that is known. Each method is one transaction; a write is durable on return.

    Any method may raise StorageFault when the index cannot be read or written, and RegistryError
    (UNAVAILABLE) when it is busy for too long.
    """

    @property
    def blobs(self) -> BlobIndex:
        """Blobs of repositories."""
        ...

    @property
    def manifests(self) -> ManifestIndex:
        """Manifests and tags."""
        ...

    @property
    def listings(self) -> Listings:
        """Pages."""
        ...

    @property
    def uploads(self) -> UploadIndex:
        """Upload sessions."""
        ...

    def ready(self) -> None:
        """Raise StorageFault unless the index can be read."""
        ...
