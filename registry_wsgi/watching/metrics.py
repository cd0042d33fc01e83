"""Prometheus metrics of all worker processes together (the ``metrics`` extra).

Each process counts in its memory, which costs a request next to nothing, and leaves its numbers for
the others every second; what the index and the disk say is asked for when somebody looks.
"""

import json
import os
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from registry_wsgi.observing import Record
from registry_wsgi.watching.sharing import publish, published

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


Kind = tuple[str, str, int]
"""What requests are told apart by: route, method and status."""

Numbers = list[float]
"""Of one kind of request: seconds, bytes in and out, then how many took how long (``BUCKETS``)."""

_SECONDS, _RECEIVED, _SENT, _BUCKETS = range(4)
_LABELS: Final = ("route", "method", "status")


def _nothing() -> Numbers:
    return [0.0] * (_BUCKETS + len(BUCKETS) + 1)


class Counted(Collector):
    """What was counted, as prometheus_client collects it."""

    def __init__(self, counts: dict[Kind, Numbers]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Describe the numbers."""
        requests = CounterMetricFamily("registry_requests", "Requests.", labels=_LABELS)
        times: dict[tuple[str, str], Numbers] = {}
        total = _nothing()
        for (route, method, status), numbers in sorted(self._counts.items()):
            requests.add_metric([route, method, str(status)], sum(numbers[_BUCKETS:]))
            _add(times.setdefault((route, method), _nothing()), numbers)
            _add(total, numbers)
        yield requests
        seconds = HistogramMetricFamily(
            "registry_request_seconds", "Time to answer.", labels=_LABELS[:2]
        )
        bounds = [*(str(float(bound)) for bound in BUCKETS), "+Inf"]
        for labels, numbers in times.items():
            within = zip(bounds, accumulate(numbers[_BUCKETS:]), strict=True)
            seconds.add_metric(labels, list(within), numbers[_SECONDS])
        yield seconds
        for name, text, place in (
            ("registry_received_bytes", "Bytes of bodies in.", _RECEIVED),
            ("registry_sent_bytes", "Bytes of bodies out.", _SENT),
        ):
            yield CounterMetricFamily(name, text, value=total[place])


class Metrics:
    """Counts requests, and renders everything."""

    def __init__(self, directory: Path, gauges: Gauges) -> None:
        self._directory = directory
        self._gauges = gauges
        self._counts: dict[Kind, Numbers] = {}
        self._counting = Lock()
        self._publishing = Lock()
        self._published = 0.0
        self._process = 0
        self._name = ""

    def __call__(self, record: Record) -> None:
        """Count one request."""
        kind = record.route, record.method, record.status
        with self._counting:
            numbers = self._counts.get(kind)
            if numbers is None:
                numbers = self._counts[kind] = _nothing()
            numbers[_SECONDS] += record.seconds
            numbers[_RECEIVED] += record.received
            numbers[_SENT] += record.sent
            numbers[_BUCKETS + bisect_left(BUCKETS, record.seconds)] += 1

    def publish(self) -> None:
        """Leave this process's numbers for the others, if there are new ones."""
        self._leave()

    def render(self) -> tuple[str, bytes]:
        """The content type and the text of ``/metrics``, of all processes."""
        counts = self._leave()
        for text in published(self._directory, self._own_name()):
            for (route, method, status), numbers in json.loads(text):
                _add(counts.setdefault((route, method, status), _nothing()), numbers)
        registry = CollectorRegistry()
        registry.register(Counted(counts))
        registry.register(Asked(self._gauges))
        return CONTENT_TYPE, generate_latest(registry)

    def _leave(self) -> dict[Kind, Numbers]:
        """Leave this process's numbers for the others, if there are new ones, and return them.

        Told before it was left, a number could be smaller at the next look, if another process
        answers that: "A counter is a cumulative metric [...] whose value can only increase or be
        reset to zero on restart" (Prometheus, Metric types), so a fall would count twice.
        """
        with self._publishing:
            counts = self._copy()
            requests = sum(sum(numbers[_BUCKETS:]) for numbers in counts.values())
            if requests != self._published:
                text = json.dumps([[kind, numbers] for kind, numbers in counts.items()])
                with suppress(OSError):  # where there is no room, what is left later replaces it
                    publish(self._directory, self._own_name(), text)
                    self._published = requests
            return counts

    def _copy(self) -> dict[Kind, Numbers]:
        with self._counting:
            return {kind: numbers.copy() for kind, numbers in self._counts.items()}

    def _own_name(self) -> str:
        """This process's among all that ever served: its number alone comes again."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._name = f"{self._process}-{time.time_ns()}"
        return self._name


def _add(total: Numbers, numbers: Numbers) -> None:
    total[:] = [one + other for one, other in zip(total, numbers, strict=True)]
