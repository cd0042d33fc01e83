"""Metrics: of all processes together, for those who may see them, and what contrib/ makes of them."""

import json
import os
import re
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.pushes import push_image
from support.server import CHECKOUT, RunningServer, ServerFactory
from support.tracing import children_of
from support.waiting import wait_until
from support.wire import Wire, request

from registry_wsgi.observing import Record
from registry_wsgi.watching.metrics import GAUGES, TOTALS, Metrics
from registry_wsgi.watching.sharing import place

METRIC = re.compile(r"\bregistry_[a-z_]+\b")
SUFFIXES = ("_bucket", "_sum", "_count")


def scrape(server: RunningServer) -> dict[str, float]:
    """The samples of ``/metrics``, by name and labels."""
    text = server.http.get("/metrics").body.decode()
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    pairs = (line.rpartition(" ") for line in lines)
    return {name: float(value) for name, _, value in pairs}


def scrape_until(server: RunningServer, name: str, least: float) -> dict[str, float]:
    """The samples once one of them has come so far: a request is counted after its answer is sent."""
    samples: list[dict[str, float]] = []

    def has_come() -> bool:
        samples.append(scrape(server))
        return samples[-1].get(name, 0) >= least

    wait_until(has_come, f"{name} is {least}")
    return samples[-1]


def test_requests_of_all_workers_are_counted_together(fresh_registry: ServerFactory) -> None:
    """Whichever of several processes answers, every request is in the sum."""
    server = fresh_registry("--workers", "3")
    wires: list[Wire] = []

    def two_have_answered() -> bool:
        wires.append(stack.enter_context(Wire(server.host)))
        wires[-1].exchange(request("GET", "/v2/"))
        return len(list(place(server.data).glob("*.json"))) > 1

    with ExitStack() as stack:
        wait_until(two_have_answered, "two processes have counted")
        requests = 'registry_requests_total{method="GET",route="/v2/",status="200"}'
        samples = scrape_until(server, requests, len(wires))

    assert samples[requests] == len(wires)
    assert samples['registry_request_seconds_count{method="GET",route="/v2/"}'] == len(wires)


class NoGauges:
    """Nothing is asked of an index."""

    def read(self) -> dict[str, float]:
        """All of them, at zero."""
        return dict.fromkeys([*GAUGES, *TOTALS], 0.0)


def record(seconds: float, status: int = 200) -> Record:
    """One request that took so long."""
    return Record("GET", "/v2/", "/v2/", "base", "", status, 5, 3, seconds, "-", "-", "-", "-")


def samples_of(metrics: Metrics) -> dict[str, float]:
    """What it renders."""
    _, text = metrics.render()
    lines = (line for line in text.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_what_each_process_counted_is_added_up(tmp_path: Path) -> None:
    """Published or its own, whatever was counted counts once, however often it is published."""
    gone, here = Metrics(tmp_path, NoGauges()), Metrics(tmp_path, NoGauges())
    gone(record(0.001))
    gone(record(0.0011, 404))
    gone.publish()
    here(record(300))
    here(record(301))
    for _ in range(3):
        here.publish()
        samples = samples_of(here)
    labels = 'method="GET",route="/v2/"'
    buckets = [
        samples[f'registry_request_seconds_bucket{{le="{bound}",{labels}}}']
        for bound in ("0.001", "0.0025", "60.0", "300.0", "+Inf")
    ]

    assert samples[f'registry_requests_total{{{labels},status="200"}}'] == 3
    assert samples[f'registry_requests_total{{{labels},status="404"}}'] == 1
    assert buckets == [1, 2, 2, 3, 4]
    assert samples[f"registry_request_seconds_count{{{labels}}}"] == 4
    assert samples[f"registry_request_seconds_sum{{{labels}}}"] == pytest.approx(601.0021)
    assert samples["registry_received_bytes_total"] == 12
    assert samples["registry_sent_bytes_total"] == 20


def test_what_was_told_once_is_never_taken_back(tmp_path: Path) -> None:
    """A counter that fell, because another process answers, would look like a restart."""
    one, other = Metrics(tmp_path, NoGauges()), Metrics(tmp_path, NoGauges())
    seen = []
    for answering in (one, other, one, other):
        one(record(0.001))
        other(record(0.001))
        seen.append(samples_of(answering)["registry_sent_bytes_total"])

    assert seen == [5, 15, 25, 35]


def test_counting_goes_on_where_nothing_can_be_left(tmp_path: Path) -> None:
    """Without a directory a process still tells what it counted itself, and nothing fails."""
    metrics = Metrics(tmp_path / "none", NoGauges())
    metrics(record(0.1))
    metrics.publish()

    assert samples_of(metrics)["registry_sent_bytes_total"] == 5
    (tmp_path / "none").mkdir()
    metrics.publish()
    assert samples_of(Metrics(tmp_path / "none", NoGauges()))["registry_sent_bytes_total"] == 5


def test_what_a_worker_counted_stays_when_it_is_killed(fresh_registry: ServerFactory) -> None:
    """It told the others; whoever comes in its place counts on."""
    server = fresh_registry("--workers", "1")
    (worker,) = children_of(server)
    for _ in range(7):
        server.http.get("/v2/")
    wait_until(lambda: any(place(server.data).glob("*.json")), "its numbers are there")
    os.kill(worker, signal.SIGKILL)
    requests = 'registry_requests_total{method="GET",route="/v2/",status="200"}'
    samples = scrape_until(server, requests, 1)

    assert children_of(server) != [worker]
    assert samples[requests] == 7


def test_bytes_in_and_out_are_counted(fresh_registry: ServerFactory) -> None:
    """What a push brings and what a pull takes are in the sums, framing is not."""
    server = fresh_registry()
    content = b"x" * 100_000
    push_image(server.http, "team/app", "1", content=content)
    digest = server.http.get("/v2/team/app/manifests/1").json()["layers"][0]["digest"]
    before = scrape_until(server, "registry_received_bytes_total", len(content))
    sent = before["registry_sent_bytes_total"]
    server.http.get(f"/v2/team/app/blobs/{digest}")
    after = scrape_until(server, "registry_sent_bytes_total", sent + len(content))

    assert len(content) <= before["registry_received_bytes_total"] < 2 * len(content)
    assert len(content) <= after["registry_sent_bytes_total"] - sent < 2 * len(content)


def test_open_uploads_gc_and_disk_are_asked_for(fresh_registry: ServerFactory) -> None:
    """Gauges say what is so at the moment of asking, whoever caused it."""
    server = fresh_registry()
    server.http.post("/v2/team/app/blobs/uploads/")
    samples = scrape(server)

    assert samples["registry_uploads_open"] == 1
    assert samples["registry_gc_runs_total"] == 0
    assert 0 < samples["registry_disk_free_bytes"] < samples["registry_disk_size_bytes"]
    assert samples["registry_index_bytes"] > 0
    assert samples["registry_writes_refused"] == 0


def test_a_new_start_counts_from_nothing(fresh_registry: ServerFactory) -> None:
    """Counters of processes that are gone are forgotten at an operator's start."""
    server = fresh_registry()
    server.http.get("/v2/")
    server.stop()
    server.start()
    samples = scrape(server)

    assert not [name for name in samples if 'route="/v2/"' in name and "_total" in name]


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        ("192.0.2.7", 404),
        ("127.0.0.1", 200),
        ("10.1.2.3", 200),
        ("junk", 404),
        ("10.1.2.3, 192.0.2.7", 404),
        ("192.0.2.7, 10.1.2.3", 404),
        ("192.0.2.7, 127.0.0.1", 404),
        ("10.1.2.3, 127.0.0.1", 200),
    ],
    ids=[
        "somebody else",
        "loopback",
        "a peer that is set",
        "junk",
        "a peer, says somebody else",
        "somebody else, says a peer",
        "somebody else, says loopback",
        "a peer, says loopback",
    ],
)
def test_metrics_are_for_loopback_and_peers_only(
    fresh_registry: ServerFactory, forwarded: str, status: int
) -> None:
    """Behind a proxy the address that it forwards decides; for others there is nothing there."""
    settings = '[server]\ntrusted_proxies = ["127.0.0.1"]\n[metrics]\npeers = ["10.0.0.0/8"]\n'
    server = fresh_registry(settings=settings)
    answer = server.http.get("/metrics", expect=status, X_Forwarded_For=forwarded)

    assert (b"registry_requests_total" in answer.body) == (status == 200)


def test_metrics_can_be_turned_off(fresh_registry: ServerFactory) -> None:
    """Without metrics there is nothing at their path."""
    server = fresh_registry(settings='[metrics]\nenabled = "off"\n')
    server.http.get("/metrics", expect=404)


def known_metrics() -> set[str]:
    """Every name that a sample may have."""
    counters = {"registry_requests", "registry_received_bytes", "registry_sent_bytes"} | set(TOTALS)
    histogram = {f"registry_request_seconds{suffix}" for suffix in SUFFIXES}
    return set(GAUGES) | {f"{name}_total" for name in counters} | histogram


def used_metrics(document: Any) -> set[str]:
    """Every metric that an expression anywhere in a document uses."""
    if isinstance(document, dict):
        own = document.get("expr", "")
        found = set(METRIC.findall(own)) if isinstance(own, str) else set()
        return found.union(*(used_metrics(value) for value in document.values()), set())
    if isinstance(document, list):
        return set().union(*(used_metrics(value) for value in document))
    return set()


@pytest.mark.parametrize("name", ["prometheus-alerts.yml", "grafana-dashboard.json"])
def test_alerts_and_dashboard_use_metrics_that_exist(name: str) -> None:
    """An alert on a metric that nobody exports would never fire."""
    text = (CHECKOUT / "contrib" / name).read_text()
    document = json.loads(text) if name.endswith("json") else yaml.safe_load(text)
    used = used_metrics(document)

    assert len(used) >= 8
    assert used <= known_metrics()


def test_the_page_on_watching_names_every_metric() -> None:
    """docs/watching.md has all of them."""
    page = Path(CHECKOUT / "docs" / "watching.md").read_text()
    named = set(METRIC.findall(page))

    assert known_metrics() - {f"registry_request_seconds{s}" for s in SUFFIXES} <= named
