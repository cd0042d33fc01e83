"""Processes killed at any moment, under load, lose nothing that was acknowledged."""

import contextlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.counts import Counts
from support.ledger import Ledger
from support.load import Client, collected, run_together
from support.opened import opened
from support.server import CHECKOUT, RunningServer, throwaway_directory
from support.waiting import wait_until

ROUNDS, TORTURE_ROUNDS = 25, 1000
CLIENTS = 4
GRACE = 10
"""Seconds: longer than a round, shorter than all of them."""

SETTINGS = "[server]\nworkers = 2\nthreads = 8\n"
COLLECT = Path(__file__).resolve().parents[1] / "support" / "collect_forever.py"


@contextlib.contextmanager
def collecting(data: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Collect in a process of its own, until it is killed."""
    with data.with_name("gc.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", COLLECT, data, str(GRACE)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def run_round(server: RunningServer, clients: list[Client], chance: random.Random) -> None:
    """Load on a registry, beside gc, until all are killed at some moment."""
    moment = threading.Event()
    reports = reports_of(server)
    with collecting(server.data) as collector:
        server.start()
        wait_until(lambda: reports_of(server) > reports, "gc collects")
        threads = run_together(clients, server.host)
        moment.wait(chance.uniform(0.05, 0.7))
        if chance.random() < 0.5:
            collector.kill()
        server.kill()
    for thread in threads:
        thread.join()


def gc_log(server: RunningServer) -> str:
    """What all runs of gc have said."""
    log = server.data.with_name("gc.log")
    return log.read_text(errors="replace") if log.exists() else ""


def reports_of(server: RunningServer) -> int:
    """How many runs of gc have finished."""
    return gc_log(server).count("\n")


def torture(rounds: int, seed: int, folder: Path, counts: Counts) -> list[str]:
    """Kill a registry so many times; what is lost, or was not answered as it should have been."""
    chance = random.Random(seed)  # noqa: S311 - moments and contents, not a secret
    ledger = Ledger()
    clients = [
        Client(number, CLIENTS, ledger, random.Random(chance.random()))  # noqa: S311 - as above
        for number in range(CLIENTS)
    ]
    server = RunningServer(folder / "data", settings=SETTINGS)
    read = 0
    for _ in range(rounds):
        run_round(server, clients, chance)
        with opened(server.data) as found:
            read += ledger.read_back(found)
            for finding in found.problems():
                ledger.surprise(f"fsck: {finding.what}: {finding.message}")
        ledger.begin_round()
        if ledger.surprises:
            break
    removed = collected(gc_log(server))
    counts(
        "kill -9",
        rounds=rounds,
        acknowledged=ledger.acknowledged,
        **{"read back": read, "collected by gc": removed},
        lost=len(ledger.surprises),
    )
    assert removed or ledger.surprises, "gc found nothing to do"
    return ledger.surprises


def test_a_registry_killed_at_any_moment_has_lost_nothing(counts: Counts) -> None:
    """All that was acknowledged under load is there, hash by hash, and fsck finds no fault."""
    with throwaway_directory() as folder:
        lost = torture(ROUNDS, 1, folder, counts)

    assert lost == []


@pytest.mark.torture
def test_a_registry_killed_a_thousand_times_has_lost_nothing(counts: Counts) -> None:
    """The same, a thousand times."""
    with throwaway_directory() as folder:
        lost = torture(TORTURE_ROUNDS, 2, folder, counts)

    assert lost == []
