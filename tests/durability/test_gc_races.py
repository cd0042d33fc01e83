"""gc pauses at each of its steps while others push, look, mount, delete and check."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.opened import DAY, Opened, opened
from support.plays import LAYER
from support.storage import APP, OTHER, FakeClock, image, index_of

from registry_wsgi.errors import (
    BLOB_UNKNOWN,
    MANIFEST_BLOB_UNKNOWN,
    MANIFEST_UNKNOWN,
    RegistryError,
)
from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.storage.base import Actor
from registry_wsgi.storage.fsops import PRIVATE, FileOps

pytestmark = pytest.mark.usefixtures("small")

STEPS = ("uploads", "manifests", "links", "doomed", "locked", "removed", "destroyed")
LOCKED = {"locked", "removed"}
"""Steps at which gc holds the lock of the digest."""

SECONDS = 30
BRIEFLY = 0.1
"""Seconds: time enough to go on for who need not wait for the lock."""

GRACE = 60_000
DIGEST = Digest.of(LAYER)
CONFIG = b"{}"
IMAGE = image(LAYER)
LATEST = Tag("latest")


@dataclass
class Race:
    """A registry in which ``LAYER`` is due to be collected, and others that use it meanwhile."""

    collector: Opened
    other: Opened
    clock: FakeClock

    def run(self, step: str, act: Callable[[Opened], None], grace: int) -> None:
        """Collect, and let the others act when gc is at a step for the first time.

        Where gc holds the digest's lock they may have to wait for it, elsewhere they may not.
        """
        errors: list[BaseException] = []
        threads: list[threading.Thread] = []

        def acting() -> None:
            try:
                act(self.other)
            except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
                errors.append(error)

        def pause(at: str) -> None:
            if at == step and not threads:
                threads.append(threading.Thread(target=acting))
                threads[0].start()
                threads[0].join(BRIEFLY if step in LOCKED else SECONDS)
                waiting = threads[0].is_alive()
                assert not waiting or step in LOCKED, f"{step}: they have to wait for gc"

        list(self.collector.collector(grace=grace, untagged=True, pause=pause).run())
        assert threads, f"gc never came to {step}"
        threads[0].join(SECONDS)
        for error in errors:
            raise error


@pytest.fixture
def race(folder: Path) -> Iterator[Race]:
    """Two processes' worth of objects on one data directory."""
    clock = FakeClock()
    with opened(folder / "data", clock=clock) as one, opened(folder / "data", clock=clock) as two:
        one.push(APP, LAYER)
        one.push(APP, CONFIG)
        clock.milliseconds += DAY
        yield Race(one, two, clock)


def is_sound(race: Race) -> None:
    """The test fails unless fsck is content, now and after one more gc."""
    assert race.other.problems() == []
    race.clock.milliseconds += 1
    race.collector.collect(grace=GRACE)
    assert race.other.problems() == []


def push_image(found: Opened) -> None:
    """Push all of the image, as a client does that was told nothing is there."""
    for content in (LAYER, CONFIG):
        found.push(APP, content)
    found.put(APP, LATEST, IMAGE)


# --- What the others do ---------------------------------------------------------------------------


def push_whole(found: Opened) -> None:
    """A monolithic push of what gc is after; what was answered must be there."""
    found.push(APP, LAYER)


def push_in_a_session(found: Opened) -> None:
    """POST, PATCH and PUT of the same."""
    uuid = found.uploads.start(APP).upload.uuid
    found.send(APP, uuid, 0, LAYER)
    found.finish(APP, uuid, len(LAYER), LAYER)


def push_elsewhere(found: Opened) -> None:
    """A push of the same to another repository."""
    found.push(OTHER, LAYER)


REPOSITORIES: dict[Callable[[Opened], None], Name] = {
    push_whole: APP,
    push_in_a_session: APP,
    push_elsewhere: OTHER,
}


def title(act: Callable[[Opened], None]) -> str:
    """How an act is called in a report."""
    return act.__name__.replace("_", " ")


@pytest.mark.parametrize("grace", [0, GRACE], ids=["grace 0", "with grace"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("act", REPOSITORIES, ids=title)
def test_what_is_pushed_while_gc_removes_it_is_there(
    race: Race, act: Callable[[Opened], None], step: str, grace: int
) -> None:
    """A blob that was answered 201 can be pulled when gc has finished, and after the next gc."""
    race.run(step, act, grace)
    repository = REPOSITORIES[act]
    found = race.other.read(repository, DIGEST)

    # Without grace, a blob that was there again before gc looked at it is collected.
    assert found == LAYER or (grace == 0 and step in {"uploads", "manifests"})
    if found:
        is_sound(race)
        assert race.other.read(repository, DIGEST) == LAYER
    push_image(race.other)
    assert race.other.read(APP, DIGEST) == LAYER


def head_then_push_the_manifest(found: Opened) -> None:
    """Leave out what HEAD says is there, push the rest, and the manifest."""
    for content in (LAYER, CONFIG):
        try:
            found.blobs.stat(APP, Digest.of(content))
        except RegistryError as error:
            if error.row is not BLOB_UNKNOWN:
                raise
            found.push(APP, content)
    found.put(APP, LATEST, IMAGE)


def mount_then_push_the_manifest(found: Opened) -> None:
    """Mount from the other repository, push what cannot be mounted, and the manifest."""
    for content in (LAYER, CONFIG):
        if not found.uploads.mount(OTHER, Digest.of(content), APP):
            found.push(OTHER, content)
    found.put(OTHER, LATEST, IMAGE)


def push_the_manifest_alone(found: Opened) -> None:
    """Push a manifest of what was there once, and what the registry says is missing."""
    try:
        found.put(APP, LATEST, IMAGE)
    except RegistryError as error:
        if error.row is not MANIFEST_BLOB_UNKNOWN:
            raise
        push_image(found)


def push_all_of_it(found: Opened) -> None:
    """Blobs first, manifest last."""
    push_image(found)


IMAGES: dict[Callable[[Opened], None], Name] = {
    head_then_push_the_manifest: APP,
    mount_then_push_the_manifest: OTHER,
    push_the_manifest_alone: APP,
    push_all_of_it: APP,
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("act", IMAGES, ids=title)
def test_a_client_that_skips_what_is_there_gets_its_image(
    race: Race, act: Callable[[Opened], None], step: str
) -> None:
    """Whatever gc is doing: the manifest is accepted, and all of the image can be pulled."""
    race.run(step, act, GRACE)
    is_sound(race)

    assert race.other.manifest(IMAGES[act], LATEST) == IMAGE
    assert race.other.read(IMAGES[act], DIGEST) == LAYER


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("act", IMAGES, ids=title)
def test_without_grace_an_image_is_whole_or_refused(
    race: Race, act: Callable[[Opened], None], step: str
) -> None:
    """``--grace 0`` may make a client try again, but no image that was accepted lacks a blob."""
    try:
        race.run(step, act, 0)
    except RegistryError as error:
        if error.row is not MANIFEST_BLOB_UNKNOWN:
            raise
        act(race.other)
    is_sound(race)

    assert race.other.manifest(IMAGES[act], LATEST) == IMAGE
    assert race.other.read(IMAGES[act], DIGEST) == LAYER


Skipped = set[Digest]


def head(found: Opened, digest: Digest) -> bool:
    """Whether a client is told that the blob is there."""
    try:
        found.blobs.stat(APP, digest)
    except RegistryError as error:
        if error.row is not BLOB_UNKNOWN:
            raise
        return False
    return True


def mount(found: Opened, digest: Digest) -> bool:
    """Whether a client is told that the blob was mounted."""
    return found.uploads.mount(OTHER, digest, APP)


LEASES: dict[str, tuple[Callable[[Opened, Digest], bool], Name]] = {
    "HEAD": (head, APP),
    "mount": (mount, OTHER),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", LEASES)
def test_what_a_client_may_skip_is_still_there_when_its_manifest_comes(
    race: Race, how: str, step: str
) -> None:
    """A blob that a client was told is there, at any step of gc, is there after gc."""
    ask, repository = LEASES[how]
    contents = {Digest.of(content): content for content in (LAYER, CONFIG)}
    skipped: Skipped = set()
    race.run(
        step,
        lambda found: skipped.update(digest for digest in contents if ask(found, digest)),
        GRACE,
    )
    for digest in contents.keys() - skipped:
        race.other.push(repository, contents[digest])
    race.other.put(repository, LATEST, IMAGE)

    is_sound(race)
    assert race.other.read(repository, DIGEST) == LAYER
    assert skipped == set(contents) or step not in {"uploads", "manifests"}


@pytest.mark.parametrize("step", ["uploads", "manifests", "links", "destroyed"])
def test_a_child_that_a_client_may_skip_is_still_there_when_its_index_comes(
    race: Race, step: str
) -> None:
    """An untagged manifest that HEAD says is there can be named by an index after gc."""
    push_image(race.other)
    race.other.manifests.delete(APP, LATEST, Actor("test"))
    race.clock.milliseconds += DAY
    told: list[bool] = []
    race.run(step, lambda found: told.append(is_told(found)), GRACE)
    if not told[0]:
        push_image(race.other)
    listing = index_of(IMAGE)
    race.other.put(APP, LATEST, listing)

    is_sound(race)
    assert race.other.manifest(APP, LATEST) == listing
    assert race.other.manifest(APP, Digest.of(IMAGE)) == IMAGE
    assert told[0] == (step == "uploads")


def is_told(found: Opened) -> bool:
    """Whether HEAD says that the manifest is there."""
    try:
        found.manifests.stat(APP, Digest.of(IMAGE))
    except RegistryError as error:
        if error.row is not MANIFEST_UNKNOWN:
            raise
        return False
    return True


def pull(found: Opened) -> None:
    """A pull of what gc is after: all of it, or 404."""
    assert found.read(APP, DIGEST) in {LAYER, None}


def collect_as_well(found: Opened) -> None:
    """A second gc, which the lock of the command would have kept away."""
    found.collect(grace=GRACE)


def check(found: Opened) -> None:
    """fsck, which finds no problem in what gc has half done."""
    assert found.problems() == []


def check_and_repair(found: Opened) -> None:
    """Fsck that sweeps as well."""
    assert [finding for finding in found.fsck(repair=True) if not finding.note] == []


def delete_repository(found: Opened) -> None:
    """An operator removes the repository."""
    found.storage.index.manifests.delete_repository(APP, Actor("operator"))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "act", [pull, collect_as_well, check, check_and_repair, delete_repository], ids=title
)
def test_others_go_on_while_gc_works(race: Race, act: Callable[[Opened], None], step: str) -> None:
    """Pulls, another gc, fsck and deletes neither disturb gc nor are disturbed."""
    race.run(step, act, GRACE)

    assert race.other.problems() == []
    assert race.other.read(APP, DIGEST) is None
    assert race.other.storage.store.stored(DIGEST) is None
    assert [finding for finding in race.other.fsck() if "stray" in finding.message] == []
    push_image(race.other)
    assert race.other.read(APP, DIGEST) == LAYER


class Killed(BaseException):
    """gc ends here."""


@pytest.mark.parametrize("step", STEPS)
def test_a_gc_that_was_killed_is_finished_by_the_next(race: Race, step: str) -> None:
    """Whatever a killed gc left: nothing is served that is not there, and the next one converges."""

    def pause(at: str) -> None:
        if at == step:
            raise Killed

    with pytest.raises(Killed):
        list(race.collector.collector(grace=GRACE, pause=pause).run())

    assert race.other.problems() == []
    assert race.other.read(APP, DIGEST) in {LAYER, None}
    race.other.collect(grace=GRACE)
    assert race.other.fsck() == []
    assert race.other.storage.store.is_empty()
    push_image(race.other)
    assert race.other.read(APP, DIGEST) == LAYER


def test_a_deleted_image_is_not_collected_by_the_gc_under_way(race: Race) -> None:
    """What loses its last reference while gc runs counts as seen: it is there until its grace is over."""
    push_image(race.other)
    race.clock.milliseconds += DAY
    race.run("manifests", lambda found: delete(found, Digest.of(IMAGE)), GRACE)

    assert race.other.read(APP, DIGEST) == LAYER
    race.clock.milliseconds += DAY
    race.collector.collect(grace=GRACE)
    assert race.other.read(APP, DIGEST) is None


class SweptOps(FileOps):
    """Has a gc of somebody else go by after a file was made, and before it is locked."""

    def __init__(self, sweep: Callable[[], object]) -> None:
        super().__init__(syncing=False)
        self.sweeps = [sweep]

    def create(self, path: Path, mode: int = PRIVATE) -> int:
        """Make a file, and the first time look away for a moment."""
        descriptor = super().create(path, mode)
        if path.parent.name == "uploads" and self.sweeps:
            self.sweeps.pop()()
        return descriptor


def test_a_session_that_is_being_made_is_not_lost_to_a_sweep(race: Race, folder: Path) -> None:
    """A POST succeeds although gc took its file for a stray one before it was locked."""
    ops = SweptOps(lambda: race.collector.collect(grace=GRACE))
    with opened(folder / "data", ops, race.clock) as registry:
        uuid = registry.uploads.start(APP).upload.uuid
        registry.send(APP, uuid, 0, LAYER)
        registry.finish(APP, uuid, len(LAYER), LAYER)

    assert ops.sweeps == []
    assert race.other.read(APP, DIGEST) == LAYER


def test_a_session_has_a_row_before_it_has_a_file(race: Race, folder: Path) -> None:
    """So gc never takes it for a stray one, and is never its writer when its client comes back."""
    seen: list[bool] = []
    collection = race.collector.storage.index.collection
    store = race.collector.storage.store
    ops = SweptOps(lambda: seen.extend(collection.has_upload(uuid) for uuid in store.uploads()))
    with opened(folder / "data", ops, race.clock) as registry:
        registry.uploads.start(APP)

    assert seen == [True]


def delete(found: Opened, digest: Digest) -> None:
    """Delete a manifest."""
    found.manifests.delete(APP, digest, Actor("test"))
