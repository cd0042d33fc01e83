"""Processes that write and checkpoint at once, for as long as it takes to tear a log apart."""

import contextlib
from pathlib import Path

import pytest
from support.counts import Counts
from support.opened import opened
from support.processes import child
from support.storage import APP
from support.writers import write_and_checkpoint

from registry_wsgi.names import Tag

PROCESSES = 8
SECONDS, TORTURE_SECONDS = 12, 60


def write_together(data: Path, seconds: float, counts: Counts) -> list[str]:
    """Have all processes write for a time; what is lost then."""
    with contextlib.ExitStack() as stack:
        rows = [(data, worker, seconds) for worker in range(PROCESSES)]
        children = [stack.enter_context(child(write_and_checkpoint, *row)) for row in rows]
        for started in children:
            started.hear()
        for started in children:
            started.say()
        outcomes = [started.hear() for started in children]
        for started in children:
            started.finish()
    lost: list[str] = []
    with opened(data) as found:
        lost += found.storage.index.inspection.integrity()
        for _, tags in outcomes:
            for tag, body in tags.items():
                if found.manifest(APP, Tag(tag)) != body:
                    lost.append(tag)
    counts(
        "writers and checkpoints",
        processes=PROCESSES,
        seconds=int(seconds),
        commits=sum(commits for commits, _ in outcomes),
        lost=len(lost),
    )
    return lost


def test_writers_that_checkpoint_at_once_lose_nothing(folder: Path, counts: Counts) -> None:
    """The index is sound, and has what was acknowledged last, of every process."""
    assert write_together(folder / "data", SECONDS, counts) == []


@pytest.mark.torture
def test_writers_that_checkpoint_for_a_minute_lose_nothing(tmp_path: Path, counts: Counts) -> None:
    """The same for a minute, on a disk."""
    assert write_together(tmp_path / "data", TORTURE_SECONDS, counts) == []
