"""Measure this registry next to others, on this machine, in the same run.

    python benchmarks/run.py [--size MIB] [--seconds N] [--repetitions N] [--only WORD] [--disk DIR]
                             [--network own|host]

Others are those whose binaries are there: CNCF distribution (``registry``), Debian's
``docker-registry``, ``olareg``; see ``servers.contenders``. Every number is taken from each
server in turn, then again, so that what else the machine does falls on all of them; the medians
are compared. Everything is on the loopback interface and in directories that are removed; with
``--network own``, which takes root, on a loopback interface of its own (see ``network``).
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from machine import description
from measures import (
    MEMORY,
    OWN,
    PROXIED,
    READING,
    SIGNED_IN,
    WRITING,
    Effort,
    Filled,
    NotServedError,
    Row,
    is_possible,
    prepare,
    with_password,
    with_token,
)
from network import congestion_control, enter_own
from report import Result, table, write
from servers import OURS, Contender, Running, behind_nginx, contenders, running

RESULTS = Path(__file__).with_name("results")


class Run:
    """One run: what to do, how often, and what came of it."""

    def __init__(self, effort: Effort, repetitions: int, only: str) -> None:
        self.effort = effort
        self.repetitions = repetitions
        self.only = only
        self.results: list[Result] = []

    def result(self, row: Row) -> Result:
        """What came of a row so far."""
        for result in self.results:
            if result.row == row:
                return result
        self.results.append(Result(row))
        return self.results[-1]

    def wanted(self, rows: Sequence[Row]) -> list[Row]:
        """The rows that were asked for and can be measured."""
        return [row for row in rows if self.only in row.title and is_possible(row)]

    def measure(
        self, rows: Sequence[Row], servers: Mapping[str, Filled], repetitions: int = 0
    ) -> None:
        """Take each row's numbers, from each server in turn, and again."""
        for row in self.wanted(rows):
            result = self.result(row)
            asked = dict(servers)
            for _ in range((repetitions or self.repetitions) * row.scatter):
                for name, filled in servers.items():
                    if name in asked and not self._take(result, name, filled):
                        del asked[name]
            if len(result.values[OURS]) == self.repetitions * row.scatter:
                print(table([result]).splitlines()[-1], flush=True)

    def _take(self, result: Result, name: str, filled: Filled) -> bool:
        """Take one number of a server; false if it is a peer that has none."""
        try:
            value = result.row.measure(filled, self.effort)
        except NotServedError:
            if name == OURS:
                raise
            return False
        result.values.setdefault(name, []).append(value)
        return True


@contextlib.contextmanager
def side_by_side(
    servers: Sequence[Contender], folder: Path, fill: Callable[[Filled], Filled]
) -> Iterator[dict[str, Filled]]:
    """All of them, running and filled."""
    with contextlib.ExitStack() as stack:
        started = {
            one.name: stack.enter_context(running(one, folder / one.name)) for one in servers
        }
        yield {name: fill(Filled(server)) for name, server in started.items()}


def run_all(run: Run, servers: Sequence[Contender], memory: Path, disk: Path) -> None:
    """Every part of the table that has a row that is wanted."""
    own = [one for one in servers if one.name == OURS]

    def full(filled: Filled) -> Filled:
        return prepare(filled.server, run.effort)

    def empty(filled: Filled) -> Filled:
        return filled

    for row in run.wanted(OWN):
        # Memory that was taken once is kept: each number is of a server just started.
        for turn in range(run.repetitions):
            with side_by_side(own, memory / f"{OWN.index(row)}-{turn}", empty) as started:
                run.measure([row], started, 1)
    if run.wanted(MEMORY):
        with side_by_side(servers, memory / "memory", empty) as started:
            run.measure(MEMORY, started)
    if run.wanted((*READING, *WRITING, *SIGNED_IN)):
        with side_by_side(servers, disk / "disk", full) as started:
            run.measure(READING, started)
            run.measure(WRITING, started)
            if run.wanted(SIGNED_IN):
                with running(own[0], disk / "signed-in", sign_in=True) as server:
                    measure_signed_in(run, server, started)
    if run.wanted(PROXIED) and shutil.which("nginx"):
        with (
            behind_nginx(own[0], disk / "nginx") as proxied,
            running(own[0], disk / "direct") as direct,
        ):
            sides = {OURS: prepare(proxied, run.effort), "direct": prepare(direct, run.effort)}
            run.measure(PROXIED, sides)


def measure_signed_in(run: Run, server: Running, others: Mapping[str, Filled]) -> None:
    """The same where callers sign in; the peers answer anybody, which costs them nothing."""
    filled = prepare(with_password(Filled(server)).server, run.effort)
    run.measure(SIGNED_IN, {**others, OURS: with_token(filled)})


def main() -> int:
    """Run what the command line asks for; 1 if a floor was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512, help="MiB of a large blob")
    parser.add_argument("--seconds", type=int, default=5, help="of each run of small requests")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", default="", help="rows with this in their title")
    parser.add_argument("--disk", type=Path, help="a directory on a real disk")
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="one in memory")  # noqa: S108 - directories of one's own are made in it
    parser.add_argument("--network", choices=["own", "host"], default="host", help="see above")
    options = parser.parse_args()
    if options.network == "own":
        enter_own()
    network = f"{options.network}, {congestion_control()}"
    run = Run(Effort(options.size, options.seconds), options.repetitions, options.only)
    servers = contenders()
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=options.memory) as memory,
        tempfile.TemporaryDirectory(prefix="bench-", dir=options.disk) as disk,
    ):
        machine = {**description(Path(memory), Path(disk)), "network": network}
        try:
            run_all(run, servers, Path(memory), Path(disk))
        finally:
            effort = {"MiB": options.size, "seconds": options.seconds}
            path = write(RESULTS, run.results, machine, servers, effort)
            print(f"\n{path.read_text('utf-8')}\n{path}")
    return int(any(result.verdict() == "BELOW" for result in run.results))


if __name__ == "__main__":
    sys.exit(main())
