"""The collector: online, one run at a time, a window of rows at a time.

Rows before bytes on the way out: a blob that nothing needs is doomed in one synced transaction
and from then on served to nobody, so that a client uploads it again; only then, under the lock
that a commit of the same digest takes, and only if it was not uploaded meanwhile, its bytes go,
and its row last. A file without a row gets a doomed one first. A kill at any step leaves what the
next run finishes.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from registry_wsgi.errors import UPLOAD_UNKNOWN, RegistryError
from registry_wsgi.names import Digest
from registry_wsgi.services.blobs import LEASE_INTERVAL
from registry_wsgi.storage.base import Clock
from registry_wsgi.storage.collecting import Collection, Doomed, Rule
from registry_wsgi.storage.store import BlobStore, StoredFile

BOOT_GRACE: Final = 3_600_000
"""Milliseconds of a new boot in which no lease is over: a power cut may have undone the last
leases, and a client whose push it interrupted goes on from what it was told before."""

EXPIRED: Final = "upload session expired"
STRAY_UPLOAD: Final = "staged bytes without a session"
STRAY_BLOB: Final = "file without a row"
UNTAGGED: Final = "untagged, and nothing refers to it"
UNLINKED: Final = "no manifest of the repository needs it"
UNNEEDED: Final = "no repository serves it"


@dataclass(frozen=True, slots=True)
class Removal:
    """One thing that was removed, or would be, and why; ``freed`` is bytes of disk given back."""

    kind: str
    what: str
    why: str
    freed: int = 0


@dataclass(slots=True)
class Report:
    """What one run did."""

    counts: dict[str, int] = field(default_factory=dict)
    freed: int = 0

    def add(self, removal: Removal) -> None:
        """Count a removal."""
        self.counts[removal.kind] = self.counts.get(removal.kind, 0) + 1
        self.freed += removal.freed


def no_pause(step: str) -> None:
    """Between two steps."""


@dataclass(frozen=True, slots=True)
class CollectorService:
    """gc. ``grace`` and ``upload_expiry`` are milliseconds of uptime.

    ``pause`` is called between steps with their names: the tests let the others go first there.
    """

    collection: Collection
    store: BlobStore
    clock: Clock
    grace: int
    upload_expiry: int
    untagged: bool = False
    keep_subjects: bool = True
    pause: Callable[[str], None] = no_pause

    def rule(self) -> Rule:
        """What this run may collect.

        Leases are written half a second late at most, which is added to any grace; with none, the
        operator waives them.
        """
        age = self.clock.age()
        before = age - self.grace - LEASE_INTERVAL if self.grace else age + 1
        booted = self.collection.boot_age()
        if booted and age - booted < min(self.grace, BOOT_GRACE):
            before = -1
        return Rule(before, not self.grace, self.untagged, self.keep_subjects)

    def run(self) -> Iterator[Removal]:
        """Collect, yielding each removal when it is done."""
        report = Report()
        for removal in self._steps():
            report.add(removal)
            yield removal
        self.collection.finish_run(sum(report.counts.values()), report.freed)

    def _steps(self) -> Iterator[Removal]:
        rule = self.rule()
        yield from self._expire_uploads()
        self.pause("uploads")
        for gone in self.collection.manifests(rule):
            yield Removal("manifest", f"{gone.repository}@{gone.digest}", UNTAGGED)
        self.pause("manifests")
        for gone in self.collection.links(rule):
            yield Removal("link", f"{gone.repository}@{gone.digest}", UNLINKED)
        self.pause("links")
        for doomed in self.collection.doom():
            self.pause("doomed")
            yield from self._destroy(doomed, "blob", UNNEEDED)
        self.pause("destroyed")
        yield from self._sweep()

    def plan(self) -> Iterator[Removal]:
        """What ``run`` would remove now; changes nothing."""
        rule = self.rule()
        for uuid in self.collection.expired_uploads(self.clock.age() - self.upload_expiry):
            yield Removal("upload", uuid, EXPIRED, _freed(self.store.staged(uuid)))
        plan = self.collection.plan(rule)
        for gone in plan.manifests:
            yield Removal("manifest", f"{gone.repository}@{gone.digest}", UNTAGGED)
        for gone in plan.links:
            yield Removal("link", f"{gone.repository}@{gone.digest}", UNLINKED)
        for doomed in plan.blobs:
            freed = _freed(self.store.stored(doomed.digest))
            yield Removal("blob", doomed.digest, UNNEEDED, freed)
        for digest in self.store.blobs():
            if not self.collection.knows(digest):
                yield Removal("stray", digest, STRAY_BLOB, _freed(self.store.stored(digest)))
        for uuid in self.store.uploads():
            if not self.collection.has_upload(uuid):
                yield Removal("stray", uuid, STRAY_UPLOAD, _freed(self.store.staged(uuid)))

    def _expire_uploads(self) -> Iterator[Removal]:
        before = self.clock.age() - self.upload_expiry
        for uuid in self.collection.expired_uploads(before):
            freed = _freed(self.store.staged(uuid))
            if self._end_session(uuid, before):
                yield Removal("upload", uuid, EXPIRED, freed)
        self.collection.expire_finished(before)

    def _end_session(self, uuid: str, before: int) -> bool:
        """End a silent session, as its writer: one that somebody writes to is not silent."""
        try:
            with self.store.stage(uuid):
                ended = self.collection.expire_upload(uuid, before)
                if ended:
                    self.store.discard(uuid)
                return ended
        except RegistryError as error:
            return error.row is UPLOAD_UNKNOWN and self.collection.expire_upload(uuid, before)

    def _destroy(self, doomed: Doomed, kind: str, why: str) -> Iterator[Removal]:
        freed = destroy(self.collection, self.store, doomed, self.pause)
        if freed is not None:
            yield Removal(kind, doomed.digest, why, freed)

    def _sweep(self) -> Iterator[Removal]:
        """Remove files that no row tells of, each under its lock with the row read again."""
        for digest in self.store.blobs():
            if not self.collection.knows(digest):
                yield from self._destroy(stray(digest), "stray", STRAY_BLOB)
        for uuid in self.store.uploads():
            if not self.collection.has_upload(uuid):
                yield from self._sweep_upload(uuid)

    def _sweep_upload(self, uuid: str) -> Iterator[Removal]:
        freed = _freed(self.store.staged(uuid))
        with suppress(RegistryError):  # its writer is about to make the row, or the blob
            with self.store.stage(uuid):
                if self.collection.has_upload(uuid):
                    return
                self.store.discard(uuid)
            yield Removal("stray", uuid, STRAY_UPLOAD, freed)


def stray(digest: Digest) -> Doomed:
    """A file without a row, as what is to be destroyed."""
    return Doomed(digest, 0, 0)


def destroy(
    collection: Collection,
    store: BlobStore,
    doomed: Doomed,
    pause: Callable[[str], None] = no_pause,
) -> int | None:
    """Take a blob's bytes away, then its row; the bytes of disk given back.

    ``None``, and nothing is gone, if the blob was uploaded again meanwhile.
    """
    with store.lock(doomed.digest):
        condemned = collection.condemn(doomed)
        if condemned is None:
            return None
        freed = _freed(store.stored(doomed.digest))
        pause("locked")
        store.remove(doomed.digest)
        pause("removed")
        collection.forget(condemned)
    return freed


def _freed(stored: StoredFile | None) -> int:
    return stored.freed if stored else 0
