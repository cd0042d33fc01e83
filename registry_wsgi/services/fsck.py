"""fsck: every row against its file, every file against its row, every need against its repository.

Beside a running server a problem may be a push or a gc step under way, so each is checked again
under the digest's lock, with its row read anew, before it is reported.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from registry_wsgi.errors import RegistryError
from registry_wsgi.names import Digest, digest_of, new_hash
from registry_wsgi.services.gc import destroy, stray
from registry_wsgi.storage.collecting import Collection
from registry_wsgi.storage.inspecting import BlobRow, Inspection
from registry_wsgi.storage.store import BlobStore

READ_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Something fsck found. A note is no problem; ``repaired`` says what was done about one."""

    what: str
    message: str
    advice: str = ""
    note: bool = False
    repaired: str = ""


@dataclass(frozen=True, slots=True)
class FsckService:
    """The checks. ``deep`` reads and hashes every byte; ``repair`` does what is safe."""

    inspection: Inspection
    collection: Collection
    store: BlobStore
    deep: bool = False
    repair: bool = False

    def run(self) -> Iterator[Finding]:
        """All findings, each as soon as it is certain."""
        for problem in self.inspection.integrity():
            yield Finding("index", problem, "restore a backup (registry-wsgi restore)")
        for row in self.inspection.blobs():
            yield from self._check_blob(row)
        if self.deep:
            yield from self._check_manifests()
        yield from self._check_needs()
        yield from self._check_files()
        yield from self._sessions()

    def _check_blob(self, row: BlobRow) -> Iterator[Finding]:
        if row.doomed:
            yield Finding(row.digest, "doomed; the next gc removes it", note=True)
            return
        if self._problem(row) is None:
            return
        with self.store.lock(row.digest):
            current = self.inspection.blob(row.digest)
            problem = self._problem(current) if current and not current.doomed else None
            if problem:
                yield self._report(row.digest, problem)

    def _problem(self, row: BlobRow) -> str | None:
        """What is wrong with a live blob's file."""
        stored = self.store.stored(row.digest)
        if stored is None:
            return "has no file"
        if stored.size != row.size:
            return f"its file has {stored.size} bytes, not {row.size}"
        return self._content_problem(row.digest) if self.deep else None

    def _content_problem(self, digest: Digest) -> str | None:
        content = self.store.open(digest)
        if content is None:
            return "has no file"
        running = new_hash(digest.algorithm)
        try:
            with content:
                while block := content.read(READ_SIZE):
                    running.update(block)
        except OSError as error:
            return f"its file cannot be read: {error.strerror}"
        return None if digest_of(running) == digest else "its file has other content"

    def _report(self, digest: Digest, problem: str) -> Finding:
        """The finding, repaired if asked for; the digest's lock is held.

        Without its row the blob is unknown, so the next push of it brings it back.
        """
        if not self.repair:
            advice = "run fsck --repair, then push an image that has it"
            return Finding(digest, problem, advice)
        self.inspection.drop_blob(digest)
        repaired = "row dropped"
        if self.store.stored(digest) is not None:
            repaired = f"row dropped, file moved to {self.store.quarantine(digest)}"
        return Finding(digest, problem, "push an image that has it again", repaired=repaired)

    def _check_manifests(self) -> Iterator[Finding]:
        for name, digest, body in self.inspection.manifests():
            if Digest.of(body, digest.algorithm) != digest:
                where = f"{name}@{digest}"
                yield Finding(where, "its bytes have another digest", "delete it and push it again")

    def _check_needs(self) -> Iterator[Finding]:
        for missing in self.inspection.missing():
            where = f"{missing.repository}@{missing.manifest}"
            message = f"needs the {missing.kind} {missing.needed}, which the repository lacks"
            # A child may have been deleted, or never pushed to a sparse index.
            is_note = missing.kind == "child"
            yield Finding(where, message, "push the image again, or delete it", note=is_note)

    def _check_files(self) -> Iterator[Finding]:
        for digest in self.store.blobs():
            if self.collection.knows(digest):
                continue
            if self.repair:
                if destroy(self.collection, self.store, stray(digest)) is None:
                    continue
            else:
                with self.store.lock(digest):
                    if self.collection.knows(digest):
                        continue
            done = "removed" if self.repair else ""
            yield Finding(digest, "stray file; the next gc removes it", note=True, repaired=done)

    def _sessions(self) -> Iterator[Finding]:
        """Sessions are never a problem: a client goes on, or they expire."""
        for upload in self.inspection.uploads():
            staged = self.store.staged(upload.uuid)
            message = f"open session of {upload.repository}, {upload.stored} bytes synced"
            if staged is None or staged.size < upload.stored:
                message = f"session of {upload.repository} that lost its bytes; it expires"
            yield Finding(f"upload {upload.uuid}", message, note=True)
        for uuid in self.store.uploads():
            if not self.collection.has_upload(uuid):
                done = "removed" if self.repair and self._remove_stray_upload(uuid) else ""
                message = "staged bytes without a session; the next gc removes them"
                yield Finding(f"upload {uuid}", message, note=True, repaired=done)

    def _remove_stray_upload(self, uuid: str) -> bool:
        with suppress(RegistryError), self.store.stage(uuid):  # somebody is just making it
            if not self.collection.has_upload(uuid):
                self.store.discard(uuid)
                return True
        return False
