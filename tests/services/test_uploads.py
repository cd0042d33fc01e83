"""Upload sessions: how bytes become a blob, and whose session it is."""

from collections.abc import Callable, Iterator

import pytest
from support.storage import APP, CONTENT, OTHER, put_blob, read_blob, refused
from support.uploads import DIGEST, NOTHING, Form, Sent, is_gone, left_behind

from registry_wsgi.errors import (
    DIGEST_INVALID,
    DIGEST_MALFORMED,
    UPLOAD_BUSY,
    UPLOAD_UNKNOWN,
    StorageFault,
)
from registry_wsgi.names import Digest
from registry_wsgi.services.uploads import UploadService
from registry_wsgi.storage.base import EVERYTHING, Index
from registry_wsgi.storage.disk import DiskStore, DiskUpload

LARGE = bytes(range(256)) * 64


# --- From start to end ----------------------------------------------------------------------------


def test_a_session_starts_empty(uploads: UploadService) -> None:
    """It is known, holds nothing, and remembers when and in which boot it began."""
    progress = uploads.start(APP)

    assert progress.offset == 0
    assert progress.upload.started_at == "2026-01-02T03:04:05.678901Z"
    assert progress.upload.boot_id == "first boot"
    assert uploads.status(APP, progress.upload.uuid) == progress


def test_sessions_differ(uploads: UploadService) -> None:
    """No two sessions have the same identifier."""
    assert len({uploads.start(APP).upload.uuid for _ in range(20)}) == 20


def test_a_session_of_an_unknown_algorithm_does_not_start(uploads: UploadService) -> None:
    """An algorithm that cannot be hashed with is refused, and leaves nothing behind."""
    with refused(DIGEST_MALFORMED):
        uploads.start(APP, "md5")

    assert left_behind(uploads) == []


def test_chunks_become_a_blob(
    uploads: UploadService, store: DiskStore, session: str, sent: Form
) -> None:
    """What is appended piece by piece and closed with nothing is the blob of its digest."""
    offsets = [uploads.append(APP, session, 0, sent(b"con")).offset]
    offsets.append(uploads.append(APP, session, 3, sent(b"tent")).offset)
    uploads.finish(APP, session, 7, DIGEST, NOTHING)

    assert offsets == [3, 7]
    assert read_blob(store, DIGEST) == CONTENT
    assert uploads.index.blobs.find(APP, DIGEST)
    assert is_gone(uploads, session)


def test_a_last_chunk_comes_with_the_end(
    uploads: UploadService, store: DiskStore, session: str, sent: Form
) -> None:
    """The request that closes a session may bring bytes."""
    uploads.append(APP, session, 0, sent(b"con"))
    uploads.finish(APP, session, 3, DIGEST, sent(b"tent"))

    assert read_blob(store, DIGEST) == CONTENT


def test_all_bytes_may_come_with_the_end(
    uploads: UploadService, store: DiskStore, session: str, sent: Form
) -> None:
    """A session may be opened and closed with nothing in between."""
    uploads.finish(APP, session, 0, Digest.of(LARGE), sent(LARGE))

    assert read_blob(store, Digest.of(LARGE)) == LARGE


def test_a_blob_may_be_empty(uploads: UploadService, store: DiskStore, session: str) -> None:
    """A session that is closed without a byte is the empty blob."""
    uploads.finish(APP, session, 0, Digest.of(b""), NOTHING)

    assert read_blob(store, Digest.of(b"")) == b""


@pytest.mark.parametrize("begun", ["sha256", "sha512"])
@pytest.mark.parametrize("ended", ["sha256", "sha512"])
def test_a_session_may_end_in_another_algorithm(
    uploads: UploadService, store: DiskStore, begun: str, ended: str
) -> None:
    """The digest at the end decides, whatever the session was started with."""
    session = uploads.start(APP, begun).upload.uuid
    uploads.append(APP, session, 0, Sent(CONTENT))
    uploads.finish(APP, session, 7, Digest.of(CONTENT, ended), NOTHING)

    assert read_blob(store, Digest.of(CONTENT, ended)) == CONTENT


def test_a_blob_in_one_request_needs_no_session(
    uploads: UploadService, store: DiskStore, sent: Form
) -> None:
    """What is pushed at once is the blob, and leaves no session."""
    uploads.push(APP, Digest.of(LARGE), sent(LARGE))

    assert read_blob(store, Digest.of(LARGE)) == LARGE
    assert uploads.index.blobs.find(APP, Digest.of(LARGE))
    assert left_behind(uploads) == []


def test_an_append_tells_where_the_session_stands(uploads: UploadService, session: str) -> None:
    """What is returned after a chunk is what a status request would be told."""
    progress = uploads.append(APP, session, 0, Sent(CONTENT))

    assert uploads.status(APP, session) == progress
    assert progress.upload.stored == 7
    assert progress.upload.prefix == DIGEST


def test_a_push_that_is_read_once_is_hashed_once(
    uploads: UploadService, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One chunk and an empty end, as Docker pushes, need no second look at the bytes."""

    def no_second_look(_: DiskUpload) -> Iterator[memoryview]:
        raise AssertionError

    monkeypatch.setattr(DiskUpload, "blocks", no_second_look)
    uploads.append(APP, session, 0, Sent(LARGE))
    uploads.finish(APP, session, len(LARGE), Digest.of(LARGE), NOTHING)

    assert uploads.index.blobs.find(APP, Digest.of(LARGE))


# --- Wrong digests --------------------------------------------------------------------------------


@pytest.mark.parametrize("appended", [b"", b"con", CONTENT], ids=["at once", "half", "before"])
def test_wrong_bytes_end_the_session(uploads: UploadService, session: str, appended: bytes) -> None:
    """Bytes of another digest become no blob, and their room is given back."""
    if appended:
        uploads.append(APP, session, 0, Sent(appended))
    with refused(DIGEST_INVALID):
        rest = Sent(CONTENT[len(appended) :])
        uploads.finish(APP, session, len(appended), Digest.of(b"else"), rest)

    assert is_gone(uploads, session)
    assert uploads.store.open(DIGEST) is None
    assert uploads.store.open(Digest.of(b"else")) is None
    assert uploads.index.blobs.find(APP, Digest.of(b"else")) is None


def test_wrong_bytes_in_one_request_leave_nothing(uploads: UploadService) -> None:
    """A push whose bytes have another digest changes nothing."""
    with refused(DIGEST_INVALID):
        uploads.push(APP, Digest.of(b"else"), Sent(CONTENT))

    assert left_behind(uploads) == []
    assert list(uploads.store.blobs()) == []


# --- Asked again ----------------------------------------------------------------------------------


def test_an_end_that_is_asked_for_again_succeeds_again(
    uploads: UploadService, store: DiskStore, session: str
) -> None:
    """A client that did not hear the answer may repeat its last request, body and all."""
    uploads.append(APP, session, 0, Sent(b"con"))
    for _ in range(3):
        uploads.finish(APP, session, 3, DIGEST, Sent(b"tent"))

    assert read_blob(store, DIGEST) == CONTENT


def test_an_end_with_another_digest_is_not_the_same(uploads: UploadService, session: str) -> None:
    """A session that became one blob does not become another."""
    uploads.finish(APP, session, 0, DIGEST, Sent(CONTENT))
    with refused(UPLOAD_UNKNOWN):
        uploads.finish(APP, session, 0, Digest.of(b"else"), Sent(b"else"))

    assert uploads.store.open(Digest.of(b"else")) is None


def test_an_end_is_not_repeated_once_the_blob_is_gone(uploads: UploadService, session: str) -> None:
    """Nobody is told that a blob is there which has been deleted."""
    uploads.finish(APP, session, 0, DIGEST, Sent(CONTENT))
    uploads.index.blobs.unlink(APP, DIGEST)
    with refused(UPLOAD_UNKNOWN):
        uploads.finish(APP, session, 0, DIGEST, Sent(CONTENT))


def test_a_chunk_after_the_end_is_refused(uploads: UploadService, session: str) -> None:
    """A session that has ended takes nothing more."""
    uploads.finish(APP, session, 0, DIGEST, Sent(CONTENT))
    with refused(UPLOAD_UNKNOWN):
        uploads.append(APP, session, 7, Sent(b"more"))


# --- Whose session it is --------------------------------------------------------------------------

DOING: dict[str, Callable[[UploadService, str], object]] = {
    "status": lambda uploads, session: uploads.status(OTHER, session),
    "append": lambda uploads, session: uploads.append(OTHER, session, 0, Sent(CONTENT)),
    "finish": lambda uploads, session: uploads.finish(OTHER, session, 0, DIGEST, Sent(CONTENT)),
    "cancel": lambda uploads, session: uploads.cancel(OTHER, session),
}


@pytest.mark.parametrize("doing", DOING.values(), ids=DOING)
def test_a_session_is_of_one_repository(
    uploads: UploadService, session: str, doing: Callable[[UploadService, str], object]
) -> None:
    """Asked for in another, it is unknown, and nothing happens to it."""
    with refused(UPLOAD_UNKNOWN):
        doing(uploads, session)

    assert uploads.status(APP, session).offset == 0


@pytest.mark.parametrize("doing", DOING.values(), ids=DOING)
def test_an_unknown_session_is_refused(
    uploads: UploadService, doing: Callable[[UploadService, str], object]
) -> None:
    """An identifier that nobody was given finds nothing and makes nothing."""
    with refused(UPLOAD_UNKNOWN):
        doing(uploads, "00000000-0000-0000-0000-000000000000")

    assert left_behind(uploads) == []


@pytest.mark.parametrize("name", ["append", "finish", "cancel"])
def test_a_session_that_somebody_writes_to_is_busy(
    uploads: UploadService, session: str, name: str
) -> None:
    """A second request is refused while one is under way, and does it no harm."""
    with uploads.store.stage(session) as staged:
        with refused(UPLOAD_BUSY):
            DOING[name](uploads, session)
        staged.write(CONTENT)
    uploads.finish(APP, session, 7, DIGEST, NOTHING)

    assert uploads.index.blobs.find(APP, DIGEST)


def test_a_cancelled_session_is_gone(uploads: UploadService, session: str) -> None:
    """Its bytes are given back, and it is unknown from then on."""
    uploads.append(APP, session, 0, Sent(CONTENT))
    uploads.cancel(APP, session)
    with refused(UPLOAD_UNKNOWN):
        uploads.cancel(APP, session)

    assert is_gone(uploads, session)


# --- Order of effects -----------------------------------------------------------------------------


def test_bytes_are_in_place_before_the_index_tells_of_them(
    uploads: UploadService,
    index: Index,
    store: DiskStore,
    session: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A commit that fails leaves a file that nobody is told of, never a blob without its file."""
    seen: list[bytes | None] = []

    def fails(*_: object) -> None:
        seen.append(read_blob(store, DIGEST))
        raise StorageFault("the index cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr(index.blobs, "commit", fails)
        with pytest.raises(StorageFault):
            uploads.finish(APP, session, 0, DIGEST, Sent(CONTENT))

    assert seen == [CONTENT]
    assert index.blobs.find(APP, DIGEST) is None
    uploads.push(APP, DIGEST, Sent(CONTENT))
    assert index.blobs.find(APP, DIGEST)


def test_a_push_repairs_a_blob(uploads: UploadService, store: DiskStore) -> None:
    """Bytes that rotted on the disk are replaced by a push of the right ones."""
    uploads.push(APP, DIGEST, Sent(CONTENT))
    path = store.path(DIGEST)
    path.chmod(0o644)
    path.write_bytes(b"rotten!")
    uploads.push(OTHER, DIGEST, Sent(CONTENT))

    assert read_blob(store, DIGEST) == CONTENT


# --- Mounts ---------------------------------------------------------------------------------------


def test_a_mounted_blob_is_served(uploads: UploadService) -> None:
    """What another repository serves need not be uploaded."""
    put_blob(uploads.index, OTHER)

    assert uploads.mount(APP, DIGEST, OTHER)
    assert uploads.index.blobs.find(APP, DIGEST)


def test_what_is_nowhere_cannot_be_mounted(uploads: UploadService) -> None:
    """The client has to upload it."""
    put_blob(uploads.index, OTHER, b"else")

    assert not uploads.mount(APP, DIGEST, OTHER)
    assert not uploads.mount(APP, DIGEST, None, EVERYTHING)
    assert uploads.index.blobs.find(APP, DIGEST) is None
