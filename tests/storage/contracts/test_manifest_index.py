"""The contract of ``ManifestIndex``: manifests, their tags and what they need."""

from typing import Any

import pytest
from support.storage import (
    APP,
    CONTENT,
    OTHER,
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
)

from registry_wsgi.errors import (
    BLOB_REFERENCED,
    DENIED,
    MANIFEST_BLOB_UNKNOWN,
    MANIFEST_INVALID,
    PRECONDITION_FAILED,
)
from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.oci import OCI_MANIFEST
from registry_wsgi.storage.base import EVERYTHING, Actor, Expectation, Index, StoredManifest

LATEST = Tag("latest")
NOBODY = Actor()


# --- Keeping and finding --------------------------------------------------------------------------


def test_a_manifest_is_found_by_its_tag_and_its_digest(index: Index) -> None:
    """Both give its bytes, its media type and its digest."""
    body = put_image(index, "latest")
    expected = StoredManifest(Digest.of(body), OCI_MANIFEST, body)

    assert index.manifests.find(APP, LATEST) == expected
    assert index.manifests.find(APP, Digest.of(body)) == expected


def test_a_manifest_is_kept_byte_for_byte(index: Index) -> None:
    """Spaces, order and escapes are as they were pushed."""
    put_blob(index)
    put_blob(index, content=b"{}")
    body = image(CONTENT).replace(b"{", b"{ \n\t").replace(b"layer", b"l\\u0061yer") + b"\n"
    index.manifests.put(push_of(body, "latest"))
    found = index.manifests.find(APP, LATEST)

    assert found
    assert found.body == body


def test_a_manifest_needs_no_tag(index: Index) -> None:
    """A push by digest is found by that digest, and makes no tag."""
    body = put_image(index)

    assert index.manifests.find(APP, Digest.of(body))
    assert tags_of(index) == {}


def test_a_manifest_is_found_in_no_other_repository(index: Index) -> None:
    """Neither its tag nor its digest means anything elsewhere."""
    body = put_image(index, "latest")
    put_blob(index, OTHER)

    assert index.manifests.find(OTHER, LATEST) is None
    assert index.manifests.find(OTHER, Digest.of(body)) is None
    assert index.manifests.find(Name("no/where"), LATEST) is None


def test_a_manifest_is_known_by_a_sha512_too(index: Index) -> None:
    """A manifest that was pushed by its sha512 is found by that, and by no sha256."""
    put_image(index)
    body = image(CONTENT, annotations={"a": "b"})
    index.manifests.put(push_of(body, algorithm="sha512"))

    assert index.manifests.find(APP, Digest.of(body, "sha512"))
    assert index.manifests.find(APP, Digest.of(body)) is None


def test_a_manifest_may_be_put_again(index: Index) -> None:
    """A second push of the same manifest changes nothing."""
    body = put_image(index, "latest")
    index.manifests.put(push_of(body, "latest"))

    assert tags_of(index) == {"latest": Digest.of(body)}
    assert index.listings.repositories("", 10, EVERYTHING) == [APP]


# --- What a manifest needs ------------------------------------------------------------------------


def missing_of(index: Index, body: bytes, **options: Any) -> list[object]:
    """The digests that a put is refused for, in the order of the error."""
    with refused(MANIFEST_BLOB_UNKNOWN) as caught:
        index.manifests.put(push_of(body, "latest", **options))
    assert {row for row, _ in caught.value.more} <= {MANIFEST_BLOB_UNKNOWN}
    return [caught.value.detail, *(detail for _, detail in caught.value.more)]


def test_each_missing_blob_is_named(index: Index) -> None:
    """The error has an entry for the config and for each layer that is not there, and no other."""
    put_blob(index, content=b"here")
    body = image(b"missing 1", b"here", b"missing 2")

    assert missing_of(index, body) == [
        Digest.of(content) for content in (b"{}", b"missing 1", b"missing 2")
    ]


def test_a_manifest_may_have_more_layers_than_are_asked_for_at_once(index: Index) -> None:
    """Each of six hundred is looked for, and kept from being removed once the manifest is here."""
    layers = [f"layer {number}".encode() for number in range(600)]
    for content in (b"{}", *layers[:-1]):
        put_blob(index, content=content)
    missing = missing_of(index, image(*layers))
    put_blob(index, content=layers[-1])
    index.manifests.put(push_of(image(*layers), "latest"))

    assert missing == [Digest.of(layers[-1])]
    for content in (b"{}", *layers):
        with refused(BLOB_REFERENCED):
            index.blobs.unlink(APP, Digest.of(content))


def test_a_refused_manifest_changes_nothing(index: Index) -> None:
    """Neither the manifest nor its tag is kept, and no repository is made."""
    missing_of(index, image(b"missing"))

    assert index.manifests.find(APP, LATEST) is None
    assert index.manifests.find(APP, Digest.of(image(b"missing"))) is None
    assert index.listings.tags(APP, "", 10) is None


def test_a_blob_elsewhere_is_missing_here(index: Index) -> None:
    """A manifest needs its blobs in its own repository."""
    put_image(index, repository=OTHER)

    assert missing_of(index, image(CONTENT)) == [Digest.of(b"{}"), Digest.of(CONTENT)]


def test_a_foreign_layer_may_be_missing(index: Index) -> None:
    """Clients leave it where its URLs point."""
    put_blob(index, content=b"{}")
    body = foreign_image(CONTENT)
    index.manifests.put(push_of(body, "latest"))

    assert tags_of(index) == {"latest": Digest.of(body)}


def test_a_blob_of_another_size_is_refused(index: Index) -> None:
    """A descriptor whose size is not the stored one is invalid, and the error tells both."""
    put_blob(index, content=b"{}")
    index.blobs.commit(APP, Digest.of(CONTENT), 1234, None)
    with refused(MANIFEST_INVALID) as caught:
        index.manifests.put(push_of(image(CONTENT), "latest"))

    assert "1234" in str(caught.value.detail)
    assert str(len(CONTENT)) in str(caught.value.detail)
    assert tags_of(index) == {}


def test_a_missing_child_is_named(index: Index) -> None:
    """An index needs its manifests, like its blobs, in its repository."""
    here = put_image(index)
    put_image(index, repository=OTHER, annotations={"a": "b"})
    elsewhere = image(CONTENT, annotations={"a": "b"})

    assert missing_of(index, index_of(here, b"nowhere", elsewhere)) == [
        Digest.of(b"nowhere"),
        Digest.of(elsewhere),
    ]


def test_a_sparse_index_may_lack_children(index: Index) -> None:
    """Where sparse indexes are allowed, a missing child is no error."""
    body = index_of(put_image(index), b"nowhere")
    index.manifests.put(push_of(body, "latest", sparse=True))

    assert tags_of(index) == {"latest": Digest.of(body)}


def test_a_sparse_image_may_not_lack_blobs(index: Index) -> None:
    """What is allowed for children of an index is not for blobs."""
    put_blob(index, content=b"{}")

    assert missing_of(index, image(b"missing"), sparse=True) == [Digest.of(b"missing")]


@pytest.mark.parametrize("sparse", [False, True], ids=["whole", "sparse"])
def test_a_child_of_another_size_is_refused(index: Index, sparse: bool) -> None:
    """A child that is there has the size that it is listed with."""
    child = put_image(index)
    body = index_of(child).replace(f'"size":{len(child)}'.encode(), b'"size":7')
    with refused(MANIFEST_INVALID):
        index.manifests.put(push_of(body, "latest", sparse=sparse))

    assert tags_of(index) == {}


def test_a_subject_may_be_missing(index: Index) -> None:
    """A signature may be pushed before what it signs."""
    body = put_image(index, "signature", subject=subject_of(b"not pushed yet"))

    assert tags_of(index) == {"signature": Digest.of(body)}


def test_an_index_may_hold_indexes(index: Index) -> None:
    """A child may itself be an index."""
    inner = index_of(put_image(index))
    index.manifests.put(push_of(inner))
    outer = index_of(inner)
    index.manifests.put(push_of(outer, "latest"))

    assert tags_of(index) == {"latest": Digest.of(outer)}


# --- Tags -----------------------------------------------------------------------------------------


def test_a_tag_is_moved(index: Index) -> None:
    """A tag is on the manifest that was put last; the one before stays, by its digest."""
    first, second = put_two(index)
    index.manifests.put(push_of(second, "first"))

    assert tags_of(index) == {"first": Digest.of(second), "second": Digest.of(second)}
    assert index.manifests.find(APP, Digest.of(first))


def test_a_manifest_may_get_many_tags_at_once(index: Index) -> None:
    """Every tag of a put is on its manifest."""
    body = put_image(index, "1", "1.2", "1.2.3", "latest")

    assert tags_of(index) == dict.fromkeys(["1", "1.2", "1.2.3", "latest"], Digest.of(body))


def test_tags_differ_in_case(index: Index) -> None:
    """A tag is its bytes."""
    put_image(index, "Latest")

    assert index.manifests.find(APP, LATEST) is None
    assert index.manifests.find(APP, Tag("Latest"))


def test_a_tag_that_may_not_move_stays(index: Index) -> None:
    """Who may not overwrite is refused, and nothing of the push is kept: no manifest, no new tag."""
    first, _ = put_two(index)
    new = image(CONTENT, annotations={"new": "yes"})
    before = tags_of(index)
    with refused(DENIED) as caught:
        index.manifests.put(push_of(new, "new", "first", "newer", may_overwrite=False))

    assert caught.value.detail == {"tag": "first", "action": "overwrite"}
    assert tags_of(index) == before
    assert index.manifests.find(APP, Digest.of(new)) is None
    assert index.manifests.find(APP, Tag("first")) == StoredManifest(
        Digest.of(first), OCI_MANIFEST, first
    )


def test_who_may_not_overwrite_may_add(index: Index) -> None:
    """New tags, and tags that are where they should be already, overwrite nothing."""
    first, _ = put_two(index)
    index.manifests.put(push_of(first, "first", "new", may_overwrite=False))

    assert tags_of(index)["new"] == Digest.of(first)


# --- Expectations ---------------------------------------------------------------------------------

FIRST = Digest.of(image(CONTENT))
STRANGE = Digest.of(b"strange")
ABSENT = Expectation(absent=True)
ANY = Expectation(match=("*",))

EXPECTATIONS = {
    "absent, and it is": (ABSENT, ("new",), True),
    "absent, but it is there": (ABSENT, ("first",), False),
    "absent, but one of two is there": (ABSENT, ("new", "first"), False),
    "absent, and both are": (ABSENT, ("new", "newer"), True),
    "anything, and it is there": (ANY, ("first",), True),
    "anything, but it is absent": (ANY, ("new",), False),
    "this digest, and it is": (Expectation(match=(FIRST,)), ("first",), True),
    "one of two digests, and it is": (Expectation(match=(STRANGE, FIRST)), ("first",), True),
    "another digest": (Expectation(match=(STRANGE,)), ("first",), False),
    "this digest, but it is absent": (Expectation(match=(FIRST,)), ("new",), False),
    "no digest at all": (Expectation(match=()), ("first",), False),
    "both conditions": (Expectation((FIRST,), absent=True), ("first",), False),
    "nothing, there": (Expectation(), ("first",), True),
    "nothing, absent": (Expectation(), ("new",), True),
}


@pytest.mark.parametrize(("expect", "names", "holds"), EXPECTATIONS.values(), ids=EXPECTATIONS)
def test_a_push_is_kept_only_as_it_was_expected(
    index: Index, expect: Expectation, names: tuple[str, ...], holds: bool
) -> None:
    """A push whose expectation of its tags does not hold is refused and changes nothing."""
    put_image(index, "first")
    before = tags_of(index)
    new = image(CONTENT, annotations={"new": "yes"})
    push = push_of(new, *names, expect=expect)
    if holds:
        index.manifests.put(push)
    else:
        with refused(PRECONDITION_FAILED):
            index.manifests.put(push)
    after = dict.fromkeys(names, Digest.of(new)) if holds else {}

    assert tags_of(index) == {**before, **after}
    assert bool(index.manifests.find(APP, Digest.of(new))) == holds


@pytest.mark.parametrize(
    ("expect", "fresh"), [(ABSENT, True), (ANY, False)], ids=["absent", "anything"]
)
def test_an_expectation_of_an_untagged_push_is_of_the_manifest(
    index: Index, expect: Expectation, fresh: bool
) -> None:
    """A push by digest alone is expected to find, or not to find, that very manifest."""
    body = put_image(index)
    if not fresh:
        index.manifests.put(push_of(body, expect=expect))
    else:
        with refused(PRECONDITION_FAILED):
            index.manifests.put(push_of(body, expect=expect))

    assert index.manifests.find(APP, Digest.of(body))
