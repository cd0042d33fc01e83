"""Processes that a test starts, talks to and kills: what threads cannot show."""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

SECONDS = 60
"""How long a child may take to answer: only a defect takes longer."""

_SPAWN = multiprocessing.get_context("spawn")

Pipe = Connection
"""A child's end of its connection to the test."""


class Child:
    """A process that runs one function of a module in ``support``.

    The function gets a pipe and the arguments, which must be picklable. It is a new process, not
    a fork of the test's, so that it shares no lock, descriptor or connection with it.
    """

    def __init__(self, function: Callable[..., None], *arguments: object) -> None:
        self._pipe, self._other = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=function, args=(self._other, *arguments), daemon=True)
        self._process.start()
        self._other.close()

    def hear(self) -> Any:
        """The next thing that the child sends; the test fails if it sends nothing."""
        assert self._pipe.poll(SECONDS), "the child is silent"
        return self._pipe.recv()

    def say(self, what: object = None) -> None:
        """Send the child something."""
        self._pipe.send(what)

    def kill(self) -> None:
        """End the child at once, with SIGKILL."""
        self._process.kill()
        self._process.join()

    def finish(self) -> None:
        """Wait for the child to return from its function; the test fails if it does not."""
        self._process.join(SECONDS)
        assert self._process.exitcode == 0, f"the child ended with {self._process.exitcode}"

    def close(self) -> None:
        """Kill the child if it still runs."""
        if self._process.is_alive():
            self.kill()
        self._pipe.close()
        self._process.close()


@contextlib.contextmanager
def child(function: Callable[..., None], *arguments: object) -> Iterator[Child]:
    """A child for as long as the block lasts; it may be finished or killed in it."""
    started = Child(function, *arguments)
    try:
        yield started
    finally:
        started.close()


def run_together(function: Callable[..., None], *rows: tuple[object, ...]) -> None:
    """Run ``function`` in one process a row of arguments, all started before any may go on.

    Each has to send something when it is ready, and to wait for an answer.
    """
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(child(function, *row)) for row in rows]
        for started in children:
            started.hear()
        for started in children:
            started.say()
        for started in children:
            started.finish()
