"""Waiting for what a server does in its own time: asked again until it is so, or the test fails."""

import time
from collections.abc import Callable

import pytest
from support.verbs import Answer, Verbs

SECONDS = 30
PAUSE = 0.01


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Return when it holds; the test fails if it does not in time."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"this has not come about: {what}")
        time.sleep(PAUSE)


def offset_of(answer: Answer) -> int:
    """How many bytes an upload session has, by its status."""
    last = int(answer["Range"].partition("-")[2])
    return last + 1 if last else 0


def wait_for_offset(http: Verbs, location: str, least: int) -> Answer:
    """The status of a session that has ``least`` bytes or more."""
    answers: list[Answer] = []

    def is_there() -> bool:
        answers.append(http.get(location, expect=204))
        return offset_of(answers[-1]) >= least

    wait_until(is_there, f"the session has {least} bytes")
    return answers[-1]
