"""The contract between the collector and the index: what is unneeded, a window at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from registry_wsgi.names import Digest, Name


@dataclass(frozen=True, slots=True)
class Rule:
    """What one run of gc may collect.

    ``before`` is the age before which a lease is over; ``cascade`` is whether what loses its last
    reference in this run is collected in this run (no grace), instead of counting as just seen.
    ``untagged`` collects manifests that nothing refers to; ``keep_subjects`` spares those that a
    referrer names.
    """

    before: int
    cascade: bool = False
    untagged: bool = False
    keep_subjects: bool = True


@dataclass(frozen=True, slots=True)
class Unneeded:
    """Something that a run removes, or would."""

    repository: Name
    digest: Digest


@dataclass(frozen=True, slots=True)
class Doomed:
    """A blob on its way out: served to nobody; its bytes go next, then its row.

    ``generation`` is its row's, which every upload and every look changes, 0 for no row at all.
    """

    digest: Digest
    size: int
    generation: int


class Collection(Protocol):
    """What the collector asks of the index.

    Every step is one short transaction over a window of rows, so that pushes and pulls go on
    between two of them. A step that a crash interrupts is wholly done or not at all.
    """

    def boot_age(self) -> int:
        """The age at which this boot was first seen; 0 in the first of all."""
        ...

    def manifests(self, rule: Rule) -> Iterator[Unneeded]:
        """Remove manifests without tag that nothing refers to, yielding each when it is gone."""
        ...

    def links(self, rule: Rule) -> Iterator[Unneeded]:
        """Stop repositories from serving what none of their manifests needs."""
        ...

    def doom(self) -> Iterator[Doomed]:
        """Doom what no repository serves, durably; yields also what earlier runs doomed."""
        ...

    def condemn(self, doomed: Doomed) -> Doomed | None:
        """Settle that the bytes go, durably; ``None`` if the blob was uploaded again.

        To read that it is doomed, or that there is no row, would not do. A writer that was killed
        in the midst of its commit may have left an upload of this digest in the index's log, seen
        by nobody, and there it is when all are killed and the index is opened anew: only another
        commit over it keeps it from coming back to bytes that are gone. The caller holds the
        digest's lock, and drops the row by what is returned.
        """
        ...

    def forget(self, doomed: Doomed) -> None:
        """Drop the row, now that the bytes are gone. The caller holds the digest's lock."""
        ...

    def knows(self, digest: Digest) -> bool:
        """Whether there is a row for the blob, live or doomed."""
        ...

    def expired_uploads(self, before: int) -> list[str]:
        """Sessions that were silent since ``before``."""
        ...

    def expire_upload(self, uuid: str, before: int) -> bool:
        """Drop the session's row if it is still that old. The caller is its writer."""
        ...

    def has_upload(self, uuid: str) -> bool:
        """Whether there is a row for the session."""
        ...

    def expire_finished(self, before: int) -> None:
        """Forget sessions that became blobs before then."""
        ...

    def finish_run(self, removed: int, freed: int) -> None:
        """Forget empty repositories, and note when this run was and what it gave back (bytes)."""
        ...

    def last_run(self) -> int:
        """The age at which gc last finished, 0 for never."""
        ...

    def plan(self, rule: Rule) -> "Plan":
        """What a run would remove now; changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of gc would remove, as the index stands."""

    manifests: list[Unneeded]
    links: list[Unneeded]
    blobs: list[Doomed]
