"""Export: manifests with all they need, as an OCI image layout."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from registry_wsgi.errors import MANIFEST_UNKNOWN, NAME_UNKNOWN, RegistryError, StorageFault
from registry_wsgi.names import Digest, Name, Pattern, Reference, Tag, digest_of, new_hash
from registry_wsgi.oci import OCI_INDEX, Manifest, parse_manifest, referrers_tag
from registry_wsgi.storage.base import Index, Visible
from registry_wsgi.storage.layouts import REF_NAME, LayoutWriter, Listed, Transfers
from registry_wsgi.storage.store import BlobStore

REPOSITORY: Final = "registry_wsgi.repository"
"""The annotation that says which repository something is of, for an import that is not told."""

EVER: Final = ""
"""As ``since``: everything."""

PAGE: Final = 1000
READ_SIZE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Exported:
    """Something that was written, or is not here. ``kind``: manifest or blob."""

    kind: str
    digest: Digest
    size: int
    lacking: Name | None = None
    """The repository whose images need it and that lost it; then nothing was written."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One descriptor of ``index.json``."""

    repository: Name
    tag: Tag | None
    listed: Listed


@dataclass(slots=True)
class _Plan:
    """What an export consists of, each digest once, with a repository that has it."""

    entries: list[_Entry] = field(default_factory=list)
    manifests: dict[Digest, tuple[Name, Listed]] = field(default_factory=dict)
    blobs: dict[Digest, tuple[Name, int]] = field(default_factory=dict)
    lost: dict[Digest, Name] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of it all."""
        manifests = sum(listed.size for _, listed in self.manifests.values())
        return manifests + sum(size for _, size in self.blobs.values())


@dataclass(frozen=True, slots=True)
class ExportService:
    """Exports. Garbage collection is held off by the caller."""

    index: Index
    transfers: Transfers
    store: BlobStore
    layout: LayoutWriter

    def reference(
        self, name: Name, reference: Reference, begun: Callable[[int], None]
    ) -> Iterator[Exported]:
        """One manifest, with what it lists and what refers to it.

        ``begun`` is told the number of bytes first. Raises RegistryError (MANIFEST_UNKNOWN) and
        StorageFault.
        """
        plan = _Plan()
        found = self.index.manifests.find(name, reference)
        if found is None:
            raise RegistryError(MANIFEST_UNKNOWN, reference)
        root = Listed(found.digest, found.media_type, len(found.body))
        tag = None if isinstance(reference, Digest) else reference
        plan.entries.append(_Entry(name, tag, root))
        self._follow(plan, name, root)
        return self._write(plan, begun, names=False)

    def everything(
        self, pattern: Pattern, since: str, begun: Callable[[int], None]
    ) -> Iterator[Exported]:
        """Repositories with all they hold, or what was pushed to them since then.

        Raises RegistryError (NAME_UNKNOWN) and StorageFault.
        """
        plan = _Plan()
        names = list(self._repositories(pattern))
        if not names:
            raise RegistryError(NAME_UNKNOWN, pattern)
        for name in names:
            self._collect(plan, name, since)
        return self._write(plan, begun, names=Name.maybe(pattern) is None)

    def _repositories(self, pattern: Pattern) -> Iterator[Name]:
        last, visible = "", Visible((pattern,))
        while names := self.index.listings.repositories(last, PAGE, visible):
            yield from map(Name, names)
            last = names[-1]

    def _collect(self, plan: _Plan, name: Name, since: str) -> None:
        """Plan all that is new in a repository: other sites have the rest from before."""
        children: set[Digest] = set()
        new = self.transfers.manifests(name, since)
        for listed in new:
            manifest = self._plan_manifest(plan, name, listed)
            if manifest is not None:
                self._plan_blobs(plan, name, manifest)
                children.update(child.digest for child in manifest.children)
        tagged = self.transfers.tags(name, since)
        for tag, listed in tagged:
            plan.manifests.setdefault(listed.digest, (name, listed))
            plan.entries.append(_Entry(name, tag, listed))
        reachable = children | {listed.digest for _, listed in tagged}
        plan.entries += [_Entry(name, None, one) for one in new if one.digest not in reachable]

    def _follow(self, plan: _Plan, name: Name, root: Listed) -> None:
        """Plan a manifest, what it lists, and what names any of these as its subject."""
        tags = self.transfers.tags(name, EVER)
        waiting = [root]
        while waiting:
            listed = waiting.pop()
            if listed.digest in plan.manifests:
                continue
            manifest = self._plan_manifest(plan, name, listed)
            if manifest is None:
                continue
            self._plan_blobs(plan, name, manifest)
            waiting += [Listed(c.digest, c.media_type, c.size) for c in manifest.children]
            referring = [_Entry(name, None, one) for one in self._referrers(name, listed.digest)]
            referring += [_Entry(name, tag, one) for tag, one in tags if _is_of(tag, listed.digest)]
            plan.entries += [one for one in referring if one not in plan.entries]
            waiting += [one.listed for one in referring]

    def _referrers(self, name: Name, subject: Digest) -> Iterator[Listed]:
        last: Digest | None = None
        while page := self.index.listings.referrers(name, subject, None, last, PAGE):
            yield from (Listed(one.digest, one.media_type, one.size) for one in page)
            last = page[-1].digest

    def _plan_manifest(self, plan: _Plan, name: Name, listed: Listed) -> Manifest | None:
        """The manifest, ``None`` where it is not here: a sparse index's, or deleted meanwhile."""
        found = self.index.manifests.find(name, listed.digest)
        if found is None:
            return None
        plan.manifests[listed.digest] = (name, listed)
        return parse_manifest(found.body, found.media_type)

    def _plan_blobs(self, plan: _Plan, name: Name, manifest: Manifest) -> None:
        for needed in (*manifest.blobs, *manifest.foreign):
            known = self.index.blobs.find(name, needed.digest) is not None
            if known and self.store.stored(needed.digest) is not None:
                plan.blobs.setdefault(needed.digest, (name, needed.size))
            elif needed not in manifest.foreign:
                plan.lost.setdefault(needed.digest, name)

    def _write(
        self, plan: _Plan, begun: Callable[[int], None], *, names: bool
    ) -> Iterator[Exported]:
        with self.layout.opened():
            begun(plan.size)
            for digest, name in plan.lost.items():
                if digest not in plan.blobs:  # another repository may have it
                    yield Exported("blob", digest, 0, lacking=name)
            for digest, (name, listed) in plan.manifests.items():
                found = self.index.manifests.find(name, digest)
                if found is None:
                    raise RegistryError(MANIFEST_UNKNOWN, digest)
                self.layout.add(digest, listed.size, [found.body])
                yield Exported("manifest", digest, listed.size)
            for digest, (_, size) in plan.blobs.items():
                self.layout.add(digest, size, self._content(digest))
                yield Exported("blob", digest, size)
            self.layout.finish(index_of(plan.entries, names=names))

    def _content(self, digest: Digest) -> Iterator[bytes]:
        """A blob's bytes; raises StorageFault at their end if they are not what they should be."""
        content = self.store.open(digest)
        if content is None:
            raise StorageFault("a live blob has no file: run fsck", digest)
        running = new_hash(digest.algorithm)
        with content:
            while block := content.read(READ_SIZE):
                running.update(block)
                yield block
        if digest_of(running) != digest:
            raise StorageFault("a blob's file has other content: run fsck", digest)


def _is_of(tag: Tag, digest: Digest) -> bool:
    """Whether a tag says by its name that it is about a manifest, as referrers of old do.

    Referrers lists are ``sha256-<hex>``; cosign adds ``.sig``, ``.att`` and so on.
    """
    name = referrers_tag(digest)
    return tag == name or tag.startswith(f"{name}.")


def index_of(entries: Iterable[_Entry], *, names: bool) -> bytes:
    """``index.json``; where it is of several repositories, ``names`` go before the tags."""
    manifests: list[dict[str, Any]] = []
    for entry in entries:
        annotations = {REPOSITORY: str(entry.repository)}
        if entry.tag is not None:
            # > "org.opencontainers.image.ref.name" ... the value SHOULD only consist of
            # > alphanum on the charset of A-Za-z0-9 and on the separator set of -._:@/+
            annotations[REF_NAME] = f"{entry.repository}:{entry.tag}" if names else str(entry.tag)
        manifests.append(
            {
                "mediaType": entry.listed.media_type,
                "digest": entry.listed.digest,
                "size": entry.listed.size,
                "annotations": annotations,
            }
        )
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    return json.dumps(document, indent=1).encode()
