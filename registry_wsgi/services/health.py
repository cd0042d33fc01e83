"""Whether the registry can do its work."""

from dataclasses import dataclass

from registry_wsgi.storage.base import BlobStore, Index


@dataclass(frozen=True, slots=True)
class HealthService:
    """Readiness. A read-only registry need not be able to write."""

    index: Index
    store: BlobStore
    writing: bool = True

    def check(self) -> None:
        """Raise StorageFault unless the index can be read and, where writing, data written."""
        self.index.ready()
        if self.writing:
            self.store.ready()
