"""Taking manifests from another registry's files: children first, each with its tags."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from registry_wsgi.errors import RegistryError
from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.oci import MANIFEST_LIMIT, Manifest, parse_manifest
from registry_wsgi.services.adopted_blobs import BlobTaker
from registry_wsgi.services.foreign import (
    DANGLING,
    HERE,
    MISSING,
    PLANNED,
    REFUSED,
    SPARSE,
    STORED,
    UNREADABLE,
    Finding,
    Outcome,
    Taken,
    read_manifest,
    source_of,
)
from registry_wsgi.services.ordering import children_first
from registry_wsgi.storage.adopting import ADOPTER, Adoption, ForeignTree, SourceFault, TagOfOld
from registry_wsgi.storage.base import Index, ManifestPush

SERVER_ERROR: Final = 500
"""Statuses from here on say nothing of what was put."""


@dataclass(slots=True)
class Work:
    """One repository while it is brought in. ``tags`` are those that have to be put, and where."""

    name: Name
    tags: dict[Digest, dict[Tag, TagOfOld]] = field(default_factory=dict)
    read: dict[Digest, tuple[bytes, Manifest, str]] = field(default_factory=dict)
    problems: dict[Digest, Finding] = field(default_factory=dict)
    seen: set[Digest] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class ManifestTaker:
    """Takes manifests; with ``dry_run`` it only says which."""

    tree: ForeignTree
    index: Index
    adoption: Adoption
    blobs: BlobTaker
    dry_run: bool

    def take(self, work: Work, root: Digest) -> Iterator[Outcome]:
        """Bring a manifest in, and before it what it lists, unless that was seen before."""

        def children(digest: Digest) -> list[Digest]:
            return self._read(work, digest)

        for digest in children_first(root, children, work.seen):
            if digest in work.problems:
                yield work.problems[digest]
            elif digest in work.read:
                yield from self._put(work, digest)
            else:
                yield Taken("manifest", f"{work.name}@{digest}", HERE)

    def finish_tags(self, work: Work) -> Iterator[Outcome]:
        """Put the tags that did not go with their manifests, which were here before."""
        for digest in list(work.tags):
            yield from self.take(work, digest)
            yield from self._move_tags(work, digest)

    def _read(self, work: Work, digest: Digest) -> list[Digest]:
        """Read and check a manifest that is not here; returns what it lists that is there."""
        if self.index.manifests.find(work.name, digest) is not None:
            return []
        try:
            read = self._read_checked(work.name, digest)
        except SourceFault as fault:
            read = Finding(f"{work.name}@{digest}", UNREADABLE, str(fault), lost=True)
        if isinstance(read, Finding):
            work.problems[digest] = read
            return []
        work.read[digest] = read
        children = [child.digest for child in read[1].children]
        return [one for one in children if self.tree.revision(work.name, one) is not None]

    def _read_checked(self, name: Name, digest: Digest) -> tuple[bytes, Manifest, str] | Finding:
        """A manifest's bytes, what they say, and when it was pushed."""
        where, link = f"{name}@{digest}", self.tree.revision(name, digest)
        source = source_of(link)[0] if link else None
        body = self.tree.read(source, MANIFEST_LIMIT + 1) if source else None
        if link is None:
            return Finding(where, MISSING, "was deleted there just now", lost=False)
        if body is None:
            return Finding(where, MISSING, "there is no such blob", lost=True)
        manifest = read_manifest(where, digest, body)
        return manifest if isinstance(manifest, Finding) else (body, manifest, link.at)

    def _put(self, work: Work, digest: Digest) -> Iterator[Outcome]:
        """Store a manifest with its tags, its blobs before it."""
        where, (body, manifest, at) = f"{work.name}@{digest}", work.read.pop(digest)
        for needed in manifest.blobs:
            problem = self.blobs.need(work.name, needed.digest)
            if problem is not None:
                message = f"needs {needed.digest}: {problem.kind}: {problem.message}"
                work.problems[digest] = Finding(where, MISSING, message, lost=True)
                yield work.problems[digest]
                return
        yield from self._sparse(work, digest, manifest)
        if self.dry_run:
            yield Taken("manifest", where, PLANNED, len(body))
            return
        tags = work.tags.get(digest, {})
        try:
            self.adoption.put(_push(work.name, digest, body, manifest), at, tags)
        except RegistryError as error:
            if error.row.status >= SERVER_ERROR:
                raise
            message = f"{error.row.message}: {error.detail}"
            work.problems[digest] = Finding(where, REFUSED, message, lost=True)
            yield work.problems[digest]
            return
        work.tags.pop(digest, None)
        yield Taken("manifest", where, STORED, len(body))
        for tag in tags:
            yield Taken("tag", f"{work.name}:{tag}", STORED)

    def _sparse(self, work: Work, digest: Digest, manifest: Manifest) -> Iterator[Finding]:
        for child in manifest.children:
            missing = self.index.manifests.find(work.name, child.digest) is None
            planned = self.dry_run and child.digest in work.seen
            if missing and not (planned and child.digest not in work.problems):
                message = f"is taken without its {child.digest}, which could not be"
                yield Finding(f"{work.name}@{digest}", SPARSE, message, lost=False)

    def _move_tags(self, work: Work, digest: Digest) -> Iterator[Outcome]:
        """Put tags on a manifest that was here before."""
        tags: Mapping[Tag, TagOfOld] = work.tags.pop(digest, {})
        found = self.index.manifests.find(work.name, digest)
        if found is not None and tags and not self.dry_run:
            manifest = parse_manifest(found.body, found.media_type)
            self.adoption.put(_push(work.name, digest, found.body, manifest), "", tags)
        for tag in tags:
            where = f"{work.name}:{tag}"
            if self.dry_run and digest not in work.problems:
                yield Taken("tag", where, PLANNED)
            elif found is None:
                yield Finding(where, DANGLING, f"its manifest {digest} was not taken", lost=True)
            else:
                yield Taken("tag", where, STORED)


def _push(name: Name, digest: Digest, body: bytes, manifest: Manifest) -> ManifestPush:
    return ManifestPush(name, digest, manifest, body, (), ADOPTER, sparse=True)
