"""Buffers that all processes of a server share: each is one body's at a time."""

import mmap
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.pushes import open_upload
from support.server import RunningServer
from support.verbs import request_target
from support.wire import SECONDS, Wire, request

from registry_wsgi.server.buffers import LARGE, LARGE_FOR_EACH, MOST_LARGE, SMALL, Buffers

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def buffers() -> Buffers:
    """What a master makes for one process before it forks."""
    made = Buffers()
    made.share(1)
    return made


def take(stack: ExitStack, buffers: Buffers, count: int) -> list[mmap.mmap | None]:
    """What so many bodies get that have a turn at a time."""
    return [stack.enter_context(buffers.large()) for _ in range(count)]


def free(buffers: Buffers) -> int:
    """How many large ones are not in use."""
    with ExitStack() as stack:
        return sum(one is not None for one in take(stack, buffers, 2 * MOST_LARGE))


@contextmanager
def other_process(buffers: Buffers, count: int) -> Iterator[int]:
    """One that has ``count`` large buffers until it is killed; yields its pid."""
    told, tells = FORK.Pipe(duplex=False)

    def receive() -> None:
        with ExitStack() as stack:
            for buffer in take(stack, buffers, count):
                assert buffer is not None
                buffer[:3] = b"own"
            tells.send("has them")
            signal.pause()

    process = FORK.Process(target=receive)
    process.start()
    try:
        assert told.poll(10)
        assert process.pid is not None
        yield process.pid
    finally:
        process.kill()
        process.join()


def test_nothing_is_shared_unless_processes_are_told_of() -> None:
    """Under another server, bodies get small buffers."""
    assert free(Buffers()) == 0


def test_large_buffers_are_as_many_as_processes_need(buffers: Buffers) -> None:
    """A master says how many there are when it makes one, and after a reload anew."""
    for processes in (1, 2, 2, 1):
        buffers.share(processes)

    assert free(buffers) == 2 * LARGE_FOR_EACH


def test_there_is_an_end_to_them(buffers: Buffers) -> None:
    """On a machine of 64 processors they would take half a gigabyte, used or not."""
    buffers.share(64)

    assert free(buffers) == MOST_LARGE


def test_a_server_starts_where_nothing_can_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told of, and bodies get small buffers."""

    def refuse(name: str) -> int:
        raise PermissionError(name)

    monkeypatch.setattr(os, "memfd_create", refuse)
    buffers = Buffers()
    buffers.share(2)

    assert free(buffers) == 0


def test_no_two_bodies_have_the_same_buffer(buffers: Buffers) -> None:
    """Neither a large nor a small one; all have the size that they should."""
    with ExitStack() as stack:
        large = take(stack, buffers, LARGE_FOR_EACH + 1)
        small = [stack.enter_context(buffers.small()) for _ in range(3)]
        taken = [buffer for buffer in large if buffer is not None] + small
        for number, buffer in enumerate(taken):
            buffer[0] = number

        assert large[-1] is None
        assert [buffer[0] for buffer in taken] == [*range(LARGE_FOR_EACH + 3)]
        assert [*map(len, taken)] == [LARGE] * LARGE_FOR_EACH + [SMALL] * 3


def test_a_body_that_fails_gives_its_buffers_back(buffers: Buffers) -> None:
    """Whatever ended it; a small one is used again."""
    with buffers.small() as first:
        pass
    for _ in range(LARGE_FOR_EACH + 1):
        with pytest.raises(OSError, match="cut"), buffers.large(), buffers.small():
            raise OSError("cut")

    assert free(buffers) == LARGE_FOR_EACH
    with buffers.small() as last:
        assert last is first


def test_what_another_process_has_is_left_to_it(buffers: Buffers) -> None:
    """One process can use what is meant for all."""
    with other_process(buffers, LARGE_FOR_EACH - 1), ExitStack() as stack:
        own, *others = take(stack, buffers, LARGE_FOR_EACH)

        assert own is not None
        assert own[:3] != b"own"
        assert set(others) == {None}


def test_a_process_that_is_killed_leaves_its_buffers_to_others(buffers: Buffers) -> None:
    """The kernel gives them back: nothing is lost until the next start."""
    with other_process(buffers, LARGE_FOR_EACH) as pid:
        assert free(buffers) == 0

        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        assert free(buffers) == LARGE_FOR_EACH


def test_a_server_has_them_from_its_start(registry: RunningServer) -> None:
    """For each of its processes, in the memory that it forks."""
    assert registry.process is not None
    maps = Path(f"/proc/{registry.process.pid}/maps").read_text("ascii")
    shared = [line.split()[0] for line in maps.splitlines() if " rw-s " in line]
    sizes = [
        int(end, 16) - int(start, 16) for start, _, end in (line.partition("-") for line in shared)
    ]

    # Neighbours may be shown as one.
    count = sum(size for size in sizes if size >= LARGE) // LARGE
    assert count == min(LARGE_FOR_EACH * multiprocessing.cpu_count(), MOST_LARGE)


def held(server: RunningServer) -> int:
    """How many shared buffers a server's bodies have, by the kernel's list of locks."""
    assert server.process is not None
    files = Path(f"/proc/{server.process.pid}/fd").iterdir()
    memory = next(file for file in files if str(file.readlink()).startswith("/memfd:registry_wsgi"))
    found = memory.stat()
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    ranges = [
        line.split()[-2:]
        for line in Path("/proc/locks").read_text("ascii").splitlines()
        if f" {device}:{found.st_ino} " in line
    ]
    return sum(int(end) - int(start) + 1 for start, end in ranges)


def test_uploads_that_end_in_every_way_keep_no_buffer(
    registry: RunningServer, repository: str
) -> None:
    """A server that many clients broke off from is as fast as one that was just started."""
    block = b"8000\r\n%b\r\n" % (b"x" * 32768) * 200
    chunked = "Transfer-Encoding: chunked"
    bodies = [
        ("Content-Length: 9000000", b"x" * 8_000_000),
        (chunked, b"%x\r\n" % (9 << 20) + b"x" * (8 << 20)),
        (chunked, block),
        (chunked, block + b"wrong"),
    ]
    for header, body in bodies:
        location = request_target(open_upload(registry.http, repository))
        with Wire(registry.host) as wire:
            wire.send(request("PATCH", location, None, header) + body).finish().reply()
    location = request_target(open_upload(registry.http, repository))
    with Wire(registry.host) as wire:
        head = request("PATCH", location, None, chunked, "Content-Range: 0-99999")
        refused = wire.send(head + block).reply()
    deadline = time.monotonic() + SECONDS
    while held(registry) and time.monotonic() < deadline:
        time.sleep(0.01)

    assert refused is not None
    assert refused.code == "SIZE_INVALID"
    assert held(registry) == 0
