"""The contract of ``BlobIndex``: which repository may serve which blob."""

import pytest
from support.storage import (
    APP,
    CONTENT,
    OTHER,
    FakeClock,
    image,
    push_of,
    put_blob,
    put_image,
    refused,
    upload_of,
)

from registry_wsgi.errors import BLOB_REFERENCED, BLOB_UNKNOWN
from registry_wsgi.names import Digest, Name
from registry_wsgi.storage.base import EVERYTHING, Actor, Blob, Index, Visible

DIGEST = Digest.of(CONTENT)
NOTHING = Visible(())


# --- Finding and committing -----------------------------------------------------------------------


def test_a_blob_is_found_where_it_was_committed(index: Index, clock: FakeClock) -> None:
    """A committed blob has its size, and was seen when it was committed."""
    put_blob(index, APP)

    assert index.blobs.find(APP, DIGEST) == Blob(DIGEST, len(CONTENT), clock.age())


def test_a_blob_is_found_in_no_other_repository(index: Index) -> None:
    """A repository serves what was pushed to it, not what the registry happens to have."""
    put_blob(index, APP)

    assert index.blobs.find(OTHER, DIGEST) is None


def test_a_blob_that_nobody_committed_is_not_found(index: Index) -> None:
    """Neither in a repository that is there nor in one that is not."""
    put_blob(index, APP)

    assert index.blobs.find(APP, Digest.of(b"else")) is None
    assert index.blobs.find(Name("no/where"), DIGEST) is None


def test_a_blob_may_be_committed_to_several_repositories(index: Index) -> None:
    """A push of the same content to another repository makes it live there too."""
    put_blob(index, APP)
    put_blob(index, OTHER)

    assert index.blobs.find(APP, DIGEST)
    assert index.blobs.find(OTHER, DIGEST)


def test_a_blob_may_be_committed_again(index: Index, clock: FakeClock) -> None:
    """A second push of the same content changes nothing but when it was seen."""
    put_blob(index)
    clock.milliseconds += 5000
    put_blob(index)

    assert index.blobs.find(APP, DIGEST) == Blob(DIGEST, len(CONTENT), clock.age())


def test_a_commit_says_anew_how_large_a_blob_is(index: Index) -> None:
    """A push that repairs a blob puts its size right, for every repository that serves it."""
    index.blobs.commit(OTHER, DIGEST, 1234, None)
    put_blob(index, APP)

    for repository in (APP, OTHER):
        found = index.blobs.find(repository, DIGEST)
        assert found
        assert found.size == len(CONTENT)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_blob_is_known_by_the_digest_it_was_pushed_with(index: Index, algorithm: str) -> None:
    """Digests of both algorithms are kept, and neither finds the other's blob."""
    digest = Digest.of(CONTENT, algorithm)
    index.blobs.commit(APP, digest, len(CONTENT), None)
    others = {Digest.of(CONTENT, "sha256"), Digest.of(CONTENT, "sha512")} - {digest}

    assert index.blobs.find(APP, digest)
    assert [index.blobs.find(APP, other) for other in others] == [None]


def test_an_empty_blob_is_a_blob(index: Index) -> None:
    """Content of no bytes is content."""
    digest = put_blob(index, content=b"")

    assert index.blobs.find(APP, digest) == Blob(digest, 0, 1_000_000)


def test_a_large_blob_keeps_its_size(index: Index) -> None:
    """Sizes beyond 32 bits are numbers like any other."""
    index.blobs.commit(APP, DIGEST, 2**62, None)
    found = index.blobs.find(APP, DIGEST)

    assert found
    assert found.size == 2**62


# --- Leases ---------------------------------------------------------------------------------------


def test_a_lease_notes_when_a_blob_was_seen(index: Index, clock: FakeClock) -> None:
    """After a lease the blob was seen at the clock's age."""
    put_blob(index)
    clock.milliseconds += 5000

    assert index.blobs.lease(APP, DIGEST)
    assert index.blobs.find(APP, DIGEST) == Blob(DIGEST, len(CONTENT), clock.age())


def test_a_lease_is_never_shortened(index: Index, clock: FakeClock) -> None:
    """A request whose clock was read earlier does not make the blob older."""
    put_blob(index)
    seen = clock.age()
    clock.milliseconds -= 5000

    assert index.blobs.lease(APP, DIGEST)
    assert index.blobs.find(APP, DIGEST) == Blob(DIGEST, len(CONTENT), seen)


def test_a_lease_is_of_one_repository(index: Index, clock: FakeClock) -> None:
    """Other repositories did not see the blob."""
    put_blob(index, APP)
    put_blob(index, OTHER)
    seen = clock.age()
    clock.milliseconds += 5000
    index.blobs.lease(APP, DIGEST)

    assert index.blobs.find(OTHER, DIGEST) == Blob(DIGEST, len(CONTENT), seen)


@pytest.mark.parametrize("repository", [APP, OTHER], ids=["after unlink", "never there"])
def test_what_is_not_there_cannot_be_leased(index: Index, repository: Name) -> None:
    """Whoever is refused a lease must not tell a client that the blob is there."""
    put_blob(index, APP)
    index.blobs.unlink(APP, DIGEST)

    assert not index.blobs.lease(repository, DIGEST)


# --- Links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "visible"),
    [
        pytest.param(APP, EVERYTHING, id="from a repository"),
        pytest.param(APP, NOTHING, id="from a repository that the caller has asked for"),
        pytest.param(None, EVERYTHING, id="from any"),
        pytest.param(None, Visible(("other/*", "team/*")), id="from any that the caller may see"),
    ],
)
def test_a_blob_is_linked_from_where_it_is(
    index: Index, clock: FakeClock, source: Name | None, visible: Visible
) -> None:
    """A link makes the blob live in the other repository, leased, and leaves it where it was."""
    put_blob(index, APP)
    clock.milliseconds += 5000

    assert index.blobs.link(OTHER, DIGEST, source, visible)
    assert index.blobs.find(OTHER, DIGEST) == Blob(DIGEST, len(CONTENT), clock.age())
    assert index.blobs.find(APP, DIGEST)


LINKS: dict[str, tuple[Name | None, Visible]] = {
    "from a repository without it": (Name("team/third"), EVERYTHING),
    "from a repository that is not there": (Name("no/where"), EVERYTHING),
    "from the repository itself": (OTHER, EVERYTHING),
    "from any, of none that the caller may see": (None, NOTHING),
    "from any, of others that the caller may see": (None, Visible(("other/**", "team"))),
}


@pytest.mark.parametrize(("source", "visible"), LINKS.values(), ids=LINKS)
def test_a_blob_is_not_linked_from_where_it_is_not(
    index: Index, source: Name | None, visible: Visible
) -> None:
    """Without such a blob in the source nothing is linked, and no repository is made."""
    put_blob(index, APP)
    put_blob(index, Name("team/third"), b"something else")

    assert not index.blobs.link(OTHER, DIGEST, source, visible)
    assert index.blobs.find(OTHER, DIGEST) is None
    assert index.listings.tags(OTHER, "", 10) is None


def test_a_link_of_what_nobody_has_is_refused(index: Index) -> None:
    """A digest that was never pushed can be linked from nowhere."""
    put_blob(index, APP)

    assert not index.blobs.link(OTHER, Digest.of(b"else"), None, EVERYTHING)


def test_a_link_to_where_the_blob_is_leases_it(index: Index, clock: FakeClock) -> None:
    """Mounting what is there already is a lease."""
    put_blob(index, APP)
    clock.milliseconds += 5000

    assert index.blobs.link(APP, DIGEST, None, EVERYTHING)
    assert index.blobs.find(APP, DIGEST) == Blob(DIGEST, len(CONTENT), clock.age())


def test_a_link_outlives_its_source(index: Index) -> None:
    """What a repository serves does not depend on where it came from."""
    put_blob(index, APP)
    index.blobs.link(OTHER, DIGEST, APP, EVERYTHING)
    index.blobs.unlink(APP, DIGEST)

    assert index.blobs.find(APP, DIGEST) is None
    assert index.blobs.find(OTHER, DIGEST)


# --- Ending a session -----------------------------------------------------------------------------


def test_a_commit_ends_the_upload_session(index: Index) -> None:
    """The session of the blob is no longer open, and known as finished."""
    index.uploads.open(upload_of("upload-1"))
    index.uploads.open(upload_of("upload-2"))
    digest = put_blob(index, upload="upload-1")

    assert index.uploads.find(APP, "upload-1") is None
    assert index.uploads.finished(APP, "upload-1") == digest
    assert index.uploads.find(APP, "upload-2")


def test_a_commit_may_end_no_session(index: Index) -> None:
    """A blob pushed in one request leaves open sessions alone."""
    index.uploads.open(upload_of())
    put_blob(index, upload=None)

    assert index.uploads.find(APP, "upload-1") == upload_of()


# --- Unlinking ------------------------------------------------------------------------------------


def test_an_unlinked_blob_is_not_served(index: Index) -> None:
    """It is gone from the repository, and from no other."""
    put_blob(index, APP)
    put_blob(index, OTHER)
    index.blobs.unlink(APP, DIGEST)

    assert index.blobs.find(APP, DIGEST) is None
    assert index.blobs.find(OTHER, DIGEST)


def test_an_unlinked_blob_may_be_pushed_again(index: Index) -> None:
    """Deleting a blob forbids nothing."""
    put_blob(index)
    index.blobs.unlink(APP, DIGEST)
    put_blob(index)

    assert index.blobs.find(APP, DIGEST)


@pytest.mark.parametrize(
    ("repository", "digest"),
    [
        pytest.param(APP, Digest.of(b"else"), id="another blob"),
        pytest.param(OTHER, DIGEST, id="another repository"),
        pytest.param(Name("no/where"), DIGEST, id="no repository"),
    ],
)
def test_what_is_not_there_cannot_be_unlinked(
    index: Index, repository: Name, digest: Digest
) -> None:
    """Unlinking a blob that the repository does not serve is an error that changes nothing."""
    put_blob(index, APP)
    put_blob(index, OTHER, b"something else")
    with refused(BLOB_UNKNOWN):
        index.blobs.unlink(repository, digest)

    assert index.blobs.find(APP, DIGEST)


@pytest.mark.parametrize("needed", [CONTENT, b"{}"], ids=["a layer", "the config"])
def test_a_blob_that_a_manifest_needs_stays(index: Index, needed: bytes) -> None:
    """The error names the manifest, and the blob is still served."""
    body = put_image(index)
    with refused(BLOB_REFERENCED) as caught:
        index.blobs.unlink(APP, Digest.of(needed))

    assert caught.value.detail == {"digest": Digest.of(needed), "manifest": Digest.of(body)}
    assert index.blobs.find(APP, Digest.of(needed))


def test_a_manifest_elsewhere_needs_its_own_blob(index: Index) -> None:
    """What another repository's manifest needs may be unlinked here."""
    put_image(index, repository=OTHER)
    put_blob(index, APP)
    index.blobs.unlink(APP, DIGEST)

    assert index.blobs.find(APP, DIGEST) is None
    assert index.blobs.find(OTHER, DIGEST)


def test_a_blob_may_be_unlinked_after_its_manifest(index: Index) -> None:
    """When the last manifest that needs it is gone, the blob may go."""
    first = put_image(index)
    second = image(CONTENT, b"{}")
    index.manifests.put(push_of(second))
    index.manifests.delete(APP, Digest.of(first), Actor())
    with refused(BLOB_REFERENCED):
        index.blobs.unlink(APP, DIGEST)
    index.manifests.delete(APP, Digest.of(second), Actor())
    index.blobs.unlink(APP, DIGEST)

    assert index.blobs.find(APP, DIGEST) is None


def test_a_repository_goes_with_its_last_blob(index: Index) -> None:
    """A repository that holds nothing is no repository."""
    put_blob(index)
    index.blobs.unlink(APP, DIGEST)

    assert index.listings.tags(APP, "", 10) is None
