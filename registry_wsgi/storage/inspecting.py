"""The contract between fsck, why and stats and the index: to look at everything, at leisure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from registry_wsgi.names import Digest, Name


@dataclass(frozen=True, slots=True)
class BlobRow:
    """A blob as its row has it."""

    digest: Digest
    size: int
    doomed: bool


@dataclass(frozen=True, slots=True)
class UploadRow:
    """An upload session as its row has it."""

    uuid: str
    repository: Name
    stored: int


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that a manifest needs and its repository has not. ``kind``: blob or child."""

    repository: Name
    manifest: Digest
    needed: Digest
    kind: str


@dataclass(frozen=True, slots=True)
class Keeper:
    """One reason why something is kept. ``why``: tag, layer, child, subject, upload, lease."""

    repository: Name
    why: str
    by: str


@dataclass(frozen=True, slots=True)
class Statistics:
    """How much there is. Logical bytes count a blob once for each repository that serves it."""

    repositories: int
    tags: int
    manifests: int
    blobs: int
    uploads: int
    doomed: int
    stored_bytes: int
    logical_bytes: int
    manifest_bytes: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was changed, or pulled. ``action``: push, move, delete or pull.

    ``media_type`` and ``size`` are of the manifest; ``previous`` is what a tag was on before.
    """

    at: str
    action: str
    repository: str
    tag: str | None
    digest: Digest | None
    previous: Digest | None
    actor: str
    address: str
    media_type: str = ""
    size: int = 0
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Measures:
    """What monitoring asks for, cheap to find out; sizes are bytes."""

    index_bytes: int
    wal_bytes: int
    uploads: int
    gc_runs: int
    gc_freed: int


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events; ``None`` is any. ``since`` is RFC 3339, compared as text."""

    repository: str | None = None
    tag: str | None = None
    actor: str | None = None
    action: str | None = None
    since: str | None = None


class Inspection(Protocol):
    """Reads of the whole index, and the repairs that are safe."""

    def integrity(self) -> list[str]:
        """What the index finds wrong with itself."""
        ...

    def blobs(self) -> Iterator[BlobRow]:
        """Every blob row."""
        ...

    def blob(self, digest: Digest) -> BlobRow | None:
        """One blob row, as it is now."""
        ...

    def uploads(self) -> list[UploadRow]:
        """Every upload session."""
        ...

    def missing(self) -> Iterator[Missing]:
        """Every need of a manifest that its repository cannot serve."""
        ...

    def manifests(self) -> Iterator[tuple[Name, Digest, bytes]]:
        """Every manifest with its bytes."""
        ...

    def drop_blob(self, digest: Digest) -> None:
        """Forget a live row whose file is gone, so that the next push brings it back."""
        ...

    def keepers(self, digest: Digest) -> Iterator[Keeper]:
        """Everything that keeps a blob or manifest."""
        ...

    def events(self, chosen: EventFilter, limit: int) -> list[Event]:
        """The newest ``limit`` events that are meant, oldest first."""
        ...

    def measures(self) -> Measures:
        """What monitoring asks for."""
        ...

    def statistics(self) -> Statistics:
        """How much there is."""
        ...
