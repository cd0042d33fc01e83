"""Connections have the settings they need, and writes go through one transaction at a time."""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

import pytest
from support.contenders import read_in_a_fork
from support.processes import child
from support.storage import memory_directory, open_database

from registry_wsgi.errors import BLOB_UNKNOWN, RegistryError, StorageFault
from registry_wsgi.storage.locks import FileLock
from registry_wsgi.storage.sqlite import connections
from registry_wsgi.storage.sqlite import database as module
from registry_wsgi.storage.sqlite.connections import WAL_CHECKPOINT, connect
from registry_wsgi.storage.sqlite.database import Database
from registry_wsgi.storage.sqlite.tasks import Task, run_all

FULL, NORMAL = 2, 1

SETTINGS = {
    "journal_mode": "wal",
    "synchronous": FULL,
    "foreign_keys": 1,
    "wal_autocheckpoint": 0,
    "trusted_schema": 0,
    "cell_size_check": 1,
    "mmap_size": 0,
    "journal_size_limit": 8 << 20,
}


@pytest.fixture
def database() -> Iterator[Database]:
    """A database whose commits are synced."""
    with memory_directory() as folder, open_database(folder) as relaxed:
        durable = Database(relaxed.path, FileLock(folder / "write"))
        yield durable
        durable.close()


def pragma(connection: sqlite3.Connection, name: str) -> object:
    """What a setting of a connection is."""
    row = connection.execute(f"PRAGMA {name}").fetchone()
    return row[0] if row else None


def add(name: str, connection: sqlite3.Connection) -> None:
    """A small change."""
    connection.execute("INSERT INTO repositories (name) VALUES (?)", (name,))


def names(database: Database) -> list[str]:
    """What the small changes came to."""
    with database.reading() as connection:
        return [name for (name,) in connection.execute("SELECT name FROM repositories")]


# --- Settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "expected"), SETTINGS.items(), ids=SETTINGS)
def test_a_reading_connection_has_every_setting(
    database: Database, name: str, expected: object
) -> None:
    """What SQLite answers when it is asked is what was asked for (mmap may be compiled out)."""
    with database.reading() as connection:
        found = pragma(connection, name)

    assert found == expected or (name == "mmap_size" and found is None)


@pytest.mark.parametrize(("name", "expected"), SETTINGS.items(), ids=SETTINGS)
def test_the_writing_connection_has_every_setting(
    database: Database, name: str, expected: object
) -> None:
    """The writer's connection is set as the readers' are."""
    found = database.write(lambda connection: pragma(connection, name))

    assert found == expected or (name == "mmap_size" and found is None)


def test_every_setting_is_read_back() -> None:
    """The table of settings here and the one in the program have the same rows."""
    assert {name: expected for name, _, expected in connections._SETTINGS} == SETTINGS


def test_a_setting_that_sqlite_refuses_is_a_fault(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system on which WAL does not work is refused, not used in another mode."""
    monkeypatch.setattr(connections, "_SETTINGS", (("journal_mode", "WAL", "another"),))
    with pytest.raises(StorageFault) as caught:
        connect(database.path)

    assert caught.value.reason == "SQLite refused journal_mode = WAL: wal"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(None, "unable to open", id="no file"),
        pytest.param(b"not a database" * 100, "not a database", id="no database"),
    ],
)
def test_what_is_no_index_is_a_fault(content: bytes | None, kind: str, tmp_path: Path) -> None:
    """Connecting makes no file, and takes no other file for an index."""
    path = tmp_path / "index"
    if content:
        path.write_bytes(content)
    with pytest.raises(StorageFault, match="cannot be opened") as caught:
        connect(path)

    assert kind in str(caught.value.cause)
    assert path.exists() == bool(content)


@pytest.mark.parametrize(
    ("settings", "work", "always", "expected"),
    [
        pytest.param(True, True, False, FULL, id="full durability"),
        pytest.param(True, False, False, NORMAL, id="a lease"),
        pytest.param(False, True, False, NORMAL, id="relaxed"),
        pytest.param(False, False, False, NORMAL, id="a lease, relaxed"),
        pytest.param(False, True, True, FULL, id="a doom, relaxed"),
    ],
)
def test_a_commit_is_synced_when_it_must_be(
    settings: bool, work: bool, always: bool, expected: int, database: Database
) -> None:
    """Settings may relax the durability of a write, but not of one that removes."""
    configured = Database(database.path, database.lock, durable=settings)
    found = configured.write(
        lambda connection: pragma(connection, "synchronous"), durable=work, always_durable=always
    )
    configured.close()

    assert found == expected


def test_each_commit_is_synced_as_it_has_to_be_whatever_the_last_one_was(
    database: Database,
) -> None:
    """A lease between two pushes changes nothing for them."""
    found = [
        database.write(lambda connection: pragma(connection, "synchronous"), durable=durable)
        for durable in (True, False, True, True, False)
    ]

    assert found == [FULL, NORMAL, FULL, FULL, NORMAL]


# --- Transactions ---------------------------------------------------------------------------------


def test_a_write_returns_what_its_work_returns(database: Database) -> None:
    """The result comes after the commit: another connection sees the change by then."""

    def work(connection: sqlite3.Connection) -> str:
        add("a", connection)
        return "done"

    assert database.write(work) == "done"
    assert names(database) == ["a"]


def test_an_error_of_the_work_is_raised_and_undoes_it(database: Database) -> None:
    """Whoever asked gets the very error, and nothing of what was done before it stays."""
    error = RegistryError(BLOB_UNKNOWN)

    def work(connection: sqlite3.Connection) -> None:
        add("a", connection)
        raise error

    with pytest.raises(RegistryError) as caught:
        database.write(work)

    assert caught.value is error
    assert names(database) == []


def test_an_error_of_sqlite_is_a_fault(database: Database) -> None:
    """What SQLite refuses becomes a fault with its cause, for writers and readers alike."""
    with pytest.raises(StorageFault, match="cannot be written") as writing:
        database.write(lambda connection: connection.execute("INSERT INTO nowhere VALUES (1)"))
    with (
        pytest.raises(StorageFault, match="cannot be read") as reading,
        database.reading() as connection,
    ):
        connection.execute("SELECT 1 FROM nowhere")

    assert isinstance(writing.value.cause, sqlite3.OperationalError)
    assert isinstance(reading.value.cause, sqlite3.OperationalError)


def write_together(
    database: Database, works: list[Callable[[sqlite3.Connection], int]]
) -> tuple[list[int | BaseException], list[str]]:
    """Queue works while a transaction is open; their outcomes, and how often one was begun."""
    inside, go_on = threading.Event(), threading.Event()
    begun: list[str] = []

    def occupy(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(lambda text: begun.append(text) if "BEGIN" in text else None)
        inside.set()
        go_on.wait(30)

    with ThreadPoolExecutor(len(works) + 1) as pool:
        pool.submit(database.write, occupy)
        inside.wait(30)
        futures = [pool.submit(database.write, work) for work in works]
        while database._tasks.qsize() < len(works):
            wait(futures, timeout=0.001)
        go_on.set()
        return [future.exception() or future.result() for future in futures], begun


def adding(number: int, *, fails: bool = False) -> Callable[[sqlite3.Connection], int]:
    """A work that makes a change and returns its number, or fails after the change."""

    def work(connection: sqlite3.Connection) -> int:
        add(str(number), connection)
        if fails:
            raise KeyError(number)
        return number

    return work


@pytest.mark.parametrize(
    ("failing", "savepoints"), [([False, False], 0), ([False, True], 2), ([True], 0)]
)
def test_work_is_done_in_savepoints_only_where_some_of_it_fails(
    failing: list[bool], savepoints: int, database: Database
) -> None:
    """What is committed together needs none, and one that is alone is undone with all."""
    statements: list[str] = []
    works = [adding(number, fails=fails) for number, fails in enumerate(failing)]
    with contextlib.closing(connect(database.path)) as connection:
        connection.set_trace_callback(statements.append)
        connection.execute("BEGIN IMMEDIATE")
        run_all(connection, [Task(work, durable=True) for work in works])
        connection.execute("COMMIT")

    assert sum(text.startswith("SAVEPOINT") for text in statements) == savepoints
    assert names(database) == [str(number) for number, fails in enumerate(failing) if not fails]


def test_a_failing_work_leaves_its_neighbours_alone(database: Database) -> None:
    """In a batch of one transaction, each work has its own outcome."""
    failing = {0, 3, 4, 9}
    outcomes, _ = write_together(database, [adding(n, fails=n in failing) for n in range(10)])

    assert {n for n, outcome in enumerate(outcomes) if isinstance(outcome, KeyError)} == failing
    assert {n for n, outcome in enumerate(outcomes) if outcome == n} == set(range(10)) - failing
    assert sorted(map(int, names(database))) == sorted(set(range(10)) - failing)


def test_waiting_writes_share_a_transaction(database: Database) -> None:
    """What queues up while a transaction is open is committed together in the next."""
    outcomes, begun = write_together(database, [adding(n) for n in range(10)])

    assert outcomes == list(range(10))
    assert len(begun) == 1
    assert len(names(database)) == 10


def test_a_transaction_is_not_endless(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most so many works are in one transaction, so that the first need not wait for all."""
    monkeypatch.setattr(module, "BATCH", 4)
    outcomes, begun = write_together(database, [adding(n) for n in range(10)])

    assert outcomes == list(range(10))
    assert len(begun) == 3


def test_readers_go_on_beside_a_writer(database: Database) -> None:
    """A reader sees what was there before, while a transaction is open."""
    database.write(lambda connection: add("before", connection))
    inside, seen = threading.Event(), threading.Event()

    def work(connection: sqlite3.Connection) -> None:
        add("after", connection)
        inside.set()
        seen.wait(30)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(database.write, work)
        inside.wait(30)
        meanwhile = names(database)
        seen.set()
        writing.result()

    assert meanwhile == ["before"]
    assert names(database) == ["before", "after"]


def test_a_fork_reads_over_a_connection_of_its_own(tmp_path: Path) -> None:
    """What a parent has opened is kept, so that its locks stay, and not used."""
    with child(read_in_a_fork, tmp_path) as process:
        opened = process.hear()
        process.finish()

    assert opened == 1


def test_a_write_holds_the_lock(database: Database) -> None:
    """Inside of a transaction no other process can be in one, whatever its SQLite does."""
    path = database.path.with_name("write")

    def work(_: sqlite3.Connection) -> bool:
        with FileLock(path).trying() as held:
            return held

    assert database.write(work) is False
    with FileLock(path).held():  # free again, once the writer has finished
        assert database.path.exists()


def test_a_closed_database_is_one_file(database: Database) -> None:
    """The last closing moves the write-ahead log into the database."""
    database.write(lambda connection: add("a", connection))
    before = database.wal_size()
    database.close()

    assert before > 0
    assert database.wal_size() == 0
    assert names(database) == ["a"]


@pytest.mark.parametrize("most", [0, 1 << 30], ids=["over the mark", "under the mark"])
def test_a_writer_checkpoints_when_the_log_is_long(
    most: int, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the mark the log's pages go into the database, after the commit and under the lock."""
    monkeypatch.setattr(module, "WAL_CHECKPOINT", most)
    statements: list[str] = []
    database.write(lambda connection: add("a", connection))
    database.write(lambda connection: connection.set_trace_callback(statements.append))
    database.write(lambda connection: add("b", connection))
    with database.lock.held():  # once the writer has finished
        checkpoints = [text for text in statements if "wal_checkpoint" in text]

    assert bool(checkpoints) == (most == 0)
    assert not checkpoints or statements.index(checkpoints[0]) > statements.index("COMMIT")


def test_a_log_that_was_checkpointed_is_written_over_and_keeps_its_room(database: Database) -> None:
    """Below the mark nothing has to be allocated: a sync is of data alone."""
    long_names = (f"{number}".rjust(1 << 20, "x") for number in range(12))
    sizes = []
    for name in long_names:
        database.write(partial(add, name))
        with database.lock.held():  # once the writer has finished
            sizes.append(database.wal_size())

    mark = WAL_CHECKPOINT
    grown = [size > mark for size in sizes].index(True)
    assert min(sizes[grown:]) == mark


def test_whoever_waits_is_answered_when_the_lock_is_free(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an answer sets off keeps no other process waiting."""
    free: list[bool] = []

    def answer(task: Task) -> None:
        with FileLock(database.path.with_name("write")).trying() as held:
            free.append(held)
        answer_to(task)

    answer_to = Task.answer
    monkeypatch.setattr(Task, "answer", answer)
    database.write(lambda connection: add("a", connection))

    assert free == [True]


def test_a_full_disk_is_tried_again_when_room_can_be_made(tmp_path: Path) -> None:
    """A commit that did not fit is done once more after the reserve was given up."""
    asked: list[str] = []

    def make_room() -> bool:
        asked.append("room")
        return True

    with open_database(tmp_path) as opened:
        database = Database(opened.path, opened.lock, make_room=make_room)

        def work(connection: sqlite3.Connection) -> str:
            connection.execute(f"PRAGMA max_page_count = {10_000 if asked else 1}")
            connection.execute("INSERT INTO repositories (name) VALUES (?)", ("x" * 100_000,))
            return "fits"

        outcome = database.write(work)
        database.close()

    assert outcome == "fits"
    assert asked == ["room"]
