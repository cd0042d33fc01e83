"""What gc collects and what it never does, and that its dry run tells exactly that."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.counts import Counts
from support.images import noise
from support.opened import ACTOR, DAY, Opened, opened, removed
from support.storage import APP, OTHER, FakeClock, image, index_of

from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.services.blobs import LEASE_INTERVAL
from registry_wsgi.services.gc import CollectorService, Removal
from registry_wsgi.services.housekeeping import Housekeeper
from registry_wsgi.storage.locks import FileLock
from registry_wsgi.storage.sqlite import collect

GRACE = DAY
SEEDS = 16
"""How many registries a dry run is tried on: each setting has its share."""

CONFIG, LAYER = b"{}", b"a layer"
IMAGE = image(LAYER)
LATEST = Tag("latest")


@dataclass
class Registry:
    """A registry and its clock."""

    found: Opened
    clock: FakeClock

    def push_image(
        self, *tags: str, layer: bytes = LAYER, repository: Name = APP, **members: Any
    ) -> Digest:
        """Push a whole image; its digest."""
        for content in (layer, CONFIG):
            self.found.push(repository, content)
        body = image(layer, **members)
        return self.found.put(repository, Digest.of(body), body, *tags)

    def delete(self, reference: Digest | Tag) -> None:
        """Delete a tag or a manifest."""
        self.found.manifests.delete(APP, reference, ACTOR)

    def later(self, milliseconds: int = 2 * DAY) -> None:
        """Let time pass."""
        self.clock.milliseconds += milliseconds

    def collector(self, *, untagged: bool = True, keep_subjects: bool = True) -> CollectorService:
        """The collector."""
        return self.found.collector(grace=GRACE, untagged=untagged, keep_subjects=keep_subjects)

    def collect(self, **rules: bool) -> list[Removal]:
        """A run of gc; whatever it is, fsck is content with it."""
        removals = list(self.collector(**rules).run())
        assert self.found.problems() == []
        return removals

    def has(self, digest: Digest) -> bool:
        """Whether there is such a manifest, or such a blob."""
        is_blob = self.found.read(APP, digest) is not None
        return is_blob or self.found.manifest(APP, digest) is not None


@pytest.fixture
def registry(folder: Path) -> Iterator[Registry]:
    """An empty one."""
    clock = FakeClock()
    with opened(folder / "data", clock=clock) as found:
        yield Registry(found, clock)


# --- What is kept, and what is not ----------------------------------------------------------------


def test_a_tagged_image_is_kept(registry: Registry) -> None:
    """However old: nothing of an image with a tag is collected."""
    registry.push_image("latest")
    registry.later()

    assert registry.collect() == []


def test_an_untagged_image_is_collected_when_that_is_asked_for(registry: Registry) -> None:
    """Its manifest in one run, its blobs once their grace from then is over."""
    digest = registry.push_image()
    registry.later()

    assert registry.collect(untagged=False) == []
    assert removed(registry.collect(), "manifest") == [f"{APP}@{digest}"]
    assert registry.has(Digest.of(LAYER))
    registry.later()
    assert sorted(removed(registry.collect(), "blob")) == sorted(map(Digest.of, (LAYER, CONFIG)))
    assert registry.found.fsck() == []


def test_children_of_an_index_are_kept(registry: Registry) -> None:
    """Two untagged images in a tagged index stay, with their blobs."""
    children = [registry.push_image(layer=layer) for layer in (b"one", b"two")]
    listing = index_of(image(b"one"), image(b"two"))
    registry.found.put(APP, LATEST, listing)
    registry.later()

    assert registry.collect() == []
    assert all(map(registry.has, children))


def test_an_index_in_an_index_keeps_its_children(registry: Registry) -> None:
    """A chain of references ends at a tag, however long it is."""
    child = registry.push_image()
    inner = index_of(IMAGE)
    outer = index_of(inner)
    registry.found.put(APP, Digest.of(inner), inner)
    registry.found.put(APP, LATEST, outer)
    registry.later()

    assert registry.collect() == []
    assert registry.has(child)


def subject_of(body: bytes) -> dict[str, object]:
    """The descriptor of a subject."""
    media_type = "application/vnd.oci.image.manifest.v1+json"
    return {"mediaType": media_type, "digest": Digest.of(body), "size": len(body)}


def test_a_referrer_is_kept_by_its_subject(registry: Registry) -> None:
    """A signature without a tag stays with the image that it is of, and goes with it."""
    registry.push_image("latest")
    signature = registry.push_image(layer=b"signature", subject=subject_of(IMAGE))
    registry.later()

    assert registry.collect() == []
    registry.delete(Digest.of(IMAGE))
    assert registry.collect() == []
    assert registry.has(signature)
    registry.later()
    assert removed(registry.collect(), "manifest") == [f"{APP}@{signature}"]


@pytest.mark.parametrize("keep_subjects", [True, False])
def test_a_subject_is_kept_by_its_referrers_or_not_as_it_is_set(
    registry: Registry, keep_subjects: bool
) -> None:
    """An untagged image that something refers to as its subject."""
    subject = registry.push_image()
    registry.push_image("signature", layer=b"signature", subject=subject_of(IMAGE))
    registry.later()
    gone = removed(registry.collect(keep_subjects=keep_subjects), "manifest")

    assert gone == ([] if keep_subjects else [f"{APP}@{subject}"])


def test_a_blob_of_another_repository_is_no_reason_to_keep(registry: Registry) -> None:
    """A repository stops serving what none of its own manifests needs; the other one goes on."""
    registry.push_image("latest", repository=OTHER)
    registry.found.push(APP, LAYER)
    registry.later()
    removals = registry.collect()

    assert removed(removals, "link") == [f"{APP}@{Digest.of(LAYER)}"]
    assert removed(removals, "blob") == []
    assert registry.found.read(APP, Digest.of(LAYER)) is None
    assert registry.found.read(OTHER, Digest.of(LAYER)) == LAYER


def test_a_stray_file_is_swept(registry: Registry) -> None:
    """Files without a row go: a blob, and staged bytes, but not what is just being staged."""
    store = registry.found.storage.store
    digest = registry.found.push(APP, LAYER)
    registry.found.storage.index.inspection.drop_blob(digest)
    with store.create("stray") as staged:
        staged.write(LAYER)
    with store.create("being-made") as staged:
        staged.write(LAYER)
        removals = registry.collect()

    assert removed(removals, "stray") == [digest, "stray"]
    assert list(store.uploads()) == ["being-made"]


# --- Leases ---------------------------------------------------------------------------------------


def lease_by_upload(registry: Registry) -> None:
    """Push it again."""
    registry.found.push(APP, LAYER)


def lease_by_head(registry: Registry) -> None:
    """Ask for it."""
    registry.found.blobs.stat(APP, Digest.of(LAYER))


def lease_by_mount(registry: Registry) -> None:
    """Mount it where it is."""
    assert registry.found.uploads.mount(APP, Digest.of(LAYER), APP)


def lease_by_manifest(registry: Registry) -> None:
    """Have a manifest that needs it for a moment."""
    registry.found.push(APP, CONFIG)
    registry.delete(registry.found.put(APP, Digest.of(IMAGE), IMAGE))


LEASES = (lease_by_upload, lease_by_head, lease_by_mount, lease_by_manifest)


@pytest.mark.parametrize("lease", LEASES)
def test_a_lease_is_for_the_grace_period(
    registry: Registry, lease: Callable[[Registry], None]
) -> None:
    """A blob that a client was told of stays for the grace period from then, and no longer."""
    registry.found.push(APP, LAYER)
    registry.later()
    lease(registry)
    registry.later(GRACE + LEASE_INTERVAL)
    registry.collect()

    assert registry.has(Digest.of(LAYER))
    registry.later(1)
    registry.collect()
    assert not registry.has(Digest.of(LAYER))


def untag_by_delete(registry: Registry) -> None:
    """Delete the tag."""
    registry.delete(LATEST)


def untag_by_move(registry: Registry) -> None:
    """Put the tag on another image."""
    registry.push_image("latest", layer=b"another")


def untag_by_parent(registry: Registry) -> None:
    """Make it the child of an index, without the tag, and delete that index."""
    listing = index_of(IMAGE)
    digest = registry.found.put(APP, Digest.of(listing), listing, "latest")
    registry.later()
    registry.delete(digest)


def lease_manifest_by_head(registry: Registry) -> None:
    """Delete the tag, and ask for the manifest later."""
    registry.delete(LATEST)
    registry.later(GRACE)
    registry.found.manifests.stat(APP, Digest.of(IMAGE))


@pytest.mark.parametrize(
    "lose", [untag_by_delete, untag_by_move, untag_by_parent, lease_manifest_by_head]
)
def test_a_manifest_that_lost_its_last_reference_counts_as_seen(
    registry: Registry, lose: Callable[[Registry], None]
) -> None:
    """It stays for the grace period from then, and no longer."""
    digest = registry.push_image("latest")
    registry.later()
    lose(registry)
    registry.later(GRACE + LEASE_INTERVAL)
    registry.collect()

    assert registry.has(digest)
    registry.later(1)
    registry.collect()
    assert not registry.has(digest)


def test_a_lease_of_a_moment_ago_is_not_written_again(registry: Registry) -> None:
    """HEAD is cheap: within half a second, which gc adds to every grace, nothing is written."""
    registry.found.push(APP, LAYER)
    database = registry.found.storage.index.database
    before = database.wal_size()
    registry.later(LEASE_INTERVAL - 1)
    lease_by_head(registry)

    assert database.wal_size() == before
    registry.later(1)
    lease_by_head(registry)
    assert database.wal_size() > before


# --- The dry run ----------------------------------------------------------------------------------


def wreck(registry: Registry, seed: int) -> None:
    """Do at random what happens to a registry in its life."""
    chance = random.Random(seed)  # noqa: S311 - which way the registry is used, not a secret
    pushed: dict[Digest, bytes] = {}
    for number in range(40):
        registry.later(chance.randrange(DAY // 4))
        layer = noise(chance.choice((1, 4096, 9000)), str(chance.randrange(15)))
        act = chance.randrange(7)
        if act == 0:
            registry.found.push(chance.choice((APP, OTHER)), layer)
        elif act == 1:
            uuid = registry.found.uploads.start(APP).upload.uuid
            registry.found.send(APP, uuid, 0, layer)
        elif act == 2:
            with registry.found.storage.store.create(f"stray-{number}") as staged:
                staged.write(layer)
        elif act == 3 and pushed:
            digest = chance.choice(list(pushed))
            del pushed[digest]
            registry.delete(digest)
        elif act == 4 and pushed:
            listing = index_of(*chance.sample(list(pushed.values()), min(2, len(pushed))))
            pushed[registry.found.put(APP, Digest.of(listing), listing)] = listing
        else:
            members: dict[str, Any] = {}
            if pushed and act == 5:
                members["subject"] = subject_of(chance.choice(list(pushed.values())))
            tags = ("latest",) if chance.random() < 0.3 else ()
            digest = registry.push_image(*tags, layer=layer, **members)
            pushed[digest] = image(layer, **members)
    registry.later(chance.randrange(2 * DAY))


@pytest.mark.parametrize("grace", [0, GRACE], ids=["no grace", "a day"])
def test_a_dry_run_is_what_the_run_then_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch, counts: Counts, grace: int
) -> None:
    """In registries that were used in many ways: the same things, for the same reasons, of the same size."""
    monkeypatch.setattr(collect, "WINDOW", 3)  # so that every run is of many windows
    removals = 0
    for seed in range(SEEDS):
        clock = FakeClock()
        with opened(folder / str(seed), clock=clock) as found:
            wreck(Registry(found, clock), seed)
            collector = found.collector(
                grace=grace, untagged=seed % 2 == 0, keep_subjects=seed % 4 < 2
            )
            planned = list(collector.plan())
            before = bytes_of(found)
            done = list(collector.run())

            assert as_set(planned) == as_set(done)
            assert before - bytes_of(found) == sum(removal.freed for removal in planned)
            assert found.problems() == []
            assert list(collector.plan()) == []
            removals += len(done)
    counts(f"dry runs, grace {grace}", registries=SEEDS, removals=removals, different=0)

    assert removals > SEEDS


def as_set(removals: list[Removal]) -> list[tuple[str, str, str, int]]:
    """Removals without their order."""
    return sorted((one.kind, one.what, one.why, one.freed) for one in removals)


def bytes_of(found: Opened) -> int:
    """Bytes of disk that blobs and staged uploads take, as df counts them."""
    files = [*found.storage.data.glob("blobs/*/*/*"), *found.storage.data.glob("uploads/*")]
    return sum(file.stat().st_blocks * 512 for file in files)


# --- By itself ------------------------------------------------------------------------------------


def test_the_server_collects_when_it_is_due_in_one_process(registry: Registry) -> None:
    """With ``[gc] every``: not before, not twice, and not while another process does."""
    storage = registry.found.storage
    path = storage.data / "locks" / "gc"
    trying = FileLock(path).trying
    runs: list[str] = []

    @contextmanager
    def after_another() -> Iterator[bool]:
        one.tick()
        with trying() as held:
            yield held

    def housekeeper(collecting: Callable[[], AbstractContextManager[bool]]) -> Housekeeper:
        return Housekeeper(
            storage.index,
            registry.found.collector(grace=GRACE, pause=runs.append),
            registry.clock,
            collecting,
            lambda: True,
            DAY,
        )

    one, two = housekeeper(trying), housekeeper(trying)
    registry.later(DAY)
    with FileLock(path).held():
        one.tick()

    assert runs == []
    one.tick()
    two.tick()
    assert runs.count("destroyed") == 1
    registry.later(DAY - 1)
    one.tick()
    assert runs.count("destroyed") == 1
    registry.later(1)
    housekeeper(after_another).tick()
    assert runs.count("destroyed") == 2
