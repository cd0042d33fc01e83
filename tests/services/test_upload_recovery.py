"""Upload sessions after a reboot, on a full disk and on a broken one."""

import errno
import os
from pathlib import Path

import pytest
from support.storage import APP, CONTENT, FakeClock, open_disk, refused
from support.uploads import (
    DIGEST,
    NOTHING,
    Sent,
    Unread,
    closing_or_not,
    is_gone,
    left_behind,
    send,
)

from registry_wsgi.errors import DIGEST_INVALID, STORAGE_FULL, ErrorRow, StorageFault
from registry_wsgi.services.uploads import OutOfOrder, UploadService
from registry_wsgi.storage.base import Index
from registry_wsgi.storage.fsops import FileOps

# --- Another boot ---------------------------------------------------------------------------------


def stage_unsynced(uploads: UploadService, session: str, content: bytes) -> None:
    """Have a request write and be killed before it could tell the index."""
    with uploads.store.stage(session) as staged:
        staged.write(content)


def test_in_the_same_boot_every_staged_byte_counts(uploads: UploadService, session: str) -> None:
    """What a killed request had written is still there, and the session goes on after it."""
    uploads.append(APP, session, 0, Sent(b"con"))
    stage_unsynced(uploads, session, b"te")
    offset = uploads.status(APP, session).offset
    uploads.finish(APP, session, 5, DIGEST, Sent(b"nt"))

    assert offset == 5
    assert uploads.index.blobs.find(APP, DIGEST)


def test_in_another_boot_only_synced_bytes_count(
    uploads: UploadService, clock: FakeClock, session: str
) -> None:
    """What was not synced may be anything: it is cut off, and the client sends it again."""
    uploads.append(APP, session, 0, Sent(b"con"))
    stage_unsynced(uploads, session, b"\0\0\0\0\0\0")
    clock.boot = "second boot"
    offset = uploads.status(APP, session).offset
    with pytest.raises(OutOfOrder):
        uploads.append(APP, session, 9, Sent(b"more"))
    moved = uploads.append(APP, session, 3, Sent(b"te"))
    uploads.finish(APP, session, 5, DIGEST, Sent(b"nt"))

    assert offset == 3
    assert moved.offset == 5
    assert moved.upload.boot_id == "second boot"
    assert uploads.index.blobs.find(APP, DIGEST)


@pytest.mark.parametrize(
    ("boot", "outcome"),
    [("first boot", None), ("second boot", DIGEST_INVALID)],
    ids=["the same boot", "another boot"],
)
def test_in_another_boot_the_bytes_are_read_again(
    uploads: UploadService,
    clock: FakeClock,
    folder: Path,
    session: str,
    boot: str,
    outcome: ErrorRow | None,
) -> None:
    """A digest that was computed before a reboot says nothing about what is on the disk now."""
    uploads.append(APP, session, 0, Sent(CONTENT))
    (folder / "uploads" / session).write_bytes(b"CONTENT")
    clock.boot = boot
    if outcome:
        with refused(outcome):
            uploads.finish(APP, session, 7, DIGEST, NOTHING)
    else:
        uploads.finish(APP, session, 7, DIGEST, NOTHING)

    assert bool(uploads.index.blobs.find(APP, DIGEST)) == (outcome is None)


def test_a_session_that_never_stored_anything_goes_on_in_another_boot(
    uploads: UploadService, clock: FakeClock, session: str
) -> None:
    """It starts over."""
    stage_unsynced(uploads, session, b"garbage")
    clock.boot = "second boot"
    offset = uploads.status(APP, session).offset
    uploads.append(APP, session, 0, Sent(CONTENT))
    uploads.finish(APP, session, 7, DIGEST, NOTHING)

    assert offset == 0
    assert uploads.index.blobs.find(APP, DIGEST)


def test_staged_bytes_that_went_missing_are_a_fault(
    uploads: UploadService, folder: Path, session: str
) -> None:
    """A file that is shorter than what was synced is a broken disk, not a client's mistake."""
    uploads.append(APP, session, 0, Sent(CONTENT))
    os.truncate(folder / "uploads" / session, 3)
    with pytest.raises(StorageFault, match="missing"):
        uploads.append(APP, session, 7, Sent(b"more"))


# --- A full disk ----------------------------------------------------------------------------------


class SmallDisk(FileOps):
    """A disk that takes some bytes and then no more."""

    def __init__(self, room: int, number: int) -> None:
        super().__init__(syncing=False)
        self.room = room
        self.number = number

    def write(self, descriptor: int, block: memoryview | bytes, offset: int) -> None:
        """Write what fits."""
        fitting = block[: self.room]
        super().write(descriptor, fitting, offset)
        self.room -= len(fitting)
        if len(fitting) < len(block):
            raise OSError(self.number, os.strerror(self.number))


def on_small_disk(
    folder: Path, index: Index, clock: FakeClock, room: int, number: int = errno.ENOSPC
) -> UploadService:
    """Uploads to a disk with room for so many bytes."""
    return UploadService(index, open_disk(folder, SmallDisk(room, number)), clock)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
@pytest.mark.parametrize("room", [0, 3, 5, 6])
@closing_or_not
def test_a_disk_that_gets_full_gets_the_bytes_back(
    folder: Path, index: Index, clock: FakeClock, room: int, number: int, closing: bool
) -> None:
    """One request fails: its session is gone with its bytes, others go on."""
    uploads = on_small_disk(folder, index, clock, room, number)
    session, other = (uploads.start(APP).upload.uuid for _ in range(2))
    with refused(STORAGE_FULL):
        send(uploads, session, 0, Sent(CONTENT, block=3), closing=closing)

    assert is_gone(uploads, session)
    assert left_behind(uploads) == [other]
    assert uploads.status(APP, other).offset == 0


def test_a_disk_that_gets_full_in_one_request_gets_the_bytes_back(
    folder: Path, index: Index, clock: FakeClock
) -> None:
    """Nothing of the push stays."""
    uploads = on_small_disk(folder, index, clock, room=5)
    with refused(STORAGE_FULL):
        uploads.push(APP, DIGEST, Sent(CONTENT))

    assert left_behind(uploads) == []
    assert list(uploads.store.blobs()) == []


def test_uploads_go_on_when_there_is_room_again(
    folder: Path, index: Index, clock: FakeClock
) -> None:
    """A full disk breaks nothing that a later push would need."""
    with refused(STORAGE_FULL):
        on_small_disk(folder, index, clock, room=5).push(APP, DIGEST, Sent(CONTENT))
    on_small_disk(folder, index, clock, room=100).push(APP, DIGEST, Sent(CONTENT))

    assert index.blobs.find(APP, DIGEST)


def test_a_broken_disk_is_not_a_full_one(folder: Path, index: Index, clock: FakeClock) -> None:
    """EIO is a fault, after which nobody trusts the session's bytes."""
    uploads = on_small_disk(folder, index, clock, room=5, number=errno.EIO)
    session = uploads.start(APP).upload.uuid
    with pytest.raises(StorageFault) as caught:
        uploads.append(APP, session, 0, Sent(CONTENT))

    assert not caught.value.full
    assert is_gone(uploads, session)


def test_every_session_can_be_ended(uploads: UploadService) -> None:
    """After a failed sync none is left, but for one that somebody is writing to."""
    sessions = [uploads.start(APP).upload.uuid for _ in range(3)]
    with uploads.store.stage(sessions[0]):
        uploads.end_all()
        left = left_behind(uploads)
    uploads.end_all()

    assert left == [sessions[0]]
    assert all(is_gone(uploads, session) for session in sessions)


def test_what_cannot_fit_is_refused_before_it_is_read(uploads: UploadService) -> None:
    """A body that is announced larger than the disk has room for is not waited for."""
    with refused(STORAGE_FULL):
        uploads.push(APP, DIGEST, Unread(1 << 60))

    assert left_behind(uploads) == []
