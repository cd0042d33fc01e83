"""Manifests: which digest and which tags a PUT comes to, and what is told is leased."""

import pytest
from support.storage import (
    APP,
    CONTENT,
    OTHER,
    FakeClock,
    image,
    index_of,
    put_blob,
    put_image,
    refused,
)

from registry_wsgi.errors import (
    DIGEST_INVALID,
    MANIFEST_BLOB_UNKNOWN,
    MANIFEST_INVALID,
    MANIFEST_UNKNOWN,
    StorageFault,
)
from registry_wsgi.names import Digest, Reference, Tag
from registry_wsgi.oci import OCI_INDEX, OCI_MANIFEST
from registry_wsgi.services.blobs import LEASE_INTERVAL
from registry_wsgi.services.manifests import Actor, ManifestService, Put
from registry_wsgi.storage.base import Index

BODY = image(CONTENT)
DIGEST = Digest.of(BODY)
LATEST = Tag("latest")
SOMEBODY = Actor("somebody", "192.0.2.1")


@pytest.fixture
def manifests(index: Index, clock: FakeClock) -> ManifestService:
    """A service, in a repository that has what ``BODY`` needs."""
    put_blob(index)
    put_blob(index, content=b"{}")
    return ManifestService(index, clock)


def put_of(
    reference: Reference,
    *tags: str,
    body: bytes = BODY,
    content_type: str | None = OCI_MANIFEST,
) -> Put:
    """A PUT as a client asks for it."""
    return Put(APP, reference, tuple(map(Tag, tags)), body, content_type, SOMEBODY)


def tags(index: Index) -> list[str]:
    """The tags of the repository."""
    return index.listings.tags(APP, "", 100) or []


@pytest.mark.parametrize(
    ("reference", "more", "digest", "expected"),
    [
        pytest.param(LATEST, (), DIGEST, ["latest"], id="a tag"),
        pytest.param(LATEST, ("b", "a"), DIGEST, ["a", "b", "latest"], id="a tag and more"),
        pytest.param(LATEST, ("latest",), DIGEST, ["latest"], id="a tag twice"),
        pytest.param(DIGEST, (), DIGEST, [], id="a digest"),
        pytest.param(DIGEST, ("b", "a"), DIGEST, ["a", "b"], id="a digest and tags"),
        pytest.param(
            Digest.of(BODY, "sha512"), ("a",), Digest.of(BODY, "sha512"), ["a"], id="a sha512"
        ),
    ],
)
def test_a_manifest_is_kept_under_its_reference(
    manifests: ManifestService,
    index: Index,
    reference: Reference,
    more: tuple[str, ...],
    digest: Digest,
    expected: list[str],
) -> None:
    """The digest is the reference's, or sha256 for a tag; all tags are on the manifest."""
    found, manifest = manifests.put(put_of(reference, *more))

    assert found == digest
    assert manifest.media_type == OCI_MANIFEST
    assert manifests.find(APP, digest).body == BODY
    assert tags(index) == expected


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_manifest_of_another_digest_is_refused(
    manifests: ManifestService, index: Index, algorithm: str
) -> None:
    """A body that has not the digest it is put under is not kept, and neither are its tags."""
    with refused(DIGEST_INVALID) as caught:
        manifests.put(put_of(Digest.of(b"else", algorithm), "latest"))

    assert caught.value.detail == {
        "given": Digest.of(b"else", algorithm),
        "body": Digest.of(BODY, algorithm),
    }
    assert tags(index) == []


def test_an_invalid_manifest_is_refused(manifests: ManifestService, index: Index) -> None:
    """What is no manifest, or one of another type, changes nothing."""
    with refused(MANIFEST_INVALID):
        manifests.put(put_of(LATEST, body=b"{}"))
    with refused(MANIFEST_INVALID):
        manifests.put(put_of(LATEST, content_type=OCI_INDEX))

    assert tags(index) == []


@pytest.mark.parametrize("sparse", [False, True])
def test_an_index_may_be_sparse_where_that_is_allowed(
    index: Index, clock: FakeClock, sparse: bool
) -> None:
    """A setting decides whether all children have to be there."""
    body = index_of(put_image(index), b"missing")
    manifests = ManifestService(index, clock, sparse)
    put = put_of(LATEST, body=body, content_type=OCI_INDEX)
    if sparse:
        manifests.put(put)
    else:
        with refused(MANIFEST_BLOB_UNKNOWN):
            manifests.put(put)

    assert tags(index) == (["latest"] if sparse else [])


@pytest.mark.parametrize("reference", [Tag("nowhere"), Digest.of(b"nowhere")], ids=type)
def test_an_unknown_manifest_is_refused(manifests: ManifestService, reference: Reference) -> None:
    """A tag or digest that names nothing is an error however it is asked for."""
    with refused(MANIFEST_UNKNOWN):
        manifests.find(APP, reference)
    with refused(MANIFEST_UNKNOWN):
        manifests.stat(APP, reference)
    with refused(MANIFEST_UNKNOWN):
        manifests.pull(APP, reference, SOMEBODY)
    with refused(MANIFEST_UNKNOWN):
        manifests.delete(APP, reference, SOMEBODY)


@pytest.mark.parametrize("reference", [LATEST, DIGEST], ids=["a tag", "a digest"])
def test_a_manifest_is_told_and_pulled(manifests: ManifestService, reference: Reference) -> None:
    """The same manifest, whoever asks and by which name."""
    manifests.put(put_of(LATEST))
    expected = manifests.find(APP, DIGEST)

    assert manifests.stat(APP, reference) == expected
    assert manifests.pull(APP, reference, SOMEBODY) == expected


@pytest.mark.parametrize(
    ("later", "leased"),
    [(0, False), (LEASE_INTERVAL - 1, False), (LEASE_INTERVAL, True), (10 * LEASE_INTERVAL, True)],
)
def test_a_lease_is_written_when_the_last_is_old(
    manifests: ManifestService, index: Index, clock: FakeClock, later: int, leased: bool
) -> None:
    """Clients that ask many times a second do not make the index write as often."""
    manifests.put(put_of(LATEST))
    before = clock.age()
    clock.milliseconds += later
    manifests.stat(APP, LATEST)

    assert index.manifests.seen_age(APP, DIGEST) == (clock.age() if leased else before)


def test_a_manifest_that_cannot_be_leased_is_unknown(
    manifests: ManifestService, index: Index, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that went away between looking and leasing is not there: the client pushes it."""
    manifests.put(put_of(LATEST))
    clock.milliseconds += LEASE_INTERVAL
    monkeypatch.setattr(index.manifests, "lease", lambda *_: False)
    with refused(MANIFEST_UNKNOWN):
        manifests.stat(APP, LATEST)

    assert ManifestService(index, clock, leasing=lambda: False).stat(APP, LATEST).digest == DIGEST


def test_a_full_disk_keeps_nobody_from_pulling(
    manifests: ManifestService, index: Index, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a lease nor a note of a pull that cannot be written is the client's problem."""

    def fails(*_: object) -> bool:
        raise StorageFault("the index cannot be written")

    manifests.put(put_of(LATEST))
    monkeypatch.setattr(index.manifests, "lease", fails)
    monkeypatch.setattr(index.manifests, "note_pull", fails)
    clock.milliseconds += LEASE_INTERVAL
    noting = ManifestService(index, clock, noting_pulls=True)

    assert noting.stat(APP, LATEST).digest == DIGEST
    assert noting.pull(APP, LATEST, SOMEBODY).digest == DIGEST


def test_a_tag_is_deleted_alone_and_a_manifest_with_its_tags(
    manifests: ManifestService, index: Index
) -> None:
    """What kind of reference is given decides what goes."""
    manifests.put(put_of(LATEST, "a", "b"))
    manifests.delete(APP, LATEST, SOMEBODY)
    after_tag = tags(index)
    manifests.delete(APP, DIGEST, SOMEBODY)

    assert after_tag == ["a", "b"]
    assert tags(index) == []
    with refused(MANIFEST_UNKNOWN):
        manifests.find(APP, DIGEST)


def test_a_manifest_is_of_one_repository(manifests: ManifestService) -> None:
    """Another repository has neither its tag nor its digest."""
    manifests.put(put_of(LATEST))
    for reference in (LATEST, DIGEST):
        with refused(MANIFEST_UNKNOWN):
            manifests.find(OTHER, reference)
