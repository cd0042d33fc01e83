"""Clients that take a blob slowly, or not at all: others are served meanwhile, and they get all of it."""

import contextlib
import os
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pushes import push_blob, push_image
from support.server import STOP_SECONDS, RunningServer, throwaway_directory
from support.variants import Variants
from support.waiting import wait_until
from support.wire import Wire, request

NAME = "wire/slow-downloads"
THREADS = 4
SETTINGS = f"threads = {THREADS}\ngraceful_timeout = {STOP_SECONDS}\n"
BLOB = os.urandom(1 << 20) * 24
"""More than the kernel's buffers of both ends hold."""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One process with few threads."""
    with Variants({"few threads": SETTINGS}) as variants:
        yield variants["few threads"]


def begin(server: RunningServer, digest: str, *headers: str) -> Wire:
    """Ask for a blob and see that it comes, without taking any of it."""
    wire = Wire(server.host)
    wire.send(request("GET", f"/v2/{NAME}/blobs/{digest}", None, *headers))
    wire.socket.recv(1, socket.MSG_PEEK)
    return wire


def target(link: Path) -> str:
    """The name of the file that a descriptor is of; empty for one that was closed meanwhile."""
    try:
        return link.readlink().name
    except FileNotFoundError:
        return ""


def open_blobs(server: RunningServer, digest: str) -> int:
    """How many descriptors the server's processes have of a blob's file."""
    assert server.process is not None
    count, name = 0, digest.rpartition(":")[2]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(process.name)) == server.process.pid:
                count += sum(name == target(link) for link in (process / "fd").iterdir())
    return count


@pytest.mark.parametrize(("headers", "first"), [((), 0), (("Range: bytes=5-",), 5)])
def test_slow_downloads_do_not_keep_others_from_being_served(
    server: RunningServer, headers: tuple[str, ...], first: int
) -> None:
    """While more clients take their blob slowly than there are threads, all else goes on."""
    digest = push_blob(server.http, NAME, BLOB)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(begin(server, digest, *headers)) for _ in range(THREADS * 3)]
        push_image(server.http, NAME, "v1")
        meanwhile = server.http.get(f"/v2/{NAME}/blobs/{digest}").body
        replies = [wire.reply() for wire in slow]
        reusable = [wire.still_serves() for wire in slow]

    assert meanwhile == BLOB
    assert [reply and reply.body == BLOB[first:] for reply in replies] == [True] * len(slow)
    assert reusable == [True] * len(slow)
    assert open_blobs(server, digest) == 0


def test_a_client_that_goes_away_leaves_nothing_open(server: RunningServer) -> None:
    """The file is closed, and the others get theirs."""
    digest = push_blob(server.http, NAME, BLOB)
    with begin(server, digest) as patient:
        gone = [begin(server, digest) for _ in range(THREADS * 2)]
        wait_until(lambda: open_blobs(server, digest) == len(gone) + 1, "all are sent to")
        for wire in gone:
            wire.reset()
        wait_until(lambda: open_blobs(server, digest) == 1, "what nobody takes is closed")
        reply = patient.reply()

    assert reply is not None
    assert reply.body == BLOB


def test_a_request_behind_a_slow_download_is_answered_after_it(server: RunningServer) -> None:
    """Also one that was sent before the download was taken."""
    digest = push_blob(server.http, NAME, BLOB)
    with begin(server, digest) as wire:
        wire.send(request("GET", "/v2/"))
        replies = [wire.reply(), wire.reply()]

    assert [reply and reply.body for reply in replies] == [BLOB, b"{}"]


def test_a_connection_that_is_to_be_closed_is_closed_after_a_slow_download(
    server: RunningServer,
) -> None:
    """All of the blob comes before."""
    digest = push_blob(server.http, NAME, BLOB)
    with begin(server, digest, "Connection: close") as wire:
        replies = [wire.reply(), wire.reply()]

    assert [reply and reply.body for reply in replies] == [BLOB, None]


def test_a_server_without_descriptors_serves_on_when_there_are_some(server: RunningServer) -> None:
    """Whoever cannot be accepted waits; the process stays, and nobody is cut."""
    assert server.process is not None
    worker = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    before = worker.read_text()
    pid = int(before)
    usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    few = len(list(Path(f"/proc/{pid}/fd").iterdir())) + 8
    with contextlib.ExitStack() as stack:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, usual[1]))
        waiting = [stack.enter_context(Wire(server.host)) for _ in range(16)]
        for wire in waiting[:2]:
            assert wire.still_serves()
        for wire in waiting:
            wire.send(request("GET", "/v2/"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)
        replies = [wire.reply() for wire in waiting]

    assert [reply and reply.status for reply in replies] == [200] * len(waiting)
    assert worker.read_text() == before


def test_a_server_that_stops_sends_to_the_end_what_it_began() -> None:
    """The process stays for as long as ``server.graceful_timeout`` allows."""
    with throwaway_directory() as folder:
        settings = f"[server]\nworkers = 1\n{SETTINGS}"
        with RunningServer(folder / "data", settings=settings) as server:
            digest = push_blob(server.http, NAME, BLOB)
            with begin(server, digest) as wire, Wire(server.host) as idle:
                assert idle.still_serves()
                assert server.process is not None
                server.process.send_signal(signal.SIGTERM)
                assert idle.reply() is None  # so the process has heard it
                reply = wire.reply()
            ended = server.process.wait(STOP_SECONDS)
            server.process = None

    assert reply is not None
    assert reply.body == BLOB
    assert ended == 0
