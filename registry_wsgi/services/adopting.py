"""Moving in: another registry's repositories, with their digests, tags, links and past tags.

What is broken there is reported, and the rest goes on. Nothing is believed: every blob is hashed on
its way in, unless the registry has that digest already, and every manifest is checked as a pushed
one is. Run again, it takes what came since.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Final

from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.services.adopted_blobs import BlobTaker
from registry_wsgi.services.adopted_manifests import ManifestTaker, Work
from registry_wsgi.services.foreign import (
    DANGLING,
    DELETED,
    EMPTY,
    HERE,
    KEPT,
    NO_NAME,
    UNREADABLE,
    Finding,
    Outcome,
    Taken,
    source_of,
)
from registry_wsgi.storage.adopting import (
    ELSEWHERE,
    Adoption,
    ForeignTree,
    Link,
    SourceFault,
    TagOfOld,
)
from registry_wsgi.storage.base import Clock, Index

WORKERS: Final = 4
"""Blobs hashed at once: hashing is the processor's work, syncing the disk's."""

PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to do beyond taking what is new.

    ``dry_run`` changes nothing; ``overwrite`` moves tags that were changed here, too;
    ``prune_tags`` removes tags that this import brought and that were deleted there.
    """

    dry_run: bool = False
    overwrite: bool = False
    prune_tags: bool = False


@dataclass(frozen=True, slots=True)
class AdoptionService:
    """The import. Garbage collection is held off by the caller.

    ``pause`` waits long enough for a running registry to finish a file that it has begun.
    """

    tree: ForeignTree
    index: Index
    adoption: Adoption
    clock: Clock
    blobs: BlobTaker
    manifests: ManifestTaker
    pause: Callable[[], None]
    wishes: Wishes
    suspects: list[Callable[[], Iterator[Outcome]]] = field(default_factory=list)

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
                with _going_on(name) as unreadable:
                    layers = pool.map(partial(self._layer, name), self.tree.layers(name))
                    yield from chain.from_iterable(layers)
                    yield from self._repository(Work(name))
                yield from unreadable
        if self.suspects:
            self.pause()
        for look_again in self.suspects:
            yield from look_again()

    def _layer(self, name: Name, link: Link) -> list[Outcome]:
        source, finding = source_of(link)
        found: list[Outcome] = self._judged(finding, partial(self.tree.layer, name), link)
        if link.named is not None and source is not None:
            found.append(self.blobs.take(name, link.named, source, link.place))
        return found

    def _judged(
        self, finding: Finding | None, read: Callable[[Digest], Link | None], link: Link
    ) -> list[Outcome]:
        """What to say of a link now; an empty one may be being written: that is told later."""
        if finding is None or finding.kind != EMPTY or link.named is None:
            return [finding] if finding else []
        self.suspects.append(partial(_still_wrong, read, link.named))
        return []

    def _repository(self, work: Work) -> Iterator[Outcome]:
        there: set[str] = set()
        for text in self.tree.tags(work.name):
            link = self.tree.tag(work.name, text)
            if link is not None:
                there.add(text)
                yield from self._plan_tag(work, text, link)
        for link in self.tree.revisions(work.name):
            finding = source_of(link)[1]
            yield from self._judged(finding, partial(self.tree.revision, work.name), link)
            if link.named is not None:
                yield from self.manifests.take(work, link.named)
        yield from self.manifests.finish_tags(work)
        yield from self._deleted(work.name, there)

    def _plan_tag(
        self, work: Work, text: str, link: Link, *, again: bool = False
    ) -> Iterator[Outcome]:
        """See whether a tag has to move; it does with its manifest."""
        where, tag = f"{work.name}:{text}", Tag.maybe(text)
        broken = self._broken(work.name, text, link)
        if tag is None:
            yield Finding(ascii(where), NO_NAME, "it cannot be a tag here", lost=True)
        elif broken is not None and again:
            yield broken
        elif broken is not None or link.target is None:
            self.suspects.append(partial(self._look_again, work.name, text))
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

    def _broken(self, name: Name, text: str, link: Link) -> Finding | None:
        """What is wrong with a tag, if it stays so: a running registry may be writing it."""
        where = f"{name}:{text}"
        if link.target is None:
            last = [past.named for past in self.tree.history(name, text)][-1:]
            hint = f"; it was {last[0]} last" if last else ""
            return Finding(where, EMPTY, f"its link names no digest{hint}", lost=True)
        if self.tree.revision(name, link.target) is None:
            message = f"the repository has no manifest {link.target}"
            return Finding(where, DANGLING, message, lost=True)
        return None

    def _look_again(self, name: Name, text: str) -> Iterator[Outcome]:
        """Plan a tag once more, and put it if it has got well."""
        work = Work(name)
        link = self.tree.tag(name, text)
        if link is not None:
            yield from self._plan_tag(work, text, link, again=True)
            yield from self.manifests.finish_tags(work)

    def _changed_here(self, name: Name, tag: Tag) -> bool:
        """Whether somebody else than this import has had the tag last."""
        return self.adoption.last_changed_from(name, tag) not in {None, ELSEWHERE}

    def _past(self, name: Name, tag: str, current: Digest) -> list[tuple[Digest, str]]:
        links = self.tree.history(name, tag)
        return [(one.named, one.at) for one in links if one.named and one.named != current]

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


@contextmanager
def _going_on(name: Name) -> Iterator[list[Finding]]:
    """Go on with the next repository where this one cannot be read; holds what to tell of it."""
    found: list[Finding] = []
    try:
        yield found
    except SourceFault as fault:
        found.append(Finding(name, UNREADABLE, str(fault), lost=True))


def _still_wrong(read: Callable[[Digest], Link | None], digest: Digest) -> Iterator[Outcome]:
    """Whether a link that was empty still is."""
    link = read(digest)
    finding = source_of(link)[1] if link else None
    if finding is not None:
        yield finding
