"""Taking blobs from another registry's files: each hashed on its way in, once."""

from dataclasses import dataclass

from registry_wsgi.names import Digest, Name, digest_of, new_hash
from registry_wsgi.services.foreign import (
    HERE,
    MISSING,
    PLANNED,
    SHARED,
    UNREADABLE,
    WRONG,
    Finding,
    Outcome,
    Taken,
    source_of,
)
from registry_wsgi.storage.adopting import ForeignTree, Intake, SourceFault
from registry_wsgi.storage.base import EVERYTHING, Index
from registry_wsgi.storage.store import BlobStore


@dataclass(frozen=True, slots=True)
class BlobTaker:
    """Takes blobs; with ``dry_run`` it only says which."""

    tree: ForeignTree
    intake: Intake
    index: Index
    store: BlobStore
    dry_run: bool

    def take(self, name: Name, digest: Digest, source: Digest, place: str) -> Outcome:
        """Let the repository serve a blob, from what is stored there under ``source``.

        Raises StorageFault.
        """
        what = f"{name}@{digest}"
        here = self.index.blobs.find(name, digest)
        if here is not None:
            return Taken("blob", what, HERE, here.size)
        try:
            size = self.tree.size(source)
            if size is None:
                # Its garbage collection leaves such links; a manifest that needs one tells more.
                return Finding(place, MISSING, "there is no such blob", lost=False)
            if self.dry_run:
                return Taken("blob", what, PLANNED, size)
            if self.index.blobs.link(name, digest, None, EVERYTHING):
                return Taken("blob", what, SHARED, size)
            return self._bring(name, digest, source, place)
        except SourceFault as fault:
            return Finding(place, UNREADABLE, str(fault), lost=True)

    def _bring(self, name: Name, digest: Digest, source: Digest, place: str) -> Outcome:
        with self.intake.taken(source) as incoming:
            running = new_hash(digest.algorithm)
            for block in incoming.blocks():
                running.update(block)
            if digest_of(running) != digest:
                return Finding(place, WRONG, f"its bytes are {digest_of(running)}", lost=True)
            # Bytes before rows on the way in, under the lock that gc takes to remove a digest.
            with self.store.lock(digest):
                incoming.publish(digest)
                self.index.blobs.commit(name, digest, incoming.size, None)
            return Taken("blob", f"{name}@{digest}", incoming.how, incoming.size)

    def need(self, name: Name, digest: Digest) -> Finding | None:
        """See that a manifest's blob is here, be there a link to it there or not."""
        link = self.tree.layer(name, digest)
        source = source_of(link)[0] if link else digest
        outcome = self.take(name, digest, source or digest, f"{name}@{digest}")
        return outcome if isinstance(outcome, Finding) else None
