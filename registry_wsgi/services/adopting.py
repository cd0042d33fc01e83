"""Moving in: another registry's repositories, with their digests, tags, links and past tags.

What is broken there is reported, and the rest goes on. Nothing is believed: every blob is hashed on
its way in, unless the registry has that digest already, and every manifest is checked as a pushed
one is. Run again, it takes what came since.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Final

from registry_wsgi.errors import RegistryError
from registry_wsgi.names import Digest, Name, Tag, digest_of, new_hash
from registry_wsgi.oci import MANIFEST_LIMIT, Manifest, parse_manifest
from registry_wsgi.services.foreign import (
    DANGLING,
    DELETED,
    EMPTY,
    KEPT,
    MISSING,
    NO_NAME,
    REFUSED,
    SPARSE,
    UNREADABLE,
    WRONG,
    Finding,
    Taken,
    read_manifest,
    source_of,
)
from registry_wsgi.services.ordering import children_first
from registry_wsgi.storage.adopting import (
    ADOPTER,
    ELSEWHERE,
    Adoption,
    ForeignTree,
    Intake,
    Link,
    SourceFault,
    TagOfOld,
)
from registry_wsgi.storage.base import EVERYTHING, Clock, Index, ManifestPush
from registry_wsgi.storage.store import BlobStore

Outcome = Taken | Finding

HERE: Final = "here"
SHARED: Final = "shared"
"""Another repository had it, so no bytes were read."""

STORED: Final = "stored"
PLANNED: Final = "planned"
"""A dry run would take it."""

WORKERS: Final = 4
"""Blobs hashed at once: hashing is the processor's work, syncing the disk's."""

PAGE: Final = 1000

SERVER_ERROR: Final = 500
"""Statuses from here on say nothing of what was sent."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to do beyond taking what is new.

    ``dry_run`` changes nothing; ``overwrite`` moves tags that were changed here, too;
    ``prune_tags`` removes tags that this import brought and that were deleted there.
    """

    dry_run: bool = False
    overwrite: bool = False
    prune_tags: bool = False


@dataclass(slots=True)
class _Work:
    """One repository while it is brought in."""

    name: Name
    tags: dict[Digest, dict[Tag, TagOfOld]] = field(default_factory=dict)
    read: dict[Digest, tuple[bytes, Manifest, str]] = field(default_factory=dict)
    problems: dict[Digest, Finding] = field(default_factory=dict)
    seen: set[Digest] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class AdoptionService:
    """The import. Garbage collection is held off by the caller."""

    tree: ForeignTree
    intake: Intake
    index: Index
    store: BlobStore
    adoption: Adoption
    clock: Clock
    wishes: Wishes = Wishes()

    def extent(self) -> int:
        """About how many bytes ``run`` will tell of: those of every link to a blob."""
        total = 0
        for name in filter(None, map(Name.maybe, self.tree.repositories())):
            with suppress(SourceFault):
                sources = (source_of(link)[0] for link in self.tree.layers(name))
                total += sum(self.tree.size(source) or 0 for source in sources if source)
        return total

    def run(self) -> Iterator[Outcome]:
        """Take everything, yielding what came of each thing. Raises StorageFault."""
        with ThreadPoolExecutor(WORKERS) as pool:
            for text in self.tree.repositories():
                name = Name.maybe(text)
                if name is None:
                    yield Finding(ascii(text), NO_NAME, "it cannot be a repository here", lost=True)
                    continue
                try:
                    layers = pool.map(partial(self._layer, name), self.tree.layers(name))
                    yield from chain.from_iterable(layers)
                    yield from self._repository(_Work(name))
                except SourceFault as fault:
                    yield Finding(name, UNREADABLE, str(fault), lost=True)

    def _layer(self, name: Name, link: Link) -> list[Outcome]:
        source, finding = source_of(link)
        found: list[Outcome] = [finding] if finding else []
        if link.named is not None and source is not None:
            found.append(self._blob(name, link.named, source, link.place))
        return found

    def _blob(self, name: Name, digest: Digest, source: Digest, place: str) -> Outcome:
        """Let the repository serve a blob, from what is stored there under ``source``."""
        what = f"{name}@{digest}"
        here = self.index.blobs.find(name, digest)
        if here is not None:
            return Taken("blob", what, HERE, here.size)
        try:
            size = self.tree.size(source)
            if size is None:
                # Its garbage collection leaves such links; a manifest that needs one tells more.
                return Finding(place, MISSING, "there is no such blob", lost=False)
            if self.wishes.dry_run:
                return Taken("blob", what, PLANNED, size)
            if self.index.blobs.link(name, digest, None, EVERYTHING):
                return Taken("blob", what, SHARED, size)
            return self._take(name, digest, source, place)
        except SourceFault as fault:
            return Finding(place, UNREADABLE, str(fault), lost=True)

    def _take(self, name: Name, digest: Digest, source: Digest, place: str) -> Outcome:
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

    def _repository(self, work: _Work) -> Iterator[Outcome]:
        there: set[str] = set()
        for text in self.tree.tags(work.name):
            there.add(text)
            yield from self._plan_tag(work, text)
        for link in self.tree.revisions(work.name):
            _, finding = source_of(link)
            if finding is not None:
                yield finding
            if link.named is not None:
                yield from self._bring(work, link.named)
        for digest in list(work.tags):
            yield from self._bring(work, digest)
            yield from self._move_tags(work, digest)
        yield from self._deleted(work.name, there)

    def _plan_tag(self, work: _Work, text: str) -> Iterator[Outcome]:
        """See whether a tag has to move; it does with its manifest."""
        where, tag, link = f"{work.name}:{text}", Tag.maybe(text), self._tag_link(work.name, text)
        if link is None:
            return
        if tag is None:
            yield Finding(ascii(where), NO_NAME, "it cannot be a tag here", lost=True)
        elif link.target is None:
            last = [past.named for past in self.tree.history(work.name, text)][-1:]
            hint = f"; it was {last[0]} last" if last else ""
            yield Finding(where, EMPTY, f"its link names no digest{hint}", lost=True)
        elif self.tree.revision(work.name, link.target) is None:
            message = f"the repository has no manifest {link.target}"
            yield Finding(where, DANGLING, message, lost=True)
        else:
            found = self.index.manifests.find(work.name, tag)
            if found is not None and found.digest == link.target:
                yield Taken("tag", where, HERE)
            elif self._changed_here(work.name, tag) and not self.wishes.overwrite:
                message = f"it was changed here: it is not moved to {link.target}"
                yield Finding(where, KEPT, message, lost=True)
            else:
                past = self._past(work.name, text, link.target)
                work.tags.setdefault(link.target, {})[tag] = TagOfOld(link.at, past)

    def _changed_here(self, name: Name, tag: Tag) -> bool:
        """Whether somebody else than this import has had the tag last."""
        return self.adoption.last_changed_from(name, tag) not in {None, ELSEWHERE}

    def _tag_link(self, name: Name, tag: str) -> Link | None:
        """The link, read twice where it is empty: an old registry makes it so before it writes."""
        link = self.tree.tag(name, tag)
        return self.tree.tag(name, tag) if link is not None and link.is_empty else link

    def _past(self, name: Name, tag: str, current: Digest) -> list[tuple[Digest, str]]:
        links = self.tree.history(name, tag)
        return [(one.named, one.at) for one in links if one.named and one.named != current]

    def _bring(self, work: _Work, root: Digest) -> Iterator[Outcome]:
        def children(digest: Digest) -> list[Digest]:
            return self._read(work, digest)

        for digest in children_first(root, children, work.seen):
            if digest in work.problems:
                yield work.problems[digest]
            elif digest in work.read:
                yield from self._put(work, digest)
            else:
                yield Taken("manifest", f"{work.name}@{digest}", HERE)

    def _read(self, work: _Work, digest: Digest) -> list[Digest]:
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

    def _put(self, work: _Work, digest: Digest) -> Iterator[Outcome]:
        """Store a manifest with its tags, its blobs before it."""
        where, (body, manifest, at) = f"{work.name}@{digest}", work.read.pop(digest)
        for needed in manifest.blobs:
            problem = self._need(work.name, needed.digest)
            if problem is not None:
                message = f"needs {needed.digest}: {problem.kind}: {problem.message}"
                yield Finding(where, MISSING, message, lost=True)
                work.problems[digest] = problem
                return
        yield from self._sparse(work, digest, manifest)
        if self.wishes.dry_run:
            yield Taken("manifest", where, PLANNED, len(body))
            return
        push = ManifestPush(work.name, digest, manifest, body, (), ADOPTER, sparse=True)
        tags = work.tags.pop(digest, {})
        try:
            self.adoption.put(push, at, tags)
        except RegistryError as error:
            if error.row.status >= SERVER_ERROR:
                raise
            yield Finding(where, REFUSED, f"{error.row.message}: {error.detail}", lost=True)
            work.tags[digest] = tags
            return
        yield Taken("manifest", where, STORED, len(body))
        for tag in tags:
            yield Taken("tag", f"{work.name}:{tag}", STORED)

    def _need(self, name: Name, digest: Digest) -> Finding | None:
        """See that a manifest's blob is here, be there a link to it there or not."""
        link = self.tree.layer(name, digest)
        source = source_of(link)[0] if link else digest
        outcome = self._blob(name, digest, source or digest, f"{name}@{digest}")
        return outcome if isinstance(outcome, Finding) else None

    def _sparse(self, work: _Work, digest: Digest, manifest: Manifest) -> Iterator[Finding]:
        for child in manifest.children:
            missing = self.index.manifests.find(work.name, child.digest) is None
            if missing and not (self.wishes.dry_run and child.digest in work.seen):
                message = f"is taken without its {child.digest}, which could not be"
                yield Finding(f"{work.name}@{digest}", SPARSE, message, lost=False)

    def _move_tags(self, work: _Work, digest: Digest) -> Iterator[Outcome]:
        """Put tags on a manifest that was here before; its own put took the others along."""
        tags: Mapping[Tag, TagOfOld] = work.tags.pop(digest, {})
        found = self.index.manifests.find(work.name, digest)
        if found is not None and tags and not self.wishes.dry_run:
            manifest = parse_manifest(found.body, found.media_type)
            push = ManifestPush(work.name, digest, manifest, found.body, (), ADOPTER, sparse=True)
            self.adoption.put(push, "", tags)
        for tag in tags:
            where = f"{work.name}:{tag}"
            if self.wishes.dry_run and digest not in work.problems:
                yield Taken("tag", where, PLANNED)
            elif found is None:
                yield Finding(where, DANGLING, f"its manifest {digest} was not taken", lost=True)
            else:
                yield Taken("tag", where, STORED)

    def _deleted(self, name: Name, there: set[str]) -> Iterator[Outcome]:
        """Find tags that this import brought and that are not there any more."""
        last = ""
        while page := self.index.listings.tags(name, last, PAGE):
            last = page[-1]
            for tag in map(Tag, page):
                brought = self.adoption.last_changed_from(name, tag) == ELSEWHERE
                if tag in there or not brought:
                    continue
                yield Finding(f"{name}:{tag}", DELETED, "is not there any more", lost=False)
                if self.wishes.prune_tags and not self.wishes.dry_run:
                    at = self.clock.now().isoformat(timespec="milliseconds")
                    self.adoption.delete_tag(name, tag, at)
