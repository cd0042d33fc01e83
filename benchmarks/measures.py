"""What is measured, as rows: what one row says of a server is one number."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

from clients import MIB, Address, Client, Content, pull_for, push, push_once, together
from images import fill, manifest_of, push_small, put_manifest
from machine import pss_mib
from servers import Running

TAGS: Final = 2000
REPOSITORIES: Final = 300
KIB64: Final = 64 << 10
CREDENTIALS: Final = "Basic YmVuY2g6YmVuY2g="
"""Of the account that a server with sign-in has."""

SCRIPT: Final = Path(__file__).with_name("small.lua")


class NotServedError(Exception):
    """A server does not have what a row asks for, or answers it with an error."""


@dataclass(frozen=True)
class Effort:
    """How much is done for one number: MiB of a large blob, and seconds of small requests."""

    size: int
    seconds: int


@dataclass(frozen=True)
class Filled:
    """What was pushed to a server beforehand."""

    server: Running
    blobs: tuple[str, ...] = ()
    large: str = ""


def prepare(server: Running, effort: Effort) -> Filled:
    """Push what the reading measures read: tags, repositories, small blobs and a large one."""
    client = Client(server.address)
    blobs = fill(client, "bench/tags", TAGS)
    config = push_small(client, "bench/tags", b"{}" + os.urandom(8))
    body = manifest_of([(config, 10)], "catalog")
    for number in range(REPOSITORIES):
        name = f"team{number % 10}/service-{number:03}"
        client.request("POST", f"/v2/{name}/blobs/uploads/?mount={config}&from=bench/tags")
        put_manifest(client, name, "latest", body)
    content = Content(effort.size * MIB, "large")
    push(client, "bench/tags", content, chunked=True)
    client.close()
    return Filled(server, tuple(blobs), content.digest)


def push_rate(count: int, filled: Filled, effort: Effort) -> float:
    """MiB a second of ``count`` clients that push a blob each: chunked PATCH, empty PUT."""
    os.sync()
    size = effort.size * MIB
    seconds = together(count, push_once, filled.server.address, size, True)
    filled.server.drop_large()
    return count * effort.size / seconds


def push_cost(filled: Filled, effort: Effort) -> float:
    """Seconds of processor time for each GiB pushed by one client."""
    before = filled.server.cpu_seconds()
    push_rate(1, filled, effort)
    return (filled.server.cpu_seconds() - before) / effort.size * 1024


def pull_rate(count: int, filled: Filled, effort: Effort) -> float:
    """MiB a second of ``count`` clients that fetch the large blob, all of it, from the cache."""
    # The kernel takes a while to run a client and its server on different cores.
    turns = max(1, 16 // count)
    arguments = (_target(filled), effort.size * MIB, 0, turns)
    seconds = together(count, pull_for, filled.server.address, *arguments)
    return count * turns * effort.size / seconds


def range_rate(filled: Filled, effort: Effort) -> float:
    """Ranges of 64 KiB a second, of 8 clients."""
    turns = 500 * effort.seconds
    arguments = (_target(filled), effort.size * MIB, KIB64, turns)
    return 8 * turns / together(8, pull_for, filled.server.address, *arguments)


def _target(filled: Filled) -> str:
    return f"/v2/bench/tags/blobs/{filled.large}"


def small_rate(kind: str, target: str, filled: Filled, effort: Effort) -> float:
    """Requests a second of 16 connections (wrk)."""
    server, first = filled.server, filled.blobs[0]
    host = f"http://{server.address.host}:{server.address.port}"
    environment = {
        "KIND": kind,
        "TARGET": target.format(blob=first),
        "REPOSITORY": "bench/tags",
        "TAGS": "1000",
        "AUTHORIZATION": server.address.authorization,
    }
    command = ["wrk", "-t1", "-c16", f"-d{effort.seconds}s", "-s", str(SCRIPT), host]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    _, requests, seconds, errors = next(
        line for line in done.stdout.splitlines() if line.startswith("RESULT")
    ).split()
    if errors != "0":
        raise NotServedError(f"{errors} wrong answers from {server.name}")
    return int(requests) / float(seconds)


def small(kind: str, target: str = "") -> Callable[[Filled, Effort], float]:
    """The measure of one kind of small request."""
    return partial(small_rate, kind, target)


def head_rate(filled: Filled, effort: Effort) -> float:
    """HEADs of blobs a second, of 16 connections that one client serves in turns.

    wrk waits for the body that an answer to HEAD announces and does not have.
    """
    clients = [Client(filled.server.address) for _ in range(16)]
    count, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < effort.seconds:
        for client in clients:
            digest = filled.blobs[count % len(filled.blobs)]
            client.send_head("HEAD", f"/v2/bench/tags/blobs/{digest}")
            count += 1
        for client in clients:
            client.answer("HEAD")
    for client in clients:
        client.close()
    return count / passed


def put_rate(filled: Filled, effort: Effort) -> float:
    """Manifests a second that 8 clients push, each under a tag of its own."""
    return _puts(filled, effort)[0]


def put_slowest(filled: Filled, effort: Effort) -> float:
    """Milliseconds within which 99 of 100 manifests of these are pushed."""
    return _puts(filled, effort)[1]


def _puts(filled: Filled, effort: Effort) -> tuple[float, float]:
    os.sync()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        together(8, _put_many, filled.server.address, filled.blobs, effort.seconds, results)
        taken = sorted(one for path in results.iterdir() for one in json.loads(path.read_bytes()))
    return len(taken) / effort.seconds, taken[len(taken) * 99 // 100] * 1000


def _put_many(
    number: int,
    barrier: Barrier,
    address: Address,
    blobs: tuple[str, ...],
    seconds: int,
    results: Path,
) -> None:
    client = Client(address)
    parts = [(digest, 10 << 10) for digest in blobs]
    taken: list[float] = []
    barrier.wait()
    deadline = time.perf_counter() + seconds
    while (started := time.perf_counter()) < deadline:
        name = f"put-{os.getpid()}-{number}-{len(taken)}"
        put_manifest(client, "bench/tags", name, manifest_of(parts, name))
        taken.append(time.perf_counter() - started)
    (results / str(number)).write_text(json.dumps(taken), "utf-8")


def memory_idle(filled: Filled, effort: Effort) -> float:  # noqa: ARG001 - every measure's form
    """MiB of memory, before anything was asked but whether it answers."""
    return pss_mib(filled.server.process.pid)


def memory_growth(filled: Filled, effort: Effort) -> float:
    """MiB that it grows by, at most, while 4 clients push twice the size of a large blob each."""
    pid = filled.server.process.pid
    before, most = pss_mib(pid), 0.0
    context = get_context("fork")
    twice = replace(effort, size=2 * effort.size)
    work = context.Process(target=push_rate, args=(4, filled, twice))
    work.start()
    while work.is_alive():
        most = max(most, pss_mib(pid))
        work.join(0.1)
    return max(0.0, most - before)


def with_token(filled: Filled) -> Filled:
    """The same server, asked by a user who signed in."""
    address = filled.server.address
    url = f"http://{address.host}:{address.port}/token?scope=repository:bench/tags:pull"
    with urlopen(Request(url, headers={"Authorization": CREDENTIALS})) as answer:
        token = json.loads(answer.read())["token"]
    return _as(filled, f"Bearer {token}")


def with_password(filled: Filled) -> Filled:
    """The same, with the password in each request."""
    return _as(filled, CREDENTIALS)


def _as(filled: Filled, authorization: str) -> Filled:
    address = replace(filled.server.address, authorization=authorization)
    return replace(filled, server=replace(filled.server, address=address))


@dataclass(frozen=True)
class Row:
    """One line of the table.

    ``against`` is the peer, "best", or empty for a limit in ``unit``; ``better`` is what is
    better, "more" or "less".
    """

    title: str
    unit: str
    against: str
    floor: float
    aim: float
    measure: Callable[[Filled, Effort], float]
    better: str = "more"
    needs_wrk: bool = False
    scatter: int = 1
    """How many times as many numbers it takes as others: a pull is fast or slow by which core the
    kernel runs the client on."""


MEMORY: Final = (
    Row("push, 1 client, memory", "MiB/s", "best", 1.15, 1.35, partial(push_rate, 1)),
    Row("push, 4 clients, memory", "MiB/s", "best", 1.05, 1.15, partial(push_rate, 4)),
    Row("processor time of a push", "s/GiB", "best", 0.85, 0.75, push_cost, "less"),
)
"""Measured on a file system in memory."""

READING: Final = (
    Row("pull, 1 client", "MiB/s", "best", 0.95, 1.3, partial(pull_rate, 1), scatter=3),
    Row("pull, 16 clients", "MiB/s", "best", 0.8, 1.0, partial(pull_rate, 16), scatter=2),
    Row("ranges of 64 KiB, 8 clients", "1/s", "distribution", 3, 5, range_rate),
    Row("manifest by random tag", "1/s", "distribution", 2, 3, small("tags"), needs_wrk=True),
    Row("HEAD of a blob", "1/s", "distribution", 1.5, 3, head_rate),
    Row(
        "small blob",
        "1/s",
        "distribution",
        3,
        10,
        small("", "/v2/bench/tags/blobs/{blob}"),
        needs_wrk=True,
    ),
    Row(
        "tags, 100 of 2,000",
        "1/s",
        "distribution",
        8,
        20,
        small("", "/v2/bench/tags/tags/list?n=100"),
        needs_wrk=True,
    ),
    Row(
        "catalog, 300",
        "1/s",
        "distribution",
        8,
        20,
        small("", "/v2/_catalog?n=300"),
        needs_wrk=True,
    ),
)
"""Measured on the disk, out of the page cache."""

WRITING: Final = (
    Row("push, 1 client, disk", "MiB/s", "distribution", 1.0, 1.4, partial(push_rate, 1)),
    Row("push, 4 clients, disk", "MiB/s", "distribution", 1.0, 1.2, partial(push_rate, 4)),
    Row("manifest PUT, 8 clients, disk", "1/s", "distribution", 2.0, 2.4, put_rate),
    Row("... its 99th percentile", "ms", "", 20, 15, put_slowest, "less"),
)
"""Measured on the disk, synced before the answer by those that sync."""

SIGNED_IN: Final = tuple(
    replace(row, title=f"{row.title}, with a token")
    for row in READING
    if row.title in {"manifest by random tag", "HEAD of a blob"}
)

OWN: Final = (
    Row("memory, idle", "MiB", "", 120, 80, memory_idle, "less"),
    Row("memory, growth in 4 pushes", "MiB", "", 16, 8, memory_growth, "less"),
)

PROXIED: Final = (
    Row("pull, 1 client, nginx", "MiB/s", "direct", 1.0, 1.4, partial(pull_rate, 1), scatter=3),
    Row("push, 1 client, nginx", "MiB/s", "direct", 0.8, 0.95, partial(push_rate, 1)),
    Row("push, 4 clients, nginx", "MiB/s", "direct", 0.6, 0.9, partial(push_rate, 4)),
)


def is_possible(row: Row) -> bool:
    """Whether what the row takes is on the machine."""
    return not row.needs_wrk or shutil.which("wrk") is not None
