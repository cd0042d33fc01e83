"""Comparing afterwards: every tag and digest of the other registry resolves here, to its bytes."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from registry_wsgi.names import Digest, Name, Tag, digest_of, new_hash
from registry_wsgi.oci import MANIFEST_LIMIT
from registry_wsgi.services.exporting import READ_SIZE
from registry_wsgi.services.foreign import (
    DIFFERS,
    SAME,
    UNREADABLE,
    Finding,
    Outcome,
    Taken,
    source_of,
)
from registry_wsgi.storage.adopting import ForeignTree, SourceFault
from registry_wsgi.storage.base import Index
from registry_wsgi.storage.store import BlobStore


@dataclass(frozen=True, slots=True)
class AdoptionCheck:
    """The comparison. A digest is the bytes: blobs are hashed here, once each."""

    tree: ForeignTree
    index: Index
    store: BlobStore
    hashed: dict[Digest, bool] = field(default_factory=dict)

    def run(self) -> Iterator[Outcome]:
        """What is the same, and what is not. Raises StorageFault."""
        for name in filter(None, map(Name.maybe, self.tree.repositories())):
            try:
                yield from self._tags(name)
                yield from self._manifests(name)
                yield from self._blobs(name)
            except SourceFault as fault:
                yield Finding(name, UNREADABLE, str(fault), lost=True)

    def _tags(self, name: Name) -> Iterator[Outcome]:
        for text in self.tree.tags(name):
            link, tag = self.tree.tag(name, text), Tag.maybe(text)
            if link is None:
                continue
            found = self.index.manifests.find(name, tag) if tag else None
            here = found.digest if found else "nothing"
            if found and found.digest == link.target:
                yield Taken("tag", f"{name}:{text}", SAME)
            else:
                message = f"is {here} here, {link.target or 'broken'} there"
                yield Finding(f"{name}:{text}", DIFFERS, message, lost=True)

    def _manifests(self, name: Name) -> Iterator[Outcome]:
        for link in self.tree.revisions(name):
            source, _ = source_of(link)
            there = self.tree.read(source, MANIFEST_LIMIT + 1) if source else None
            found = self.index.manifests.find(name, link.named) if link.named else None
            where = f"{name}@{link.named or link.place}"
            if found is not None and found.body == there:
                yield Taken("manifest", where, SAME)
            else:
                here = "has other bytes here" if found else "is not here"
                yield Finding(where, DIFFERS, here, lost=True)

    def _blobs(self, name: Name) -> Iterator[Outcome]:
        for link in self.tree.layers(name):
            source, _ = source_of(link)
            size = self.tree.size(source) if source else None
            if size is None and link.named is not None:
                continue  # it cannot be had there, either
            found = self.index.blobs.find(name, link.named) if link.named else None
            where = f"{name}@{link.named or link.place}"
            if found is None:
                yield Finding(where, DIFFERS, "is not here", lost=True)
            elif found.size != size or not self._is_sound(found.digest):
                yield Finding(where, DIFFERS, "has other bytes here", lost=True)
            else:
                yield Taken("blob", where, SAME, found.size)

    def _is_sound(self, digest: Digest) -> bool:
        if digest not in self.hashed:
            self.hashed[digest] = self._hash(digest) == digest
        return self.hashed[digest]

    def _hash(self, digest: Digest) -> Digest | None:
        content = self.store.open(digest)
        if content is None:
            return None
        running = new_hash(digest.algorithm)
        with content:
            while block := content.read(READ_SIZE):
                running.update(block)
        return digest_of(running)
