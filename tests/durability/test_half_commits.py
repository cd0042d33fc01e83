"""What a killed writer left in the log comes back when all are gone: nothing may be missing then."""

from pathlib import Path

import pytest
from support.collectors import collect_stopping_at
from support.half_commits import look, push_and_be_killed, push_by_halves
from support.opened import opened
from support.plays import LAYER
from support.processes import child
from support.storage import APP

from registry_wsgi.names import Digest

DIGEST = Digest.of(LAYER)


@pytest.mark.parametrize("before", ["unknown", "doomed"])
def test_bytes_are_not_removed_under_a_push_that_comes_back(folder: Path, before: str) -> None:
    """Gc takes a blob's bytes whose push was half committed; all are killed, and it is not there."""
    data = folder / "data"
    if before == "doomed":
        push_and_be_killed(data, APP, LAYER)
    step = "doomed" if before == "doomed" else "uploads"
    with child(collect_stopping_at, data, step, "removed") as collector:
        assert collector.hear() == step
        push_by_halves(data, APP, LAYER)
        collector.say()
        assert collector.hear() == "removed"
        collector.kill()
    with opened(data) as registry:
        assert registry.problems() == []
        assert registry.read(APP, DIGEST) is None
        registry.push(APP, LAYER)
        registry.collect(grace=1000)
        assert registry.read(APP, DIGEST) == LAYER


def test_a_push_that_comes_back_is_whole(folder: Path) -> None:
    """The same without gc: what nobody could see is there, with its bytes."""
    data = folder / "data"
    with child(look, data, APP, LAYER) as looking:
        assert looking.hear() is False
        push_by_halves(data, APP, LAYER)
        looking.say()
        assert looking.hear() is False
        looking.kill()
    with opened(data) as registry:
        assert registry.problems() == []
        assert registry.read(APP, DIGEST) == LAYER
