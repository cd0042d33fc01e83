"""Prometheus metrics of all worker processes together (the ``metrics`` extra).

Counters live in files that the processes share (prometheus_client's multiprocess mode); what the
index and the disk say is asked for when somebody looks.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from registry_wsgi.observing import Record

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 300)
"""Seconds: a manifest takes one, a layer over a slow line hundreds."""


class Gauges(Protocol):
    """What is asked for when somebody looks."""

    def read(self) -> dict[str, float]:
        """Values by the names in ``GAUGES`` and ``TOTALS``."""
        ...


GAUGES: Final = {
    "registry_uploads_open": "Open upload sessions.",
    "registry_index_bytes": "Size of the index.",
    "registry_index_wal_bytes": "Size of the index's write-ahead log.",
    "registry_disk_free_bytes": "Free space of the data's file system.",
    "registry_disk_size_bytes": "Size of the data's file system.",
    "registry_writes_refused": "1 while a disk error keeps writes refused.",
    "registry_notifications_waiting": "Events not yet delivered, of the endpoint furthest behind.",
}

TOTALS: Final = {
    "registry_gc_runs": "Finished runs of gc.",
    "registry_gc_freed_bytes": "Bytes given back by gc.",
}


class Asked(Collector):
    """The gauges, as prometheus_client collects them."""

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Ask, and describe the answers."""
        values = self._gauges.read()
        for name, text in GAUGES.items():
            yield GaugeMetricFamily(name, text, value=values[name])
        for name, text in TOTALS.items():
            yield CounterMetricFamily(name, text, value=values[name])


class Metrics:
    """Counts requests, and renders everything."""

    def __init__(self, directory: Path, gauges: Gauges) -> None:
        self._directory = directory
        self._gauges = gauges
        labels = ("route", "method", "status")
        own = CollectorRegistry()
        self._requests = Counter("registry_requests", "Requests.", labels, registry=own)
        self._seconds = Histogram(
            "registry_request_seconds", "Time to answer.", labels[:2], buckets=BUCKETS, registry=own
        )
        self._received = Counter("registry_received_bytes", "Bytes of bodies in.", registry=own)
        self._sent = Counter("registry_sent_bytes", "Bytes of bodies out.", registry=own)
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def __call__(self, record: Record) -> None:
        """Count one request."""
        key = record.route, record.method, record.status
        found = self._children.get(key)
        if found is None:
            route, method, status = record.route, record.method, str(record.status)
            found = (
                self._requests.labels(route, method, status),
                self._seconds.labels(route, method),
            )
            self._children[key] = found
        requests, seconds = found
        requests.inc()
        seconds.observe(record.seconds)
        if record.received:
            self._received.inc(record.received)
        if record.sent:
            self._sent.inc(record.sent)

    def render(self) -> tuple[str, bytes]:
        """The content type and the text of ``/metrics``, of all processes."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._directory))  # type: ignore[no-untyped-call] # its lack
        registry.register(Asked(self._gauges))
        return CONTENT_TYPE, generate_latest(registry)
