"""The contract between backup and restore and the disk: a registry copied, its index last."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from registry_wsgi.names import Digest
from registry_wsgi.storage.inspecting import BlobRow

PRESENT: Final = "present"
"""The copy had the blob already."""

KEPT: Final = "kept"
"""The copy had it already, and has it still, but what is copied has lost it."""

MISSING: Final = "missing"
"""There is no file to copy."""

DAMAGED: Final = "damaged"
"""There is one of another size."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a registry holds: blobs, and their bytes."""

    blobs: int
    size: int


class RegistryCopy(Protocol):
    """A copy being made. What the target held before stays whole until ``publish``."""

    def opened(self) -> AbstractContextManager[None]:
        """Stage a consistent index, and let nobody else write to the target until the end.

        Raises StorageFault when the target is something else, is in use, or cannot be written.
        """
        ...

    def extent(self) -> Extent:
        """What the staged index holds."""
        ...

    def blobs(self) -> Iterator[BlobRow]:
        """Every blob of the staged index."""
        ...

    def keep(self, row: BlobRow) -> str:
        """See that the target has the blob; returns how: PRESENT, KEPT, cloned, linked or copied.

        MISSING or DAMAGED when it could not be. Raises StorageFault.
        """
        ...

    def lost(self) -> list[Digest]:
        """What manifests of the staged index need, and neither ``blobs`` nor the target has."""
        ...

    def publish(self) -> None:
        """Put the staged index in place of the one before, durably: now the copy is the new one."""
        ...

    def prune(self) -> Iterator[Digest]:
        """Remove what the new index has no need of, yielding each blob when it is gone."""
        ...
