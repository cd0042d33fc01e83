"""The contract of OCI image layouts: content by its digest, and the index of what it is.

Quoted from the OCI image specification, "Image Layout".
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

from registry_wsgi.names import Digest, Name, Tag

REF_NAME: Final = "org.opencontainers.image.ref.name"
"""The annotation of a descriptor in ``index.json`` that says by which name it is known."""

Block = memoryview | bytes


@dataclass(frozen=True, slots=True)
class Listed:
    """A manifest of the index, without its bytes; ``size`` is how many it has."""

    digest: Digest
    media_type: str
    size: int


class Transfers(Protocol):
    """What an export asks of the index. ``since`` is RFC 3339, compared as text."""

    def manifests(self, repository: Name, since: str) -> list[Listed]:
        """Manifests of a repository that were pushed then or later."""
        ...

    def tags(self, repository: Name, since: str) -> list[tuple[Tag, Listed]]:
        """Tags of a repository that were pushed or moved then or later, in order."""
        ...


class LayoutWriter(Protocol):
    """A layout being made: there is none until it was finished."""

    def opened(self) -> AbstractContextManager[None]:
        """Begin, and leave nothing behind unless it was finished in the block.

        Raises StorageFault when there is something already.
        """
        ...

    def add(self, digest: Digest, size: int, blocks: Iterable[Block]) -> None:
        """Add content, each digest once; raises StorageFault, and what ``blocks`` raises."""
        ...

    def finish(self, index: bytes) -> None:
        """Add ``index.json``; now it is one, durably."""
        ...


class LayoutReader(Protocol):
    """A layout that somebody made: nothing in it is to be believed."""

    def opened(self) -> AbstractContextManager[None]:
        """Open it; raises StorageFault when it is none."""
        ...

    def index(self) -> bytes:
        """``index.json``; raises StorageFault for none, or one beyond reason."""
        ...

    def extent(self) -> int:
        """How many bytes of content it has."""
        ...

    def size(self, digest: Digest) -> int | None:
        """How many bytes it has under this digest, ``None`` for nothing."""
        ...

    def open(self, digest: Digest) -> BinaryIO:
        """What it has under this digest, where ``size`` said something; raises StorageFault."""
        ...
