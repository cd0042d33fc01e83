"""Clients that take a blob slowly, or not at all: others are served meanwhile, and they get all of it."""

import contextlib
import os
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


def open_blobs(server: RunningServer, digest: str) -> int:
    """How many descriptors the server's processes have of a blob's file."""
    assert server.process is not None
    count, name = 0, digest.rpartition(":")[2]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(process.name)) == server.process.pid:
                links = [link.readlink() for link in (process / "fd").iterdir()]
                count += sum(link.name == name for link in links)
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


def test_a_server_that_stops_sends_to_the_end_what_it_began() -> None:
    """The process stays for as long as ``server.graceful_timeout`` allows."""
    with throwaway_directory() as folder:
        settings = f"[server]\nworkers = 1\n{SETTINGS}"
        with RunningServer(folder / "data", settings=settings) as server:
            digest = push_blob(server.http, NAME, BLOB)
            with begin(server, digest) as wire:
                assert server.process is not None
                server.process.send_signal(signal.SIGTERM)
                wait_until(lambda: "Handling signal: term" in server.log, "the server stops")
                reply = wire.reply()
            ended = server.process.wait(STOP_SECONDS)
            server.process = None

    assert reply is not None
    assert reply.body == BLOB
    assert ended == 0
