"""What monitoring asks for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from registry_wsgi.storage.inspecting import Inspection
from registry_wsgi.storage.outbox import Outbox
from registry_wsgi.storage.store import BlobStore


@dataclass(frozen=True, slots=True)
class MeasureService:
    """Values of gauges and totals.

    ``latched`` says whether a disk error keeps writes refused. ``endpoints`` and ``pulls`` are as
    the notifications have them.
    """

    inspection: Inspection
    store: BlobStore
    latched: Callable[[], bool]
    outbox: Outbox
    endpoints: Sequence[str]
    pulls: bool

    def read(self) -> dict[str, float]:
        """Values by metric name; sizes are bytes. Raises StorageFault."""
        measures = self.inspection.measures()
        free, size = self.store.space()
        return {
            "registry_uploads_open": measures.uploads,
            "registry_index_bytes": measures.index_bytes,
            "registry_index_wal_bytes": measures.wal_bytes,
            "registry_disk_free_bytes": free,
            "registry_disk_size_bytes": size,
            "registry_writes_refused": float(self.latched()),
            "registry_notifications_waiting": self.outbox.waiting(self.endpoints, pulls=self.pulls),
            "registry_gc_runs": measures.gc_runs,
            "registry_gc_freed_bytes": measures.gc_freed,
        }
