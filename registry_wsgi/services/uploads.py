"""Upload sessions: how bytes become a blob.

The order of effects is the promise: bytes synced, then the row that tells of them committed, then
the answer. Whatever ends in between leaves a session that goes on from what was synced.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from registry_wsgi.errors import (
    BLOB_TOO_LARGE,
    DIGEST_INVALID,
    SIZE_INVALID,
    STORAGE_FULL,
    UPLOAD_CUT_SHORT,
    UPLOAD_OUT_OF_ORDER,
    UPLOAD_UNKNOWN,
    BodyCut,
    RegistryError,
    StorageFault,
)
from registry_wsgi.names import Digest, Name, digest_of, new_hash
from registry_wsgi.storage.base import EVERYTHING, Clock, Index, Upload, Visible
from registry_wsgi.storage.store import BlobStore, StagedUpload


class Body(Protocol):
    """The body of a request, as it comes in."""

    @property
    def length(self) -> int | None:
        """Bytes announced; ``None`` when the end is found while reading."""
        ...

    def blocks(self) -> Iterator[memoryview]:
        """The bytes, each block valid until the next; raises BodyCut before a premature end."""
        ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """The Content-Range of a chunk: its first and last byte's offset, both inclusive."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Progress:
    """An open session and how many bytes it has."""

    upload: Upload
    offset: int


class OutOfOrder(RegistryError):  # noqa: N818 - as RegistryError's other kinds are: a row
    """The request is for another offset than the session is at, which ``progress`` tells."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(UPLOAD_OUT_OF_ORDER, {"offset": progress.offset})
        self.progress = progress


@dataclass(frozen=True, slots=True)
class UploadService:
    """What can be done to upload sessions. ``size_limit`` is of a blob, in bytes; 0 is none."""

    index: Index
    store: BlobStore
    clock: Clock
    size_limit: int = 0

    def start(self, repository: Name, algorithm: str = "sha256") -> Progress:
        """Open a session; raises RegistryError (DIGEST_INVALID) for an unknown algorithm."""
        new_hash(algorithm)
        started = self.clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")
        upload = Upload(
            str(uuid.uuid4()), repository, algorithm, 0, None, self.clock.boot_id(), started
        )
        with self._ending_on_failure(upload.uuid):
            # The row first: a file without one is a stray, and gc would be its writer for a moment,
            # in which the client that was just told of the session would find it busy.
            self.index.uploads.open(upload)
            with self.store.create(upload.uuid):
                pass
        return Progress(upload, 0)

    def status(self, repository: Name, identifier: str) -> Progress:
        """Where a session stands; raises RegistryError (BLOB_UPLOAD_UNKNOWN)."""
        upload = self._find(repository, identifier)
        staged = self.store.staged(identifier)
        if staged is None:
            raise RegistryError(UPLOAD_UNKNOWN, identifier)
        same_boot = upload.boot_id == self.clock.boot_id()
        return Progress(upload, staged.size if same_boot else min(staged.size, upload.stored))

    def append(
        self, repository: Name, identifier: str, offset: int, body: Body, chunk: Chunk | None = None
    ) -> Progress:
        """Add a chunk at ``offset``, durable on return.

        Raises RegistryError: BLOB_UPLOAD_UNKNOWN, UPLOAD_BUSY, OutOfOrder, SIZE_INVALID,
        BLOB_TOO_LARGE, UPLOAD_CUT_SHORT (what arrived is kept), STORAGE_FULL (nothing is).
        """
        with self.store.stage(identifier) as staged, self._ending_on_failure(identifier):
            progress = self._resume(repository, identifier, staged)
            return self._receive(progress, staged, offset, body, chunk)

    def finish(
        self,
        repository: Name,
        identifier: str,
        offset: int,
        digest: Digest,
        body: Body,
        chunk: Chunk | None = None,
    ) -> None:
        """Add the last chunk, if any, and make the whole the blob ``digest``, durable on return.

        Asked again after it succeeded, it succeeds again. Raises as ``append`` does, and
        DIGEST_INVALID when the bytes have another digest, which ends the session.
        """
        if self.index.uploads.finished(repository, identifier) == digest:
            for _ in body.blocks():  # the client sends it again: it has to be able to
                pass
            return
        with self.store.stage(identifier) as staged, self._ending_on_failure(identifier):
            progress = self._resume(repository, identifier, staged)
            progress = self._receive(progress, staged, offset, body, chunk, closing=True)
            if self._digest(progress, staged, digest.algorithm) != digest:
                self._drop(identifier)
                raise RegistryError(DIGEST_INVALID, digest)
            self._commit(repository, staged, digest, identifier)

    def push(self, repository: Name, digest: Digest, body: Body) -> None:
        """Make the body the blob ``digest`` in one request; raises as ``finish`` does."""
        identifier = str(uuid.uuid4())
        self._check_size(body.length or 0)
        try:
            with self.store.create(identifier) as staged, self._ending_on_failure(identifier):
                self.store.require_space(body.length or 0)
                running = new_hash(digest.algorithm)
                self._copy(body, staged, running)
                if digest_of(running) != digest:
                    raise RegistryError(DIGEST_INVALID, digest)
                self._commit(repository, staged, digest, None)
        except BodyCut as cut:
            raise RegistryError(UPLOAD_CUT_SHORT, str(cut)) from cut
        finally:
            self.store.discard(identifier)

    def cancel(self, repository: Name, identifier: str) -> None:
        """End a session and give its bytes back; raises RegistryError as ``append`` does."""
        with self.store.stage(identifier):
            self._find(repository, identifier)
            self._drop(identifier)

    def end_all(self) -> None:
        """End every session: after a failed sync none of their bytes can be trusted."""
        for identifier in self.store.uploads():
            with suppress(RegistryError), self.store.stage(identifier):
                self._drop(identifier)

    def mount(
        self, repository: Name, digest: Digest, source: Name | None, visible: Visible = EVERYTHING
    ) -> bool:
        """Let ``repository`` serve what ``source`` serves, or any repository in ``visible``.

        ``False`` when there is nothing to mount, so that the client uploads.
        """
        return self.index.blobs.link(repository, digest, source, visible)

    def _find(self, repository: Name, identifier: str) -> Upload:
        upload = self.index.uploads.find(repository, identifier)
        if upload is None:
            raise RegistryError(UPLOAD_UNKNOWN, identifier)
        return upload

    def _drop(self, identifier: str) -> None:
        # Row before bytes: a live row whose file is missing cannot come about.
        self.index.uploads.drop(identifier)
        self.store.discard(identifier)

    def _resume(self, repository: Name, identifier: str, staged: StagedUpload) -> Progress:
        """The session as it stands, now that this request is its one writer.

        In the boot that wrote them, all staged bytes are there; after another boot only what was
        synced is, and nothing is known of its digest.
        """
        upload = self._find(repository, identifier)
        if staged.size < upload.stored:
            raise StorageFault("staged bytes are missing", identifier)
        if upload.boot_id != self.clock.boot_id():
            staged.truncate(upload.stored)
        return Progress(upload, staged.size)

    def _receive(
        self,
        progress: Progress,
        staged: StagedUpload,
        offset: int,
        body: Body,
        chunk: Chunk | None,
        *,
        closing: bool = False,
    ) -> Progress:
        # > If a chunk is uploaded out of order, the registry MUST respond with a
        # > `416 Requested Range Not Satisfiable` code.
        if offset != progress.offset or (chunk is not None and chunk.first != progress.offset):
            raise OutOfOrder(progress)
        self._check_length(body, chunk)
        self._check_size(staged.size + (body.length or 0))
        self.store.require_space(body.length or 0)
        if closing and body.length == 0:
            return progress
        running = new_hash(progress.upload.algorithm) if progress.offset == 0 else None
        try:
            self._copy(body, staged, running, chunk.last + 1 if chunk else None)
        except BodyCut as cut:
            self._keep(progress, self._moved(progress, staged, running), staged)
            raise RegistryError(UPLOAD_CUT_SHORT, str(cut)) from cut
        except RegistryError:
            # Of what is refused nothing is kept: the session stays where it was.
            staged.truncate(progress.offset)
            raise
        moved = self._moved(progress, staged, running)
        if not closing:  # then the client is told of the blob, which is committed next
            self._keep(progress, moved, staged)
        return moved

    @staticmethod
    def _check_length(body: Body, chunk: Chunk | None) -> None:
        if chunk is not None and body.length not in {None, chunk.last - chunk.first + 1}:
            raise RegistryError(SIZE_INVALID, "Content-Range is not of Content-Length bytes")

    def _check_size(self, size: int) -> None:
        if self.size_limit and size > self.size_limit:
            raise RegistryError(BLOB_TOO_LARGE, {"limit": self.size_limit})

    def _copy(self, body: Body, staged: StagedUpload, running: Any, end: int | None = None) -> None:
        """One write and one hash update a block; ``end`` is the size that it has to come to."""
        for block in body.blocks():
            size = staged.size + len(block)
            self._check_size(size)
            if end is not None and size > end:
                raise RegistryError(SIZE_INVALID, "the body is longer than Content-Range says")
            staged.write(block)
            if running is not None:
                running.update(block)
        if end is not None and staged.size < end:
            raise RegistryError(SIZE_INVALID, "the body is shorter than Content-Range says")

    def _moved(self, progress: Progress, staged: StagedUpload, running: Any) -> Progress:
        """The session with what is staged now; ``running`` is the hash of all of it, if known."""
        upload = progress.upload
        moved = Upload(
            upload.uuid,
            upload.repository,
            upload.algorithm,
            staged.size,
            digest_of(running) if running is not None else None,
            self.clock.boot_id(),
            upload.started_at,
        )
        return Progress(moved, staged.size)

    def _keep(self, progress: Progress, moved: Progress, staged: StagedUpload) -> None:
        """Sync what is staged, then commit the row that tells of it."""
        staged.sync()
        if progress.upload.stored == 0:
            # Until now a power cut could take the session, and the client would begin another.
            staged.keep_name()
        if not self.index.uploads.advance(progress.upload, moved.offset, moved.upload.prefix):
            raise RegistryError(UPLOAD_UNKNOWN, progress.upload.uuid)

    def _digest(self, progress: Progress, staged: StagedUpload, algorithm: str) -> Digest:
        """The digest of all that is staged, read again only where it was not hashed on the way."""
        upload = progress.upload
        if (
            upload.prefix is not None
            and upload.prefix.algorithm == algorithm
            and upload.stored == staged.size
            and upload.boot_id == self.clock.boot_id()
        ):
            return upload.prefix
        running = new_hash(algorithm)
        for block in staged.blocks():
            running.update(block)
        return digest_of(running)

    def _commit(
        self, repository: Name, staged: StagedUpload, digest: Digest, identifier: str | None
    ) -> None:
        # Bytes before rows on the way in, under the lock that gc takes to remove a digest.
        with self.store.lock(digest):
            staged.publish(digest)
            self.index.blobs.commit(repository, digest, staged.size, identifier)

    @contextmanager
    def _ending_on_failure(self, identifier: str) -> Iterator[None]:
        """A session that the storage failed is dead, and its bytes are given back.

        Of a file whose sync failed nobody can say what is on the disk, and a later sync may
        report success for pages that are lost.
        """
        try:
            yield
        except StorageFault as fault:
            with suppress(StorageFault, RegistryError):  # if the row stays: it expires
                self.store.discard(identifier)
                self.index.uploads.drop(identifier)
            if not fault.full:
                raise
            raise RegistryError(STORAGE_FULL, fault.reason) from fault
