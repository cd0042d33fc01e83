"""Connections and transactions.

Readers borrow a connection from a pool, WAL lets them go on beside a writer. Writes go through
one thread a process, which takes what is queued as one batch: under the cross-process writer lock
one BEGIN IMMEDIATE, each piece of work, one COMMIT; then, without the lock, the answers. The
kernel's lock queue is fair where SQLite's busy handler sleeps longer and longer.

SQLite before 3.51.3 can corrupt a database when several connections write and checkpoint at once
(the WAL-reset bug). So the same lock is held around every write, every checkpoint (automatic ones
are off) and every closing of a connection, of which the last checkpoints.
"""

import logging
import os
import queue
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from registry_wsgi.errors import UNAVAILABLE, RegistryError, StorageFault, WouldWait, again_in
from registry_wsgi.storage.locks import FileLock
from registry_wsgi.storage.sqlite.connections import WAL_CHECKPOINT, connect
from registry_wsgi.storage.sqlite.tasks import Task, primary_code, run_all

LOG: Final = logging.getLogger(__name__)

T = TypeVar("T")

WAL_TRUNCATE: Final = 64 << 20
"""Size of the WAL, in bytes, above which the checkpoint also cuts the file."""

BATCH: Final = 64
"""Most pieces of work in one transaction."""

WRITE_TIMEOUT: Final = 30.0
"""Seconds a write may wait for its turn before it is answered 503."""

_MAY_BE_NO_ROOM: Final = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
)


def _may_be_no_room(error: BaseException) -> bool:
    """Whether the disk is full, or a quota is used up, which SQLite takes for an I/O error."""
    return getattr(error, "sqlite_errorcode", 0) in _MAY_BE_NO_ROOM


def _restart_log(connection: sqlite3.Connection) -> bool:
    """Have the log written over from its start, which needs no room; whether that succeeded."""
    try:
        busy: int = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if not _may_be_no_room(error):
            raise
        return False
    return not busy


class Database:
    """The index's file: opened lazily, never inherited over a fork, closed under the lock.

    ``make_room`` is asked once when the disk is full, and says whether trying again may help;
    ``is_full`` says whether there is no room even then.
    ``on_io_error`` is told when SQLite could not read, write or sync.
    """

    def __init__(
        self,
        path: Path,
        lock: FileLock,
        *,
        durable: bool = True,
        make_room: Callable[[], bool] = lambda: False,
        is_full: Callable[[], bool] = lambda: False,
        on_io_error: Callable[[], None] = lambda: None,
        open_connection: Callable[[Path], sqlite3.Connection] = connect,
    ) -> None:
        self.path = path
        self._log = f"{path}-wal"
        self.lock = lock
        self._durable = durable
        self._make_room = make_room
        self._is_full = is_full
        self._on_io_error = on_io_error
        self._open_connection = open_connection
        self.may_wait: Callable[[], bool] = lambda: True
        """Whether the thread that asks may wait for its turn to write: set by the wiring."""
        self._inherited: list[Any] = []
        self._reset()
        _DATABASES.add(self)

    def _reset(self) -> None:
        self._idle: list[sqlite3.Connection] = []
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._syncing = True
        self._starting = threading.Lock()

    def after_fork(self) -> None:
        """Start anew in a forked child."""
        # Closing a parent's connection here would drop the parent's locks: keep it, never use it.
        self._inherited.append(self._idle)
        self._reset()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for reading; raises StorageFault when SQLite cannot."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._open_connection(self.path)
        try:
            yield connection
        except sqlite3.Error as error:
            raise StorageFault("the index cannot be read", str(self.path), error) from error
        finally:
            self._idle.append(connection)

    def write(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        durable: bool = True,
        always_durable: bool = False,
    ) -> T:
        """Run ``work`` in a write transaction and return its result after the COMMIT.

        What ``work`` raises undoes its own changes only, and is raised here. Raises RegistryError
        (UNAVAILABLE) when its turn does not come in time, StorageFault when SQLite cannot commit.
        ``durable`` false lets a power cut undo it (a kill cannot); ``always_durable`` does not,
        even where the settings relax durability.
        """
        if not self.may_wait():
            raise WouldWait
        task = Task(work, durable=always_durable or (durable and self._durable))
        self._start_writer()
        self._tasks.put(task)
        try:
            result: T = self._outcome(task)
        except sqlite3.Error as error:
            raise StorageFault("the index cannot be written", str(self.path), error) from error
        return result

    @staticmethod
    def _outcome(task: Task) -> Any:
        if not task.is_done(WRITE_TIMEOUT):
            if task.take():
                raise RegistryError(UNAVAILABLE, "the index is busy", headers=again_in(1))
            task.is_done()  # it is being committed: its outcome is certain to come
        return task.result()

    def _start_writer(self) -> None:
        if self._writer is None or not self._writer.is_alive():
            with self._starting:
                if self._writer is None or not self._writer.is_alive():
                    self._writer = threading.Thread(
                        target=self._serve, args=(self._tasks,), name="index-writer", daemon=True
                    )
                    self._writer.start()

    def _serve(self, tasks: "queue.SimpleQueue[Task | None]") -> None:
        connection: sqlite3.Connection | None = None
        while (first := tasks.get()) is not None:
            batch = [first]
            try:
                # Whoever waits for too long gives up as long as its work is in no batch.
                with self.lock.held():
                    batch = self._batch(first, tasks)
                    if connection is None:
                        connection = self._open_connection(self.path)
                        self._syncing = True
                    self._commit_with_room(connection, batch)
                    if self._is_long():
                        self._answer(batch)
                        self._checkpoint(connection)
                # Whoever is answered wants the interpreter: other processes need not wait for it.
                self._answer(batch)
            except (sqlite3.Error, OSError, StorageFault, RegistryError) as error:
                if primary_code(error) == sqlite3.SQLITE_IOERR:
                    self._judge(error)
                for task in batch:
                    task.fail(error)
            finally:
                # Whatever ends this thread, nobody waits for ever; the next write starts another.
                for task in batch:
                    task.fail(StorageFault("the index's writer ended", str(self.path)))
        if connection is not None:
            with self.lock.held():
                connection.close()

    @staticmethod
    def _batch(first: Task, tasks: "queue.SimpleQueue[Task | None]") -> list[Task]:
        """``first`` and what else is queued, without what was given up meanwhile."""
        batch = [first]
        while len(batch) < BATCH and not tasks.empty():
            following = tasks.get()
            if following is None:
                tasks.put(None)
                break
            batch.append(following)
        return [task for task in batch if task.take()]

    def _judge(self, error: BaseException) -> None:
        """Tell of an I/O error, unless it is that there still is no room."""
        if not (_may_be_no_room(error) and self._is_full()):
            self._on_io_error()

    def _commit_with_room(self, connection: sqlite3.Connection, batch: list[Task]) -> None:
        try:
            self._commit(connection, batch)
        except sqlite3.OperationalError as error:
            if not _may_be_no_room(error):
                raise
            made = self._make_room()
            if not (_restart_log(connection) or made):
                raise
            self._commit(connection, batch)

    def _commit(self, connection: sqlite3.Connection, batch: list[Task]) -> None:
        durable = any(task.durable for task in batch)
        if durable != self._syncing:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._syncing = durable
        connection.execute("BEGIN IMMEDIATE")
        try:
            run_all(connection, batch)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    @staticmethod
    def _answer(batch: list[Task]) -> None:
        """Tell those who wait what came of it, now that it is committed."""
        for task in batch:
            task.answer()

    def _is_long(self) -> bool:
        """Whether to checkpoint the log, asked after a commit: it may have begun the log anew."""
        try:
            return self.wal_size() > WAL_CHECKPOINT
        except OSError:
            return False  # what is committed does not fail for that; the next commit looks again

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        size = self.wal_size()
        mode = "TRUNCATE" if size > WAL_TRUNCATE else "PASSIVE"
        busy = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()[0]
        if busy and size > WAL_TRUNCATE:
            LOG.warning("the index's WAL is %d MiB: a reader keeps it from shrinking", size >> 20)

    def wal_size(self) -> int:
        """Bytes in the write-ahead log. Only its name is looked at: opening it drops locks."""
        try:
            return os.stat(self._log).st_size  # noqa: PTH116 - asked at each commit
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        """Finish what is queued and close every connection."""
        writer = self._writer
        if writer is not None:
            self._tasks.put(None)
            writer.join()
            self._writer = None
        with self.lock.held():
            while self._idle:
                self._idle.pop().close()


_DATABASES: Final[weakref.WeakSet[Database]] = weakref.WeakSet()


def _after_fork() -> None:
    for database in list(_DATABASES):
        database.after_fork()


os.register_at_fork(after_in_child=_after_fork)
