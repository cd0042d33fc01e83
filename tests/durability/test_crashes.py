"""A crash after any operation, with whatever was not synced lost, breaks no promise."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.acts import (
    ACTS,
    collection,
    first_start,
    push_again,
    push_in_one_request,
    push_of_manifests,
    push_of_what_is_doomed,
    rotation,
    upload_in_one_patch,
    upload_in_one_put,
    upload_in_pieces,
)
from support.counts import Counts
from support.crashing import Killed, Recorder, RecordingDatabase, RecordingOps
from support.plays import (
    HONEST,
    Making,
    Performance,
    Play,
    crash_everywhere,
    perform,
)
from support.storage import FakeClock

from registry_wsgi.names import Digest, Name
from registry_wsgi.services.gc import CollectorService, Removal
from registry_wsgi.services.uploads import UploadService
from registry_wsgi.storage.collecting import Doomed
from registry_wsgi.storage.store import StagedUpload

MOST_STATES = 40
"""How many states are looked at after one operation."""
KILLED_AT = (*range(16), *range(16, 44, 4))
"""At which operations a first start is killed: all that make directories, and some later ones."""


pytestmark = pytest.mark.usefixtures("small")


def title(act: Callable[[Play], None]) -> str:
    """How an act is called in a report."""
    return act.__name__.replace("_", " ")


def note(counts: Counts, name: str, performance: Performance) -> None:
    """Have it said how much was tried."""
    counts(
        f"crashes, {name}",
        operations=performance.operations,
        states=performance.states,
        **{"promises broken": len(performance.broken)},
    )


@pytest.mark.parametrize("act", ACTS, ids=title)
def test_a_crash_at_any_operation_breaks_no_promise(
    act: Callable[[Play], None], folder: Path, counts: Counts
) -> None:
    """After a crash anywhere all that was acknowledged is there, and nothing is half there."""
    performance = perform(act, folder, most_states=MOST_STATES)
    note(counts, title(act), performance)

    assert performance.broken == []
    assert performance.states > 3


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("act", ACTS, ids=title)
def test_no_crash_at_all_breaks_a_promise(
    act: Callable[[Play], None], seed: int, folder: Path, counts: Counts
) -> None:
    """The same with every state that the model has, and other pages torn."""
    performance = perform(act, folder, most_states=10_000, seed=seed)
    note(counts, f"{title(act)}, seed {seed}", performance)

    assert performance.broken == []


# --- It would show --------------------------------------------------------------------------------


class FilesUnsynced(RecordingOps):
    """Syncs no file."""

    def sync(self, descriptor: int) -> None:
        """Leave it to chance."""


class NamesUnsynced(RecordingOps):
    """Syncs no directory."""

    def sync_directory(self, path: Path, *, always: bool = False) -> None:
        """Leave it to chance."""


class NamesOfUnsynced(RecordingOps):
    """Syncs all directories but those under ``unsynced``."""

    unsynced = ""

    def sync_directory(self, path: Path, *, always: bool = False) -> None:
        """Leave one kind to chance."""
        if self.unsynced not in path.parts:
            super().sync_directory(path, always=always)


class UploadsUnsynced(NamesOfUnsynced):
    """Syncs all directories but that of the staged files."""

    unsynced = "uploads"


class BlobsUnsynced(NamesOfUnsynced):
    """Syncs all directories but those of the blobs."""

    unsynced = "blobs"


class SyncedAfterwards(RecordingOps):
    """Renames a staged file first, and syncs it then."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self.put_off: list[int] = []

    def sync(self, descriptor: int) -> None:
        """Put it off."""
        self.put_off.append(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Make up for it."""
        super().replace(source, target)
        if source.parent.name == "uploads":
            super().sync(self.put_off[-1])


class CommitsUnsynced(RecordingDatabase):
    """Leaves every commit to chance."""

    def is_synced(self, durable: bool, *, always: bool) -> bool:
        """Say that a power cut may undo it."""
        return durable and always


class DoomsUnsynced(RecordingDatabase):
    """Leaves the commits to chance that are to be synced in every mode."""

    def is_synced(self, durable: bool, *, always: bool) -> bool:
        """Say that a power cut may undo it."""
        return durable and not always


MUTANTS: dict[str, tuple[Making, Callable[[Play], None]]] = {
    "no file is synced": (Making(FilesUnsynced), upload_in_one_patch),
    "no file of an upload in one PUT is synced": (Making(FilesUnsynced), upload_in_one_put),
    "no file of a whole push is synced": (Making(FilesUnsynced), push_in_one_request),
    "no directory is synced": (Making(NamesUnsynced), push_in_one_request),
    "no directory of sessions is synced": (Making(UploadsUnsynced), upload_in_pieces),
    "no directory of blobs is synced": (Making(BlobsUnsynced), push_in_one_request),
    "no name is synced at the first start": (Making(NamesUnsynced), first_start),
    "a file is synced after its rename": (Making(SyncedAfterwards), push_again),
    "no commit is synced": (Making(database=CommitsUnsynced), push_of_manifests),
    "no commit of a blob is synced": (Making(database=CommitsUnsynced), push_in_one_request),
    "no doom is synced": (Making(database=DoomsUnsynced), collection),
    "no name of a new secret is synced": (Making(NamesUnsynced), rotation),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_sync_that_is_missing_shows(mutant: str, folder: Path, counts: Counts) -> None:
    """Where a sync is left out on purpose, some crash breaks a promise."""
    making, act = MUTANTS[mutant]
    performance = perform(act, folder, making=making, most_states=MOST_STATES)
    note(counts, f"if {mutant}", performance)

    assert performance.broken


def rows_before_bytes(
    self: UploadService, repository: Name, staged: StagedUpload, digest: Digest, uuid: str | None
) -> None:
    """The commit of a blob in the wrong order."""
    with self.store.lock(digest):
        self.index.blobs.commit(repository, digest, staged.size, uuid)
        staged.publish(digest)


def bytes_before_rows(
    self: CollectorService, doomed: Doomed, kind: str, why: str
) -> Iterator[Removal]:
    """The removal of a blob whose doom is not committed yet, in the wrong order."""
    with self.store.lock(doomed.digest):
        self.store.remove(doomed.digest)
        self.collection.forget(doomed)
    yield Removal(kind, doomed.digest, why)


def test_a_row_before_its_bytes_shows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the order of a commit is turned round, some crash breaks a promise."""
    monkeypatch.setattr(UploadService, "_commit", rows_before_bytes)
    performance = perform(push_in_one_request, folder, most_states=MOST_STATES)

    assert any("has no file" in fault for fault in performance.broken)


def test_a_removal_without_a_second_look_shows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where gc does not look under the lock whether the blob came back, some crash shows it."""
    monkeypatch.setattr(CollectorService, "_destroy", bytes_before_rows)
    performance = perform(push_of_what_is_doomed, folder, most_states=MOST_STATES)

    assert any("has no file" in fault for fault in performance.broken)


# --- Two crashes ----------------------------------------------------------------------------------


def killed_at(limit: int, recorder: Recorder, act: Callable[[Play], None]) -> None:
    """Have a process begin an act, and kill it before it does the operation of this number."""
    recorder.limit = limit
    ops, clock = RecordingOps(recorder), FakeClock()
    with contextlib.suppress(Killed), HONEST.open(recorder, ops, clock) as registry:
        act(Play(registry, recorder, ops, clock))
    recorder.limit = None


def test_a_power_cut_after_a_start_that_was_killed_breaks_no_promise(
    folder: Path, counts: Counts
) -> None:
    """What a killed process made without syncing it, the next one does not take for granted."""
    states, broken = 0, []
    for limit in KILLED_AT:
        place = folder / str(limit)
        place.mkdir()
        recorder = Recorder(place / "stage")
        killed_at(limit, recorder, first_start)
        ops, clock = RecordingOps(recorder), FakeClock()
        with HONEST.open(recorder, ops, clock) as registry:
            first_start(Play(registry, recorder, ops, clock))
        end = len(recorder.events) - 1
        performance = crash_everywhere(recorder, end, place, most_states=MOST_STATES)
        states += performance.states
        broken += performance.broken
    counts("crashes after a killed start", states=states, **{"promises broken": len(broken)})

    assert broken == []
