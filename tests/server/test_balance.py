"""New connections go to the process that has the fewest, and nobody waits for long."""

import multiprocessing
import time

import pytest

from registry_wsgi.server.balance import PATIENCE, SILENT, SLOTS, Share, Shares

COUNT = 3


@pytest.fixture
def shares() -> Shares:
    """What a master makes before it forks."""
    return Shares()


def test_a_process_alone_takes_every_connection(shares: Shares) -> None:
    """There is nobody to leave one to."""
    share = Share(1, shares)

    assert not any(share.declines(count) for count in range(100))


@pytest.mark.parametrize(
    ("own", "other", "declined"), [(0, 0, False), (3, 3, False), (2, 3, False), (4, 3, True)]
)
def test_who_has_more_leaves_it_to_who_has_fewer(
    shares: Shares, own: int, other: int, declined: bool
) -> None:
    """With as many as another process has, or fewer, one takes it at once."""
    Share(2, shares).tell(other)

    assert Share(1, shares).declines(own) == declined


def test_it_is_taken_when_nobody_else_does(shares: Shares) -> None:
    """After so many times in a row; then the next one is left to others again."""
    Share(2, shares).tell(0)
    share = Share(1, shares)
    answers = [share.declines(1) for _ in range(2 * (PATIENCE + 1))]

    assert answers == [*[True] * PATIENCE, False] * 2


def test_a_process_that_left_is_not_waited_for(shares: Shares) -> None:
    """One that is stopping takes no connections."""
    other = Share(2, shares)
    other.tell(0)
    other.leave()

    assert not Share(1, shares).declines(1)


def test_a_process_that_says_nothing_is_not_waited_for(
    shares: Shares, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been killed: nobody tells for it."""
    Share(2, shares).tell(0)
    later = time.monotonic() + SILENT
    monkeypatch.setattr(time, "monotonic", lambda: later)

    assert not Share(1, shares).declines(1)


def test_more_processes_than_slots_do_no_harm(shares: Shares) -> None:
    """Those that share a slot do not see each other."""
    Share(1 + SLOTS, shares).tell(0)

    assert not Share(1, shares).declines(1)


def test_processes_know_of_each_other(shares: Shares) -> None:
    """What a forked process tells is seen by the others."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=Share(2, shares).tell, args=(COUNT,))
    process.start()
    process.join()

    assert shares.least_elsewhere(1, time.monotonic()) == COUNT
