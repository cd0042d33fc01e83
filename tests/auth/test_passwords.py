"""Checking passwords: not twice for nothing, never many at once."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.accounts import opened_data
from support.storage import refused
from werkzeug.security import check_password_hash

from registry_wsgi.auth.passwords import (
    REMEMBERED,
    PasswordChecker,
    Turns,
    fingerprint,
    make_hash,
)
from registry_wsgi.errors import TOO_MANY_REQUESTS
from registry_wsgi.wiring_access import password_turn

STORED = "the stored hash"
RIGHT = "right"


@dataclass
class Time:
    """A clock that a test turns."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        """What time it is."""
        return self.seconds


@dataclass
class Verifier:
    """Compares, and notes what with; ``pause`` is called in the middle of it."""

    pause: Callable[[], object] = lambda: None
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, stored: str, password: str) -> bool:
        """Whether it is the right one."""
        self.asked.append((stored, password))
        self.pause()
        return password == RIGHT


def checker(verifier: Verifier, time: Time | None = None, waiting: int = 1) -> PasswordChecker:
    """A checker of this verifier."""
    return PasswordChecker(Turns(waiting), time or Time(), verifier)


def test_a_hash_is_slow_to_make_and_right_once() -> None:
    """An account's hash is scrypt at werkzeug's cost, salted, and of its password alone."""
    stored = make_hash("correct horse")

    assert stored.startswith("scrypt:32768:8:1$")
    assert stored != make_hash("correct horse")
    assert check_password_hash(stored, "correct horse")
    assert not check_password_hash(stored, "correct horsf")


def test_a_pair_that_was_right_is_not_checked_again() -> None:
    """For a minute it costs nothing; then it is checked anew."""
    verifier, time = Verifier(), Time()
    subject = checker(verifier, time)
    told = [subject.check("anna", RIGHT, STORED) for _ in range(3)]
    time.seconds += 59.9
    told.append(subject.check("anna", RIGHT, STORED))
    before = len(verifier.asked)
    time.seconds += 0.2
    told.append(subject.check("anna", RIGHT, STORED))

    assert told == 5 * [True]
    assert (before, len(verifier.asked)) == (1, 2)


def test_a_wrong_pair_is_checked_each_time() -> None:
    """It is never remembered: a wrong password costs as much the second time."""
    verifier = Verifier()
    subject = checker(verifier)

    assert [subject.check("anna", "wrong", STORED) for _ in range(3)] == 3 * [False]
    assert len(verifier.asked) == 3


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(("berta", RIGHT, STORED), id="another name"),
        pytest.param(("anna", "wrong", STORED), id="another password"),
        pytest.param(("anna", RIGHT, "the new hash"), id="another hash"),
        pytest.param(("anna\0right", "", STORED), id="the same letters"),
    ],
)
def test_what_is_remembered_is_of_name_password_and_hash(other: tuple[str, str, str]) -> None:
    """Where one of the three differs, so that the hash was changed, say, it is checked."""
    verifier = Verifier()
    subject = checker(verifier)
    subject.check("anna", RIGHT, STORED)

    assert not subject.recall(*other)
    subject.check(*other)
    assert len(verifier.asked) == 2


def test_no_password_is_kept() -> None:
    """What is remembered is an HMAC under a key of this process's own."""
    subject, twin = checker(Verifier()), checker(Verifier())
    for one in (subject, twin):
        one.check("anna", RIGHT, STORED)

    assert all(len(mark) == 32 for mark in subject._right)
    assert set(subject._right) != set(twin._right)


def test_not_more_is_remembered_than_the_limit() -> None:
    """Beyond it the pairs that were checked longest ago are forgotten."""
    subject = checker(Verifier())
    for number in range(REMEMBERED):
        subject.check(f"user{number}", RIGHT, STORED)
    subject.check("user0", RIGHT, "a new hash")
    subject.check("one more", RIGHT, STORED)

    assert len(subject._right) == REMEMBERED
    assert not subject.recall("user1", RIGHT, STORED)
    assert subject.recall("user2", RIGHT, STORED)


def test_a_fingerprint_changes_with_the_hash() -> None:
    """It tells one stored hash from another, and nothing of either."""
    assert fingerprint("a") == fingerprint("a") != fingerprint("b")
    assert len(fingerprint(make_hash("x"))) == 16


# --- How many at once -----------------------------------------------------------------------------


@dataclass
class Crowd:
    """Threads that all check a password, of which the first ones are held in the middle of it."""

    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    going_on: threading.Event = field(default_factory=threading.Event)
    running: int = 0
    most: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def pause(self) -> None:
        """Be in the middle of a check, until the test lets everybody go on."""
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.entered.release()
        self.going_on.wait(30)
        with self._lock:
            self.running -= 1


@contextmanager
def one_turn() -> Iterator[None]:
    """A turn for one thread at a time."""
    with _one:
        yield


_one = threading.Lock()


def wait_until_taken(turns: Turns) -> None:
    """Return when every place is taken."""
    while turns._places._value:
        threading.Event().wait(0.001)


def test_more_than_may_wait_are_answered_at_once() -> None:
    """With one checking and two waiting, a fourth gets 429 and when to come again; the rest succeed."""
    crowd = Crowd()
    turns = Turns(2, one_turn)
    subject = PasswordChecker(turns, Time(), Verifier(crowd.pause))
    with ThreadPoolExecutor(3) as pool:
        waiting: list[Future[bool]] = [
            pool.submit(subject.check, f"user{n}", RIGHT, STORED) for n in range(3)
        ]
        crowd.entered.acquire()
        wait_until_taken(turns)
        with refused(TOO_MANY_REQUESTS) as caught:
            subject.check("one more", RIGHT, STORED)
        crowd.going_on.set()

        assert [future.result() for future in waiting] == 3 * [True]
    assert dict(caught.value.headers)["Retry-After"] == "1"
    assert crowd.most == 1
    assert subject.check("one more", RIGHT, STORED)


def test_who_waited_for_the_same_pair_does_not_work_for_it_again() -> None:
    """Jobs that sign in at the same time with the same credentials cost one check."""
    crowd = Crowd()
    verifier = Verifier(crowd.pause)
    turns = Turns(2, one_turn)
    subject = PasswordChecker(turns, Time(), verifier)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(subject.check, "ci", RIGHT, STORED) for _ in range(3)]
        crowd.entered.acquire()
        wait_until_taken(turns)
        crowd.going_on.set()

        assert [future.result() for future in waiting] == 3 * [True]
    assert len(verifier.asked) == 1


def test_a_failed_check_gives_its_place_back() -> None:
    """Whatever ends a check, the next one finds room."""

    def fail() -> None:
        raise OSError

    subject = PasswordChecker(Turns(0), Time(), Verifier(fail))
    for _ in range(3):
        with pytest.raises(OSError):
            subject.check("anna", RIGHT, STORED)


def test_processes_share_the_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that fall on one turn wait for each other; there is one for two cores."""
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    entered = threading.Event()
    with opened_data(tmp_path / "data") as storage:
        turns = []
        for pid in (10, 11, 12):
            monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
            turns.append(password_turn(storage)())

        def enter_last() -> None:
            with turns[2]:
                entered.set()

        waiting = threading.Thread(target=enter_last)
        with turns[0], turns[1]:
            waiting.start()
            held_up = not entered.wait(0.2)
        waiting.join(30)

    assert held_up
    assert entered.is_set()
    assert len(list((tmp_path / "data" / "locks").glob("password-*"))) == 2
