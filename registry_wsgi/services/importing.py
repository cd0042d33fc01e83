"""Import: what an OCI image layout holds, pushed as a client would push it.

Each digest is checked on the way in. What the repository has already is not read again, so that a
layout may be incremental, and the same one may come twice.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from registry_wsgi import strict_json
from registry_wsgi.descriptors import Descriptor, read_descriptor
from registry_wsgi.errors import MANIFEST_INVALID, NAME_INVALID, RegistryError
from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.oci import MANIFEST_LIMIT, MANIFEST_TYPES, Manifest, parse_manifest
from registry_wsgi.services.exporting import READ_SIZE, REPOSITORY
from registry_wsgi.services.manifests import ManifestService, Put
from registry_wsgi.services.ordering import children_first
from registry_wsgi.services.uploads import UploadService
from registry_wsgi.storage.base import Actor, Index
from registry_wsgi.storage.layouts import REF_NAME, LayoutReader

ACTOR: Final = Actor("import", "command line")

HERE: Final = "here"
"""The repository had it already."""

PUSHED: Final = "pushed"
SHARED: Final = "shared"
"""Another repository had it; no bytes were read."""

PROBLEM: Final = "problem"

SERVER_ERROR: Final = 500
"""Statuses from here on say nothing of what was sent."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of one thing. ``kind``: blob, manifest, tag or entry (of ``index.json``)."""

    kind: str
    what: str
    how: str
    size: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Root:
    """Something that ``index.json`` lists, and by which names it is to be known."""

    descriptor: Descriptor
    repository: Name
    tag: Tag | None
    called: str = ""


@dataclass(frozen=True, slots=True)
class _Content:
    """A file as the body of an upload."""

    file: BinaryIO
    length: int | None

    def blocks(self) -> Iterator[memoryview]:
        """All of it."""
        while block := self.file.read(READ_SIZE):
            yield memoryview(block)


@dataclass(slots=True)
class _Work:
    """What is known of one repository's part of the layout while it is brought in."""

    repository: Name
    descriptors: dict[Digest, Descriptor] = field(default_factory=dict)
    read: dict[Digest, tuple[bytes, Manifest]] = field(default_factory=dict)
    problems: dict[Digest, str] = field(default_factory=dict)
    put: set[Tag] = field(default_factory=set)
    seen: set[Digest] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class ImportService:
    """Imports. Garbage collection is held off by the caller."""

    index: Index
    uploads: UploadService
    manifests: ManifestService
    layout: LayoutReader

    def run(
        self, name: Name | None, tag: Tag | None, begun: Callable[[int], None]
    ) -> Iterator[Imported]:
        """Bring everything in, yielding what came of each thing.

        ``begun`` is told first how many bytes the layout has. ``name`` is where to; ``None`` leaves
        it to the layout. ``tag`` is for a layout of one manifest, instead of what that calls it.
        Raises StorageFault for what is no layout, and
        RegistryError (MANIFEST_INVALID, NAME_INVALID) when it cannot be told what to bring where.
        """
        with self.layout.opened():
            begun(self.layout.extent())
            entries = _read_index(self.layout.index())
            roots = list(_roots(entries, name, tag))
            works: dict[Name, _Work] = {}
            for root in roots:
                work = works.setdefault(root.repository, _Work(root.repository))
                yield from self._bring(work, root)

    def _bring(self, work: _Work, root: Root) -> Iterator[Imported]:
        work.descriptors.setdefault(root.descriptor.digest, root.descriptor)

        def children(digest: Digest) -> list[Digest]:
            return self._read(work, digest)

        for digest in children_first(root.descriptor.digest, children, work.seen):
            tag = root.tag if digest == root.descriptor.digest else None
            yield from self._bring_manifest(work, digest, tag)
        if root.tag is not None and root.tag not in work.put:
            yield self._put_tag(work, root.descriptor.digest, root.tag)
        elif root.called and root.tag is None:
            yield Imported("tag", root.called, PROBLEM, message="it cannot be a tag")

    def _read(self, work: _Work, digest: Digest) -> list[Digest]:
        """Read and check a manifest; returns what is to be brought before it."""
        if self.layout.size(digest) is None:
            if self.index.manifests.find(work.repository, digest) is None:
                work.problems[digest] = "neither the layout nor the repository has it"
            return []
        with self.layout.open(digest) as file:
            body = file.read(MANIFEST_LIMIT + 1)
        if len(body) > MANIFEST_LIMIT or Digest.of(body, digest.algorithm) != digest:
            work.problems[digest] = "its bytes in the layout have another digest"
            return []
        try:
            manifest = parse_manifest(body, work.descriptors[digest].media_type)
        except RegistryError as error:
            work.problems[digest] = str(error.detail)
            return []
        work.read[digest] = (body, manifest)
        for child in manifest.children:
            work.descriptors.setdefault(child.digest, child)
        return [child.digest for child in manifest.children]

    def _bring_manifest(self, work: _Work, digest: Digest, tag: Tag | None) -> Iterator[Imported]:
        """Put a manifest, its blobs before it, and with it a tag that it is to have."""
        what = f"{work.repository}@{digest}"
        if digest in work.problems:
            yield Imported("manifest", what, PROBLEM, message=work.problems[digest])
            return
        if self.index.manifests.lease(work.repository, digest):
            if digest in work.read:
                # The registry may have lost some of them since it took the manifest.
                _, manifest = work.read.pop(digest)
                yield from self._bring_blobs(work.repository, manifest)
            yield Imported("manifest", what, HERE)
            return
        body, manifest = work.read.pop(digest)
        yield from self._bring_blobs(work.repository, manifest)
        tags = (tag,) if tag is not None else ()
        try:
            self.manifests.put(Put(work.repository, digest, tags, body, manifest.media_type, ACTOR))
        except RegistryError as error:
            if error.row.status >= SERVER_ERROR:
                raise
            work.problems[digest] = f"{error.row.message}: {error.detail}"
            yield Imported("manifest", what, PROBLEM, message=work.problems[digest])
            return
        yield Imported("manifest", what, PUSHED, len(body))
        for put in tags:
            work.put.add(put)
            yield Imported("tag", f"{work.repository}:{put}", PUSHED)

    def _bring_blobs(self, repository: Name, manifest: Manifest) -> Iterator[Imported]:
        for blob in manifest.blobs:
            yield self._bring_blob(repository, blob.digest, missing=PROBLEM)
        for blob in manifest.foreign:
            if self.layout.size(blob.digest) is not None:
                yield self._bring_blob(repository, blob.digest, missing=HERE)

    def _bring_blob(self, repository: Name, digest: Digest, missing: str) -> Imported:
        what, size = f"{repository}@{digest}", self.layout.size(digest)
        if self.index.blobs.lease(repository, digest):
            return Imported("blob", what, HERE, size or 0)
        if self.uploads.mount(repository, digest, None):
            return Imported("blob", what, SHARED, size or 0)
        if size is None:
            return Imported("blob", what, missing, message="nobody has it")
        try:
            with self.layout.open(digest) as file:
                self.uploads.push(repository, digest, _Content(file, size))
        except RegistryError as error:
            if error.row.status >= SERVER_ERROR:
                raise
            return Imported("blob", what, PROBLEM, message=error.row.message)
        return Imported("blob", what, PUSHED, size)

    def _put_tag(self, work: _Work, digest: Digest, tag: Tag) -> Imported:
        what = f"{work.repository}:{tag}"
        tagged = self.index.manifests.find(work.repository, tag)
        if tagged is not None and tagged.digest == digest:
            return Imported("tag", what, HERE)
        found = self.index.manifests.find(work.repository, digest)
        if found is None:
            return Imported("tag", what, PROBLEM, message="its manifest could not be brought")
        put = Put(work.repository, digest, (tag,), found.body, found.media_type, ACTOR)
        self.manifests.put(put)
        return Imported("tag", what, PUSHED)


def _read_index(content: bytes) -> list[tuple[Descriptor, Mapping[str, str]]]:
    """The manifests that ``index.json`` lists, with their annotations.

    Raises RegistryError (MANIFEST_INVALID).
    """
    try:
        document = strict_json.loads(content)
    except ValueError as error:
        raise RegistryError(MANIFEST_INVALID, f"index.json: {error}") from error
    listed = document.get("manifests") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise RegistryError(MANIFEST_INVALID, "index.json lists no manifests")
    found = []
    for number, value in enumerate(listed):
        descriptor = read_descriptor(value, ("manifests", number))
        # > Implementations that encounter a descriptor with a `mediaType` that is unknown ...
        # > MUST NOT produce an error
        if descriptor.media_type in MANIFEST_TYPES:
            found.append((descriptor, _annotations(value)))
    return found


def _annotations(value: Mapping[str, Any]) -> Mapping[str, str]:
    annotations: Mapping[str, str] = value.get("annotations") or {}
    return annotations


def _roots(
    entries: Iterable[tuple[Descriptor, Mapping[str, str]]], name: Name | None, tag: Tag | None
) -> Iterator[Root]:
    """Where each goes, and under which tag; raises RegistryError when that cannot be told."""
    known = list(entries)
    if tag is not None and len({descriptor.digest for descriptor, _ in known}) != 1:
        reason = "the layout does not hold just one manifest: name a repository without a tag"
        raise RegistryError(MANIFEST_INVALID, reason)
    of = {annotations.get(REPOSITORY) for _, annotations in known}
    if name is not None and len(of) > 1:
        raise RegistryError(NAME_INVALID, "the layout is of several repositories: name none")
    for descriptor, annotations in known:
        called = annotations.get(REF_NAME, "")
        own_name, own_tag = _parse_ref_name(called)
        own = annotations.get(REPOSITORY) or own_name
        repository = name or Name.maybe(own)
        if repository is None:
            reason = f"the layout does not tell where {descriptor.digest} goes: name a repository"
            raise RegistryError(NAME_INVALID, reason)
        yield Root(descriptor, repository, tag or own_tag, "" if "@" in called else called)


def _parse_ref_name(text: str) -> tuple[str, Tag | None]:
    """The repository and tag of a ``ref.name``: ``v1``, ``team/app:v1``, after a host or not."""
    name, _, tag = text.partition("@")[0].rpartition(":")
    host, _, rest = name.partition("/")
    if "." in host or ":" in host or host == "localhost":
        name = rest
    return name, Tag.maybe(tag)
