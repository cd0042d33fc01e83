"""What is measured: each takes a running registry and returns one number."""

import contextlib
import json
import os
import re
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from clients import MIB, Address, Client, Content, pull_for, push, push_once, together
from images import MANIFEST, fill, manifest_of, push_small, tag_names
from peers import Running

PUSH = 512 * MIB
TAGS = 1000
REPOSITORY = "bench/tags"
SECONDS = 4
ACCEPT = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)
SCRIPT = """
local targets = {%s}
local turn = 0
request = function()
  turn = (turn * 1103515245 + 12345) %% 2147483648
  return wrk.format("GET", targets[turn %% #targets + 1], {["Accept"] = "%s"})
end
"""


@dataclass(frozen=True)
class Measure:
    """A row of the table: what, in which unit, on which file system, and how it is found out.

    ``floor`` is a ratio to the ``against`` ("best" or "distribution"), or for ``absolute`` rows
    the most that the number may be. ``less`` is whether less is better.
    """

    name: str
    unit: str
    run: Callable[[Running], float]
    floor: float
    against: str = "best"
    disk: bool = False
    less: bool = False
    absolute: bool = False


def pushes(clients: int) -> Callable[[Running], float]:
    """MiB a second of fresh blobs, one for each client, chunked PATCH then empty PUT."""

    def run(server: Running) -> float:
        size = PUSH // clients
        seconds = together(clients, push_once, server.address, size, True)
        return clients * size / MIB / seconds

    return run


def push_cpu(server: Running) -> float:
    """The server's CPU seconds for each GiB pushed."""
    before = server.cpu_seconds()
    together(1, push_once, server.address, PUSH, True)
    return (server.cpu_seconds() - before) * 1024 / (PUSH / MIB)


def pulls(clients: int, part: int, count: int) -> Callable[[Running], float]:
    """MiB a second of one large blob; whole where ``part`` is 0, else ranges of so many bytes."""

    def run(server: Running) -> float:
        client = Client(server.address)
        content = Content(PUSH, "the blob to pull")
        push(client, "bench/pull", content, chunked=True)
        client.close()
        target = f"/v2/bench/pull/blobs/{content.digest}"
        address = server.address
        seconds = together(clients, pull_for, address, target, PUSH, part, count)
        return clients * count * (part or PUSH) / MIB / seconds

    return run


def prepare(server: Running) -> list[str]:
    """A repository of many tags, filled once; its blobs."""
    client = Client(server.address)
    blobs = fill(client, REPOSITORY, TAGS)
    client.close()
    return blobs


def wrk(targets: Callable[[Running], list[str]]) -> Callable[[Running], float]:
    """Requests a second of 16 kept-alive connections over these targets, at random."""

    def run(server: Running) -> float:
        listed = ",".join(json.dumps(target) for target in targets(server))
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(SCRIPT % (listed, ", ".join(ACCEPT)))
            script.flush()
            address = f"http://{server.address.host}:{server.address.port}"
            command = ["wrk", "-t1", "-c16", f"-d{SECONDS}", "-s", script.name, address]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in printed:
            raise RuntimeError(printed)
        return float(re.findall(r"Requests/sec:\s+([0-9.]+)", printed)[0])

    return run


def tag_targets(server: Running) -> list[str]:
    """Every tag's manifest."""
    prepare(server)
    return [f"/v2/{REPOSITORY}/manifests/{tag}" for tag in tag_names(TAGS)]


def blob_targets(server: Running) -> list[str]:
    """Small blobs."""
    return [f"/v2/{REPOSITORY}/blobs/{digest}" for digest in prepare(server)]


def page_targets(server: Running) -> list[str]:
    """A page of tags."""
    prepare(server)
    return [f"/v2/{REPOSITORY}/tags/list?n=100"]


def catalog_targets(server: Running) -> list[str]:
    """A page of repositories, of which there are 300."""
    client = Client(server.address)
    for number in range(300):
        repository = f"bench/catalog/{number}"
        blobs = [(push_small(client, repository, b"{}"), 2)]
        body = manifest_of(blobs, str(number))
        target = f"/v2/{repository}/manifests/1"
        client.request("PUT", target, body, f"Content-Type: {MANIFEST}")
    client.close()
    return ["/v2/_catalog?n=300"]


def _head_for(number: int, barrier: Barrier, address: Address, targets: list[str]) -> None:
    client = Client(address)
    barrier.wait()
    for turn in range(2000):
        client.send_head("HEAD", targets[(turn + number) % len(targets)])
        client.answer("HEAD")
    client.close()


def heads(server: Running) -> float:
    """HEAD requests a second, of four clients."""
    targets = blob_targets(server)
    return 4 * 2000 / together(4, _head_for, server.address, targets)


def _put_for(
    number: int, barrier: Barrier, address: Address, blobs: list[Any], times: "Queue[list[float]]"
) -> None:
    client = Client(address)
    took = []
    barrier.wait()
    for turn in range(300):
        body = manifest_of(blobs, f"{number} {turn} {uuid.uuid4()} {os.getpid()}")
        started = time.perf_counter()
        target = f"/v2/bench/put/manifests/c{number}-{turn}"
        client.request("PUT", target, body, f"Content-Type: {MANIFEST}")
        took.append(time.perf_counter() - started)
    times.put(took)
    client.close()


def _puts(server: Running) -> tuple[float, float]:
    client = Client(server.address)
    blobs = [(push_small(client, "bench/put", os.urandom(1000)), 1000) for _ in range(3)]
    client.close()
    times: Queue[list[float]] = Queue()
    seconds = together(8, _put_for, server.address, blobs, times)
    took = sorted(one for _ in range(8) for one in times.get())
    return len(took) / seconds, took[len(took) * 99 // 100] * 1e3


def put_rate(server: Running) -> float:
    """Manifest PUTs a second, of eight clients, each a fresh manifest and tag."""
    return _puts(server)[0]


def put_p99(server: Running) -> float:
    """Milliseconds that 99 of 100 of these take at most."""
    return _puts(server)[1]


def memory(server: Running) -> float:
    """MiB of memory (PSS) after a few requests."""
    client = Client(server.address)
    for _ in range(20):
        client.request("GET", "/v2/")
    client.close()
    return server.memory()


def growth(server: Running) -> float:
    """MiB that memory has grown by while four blobs of 512 MiB were pushed at once."""
    before = memory(server)
    together(4, push_once, server.address, PUSH, True)
    return server.memory() - before


MEASURES = (
    Measure("push, 512 MiB, 1 client, tmpfs", "MiB/s", pushes(1), 1.15),
    Measure("push, 4 x 128 MiB at once, tmpfs", "MiB/s", pushes(4), 1.05),
    Measure("push, 512 MiB, 1 client, disk", "MiB/s", pushes(1), 1.0, "distribution", disk=True),
    Measure("push, 4 x 128 MiB, disk", "MiB/s", pushes(4), 1.0, "distribution", disk=True),
    Measure("server CPU a GiB pushed", "s", push_cpu, 0.85, less=True),
    Measure("pull, 512 MiB, 1 client", "MiB/s", pulls(1, 0, 4), 0.95),
    Measure("pull, 64 MiB ranges, 16 clients", "MiB/s", pulls(16, 64 * MIB, 4), 0.8),
    Measure("64 KiB ranges, 8 clients", "MiB/s", pulls(8, 64 << 10, 500), 3.0, "distribution"),
    Measure("manifest GET, random tag", "1/s", wrk(tag_targets), 2.0, "distribution"),
    Measure("blob HEAD", "1/s", heads, 1.5, "distribution"),
    Measure("small blob GET", "1/s", wrk(blob_targets), 3.0, "distribution"),
    Measure("tags page, n=100", "1/s", wrk(page_targets), 8.0, "distribution"),
    Measure("catalog page of 300", "1/s", wrk(catalog_targets), 8.0, "distribution"),
    Measure("manifest PUT, 8 clients, disk", "1/s", put_rate, 2.0, "distribution", disk=True),
    Measure("... its p99", "ms", put_p99, 20.0, disk=True, less=True, absolute=True),
    Measure("memory, idle", "MiB", memory, 120.0, less=True, absolute=True),
    Measure("memory, growth while pushed to", "MiB", growth, 16.0, less=True, absolute=True),
)


@contextlib.contextmanager
def folder(*, disk: bool) -> Any:
    """Where the data is: memory, or the disk that the checkout is on."""
    parent = Path.cwd() if disk else Path("/dev/shm")  # noqa: S108 - a tmpfs, which is what is wanted
    with tempfile.TemporaryDirectory(dir=parent, prefix=".bench-") as path:
        yield Path(path)
