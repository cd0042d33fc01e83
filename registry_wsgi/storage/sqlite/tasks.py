"""Pieces of work that wait for a write transaction, each with an outcome of its own."""

import sqlite3
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Final

_OF_THE_DISK: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})


def primary_code(error: BaseException) -> int:
    """SQLite's result code without its extension, 0 for an error that is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


class Task:
    """One piece of work waiting for its transaction, and what came of it.

    One thread waits for it, another one does it: two locks are all that they need, where a Future
    has a condition that is made and notified in interpreted code.
    """

    __slots__ = (
        "_connection",
        "_done",
        "_is_answered",
        "_taken",
        "_undo",
        "durable",
        "outcome",
        "work",
    )

    def __init__(self, work: Callable[[sqlite3.Connection], Any], *, durable: bool) -> None:
        self.work = work
        self.durable = durable
        self.outcome: Any = None
        self._taken = Lock()
        self._is_answered = False
        self._done = Lock()
        self._done.acquire()

    def take(self) -> bool:
        """Whether it is the caller's, who comes first, to do it or to give it up."""
        return self._taken.acquire(blocking=False)

    def is_done(self, seconds: float = -1) -> bool:
        """Wait for its answer, without end when ``seconds`` is negative; whether it came.

        For the one thread that waits, and not again after it came.
        """
        return self._done.acquire(timeout=seconds)

    def result(self) -> Any:
        """What the work returned; raises what it raised."""
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def attempt(self, connection: sqlite3.Connection) -> bool:
        """Do the work; whether it raised nothing. What it did until then is not undone."""
        self._connection, self._undo = connection, False
        with self:
            self.outcome = self.work(connection)
            return True
        return False

    def run(self, connection: sqlite3.Connection) -> None:
        """Do the work in a savepoint: what it raises becomes its outcome and undoes it alone."""
        self._connection, self._undo = connection, True
        connection.execute("SAVEPOINT task")
        with self:
            self.outcome = self.work(connection)
        connection.execute("RELEASE task")

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        # An error of the disk is everybody's, whether or not it ended the transaction.
        if (
            error is None
            or not self._connection.in_transaction
            or primary_code(error) in _OF_THE_DISK
        ):
            return False
        if self._undo:
            self._connection.execute("ROLLBACK TO task")
        self.outcome = error
        return isinstance(error, Exception)

    def answer(self) -> None:
        """Hand the outcome to whoever waits, after the commit; once."""
        if not self._is_answered:
            self._is_answered = True
            self._done.release()

    def fail(self, error: BaseException) -> None:
        """Hand an error to whoever waits, unless there was an answer."""
        if not self._is_answered:
            self.outcome = error
            self.answer()


def run_all(connection: sqlite3.Connection, tasks: Sequence[Task]) -> None:
    """Do all the work in the transaction that is open; raises sqlite3.Error for a broken disk.

    When one raises, all is undone and done again, each in a savepoint of its own: SQLite copies
    every page that is changed in one, so they are not set before. Work may be done twice, then.
    """
    if all(task.attempt(connection) for task in tasks):
        return
    connection.execute("ROLLBACK")
    connection.execute("BEGIN IMMEDIATE")
    if len(tasks) > 1:
        for task in tasks:
            task.run(connection)
