"""fsck: every row against its file, every file against its row, every need against its repository.

Beside a running server a problem may be a push or a gc step under way, so each is checked again
under the digest's lock, with its row read anew, before it is reported.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from registry_wsgi.names import Digest, digest_of, new_hash
from registry_wsgi.storage.base import BlobStore
from registry_wsgi.storage.collecting import Collection
from registry_wsgi.storage.inspecting import BlobRow, Inspection

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
        if self.deep and self._hash(row.digest) != row.digest:
            return "its file has other content"
        return None

    def _hash(self, digest: Digest) -> Digest | None:
        content = self.store.open(digest)
        if content is None:
            return None
        running = new_hash(digest.algorithm)
        with content:
            while block := content.read(READ_SIZE):
                running.update(block)
        return digest_of(running)

    def _report(self, digest: Digest, problem: str) -> Finding:
        """The finding, repaired if asked for; the digest's lock is held.

        Without its row the blob is unknown, so the next push of it brings it back.
        """
        advice = "push an image that has it again, or run fsck --repair and then push"
        if not self.repair:
            return Finding(digest, problem, advice)
        repaired = "row dropped"
        if self.store.stored(digest) is not None:
            repaired = f"moved to {self.store.quarantine(digest)}, row dropped"
        self.inspection.drop_blob(digest)
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
            with self.store.lock(digest):
                if self.collection.knows(digest):
                    continue
                if self.repair:
                    self.store.remove(digest)
            done = "removed" if self.repair else ""
            yield Finding(digest, "stray file; the next gc removes it", note=True, repaired=done)

    def _sessions(self) -> Iterator[Finding]:
        for uuid in self.store.uploads():
            kind = "open" if self.collection.has_upload(uuid) else "stray"
            yield Finding(f"upload {uuid}", f"{kind} upload session", note=True)
