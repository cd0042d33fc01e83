"""Whether the registry can do its work."""

from collections.abc import Callable
from dataclasses import dataclass

from registry_wsgi.errors import UNAVAILABLE, RegistryError, again_in
from registry_wsgi.storage.base import Index
from registry_wsgi.storage.store import BlobStore


@dataclass(frozen=True, slots=True)
class HealthService:
    """Readiness. ``writing`` is false in a read-only registry, which need not be able to.

    ``latched`` says whether a sync has failed since the last start that fsck approved.
    """

    index: Index
    store: BlobStore
    latched: Callable[[], bool]
    writing: bool = True

    def check(self) -> None:
        """Raise StorageFault unless the index can be read and, where writing, data written.

        Raises RegistryError (UNAVAILABLE) while writes are refused.
        """
        self.index.ready()
        if self.writing:
            self.require_writable()
            self.store.ready()

    def require_writable(self) -> None:
        """Raise RegistryError (UNAVAILABLE) while writes are refused."""
        if self.latched():
            why = "a disk error stopped writes; an operator must start the registry anew"
            raise RegistryError(UNAVAILABLE, why, headers=again_in(60))
