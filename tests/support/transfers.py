"""Repositories that are exported and imported: made, and looked at afterwards."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from support.images import INDEX, descriptor, encode
from support.opened import Opened, opened
from support.storage import FakeClock, image, index_of

from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.oci import referrers_tag

APP, OTHER = Name("team/app"), Name("team/other")
REF_NAME = "org.opencontainers.image.ref.name"
TYPE = "application/vnd.test.thing"

LATER = "2026-01-02T03:04:06"
"""A second after everything that ``FakeClock`` has seen."""


class LaterClock(FakeClock):
    """A clock that goes on after ``LATER``."""

    def now(self) -> datetime:
        """A moment that is the same in every run."""
        return datetime(2026, 1, 2, 4, 5, 6, tzinfo=UTC)


def put_image(into: Opened, name: Name, content: bytes, *tags: str, **members: Any) -> Digest:
    """Push an image of one layer; its manifest's digest."""
    into.push(name, content)
    into.push(name, b"{}")
    body = image(content, **members)
    return into.put(name, Digest.of(body), body, *tags)


def subject_of(digest: Digest, body: bytes) -> dict[str, Any]:
    """The member that makes a manifest a referrer of another."""
    kind = json.loads(body)["mediaType"]
    return {"subject": {**descriptor(kind, body), "digest": digest}, "artifactType": TYPE}


def put_all(into: Opened, name: Name) -> None:
    """Push an image, an index of an index, a referrer of an inner image, and a signature by tag."""
    put_image(into, name, b"plain", "plain", "also-plain")
    inner = put_image(into, name, b"inner")
    low = index_of(image(b"inner"))
    into.put(name, Digest.of(low), low)
    high = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(INDEX, low)]})
    into.put(name, Tag("nested"), high)
    put_image(into, name, b"sbom", **subject_of(inner, image(b"inner")))
    put_image(into, name, b"signature", f"{referrers_tag(inner)}.sig")


def lose(data: Path, content: bytes, *, repair: bool = True) -> Digest:
    """Take a blob's file away, and have fsck drop its row or not, while manifests need it."""
    digest = Digest.of(content)
    (data / "blobs" / "sha256" / digest.hex[:2] / digest.hex).unlink()
    with opened(data) as here:
        here.fsck(repair=repair)
    return digest


def manifests_in(data: Path, name: Name) -> dict[str, bytes]:
    """Every manifest of a repository, by its digest."""
    with opened(data) as here:
        every = here.storage.index.inspection.manifests()
        return {digest: body for of, digest, body in every if of == name}


def tags_in(data: Path, name: Name) -> dict[str, str]:
    """Where every tag of a repository points."""
    with opened(data) as here:
        listed = here.storage.index.listings.tags(name, "", 1000) or []
        found = {tag: here.storage.index.manifests.find(name, Tag(tag)) for tag in listed}
        return {tag: str(stored.digest) for tag, stored in found.items() if stored}


def names_in(layout: Path) -> dict[str, str]:
    """The names that a layout's index gives to digests."""
    listed = json.loads((layout / "index.json").read_text())["manifests"]
    named = [one for one in listed if REF_NAME in one.get("annotations", {})]
    return {one["annotations"][REF_NAME]: one["digest"] for one in named}


def assert_sound(data: Path) -> None:
    """The test fails unless every byte is as it should be."""
    with opened(data) as here:
        assert here.fsck() == []
