"""Any one file operation may fail in any way: nothing acknowledged is lost, nothing leaks."""

import contextlib
import errno
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.acts import (
    collection,
    push_again,
    push_in_one_request,
    push_of_manifests,
    push_of_what_is_doomed,
    upload_in_one_patch,
    upload_in_one_put,
    upload_in_pieces,
    upload_that_breaks,
    upload_that_is_cancelled,
    upload_with_the_wrong_digest,
)
from support.counts import Counts
from support.crashing import Recorder
from support.faulty import FaultyOps
from support.opened import Opened, opened
from support.plays import LAYER, Play, Promises, SessionPromise
from support.storage import APP, FakeClock, refused

from registry_wsgi.errors import UPLOAD_UNKNOWN, RegistryError, StorageFault
from registry_wsgi.storage.sqlite.database import Database

ACTS = (
    upload_in_one_patch,
    upload_in_one_put,
    upload_in_pieces,
    upload_that_breaks,
    upload_that_is_cancelled,
    upload_with_the_wrong_digest,
    push_in_one_request,
    push_again,
    collection,
    push_of_what_is_doomed,
)
ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS)
OTHER_ERRORS = (errno.EDQUOT, errno.EMFILE, errno.ENOMEM, errno.EACCES, errno.EPERM)


def title(act: Callable[[Play], None]) -> str:
    """How an act is called in a report."""
    return act.__name__.replace("_", " ")


def open_files(data: Path) -> list[str]:
    """Files of blobs and uploads that this process has open."""
    found: list[str] = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own is gone again
            found.append(str(entry.readlink()))
    return [name for name in found if name.startswith((f"{data}/uploads", f"{data}/blobs"))]


def relaxed(made: Database) -> Database:
    """An index whose commits are not synced: only files fail here."""
    return Database(made.path, made.lock, durable=False)


def play_with_a_fault(
    act: Callable[[Play], None], data: Path, fails_at: int, number: int
) -> Promises | None:
    """Let an act run of which one operation fails, and look whether the registry goes on.

    Returns what had been promised by then, ``None`` if there are fewer operations.
    """
    ops, clock = FaultyOps(), FakeClock()
    with opened(data, ops, clock, relaxed) as registry:
        play = Play(registry, Recorder(data), ops, clock)
        play.begin = lambda: ops.arm(fails_at, number)  # type: ignore[method-assign] # arms at the act's own begin
        try:
            act(play)
        except (StorageFault, RegistryError):
            assert ops.failed
        failed = ops.failed
        ops.arm(-1, 0)
        if failed is None:
            return None
        latched = number == errno.EIO and failed == "sync"
        assert registry.storage.latch.is_set() == latched, failed
        assert open_files(data) == [], f"{failed}: a descriptor leaked"
        if not latched:
            assert failed == "unlink" or staged_without_session(registry) == []
            registry.push(APP, LAYER)
        return play.promises


def staged_without_session(registry: Opened) -> list[str]:
    """Bytes that were not given back."""
    has_upload = registry.storage.index.collection.has_upload
    left = [uuid for uuid in registry.storage.store.uploads() if not has_upload(uuid)]
    return [uuid for uuid in left if uuid != "stray"]


def broken(found: Opened, promises: Promises) -> list[str]:
    """What is wrong afterwards; a session may have ended."""
    faults = [f"fsck: {finding.what}: {finding.message}" for finding in found.problems()]
    for promise, allowed in promises.items():
        may_be = (*allowed, None) if isinstance(promise, SessionPromise) else allowed
        if (fault := promise.broken(found, may_be)) is not None:
            faults.append(fault)
    return faults


def fail_everywhere(act: Callable[[Play], None], folder: Path, number: int) -> Iterator[list[str]]:
    """Let one operation fail after the other, each in a registry of its own; what is wrong then."""
    folder.mkdir()
    for fails_at in itertools.count():
        data = folder / str(fails_at)
        promises = play_with_a_fault(act, data, fails_at, number)
        if promises is None:
            return
        with opened(data) as found:
            yield [f"{fails_at}: {fault}" for fault in broken(found, promises)]


def fail_with(
    errors: tuple[int, ...], act: Callable[[Play], None], folder: Path, counts: Counts
) -> list[str]:
    """Let each operation fail with each error; what is lost or wrong then."""
    outcomes = [
        outcome
        for number in errors
        for outcome in fail_everywhere(act, folder / errno.errorcode[number], number)
    ]
    lost = [fault for outcome in outcomes for fault in outcome]
    counts(f"file faults, {title(act)}", injected=len(outcomes), lost=len(lost))
    assert len(outcomes) >= 2 * len(errors)
    return lost


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("act", ACTS, ids=title)
def test_one_failed_operation_breaks_no_promise(
    act: Callable[[Play], None], folder: Path, counts: Counts
) -> None:
    """Whichever operation fails, and how: an error that the API has, and all that was acknowledged."""
    assert fail_with(ERRORS, act, folder, counts) == []


@pytest.mark.torture
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("act", [*ACTS, push_of_manifests], ids=title)
def test_no_other_error_breaks_a_promise_either(
    act: Callable[[Play], None], folder: Path, counts: Counts
) -> None:
    """The same with errors that come seldom, and with whole images."""
    assert fail_with(OTHER_ERRORS, act, folder, counts) == []


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_session_whose_bytes_failed_cannot_go_on(folder: Path, operation: str) -> None:
    """What a failed write or sync left is gone: a later sync might call lost pages synced."""
    ops = FaultyOps()
    with opened(folder / "data", ops) as registry:
        uuid = registry.uploads.start(APP).upload.uuid
        registry.send(APP, uuid, 0, LAYER[:100])
        ops.arm(["open", "write", "sync"].index(operation), errno.EIO)
        with pytest.raises(StorageFault):
            registry.send(APP, uuid, 100, LAYER[100:])

        assert ops.failed == operation
        with refused(UPLOAD_UNKNOWN):
            registry.uploads.status(APP, uuid)
        assert list(registry.storage.store.uploads()) == []
