"""Manifests: checked before they are kept, served byte for byte."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from registry_wsgi.errors import DIGEST_INVALID, MANIFEST_UNKNOWN, RegistryError, StorageFault
from registry_wsgi.names import Digest, Name, Reference, Tag
from registry_wsgi.oci import Manifest, parse_manifest
from registry_wsgi.services.blobs import is_stale, leased
from registry_wsgi.storage.base import (
    NO_EXPECTATION,
    Actor,
    Clock,
    Expectation,
    Index,
    ManifestPush,
    StoredManifest,
)

__all__ = ["Actor", "Expectation", "ManifestService", "Put", "StoredManifest"]


@dataclass(frozen=True, slots=True)
class Put:
    """One manifest PUT as a client asks for it."""

    repository: Name
    reference: Reference
    tags: tuple[Tag, ...]
    body: bytes
    content_type: str | None
    actor: Actor
    expect: Expectation = NO_EXPECTATION
    may_overwrite: bool = True


@dataclass(frozen=True, slots=True)
class ManifestService:
    """Manifests and tags. ``sparse`` accepts an index whose children are not all here."""

    index: Index
    clock: Clock
    sparse: bool = False
    leasing: Callable[[], bool] = lambda: True
    noting_pulls: bool = False

    def find(self, repository: Name, reference: Reference) -> StoredManifest:
        """The manifest; raises RegistryError (MANIFEST_UNKNOWN)."""
        manifest = self.index.manifests.find(repository, reference)
        if manifest is None:
            raise RegistryError(MANIFEST_UNKNOWN, reference)
        return manifest

    def pull(self, repository: Name, reference: Reference, actor: Actor) -> StoredManifest:
        """The manifest for somebody who takes it, which is noted if that is asked for."""
        manifest = self.find(repository, reference)
        if self.noting_pulls and self.leasing():
            tag = None if isinstance(reference, Digest) else reference
            with suppress(StorageFault):  # a full disk keeps nobody from pulling
                self.index.manifests.note_pull(repository, tag, manifest.digest, actor)
        return manifest

    def stat(self, repository: Name, reference: Reference) -> StoredManifest:
        """The manifest, leased: a client that is told it exists may leave it out of a push."""
        manifest = self.find(repository, reference)
        index, digest = self.index.manifests, manifest.digest
        stale = self.leasing() and is_stale(index.seen_age(repository, digest), self.clock)
        if stale and not leased(partial(index.lease, repository, digest)):
            raise RegistryError(MANIFEST_UNKNOWN, reference)
        return manifest

    def put(self, put: Put) -> tuple[Digest, Manifest]:
        """Check the manifest and keep it, all or nothing; durable on return.

        Raises RegistryError: DIGEST_INVALID when the body has another digest than the reference,
        MANIFEST_INVALID, and what ``ManifestIndex.put`` raises.
        """
        if isinstance(put.reference, Digest):
            digest = Digest.of(put.body, put.reference.algorithm)
            tags = put.tags
            if digest != put.reference:
                raise RegistryError(DIGEST_INVALID, {"given": put.reference, "body": digest})
        else:
            digest = Digest.of(put.body)
            tags = (put.reference, *put.tags)
        manifest = parse_manifest(put.body, put.content_type)
        self.index.manifests.put(
            ManifestPush(
                put.repository,
                digest,
                manifest,
                put.body,
                tags,
                put.actor,
                put.expect,
                sparse=self.sparse,
                may_overwrite=put.may_overwrite,
            )
        )
        return digest, manifest

    def delete(
        self,
        repository: Name,
        reference: Reference,
        actor: Actor,
        expect: Expectation = NO_EXPECTATION,
    ) -> None:
        """Delete a tag alone, or a manifest with its tags; raises what ``ManifestIndex`` does."""
        if isinstance(reference, Digest):
            # > Once deleted, a `GET` to `/v2/<name>/manifests/<digest>` and any tag pointing to
            # > that digest will return a 404.
            self.index.manifests.delete(repository, reference, actor, expect)
        else:
            self.index.manifests.delete_tag(repository, reference, actor, expect)
