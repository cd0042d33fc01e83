"""Buffers that all processes of a server share: each is one body's at a time."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.images import sha256
from support.pushes import open_upload
from support.server import RunningServer
from support.verbs import request_target
from support.wire import SECONDS, Wire, request

from registry_wsgi.server.buffers import LARGE, LARGE_FOR_EACH, SMALL, Buffers

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def buffers() -> Buffers:
    """What a master makes for one process before it forks."""
    made = Buffers()
    made.share(1)
    return made


def sizes(buffers: Buffers, count: int) -> list[int]:
    """What so many bodies get that are received at a time."""
    with ExitStack() as stack:
        return [len(stack.enter_context(buffers.borrowed())) for _ in range(count)]


@contextmanager
def other_process(buffers: Buffers, count: int) -> Iterator[int]:
    """One that receives ``count`` bodies until it is killed; yields its pid."""
    told, tells = FORK.Pipe(duplex=False)

    def receive() -> None:
        with ExitStack() as stack:
            held = [stack.enter_context(buffers.borrowed()) for _ in range(count)]
            for buffer in held:
                buffer[:3] = b"own"
            tells.send([len(buffer) for buffer in held])
            signal.pause()

    process = FORK.Process(target=receive)
    process.start()
    try:
        assert told.poll(10)
        assert told.recv() == [LARGE] * count
        assert process.pid is not None
        yield process.pid
    finally:
        process.kill()
        process.join()


def test_nothing_is_shared_unless_processes_are_told_of() -> None:
    """Under another server, bodies get small buffers."""
    assert sizes(Buffers(), 2) == [SMALL] * 2


def test_bodies_get_large_buffers_as_long_as_there_are_any(buffers: Buffers) -> None:
    """And small ones then; afterwards it is as before."""
    for _ in range(2):
        assert sizes(buffers, 4) == [LARGE] * LARGE_FOR_EACH + [SMALL] * (4 - LARGE_FOR_EACH)


def test_no_two_bodies_have_the_same_buffer(buffers: Buffers) -> None:
    """Neither a large nor a small one."""
    with ExitStack() as stack:
        held = [stack.enter_context(buffers.borrowed()) for _ in range(5)]
        for number, buffer in enumerate(held):
            buffer[0] = number

        assert [buffer[0] for buffer in held] == [0, 1, 2, 3, 4]


def test_a_body_that_fails_gives_its_buffer_back(buffers: Buffers) -> None:
    """Whatever ended it."""
    for _ in range(LARGE_FOR_EACH + 1):
        with pytest.raises(OSError, match="cut"), buffers.borrowed():
            raise OSError("cut")

    assert sizes(buffers, LARGE_FOR_EACH) == [LARGE] * LARGE_FOR_EACH


def test_what_another_process_has_is_left_to_it(buffers: Buffers) -> None:
    """One process can use what is meant for all; the others then have small ones."""
    with other_process(buffers, LARGE_FOR_EACH - 1), ExitStack() as stack:
        held = [stack.enter_context(buffers.borrowed()) for _ in range(2)]

        assert [len(buffer) for buffer in held] == [LARGE, SMALL]
        assert held[0][:3] != b"own"


def test_a_process_that_is_killed_leaves_its_buffers_to_others(buffers: Buffers) -> None:
    """The kernel gives them back: nothing is lost until the next start."""
    with other_process(buffers, LARGE_FOR_EACH) as pid:
        assert sizes(buffers, 1) == [SMALL]

        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        assert sizes(buffers, LARGE_FOR_EACH) == [LARGE] * LARGE_FOR_EACH


def test_processes_made_later_add_no_more_than_they_need(buffers: Buffers) -> None:
    """A master says how many there are whenever it makes one, and after a reload anew."""
    for processes in (1, 2, 2, 1):
        buffers.share(processes)

    assert sizes(buffers, 2 * LARGE_FOR_EACH + 1) == [LARGE] * 2 * LARGE_FOR_EACH + [SMALL]


def held(server: RunningServer) -> int:
    """How many shared buffers a server's bodies have, by the kernel's list of locks."""
    assert server.process is not None
    files = Path(f"/proc/{server.process.pid}/fd").iterdir()
    memory = next(file for file in files if str(file.readlink()).startswith("/memfd:registry_wsgi"))
    inode = memory.stat().st_ino
    return Path("/proc/locks").read_text("ascii").count(f":{inode} ")


def become(server: RunningServer, count: int) -> bool:
    """Whether it has so many before long."""
    deadline = time.monotonic() + SECONDS
    while held(server) != count:
        if time.monotonic() > deadline:
            return False
    return True


@pytest.mark.parametrize(
    ("method", "header", "body"),
    [
        ("PATCH", "Content-Length: 100000", b"x" * 70_000),
        ("PATCH", "Transfer-Encoding: chunked", b"%x\r\n" % (1 << 20) + b"x" * 70_000),
        ("PATCH", "Transfer-Encoding: chunked", b"8000\r\n%b\r\n" % (b"x" * 32768) * 9),
        ("POST", "Content-Length: 100000", b"x" * 70_000),
    ],
    ids=["with a length", "in a chunk", "in chunks", "in one request"],
)
def test_an_upload_has_a_shared_buffer_until_it_is_cut(
    registry: RunningServer, repository: str, method: str, header: str, body: bytes
) -> None:
    """A server that many clients broke off from is as fast as one that was just started."""
    target = f"/v2/{repository}/blobs/uploads/?digest={sha256(b'x')}"
    if method == "PATCH":
        target = request_target(open_upload(registry.http, repository))
    with Wire(registry.host) as wire:
        wire.send(request(method, target, None, header) + body)

        assert become(registry, 1)
        wire.reset()

    assert become(registry, 0)


def test_an_upload_that_is_refused_half_way_keeps_no_buffer(
    registry: RunningServer, repository: str
) -> None:
    """The rest of its body is not wanted, and the answer does not wait for it."""
    location = request_target(open_upload(registry.http, repository))
    chunks = b"8000\r\n%b\r\n" % (b"x" * 32768) * 4
    head = request("PATCH", location, None, "Transfer-Encoding: chunked", "Content-Range: 0-99999")
    with Wire(registry.host) as wire:
        reply = wire.send(head + chunks).reply()

        assert reply is not None
        assert reply.code == "SIZE_INVALID"
        assert become(registry, 0)
