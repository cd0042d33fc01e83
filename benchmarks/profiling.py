"""Where the time of one kind of request goes: a worker under cProfile, asked by a client.

    python benchmarks/profiling.py [manifest|tags|head|blob|push] [--requests N] [--lines N]

cProfile makes Python functions look dearer than they are, the kernel and C code cheaper: read it
for what is called and how often, and measure with ``run.py``.
"""

import argparse
import contextlib
import cProfile
import multiprocessing
import os
import pstats
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clients import Address, Client, Content, push, target_of
from gunicorn import sock
from images import fill, tag_names

from registry_wsgi.config import load
from registry_wsgi.server.serve import Serve
from registry_wsgi.wiring import create_app

MIB = 1 << 20


def serve(data: Path, port: int, lines: int, threads: bool) -> None:
    """Run one worker under the profiler until told to stop, and print what it found."""
    config = load(flags={"storage.data": str(data), "server.bind": f"127.0.0.1:{port}"})
    application = Serve(create_app(config), config, lambda: config)
    settings = application.cfg
    log = settings.logger_class(settings)
    listeners = sock.create_sockets(settings, log)
    worker = settings.worker_class(0, os.getppid(), listeners, application, 60, settings, log)
    profile = cProfile.Profile()
    if threads:
        handle = worker.handle

        def profiled(conn: Any) -> Any:
            with contextlib.suppress(ValueError):  # another thread is profiled just now
                return profile.runcall(handle, conn)
            return handle(conn)

        worker.handle = profiled
        worker.init_process()
    else:
        profile.runcall(worker.init_process)
    statistics = pstats.Stats(profile, stream=sys.stdout)
    statistics.sort_stats("tottime").print_stats(lines)


def ask(address: Address, what: str, requests: int) -> float:
    """Send these requests one after another; the microseconds that each took."""
    client = Client(address)
    blobs = fill(client, "bench/profile", 100)
    names = tag_names(100)
    targets: dict[str, Callable[[int], str]] = {
        "manifest": lambda turn: f"/v2/bench/profile/manifests/{names[turn % 100]}",
        "tags": lambda _: "/v2/bench/profile/tags/list?n=100",
        "head": lambda _: f"/v2/bench/profile/blobs/{blobs[0]}",
        "blob": lambda _: f"/v2/bench/profile/blobs/{blobs[0]}",
    }
    started = time.perf_counter()
    if what == "push":
        for turn in range(max(1, requests // 1000)):
            push(client, "bench/profile", Content(64 * MIB, str(turn)), chunked=True)
    else:
        method = "HEAD" if what == "head" else "GET"
        for turn in range(requests):
            client.send_head(method, target_of(targets[what](turn)))
            client.answer(method)
    return (time.perf_counter() - started) / requests * 1e6


def main() -> None:
    """Profile what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="manifest")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--lines", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = 19_321
        child = multiprocessing.Process(
            target=serve,
            args=(Path(folder) / "data", port, options.lines, options.what in {"blob", "push"}),
        )
        child.start()
        address = Address("127.0.0.1", port)
        while True:
            with contextlib.suppress(OSError):
                Client(address).close()
                break
        took = ask(address, options.what, options.requests)
        os.kill(child.pid or 0, signal.SIGTERM)
        child.join()
        print(f"{took:.0f} us a request, client and profiler included")


if __name__ == "__main__":
    main()
