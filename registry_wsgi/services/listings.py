"""Tags, repositories and referrers, a page at a time."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from registry_wsgi.errors import NAME_UNKNOWN, RegistryError
from registry_wsgi.names import Digest, Name
from registry_wsgi.storage.base import EVERYTHING, REFERRERS_LENGTH, Index, Referrer, Visible

__all__ = ["ListingService", "Page", "Referrer"]

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Items of one page, and whether there are further ones."""

    items: list[Item]
    more: bool


@dataclass(frozen=True, slots=True)
class ListingService:
    """Pages in byte order, of what comes after ``last``."""

    index: Index

    def tags(self, repository: Name, last: str, limit: int) -> Page[str]:
        """Tags of a repository; raises RegistryError (NAME_UNKNOWN)."""
        found = self.index.listings.tags(repository, last, limit + 1)
        if found is None:
            raise RegistryError(NAME_UNKNOWN, repository)
        return Page(found[:limit], len(found) > limit)

    def repositories(self, last: str, limit: int, visible: Visible = EVERYTHING) -> Page[str]:
        """Repositories that hold a manifest."""
        found = self.index.listings.repositories(last, limit + 1, visible)
        return Page(found[:limit], len(found) > limit)

    def referrers(
        self,
        repository: Name,
        subject: Digest,
        artifact_type: str | None,
        last: Digest | None,
        limit: int,
    ) -> Page[Referrer]:
        """Manifests that name ``subject`` as theirs; none for an unknown one.

        Fewer than ``limit`` also where more would exceed ``REFERRERS_LENGTH``.
        """
        found = self.index.listings.referrers(repository, subject, artifact_type, last, limit + 1)
        items = found[:limit]
        if len(items) > 1 and sum(item.length for item in items) > REFERRERS_LENGTH:
            items.pop()
        return Page(items, len(found) > len(items))
