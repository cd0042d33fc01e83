"""The contract of ``Listings``: pages in byte order that lose nothing and show nothing twice."""

import json
from collections.abc import Callable, Sequence

import pytest
from support.storage import (
    APP,
    CONTENT,
    OTHER,
    image,
    index_of,
    push_of,
    put_blob,
    put_image,
    subject_of,
)

from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.oci import OCI_INDEX, OCI_MANIFEST
from registry_wsgi.storage.base import (
    EVERYTHING,
    REFERRERS_LENGTH,
    Actor,
    Index,
    Referrer,
    Visible,
)

TAGS = [
    *("_", "0", "00", "1", "10", "2", "A", "B", "Z", "_a", "a", "a-b", "a.b", "a_b", "aB", "aa"),
    *("b", "latest", "v1", "v1.10", "v1.2", "z" * 128),
]
NAMES = [
    *("0", "a", "a-b", "a--b", "a.b", "a/b", "a/b/c", "a0", "a_b", "a__b", "ab", "b", "b/a"),
    "z" * 255,
]

Page = Callable[[str, int], Sequence[str]]


def in_bytes(names: Sequence[str]) -> list[str]:
    """Names in the order of their bytes."""
    return sorted(names, key=str.encode)


def walked(page: Page, size: int) -> list[str]:
    """Everything there is, a page at a time, each after the last item of the one before."""
    found: list[str] = []
    while items := page(found[-1] if found else "", size):
        assert len(items) <= size
        assert not set(items) & set(found)
        found += items
    return found


@pytest.fixture
def tagged(index: Index) -> Index:
    """An index in which a repository has odd tags, made in an odd order."""
    put_image(index, *TAGS[::2], *TAGS[1::2])
    put_image(index, "other", repository=OTHER)
    return index


@pytest.fixture
def filled(index: Index) -> Index:
    """An index with odd repositories, made in an odd order."""
    for name in [*NAMES[::2], *NAMES[1::2]]:
        put_image(index, "latest", repository=Name(name))
    return index


# --- Tags -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_tags_are_in_byte_order_in_pages_of_any_size(tagged: Index, size: int) -> None:
    """Page by page, every tag of the repository comes once, by its bytes."""
    found = walked(lambda last, limit: tagged.listings.tags(APP, last, limit) or [], size)

    assert found == in_bytes(TAGS)


@pytest.mark.parametrize("last", ["", "1", "a", "a-", "nowhere", "zz", "~", "\U0010ffff"])
def test_tags_go_on_after_any_last(tagged: Index, last: str) -> None:
    """A last that is no tag, or no longer one, is a place in the order like any other."""
    expected = [tag for tag in in_bytes(TAGS) if tag.encode() > last.encode()]

    assert tagged.listings.tags(APP, last, 1000) == expected


def test_a_page_of_nothing_is_empty(tagged: Index) -> None:
    """At most no item is no item, of a repository that is there."""
    assert tagged.listings.tags(APP, "", 0) == []
    assert tagged.listings.repositories("", 0, EVERYTHING) == []


def test_an_unknown_repository_has_no_list_of_tags(tagged: Index) -> None:
    """That there is no such repository is told from a repository without tags."""
    put_image(tagged, repository=Name("un/tagged"))

    assert tagged.listings.tags(Name("no/where"), "", 10) is None
    assert tagged.listings.tags(Name("un/tagged"), "", 10) == []


# --- Repositories ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_repositories_are_in_byte_order_in_pages_of_any_size(filled: Index, size: int) -> None:
    """Page by page, every repository comes once, by its bytes."""
    found = walked(lambda last, n: filled.listings.repositories(last, n, EVERYTHING), size)

    assert found == in_bytes(NAMES)


@pytest.mark.parametrize("last", ["", "a", "a/", "a/b", "nowhere", "~"])
def test_repositories_go_on_after_any_last(filled: Index, last: str) -> None:
    """A last that is no repository is a place in the order like any other."""
    expected = [name for name in in_bytes(NAMES) if name > last]

    assert filled.listings.repositories(last, 1000, EVERYTHING) == expected


def test_a_repository_without_a_manifest_is_not_listed(index: Index) -> None:
    """Blobs alone, as an unfinished push leaves them, make no repository to show."""
    put_blob(index, Name("only/blobs"))
    put_image(index, repository=APP)

    assert index.listings.repositories("", 10, EVERYTHING) == [APP]


def test_hidden_repositories_leave_pages_full(index: Index) -> None:
    """A page has as many items as it may have, however many repositories are passed over."""
    for number in range(20):
        put_blob(index, Name(f"empty/{number}"))
        put_image(index, repository=Name(f"full/{number}"))

    assert len(index.listings.repositories("", 15, EVERYTHING)) == 15


def test_a_repository_is_listed_until_its_last_manifest_goes(index: Index) -> None:
    """It needs no tag to be listed, but something to hold."""
    body = put_image(index, "latest")
    index.manifests.delete_tag(APP, Tag("latest"), Actor())
    untagged = index.listings.repositories("", 10, EVERYTHING)
    index.manifests.delete(APP, Digest.of(body), Actor())

    assert untagged == [APP]
    assert index.listings.repositories("", 10, EVERYTHING) == []


VISIBLE = {
    "everything": (("**",), set(NAMES)),
    "one of them": (("a/b",), {"a/b"}),
    "one component": (("*",), {name for name in NAMES if "/" not in name}),
    "below one": (("a/**",), {"a/b", "a/b/c"}),
    "two patterns": (("b", "a/*"), {"b", "a/b"}),
    "patterns that overlap": (("a/**", "a/*"), {"a/b", "a/b/c"}),
    "none that is there": (("c/**",), set()),
    "a name that another begins with": (("a",), {"a"}),
}


@pytest.mark.parametrize(("patterns", "expected"), VISIBLE.values(), ids=VISIBLE)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_only_visible_repositories_are_listed(
    filled: Index, size: int, patterns: tuple[str, ...], expected: set[str]
) -> None:
    """Pages of any size are full of what some pattern matches, and name nothing else."""
    visible = Visible(patterns)
    found = walked(lambda last, n: filled.listings.repositories(last, n, visible), size)

    assert found == in_bytes(sorted(expected))


def test_who_may_see_nothing_is_shown_nothing(filled: Index) -> None:
    """No pattern matches no repository."""
    assert filled.listings.repositories("", 1000, Visible(())) == []


# --- Referrers ------------------------------------------------------------------------------------

SUBJECT = image(CONTENT)
SBOM, SIGNATURE = "application/vnd.example.sbom", "application/vnd.example.signature+json"


def refer(
    index: Index, number: int, artifact_type: str = SBOM, repository: Name = APP, note: str = ""
) -> Referrer:
    """Push something that refers to the subject; how it is to be listed."""
    annotations = {"number": str(number), "note": note}
    body = put_image(
        index,
        repository=repository,
        artifactType=artifact_type,
        annotations=annotations,
        subject=subject_of(SUBJECT),
    )
    return Referrer(
        Digest.of(body), OCI_MANIFEST, len(body), artifact_type, json.dumps(annotations)
    )


def referrers(
    index: Index, artifact_type: str | None = None, last: str = "", limit: int = 100
) -> list[Referrer]:
    """A page of what refers to the subject."""
    after = Digest.parse(last) if last else None
    return index.listings.referrers(APP, Digest.of(SUBJECT), artifact_type, after, limit)


def by_digest(listed: list[Referrer]) -> list[Referrer]:
    """Referrers in the order of their digests."""
    return sorted(listed, key=lambda referrer: referrer.digest)


@pytest.mark.parametrize("there", [True, False], ids=["before them", "never"])
def test_referrers_are_listed_whether_or_not_the_subject_was_pushed(
    index: Index, there: bool
) -> None:
    """Each comes with its type, size, artifact type and annotations, in the order of digests."""
    if there:
        put_image(index)
    pushed = [refer(index, number) for number in range(10)]

    assert referrers(index) == by_digest(pushed)


def test_referrers_are_filtered_by_artifact_type(index: Index) -> None:
    """A filter leaves those of exactly that type."""
    sboms = [refer(index, number, SBOM) for number in range(3)]
    signatures = [refer(index, number, SIGNATURE) for number in range(3, 6)]

    assert referrers(index, SBOM) == by_digest(sboms)
    assert referrers(index, SIGNATURE) == by_digest(signatures)
    assert referrers(index, SBOM[:-1]) == []
    assert referrers(index) == by_digest(sboms + signatures)


@pytest.mark.parametrize("artifact_type", [None, SBOM], ids=["all", "filtered"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_referrers_come_once_in_pages_of_any_size(
    index: Index, size: int, artifact_type: str | None
) -> None:
    """Page by page, each after the digest of the last, none is lost or shown twice."""
    pushed = [refer(index, number) for number in range(7)]
    others = [refer(index, number, SIGNATURE) for number in range(7, 10)]

    def page(last: str, limit: int) -> list[str]:
        return [found.digest for found in referrers(index, artifact_type, last, limit)]

    expected = by_digest(pushed if artifact_type else pushed + others)

    assert walked(page, size) == [referrer.digest for referrer in expected]


def test_no_more_referrers_are_read_than_a_page_has_room_for(index: Index) -> None:
    """The one that does not fit is the last, and never the first."""
    for number in range(5):
        refer(index, number, note="x" * (REFERRERS_LENGTH // 3))

    assert len(referrers(index)) == 3

    for number in range(5, 8):
        refer(index, number, note="x" * (REFERRERS_LENGTH - 200))
    lengths = [found.length for found in referrers(index)]

    assert 2 <= len(lengths) <= 3
    assert sum(lengths[:-1]) <= REFERRERS_LENGTH < sum(lengths)


def test_referrers_of_both_algorithms_come_once(index: Index) -> None:
    """Manifests known by sha256 and by sha512 are paged through together."""
    expected = {refer(index, number).digest for number in range(4)}
    for number in range(4):
        body = image(
            CONTENT,
            annotations={"more": str(number)},
            subject=subject_of(SUBJECT),
        )
        index.manifests.put(push_of(body, algorithm="sha512"))
        expected.add(Digest.of(body, "sha512"))
    found = walked(lambda last, n: [item.digest for item in referrers(index, None, last, n)], 3)

    assert sorted(found) == sorted(expected)


def test_an_index_may_be_a_referrer(index: Index) -> None:
    """An index without an artifact type is listed with none."""
    put_image(index)
    body = index_of(
        SUBJECT,
        subject=subject_of(SUBJECT),
    )
    index.manifests.put(push_of(body))

    assert referrers(index) == [Referrer(Digest.of(body), OCI_INDEX, len(body), "", "{}")]


def test_a_referrer_is_of_one_repository(index: Index) -> None:
    """What refers to the same digest in another repository is not listed."""
    refer(index, 1, repository=OTHER)

    assert referrers(index) == []
    assert index.listings.referrers(Name("no/where"), Digest.of(SUBJECT), None, None, 10) == []


def test_what_has_no_referrers_has_an_empty_list(index: Index) -> None:
    """A manifest that nothing refers to, and a digest that nobody knows, have none."""
    put_image(index)
    refer(index, 1)

    assert index.listings.referrers(APP, Digest.of(b"unknown"), None, None, 10) == []


def test_a_deleted_referrer_is_not_listed(index: Index) -> None:
    """Deleting one leaves the others."""
    first, second = refer(index, 1), refer(index, 2)
    index.manifests.delete(APP, first.digest, Actor())

    assert referrers(index) == [second]
