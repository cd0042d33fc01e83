"""The contract of ``ManifestIndex``: leases, and what goes with what is deleted."""

import pytest
from support.storage import (
    APP,
    CONTENT,
    OTHER,
    FakeClock,
    foreign_image,
    image,
    index_of,
    push_of,
    put_blob,
    put_image,
    put_two,
    refused,
    subject_of,
    tags_of,
    upload_of,
)

from registry_wsgi.errors import MANIFEST_UNKNOWN, NAME_UNKNOWN
from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.storage.base import EVERYTHING, Actor, Index

LATEST = Tag("latest")
NOBODY = Actor()


# --- Leases ---------------------------------------------------------------------------------------


def test_a_manifest_that_is_there_can_be_leased(index: Index) -> None:
    """Only where it is: a manifest of another repository is not there."""
    body = put_image(index)
    put_blob(index, OTHER)

    assert index.manifests.lease(APP, Digest.of(body))
    assert not index.manifests.lease(OTHER, Digest.of(body))
    assert not index.manifests.lease(APP, Digest.of(b"never pushed"))


def test_a_lease_notes_when_a_manifest_was_seen(index: Index, clock: FakeClock) -> None:
    """After a lease the manifest was seen at the clock's age, there and nowhere else."""
    body = put_image(index)
    put_blob(index, OTHER)
    clock.milliseconds += 5000
    index.manifests.lease(APP, Digest.of(body))

    assert index.manifests.seen_age(APP, Digest.of(body)) == clock.age()
    assert index.manifests.seen_age(OTHER, Digest.of(body)) is None
    assert index.manifests.seen_age(APP, Digest.of(b"never pushed")) is None


def test_a_deleted_manifest_cannot_be_leased(index: Index) -> None:
    """Whoever is refused a lease must not tell a client that the manifest is there."""
    body = put_image(index)
    index.manifests.delete(APP, Digest.of(body), NOBODY)

    assert not index.manifests.lease(APP, Digest.of(body))


def test_a_push_leases_what_it_needs(index: Index, clock: FakeClock) -> None:
    """The blobs of a manifest were seen when it was pushed."""
    put_blob(index)
    put_blob(index, content=b"{}")
    clock.milliseconds += 5000
    index.manifests.put(push_of(image(CONTENT)))

    for content in (CONTENT, b"{}"):
        found = index.blobs.find(APP, Digest.of(content))
        assert found
        assert found.seen_age == clock.age()


def test_a_push_leases_a_foreign_layer_that_is_here(index: Index, clock: FakeClock) -> None:
    """It need not be, and what is not needed is not looked for; but a client was told of it."""
    put_blob(index)
    put_blob(index, content=b"{}")
    clock.milliseconds += 5000
    index.manifests.put(push_of(foreign_image(CONTENT)))
    found = index.blobs.find(APP, Digest.of(CONTENT))

    assert found
    assert found.seen_age == clock.age()


def test_losing_a_manifest_leases_what_it_needed(index: Index, clock: FakeClock) -> None:
    """The blobs of a manifest that is deleted were seen at that moment."""
    body = put_image(index)
    clock.milliseconds += 5000
    index.manifests.delete(APP, Digest.of(body), NOBODY)
    found = index.blobs.find(APP, Digest.of(CONTENT))

    assert found
    assert found.seen_age == clock.age()


# --- Deleting -------------------------------------------------------------------------------------


def test_a_manifest_is_deleted_with_its_tags(index: Index) -> None:
    """Every tag on it is gone too; tags on other manifests stay."""
    first, second = put_two(index)
    index.manifests.put(push_of(first, "also", "again"))
    index.manifests.delete(APP, Digest.of(first), NOBODY)

    assert index.manifests.find(APP, Digest.of(first)) is None
    assert tags_of(index) == {"second": Digest.of(second)}


def test_a_manifest_is_deleted_in_one_repository(index: Index) -> None:
    """The same manifest in another repository stays."""
    body = put_image(index, "latest")
    put_image(index, "latest", repository=OTHER)
    index.manifests.delete(APP, Digest.of(body), NOBODY)

    assert tags_of(index, OTHER) == {"latest": Digest.of(body)}


def test_a_deleted_manifest_may_be_pushed_again(index: Index) -> None:
    """Its blobs are still there."""
    body = put_image(index, "latest")
    index.manifests.delete(APP, Digest.of(body), NOBODY)
    index.manifests.put(push_of(body, "latest"))

    assert tags_of(index) == {"latest": Digest.of(body)}


def test_a_tag_is_deleted_alone(index: Index) -> None:
    """The manifest and its other tags stay."""
    body = put_image(index, "first", "second")
    index.manifests.delete_tag(APP, Tag("first"), NOBODY)

    assert tags_of(index) == {"second": Digest.of(body)}
    assert index.manifests.find(APP, Digest.of(body))


def test_the_last_tag_may_be_deleted(index: Index) -> None:
    """A manifest without tags is still found by its digest."""
    body = put_image(index, "latest")
    index.manifests.delete_tag(APP, LATEST, NOBODY)

    assert tags_of(index) == {}
    assert index.manifests.find(APP, Digest.of(body))


@pytest.mark.parametrize("repository", [APP, OTHER, Name("no/where")])
def test_what_is_not_there_cannot_be_deleted(index: Index, repository: Name) -> None:
    """An unknown manifest or tag is an error, in any repository, that changes nothing."""
    body = put_image(index, "latest")
    put_image(index, "other", repository=OTHER, annotations={"a": "b"})
    with refused(MANIFEST_UNKNOWN):
        index.manifests.delete(repository, Digest.of(b"never pushed"), NOBODY)
    with refused(MANIFEST_UNKNOWN):
        index.manifests.delete_tag(repository, Tag("never-pushed"), NOBODY)

    assert tags_of(index) == {"latest": Digest.of(body)}
    assert set(tags_of(index, OTHER)) == {"other"}


def test_a_repository_is_deleted_with_all_it_holds(index: Index) -> None:
    """Its tags, manifests, blobs and open uploads are gone, and it is listed nowhere."""
    first, second = put_two(index)
    index.manifests.put(push_of(index_of(first, second), "both"))
    signature = put_image(index, subject=subject_of(first))
    index.uploads.open(upload_of())
    index.manifests.delete_repository(APP, NOBODY)

    assert index.listings.tags(APP, "", 10) is None
    assert index.listings.repositories("", 10, EVERYTHING) == []
    assert index.listings.referrers(APP, Digest.of(first), None, None, 10) == []
    for body in (first, second, signature):
        assert index.manifests.find(APP, Digest.of(body)) is None
    assert index.blobs.find(APP, Digest.of(CONTENT)) is None
    assert index.uploads.find(APP, "upload-1") is None


def test_other_repositories_outlive_a_deleted_one(index: Index) -> None:
    """The same content in another repository, and its open uploads, stay."""
    put_image(index, "latest")
    body = put_image(index, "latest", repository=OTHER)
    index.uploads.open(upload_of("theirs", OTHER))
    index.manifests.delete_repository(APP, NOBODY)

    assert tags_of(index, OTHER) == {"latest": Digest.of(body)}
    assert index.blobs.find(OTHER, Digest.of(CONTENT))
    assert index.uploads.find(OTHER, "theirs")


def test_a_deleted_repository_may_be_made_again(index: Index) -> None:
    """Pushing to its name makes a new repository, with what is pushed alone."""
    put_two(index)
    index.manifests.delete_repository(APP, NOBODY)
    body = put_image(index, "latest")

    assert tags_of(index) == {"latest": Digest.of(body)}


def test_a_repository_that_is_not_there_cannot_be_deleted(index: Index) -> None:
    """An unknown name is an error, and so is deleting a repository twice."""
    put_image(index)
    with refused(NAME_UNKNOWN):
        index.manifests.delete_repository(OTHER, NOBODY)
    index.manifests.delete_repository(APP, NOBODY)
    with refused(NAME_UNKNOWN):
        index.manifests.delete_repository(APP, NOBODY)
