"""Pages: as many items as are asked for, and whether there are more."""

import pytest
from support.storage import APP, CONTENT, OTHER, image, put_blob, put_image, refused, subject_of

from registry_wsgi.errors import NAME_UNKNOWN
from registry_wsgi.names import Digest, Name
from registry_wsgi.services.listings import ListingService, Page
from registry_wsgi.storage.base import Index, Visible

SUBJECT = image(CONTENT)


@pytest.fixture
def listings(index: Index) -> ListingService:
    """A service over three repositories, three tags and three referrers."""
    put_image(index, "a", "b", "c")
    for name in ("x/1", "x/2"):
        put_image(index, "latest", repository=Name(name))
    subject = subject_of(SUBJECT)
    for number in range(3):
        put_image(index, subject=subject, annotations={"number": str(number)})
    return ListingService(index)


PAGES = {
    "fewer than there are": ("", 2, 2, True),
    "as many as there are": ("", 3, 3, False),
    "more than there are": ("", 4, 3, False),
    "none": ("", 0, 0, True),
    "after the first": ("first", 2, 2, False),
    "one after the first": ("first", 1, 1, True),
    "after the last": ("last", 2, 0, False),
}


@pytest.mark.parametrize("kind", ["tags", "repositories", "referrers"])
@pytest.mark.parametrize(("last", "limit", "count", "more"), PAGES.values(), ids=PAGES)
def test_a_page_knows_whether_there_are_more(
    listings: ListingService, kind: str, last: str, limit: int, count: int, more: bool
) -> None:
    """It has at most so many items, and says so when there is at least one after them."""

    def page(after: str, most: int) -> Page[str]:
        if kind == "tags":
            return listings.tags(APP, after, most)
        if kind == "repositories":
            return listings.repositories(after, most)
        found = listings.referrers(
            APP, Digest.of(SUBJECT), None, Digest.parse(after) if after else None, most
        )
        return Page([referrer.digest for referrer in found.items], found.more)

    everything = page("", 100).items
    start = {"": 0, "first": 1, "last": 3}[last]
    found = page(everything[start - 1] if start else "", limit)

    assert len(everything) == 3
    assert found == Page(everything[start : start + count], more)


def test_an_unknown_repository_is_refused(listings: ListingService) -> None:
    """It has no tags to list, but nothing refers to anything in it either."""
    with refused(NAME_UNKNOWN):
        listings.tags(OTHER, "", 10)

    assert listings.referrers(OTHER, Digest.of(SUBJECT), None, None, 10) == Page([], more=False)


def test_a_repository_may_have_no_tags(listings: ListingService, index: Index) -> None:
    """What holds something is known."""
    put_blob(index, OTHER)

    assert listings.tags(OTHER, "", 10) == Page([], more=False)


def test_what_a_caller_may_not_see_counts_for_nothing(listings: ListingService) -> None:
    """A page that is full of visible items has no more when only hidden ones follow."""
    visible = Visible((APP, "x/1"))

    assert listings.repositories("", 2, visible) == Page([APP, "x/1"], more=False)
