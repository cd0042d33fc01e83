"""Tags and the catalog, a page at a time: end-8 of the spec, and ``/v2/_catalog``."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from support.pushes import EMPTY, Pushed, open_upload, push_artifact, push_blob, put_manifest
from support.variants import Variants
from support.verbs import Answer, Verbs

from registry_wsgi.errors import WouldWait
from registry_wsgi.services.listings import Page
from registry_wsgi.storage.base import Visible
from registry_wsgi.web import listings
from registry_wsgi.web.request import AT_ONCE, Request

TAGS = ["x", "0", "1.10", "1.9", "A", "Z", "_", "a", "a-b", "a.b", "a_b", "aa", "latest", "z" * 128]
NAMES = [
    "a",
    "a-b",
    "a--b",
    "a.b",
    "a/b",
    "a/b-c",
    "a/b/c",
    "a0",
    "a_b",
    "a__b",
    "ab",
    "b",
    "z" * 255,
]


@pytest.fixture(scope="module")
def tagged(http: Verbs) -> str:
    """The path of the tags of a repository that has ``TAGS``."""
    pushed = push_artifact(http, "test/listings")
    query = "&".join(f"tag={tag}" for tag in TAGS)
    path = f"/v2/test/listings/manifests/{pushed.digest}?{query}"
    put_manifest(http, path, json.loads(pushed.body))
    return "/v2/test/listings/tags/list"


@pytest.fixture(scope="module")
def catalog() -> Iterator[Verbs]:
    """A client of a server that has a manifest in each of ``NAMES``, and no other."""
    with Variants({"catalog": "[limits]\npage_size = 10\n"}) as servers:
        http = servers["catalog"].http
        for name in NAMES:
            push_artifact(http, name)
        yield http


def next_of(answer: Answer) -> str | None:
    """Where the next page is, by the ``Link``."""
    link = answer.headers["Link"]
    if link is None:
        return None
    assert link.startswith("<")
    assert link.endswith('>; rel="next"')
    return str(link[1:].partition(">")[0])


def follow(http: Verbs, path: str) -> Iterator[Answer]:
    """The pages from a path on."""
    following: str | None = path
    while following is not None:
        answer = http.get(following)
        yield answer
        following = next_of(answer)


def test_tags_are_listed_in_byte_order(http: Verbs, tagged: str) -> None:
    """All of them, with the repository's name, and no Link."""
    answer = http.get(tagged)

    assert answer.json() == {"name": "test/listings", "tags": sorted(set(TAGS))}
    assert answer["Content-Type"] == "application/json; charset=utf-8"
    assert next_of(answer) is None


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_of_tags_hold_each_tag_once(http: Verbs, tagged: str, size: int) -> None:
    """Following the Link comes to every tag, in order, ``n`` at a time."""
    pages = [answer.json()["tags"] for answer in follow(http, f"{tagged}?n={size}")]

    assert [tag for page in pages for tag in page] == sorted(set(TAGS))
    assert {len(page) for page in pages[:-1]} <= {size}
    assert 1 <= len(pages[-1]) <= size


def test_a_full_last_page_has_no_link(http: Verbs, tagged: str) -> None:
    """With exactly as many tags as asked for there is no next page."""
    answer = http.get(f"{tagged}?n={len(set(TAGS))}")

    assert len(answer.json()["tags"]) == len(set(TAGS))
    assert next_of(answer) is None


def test_a_link_is_relative_and_rebuilt(http: Verbs, tagged: str) -> None:
    """It has ``last`` and ``n`` alone, whatever else was asked and by which host."""
    answer = http.get(f"{tagged}?x=y&n=2&last=1", Host="evil.test", X_Forwarded_Host="evil.test")

    assert next_of(answer) == f"{tagged}?last={answer.json()['tags'][-1]}&n=2"


@pytest.mark.parametrize(
    ("last", "first"),
    [
        ("A", "Z"),
        ("a", "a-b"),
        ("1.9", "A"),
        ("1.95", "A"),
        ("", "0"),
        ("zzz", "z" * 128),
        ("z" * 129, None),
        ("%C3%A9", None),
        ("%00", "0"),
        ("%FF", None),
        ("a%20b", "a-b"),
        ("a'%22;--", "a-b"),
        ("x" * 3000, "z" * 128),
    ],
)
def test_a_page_starts_after_last(http: Verbs, tagged: str, last: str, first: str | None) -> None:
    """``last`` need not be a tag: the page has what comes after it in byte order."""
    found = http.get(f"{tagged}?n=1&last={last}").json()["tags"]

    assert found == ([] if first is None else [first])


def test_last_works_without_n(http: Verbs, tagged: str) -> None:
    """All that follows ``last``."""
    tags = sorted(set(TAGS))

    assert http.get(f"{tagged}?last={tags[4]}").json()["tags"] == tags[5:]


@pytest.mark.parametrize("path", ["/v2/test/listings/tags/list", "/v2/_catalog"])
@pytest.mark.parametrize(
    "size",
    [
        "-1",
        "abc",
        "1.5",
        "",
        "+1",
        "0x1",
        "%20",
        "1%00",
        "%D9%A3",
        "1e3",
        "-0",
        "1,2",
        "9" * 400 + "x",
    ],
)
@pytest.mark.usefixtures("tagged")
def test_a_number_that_is_none_is_refused(http: Verbs, path: str, size: str) -> None:
    """400 UNSUPPORTED for an ``n`` that is not a whole number."""
    (error,) = http.get(f"{path}?n={size}", 400).json()["errors"]

    assert error["code"] == "UNSUPPORTED"


@pytest.mark.parametrize("path", ["/v2/test/listings/tags/list", "/v2/_catalog"])
@pytest.mark.parametrize("query", ["n=1&n=1", "last=a&last=a", "n=1&last=a&n=2"])
@pytest.mark.usefixtures("tagged")
def test_a_parameter_that_comes_twice_is_refused(http: Verbs, path: str, query: str) -> None:
    """400 UNSUPPORTED, even if both are the same."""
    assert http.get(f"{path}?{query}", 400).json()["errors"][0]["code"] == "UNSUPPORTED"


@pytest.mark.parametrize("path", ["/v2/test/listings/tags/list", "/v2/_catalog"])
@pytest.mark.parametrize("size", ["0", "00", "0&last=a"])
@pytest.mark.usefixtures("tagged")
def test_zero_is_an_empty_list(http: Verbs, path: str, size: str) -> None:
    """``n=0`` gets an empty list without a Link."""
    answer = http.get(f"{path}?n={size}")

    assert [value for key, value in answer.json().items() if key != "name"] == [[]]
    assert next_of(answer) is None


@pytest.mark.parametrize("size", ["1000000000", "9" * 18, "9" * 19, "9" * 400])
def test_a_large_number_is_capped(http: Verbs, tagged: str, size: str) -> None:
    """``n`` above the maximum is the maximum, however long it is."""
    assert http.get(f"{tagged}?n={size}").json()["tags"] == sorted(set(TAGS))


def test_tags_of_an_unknown_repository_are_not_found(http: Verbs, repository: str) -> None:
    """404 NAME_UNKNOWN where nothing was pushed."""
    (error,) = http.get(f"/v2/{repository}/tags/list", 404).json()["errors"]

    assert (error["code"], error["detail"]) == ("NAME_UNKNOWN", repository)


def test_a_repository_without_tags_has_an_empty_list(http: Verbs, repository: str) -> None:
    """200 with ``[]`` while there is a manifest or a blob."""
    push_blob(http, repository, b"alone")

    assert http.get(f"/v2/{repository}/tags/list").json() == {"name": repository, "tags": []}


def test_an_open_upload_makes_no_repository(http: Verbs, repository: str) -> None:
    """A session that holds nothing yet is no repository."""
    open_upload(http, repository)

    http.get(f"/v2/{repository}/tags/list", 404)


def test_the_catalog_is_in_byte_order(catalog: Verbs) -> None:
    """Every repository once, by its bytes: a hyphen before a dot before a slash."""
    pages = [answer.json()["repositories"] for answer in follow(catalog, "/v2/_catalog")]

    assert [name for page in pages for name in page] == sorted(NAMES, key=str.encode)


def test_the_catalog_is_paged_by_itself(catalog: Verbs) -> None:
    """Above ``limits.page_size`` there is a Link without being asked, and ``n`` is capped by it."""
    for query in ("", "?n=11", "?n=1000000000"):
        first, second = follow(catalog, f"/v2/_catalog{query}")
        assert len(first.json()["repositories"]) == 10
        assert len(second.json()["repositories"]) == len(NAMES) - 10


@pytest.mark.parametrize("size", [1, 4, 10])
def test_pages_of_the_catalog_hold_each_name_once(catalog: Verbs, size: int) -> None:
    """Following the Link comes to every repository, ``n`` at a time."""
    pages = [answer.json()["repositories"] for answer in follow(catalog, f"/v2/_catalog?n={size}")]

    assert [name for page in pages for name in page] == sorted(NAMES, key=str.encode)
    assert all(len(page) == size for page in pages[:-1])


def test_a_link_of_the_catalog_is_escaped(catalog: Verbs) -> None:
    """A slash in ``last`` is escaped, and the Link is relative."""
    answer = catalog.get(f"/v2/_catalog?n=1&last={quote('a.b', safe='')}")

    assert answer.json()["repositories"] == ["a/b"]
    assert next_of(answer) == "/v2/_catalog?last=a%2Fb&n=1"
    assert urlsplit(answer["Link"][1:]).netloc == ""


def test_the_catalog_has_only_what_holds_something(catalog: Verbs) -> None:
    """Repositories of blobs alone, of open uploads, of failed pushes and emptied ones are not in it."""
    push_blob(catalog, "c/blob", EMPTY)
    open_upload(catalog, "c/open")
    put_manifest(catalog, "/v2/c/failed/manifests/v1", {"schemaVersion": 2}, 400)
    emptied = push_artifact(catalog, "c/emptied", "v1")
    catalog.delete(f"/v2/c/emptied/manifests/{emptied.digest}")

    assert catalog.get("/v2/_catalog?last=b&n=1").json()["repositories"] == ["z" * 255]


def test_an_emptied_repository_is_forgotten(catalog: Verbs) -> None:
    """When its last manifest and blob are deleted its tags are not found, until the next push."""
    pushed: Pushed = push_artifact(catalog, "c/ghost", "v1")
    blob = json.loads(pushed.body)["config"]["digest"]
    catalog.delete(f"/v2/c/ghost/manifests/{pushed.digest}")
    catalog.delete(f"/v2/c/ghost/blobs/{blob}")
    catalog.get("/v2/c/ghost/tags/list", 404)
    push_artifact(catalog, "c/ghost", "v2")

    assert catalog.get("/v2/c/ghost/tags/list").json()["tags"] == ["v2"]
    catalog.delete(f"/v2/c/ghost/manifests/{pushed.digest}")


def test_an_empty_registry_has_an_empty_catalog() -> None:
    """200 with ``[]`` before the first push."""
    with Variants({"empty": ""}) as servers:
        answer = servers["empty"].http.get("/v2/_catalog")

    assert answer.json() == {"repositories": []}


@pytest.mark.parametrize(
    ("patterns", "waits"), [(None, False), (("team/*",), True)], ids=["all", "a few"]
)
def test_a_catalog_of_a_few_is_not_answered_by_a_thread_that_may_not_wait(
    patterns: tuple[str, ...] | None, waits: bool
) -> None:
    """To find what a caller may see, every repository may have to be looked at."""
    context: Any = SimpleNamespace(
        access=SimpleNamespace(visible=lambda _: Visible(patterns)),
        listings=SimpleNamespace(repositories=lambda *_: Page([], more=False)),
        page_size=10,
    )
    body: Any = None
    with pytest.raises(WouldWait) if waits else nullcontext():
        listings.catalog(context, Request({AT_ONCE: True}, "GET", body))
