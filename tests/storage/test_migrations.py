"""The schema: applied whole or not at all, numbered, and refused when a newer program wrote it."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry_wsgi.errors import StorageFault
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.locks import FileLock
from registry_wsgi.storage.sqlite import index, migrations
from registry_wsgi.storage.sqlite.connections import connect

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The index's file, not there yet."""
    return tmp_path / index.NAME


def prepare(path: Path) -> None:
    """What every start does."""
    index.prepare(path, FileLock(path.with_name("write")), FileOps(syncing=False))


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """An index as a start leaves it."""
    prepare(path)
    connection = connect(path)
    yield connection
    connection.close()


def described(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    """Every table and index of a database, as it was made."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name")
    return [tuple(map(str, row)) for row in rows]


def test_a_fresh_index_is_the_schema(connection: sqlite3.Connection) -> None:
    """What a first start makes is what ``schema.sql`` says, read on its own."""
    fresh = sqlite3.connect(":memory:")
    fresh.executescript((CHECKOUT / "schema.sql").read_text("utf-8"))
    expected = described(fresh)
    fresh.close()

    assert described(connection) == expected


def test_an_index_has_the_version_of_its_schema(connection: sqlite3.Connection) -> None:
    """The number is in ``user_version``, where other tools see it."""
    assert connection.execute("PRAGMA user_version").fetchone() == (migrations.VERSION,)
    assert migrations.version(connection) == migrations.VERSION


def test_a_later_start_changes_nothing(path: Path, connection: sqlite3.Connection) -> None:
    """Preparing an index that is up to date leaves its schema and what is in it."""
    connection.execute("INSERT INTO repositories (name) VALUES ('team/app')")
    before = described(connection)
    prepare(path)

    assert described(connection) == before
    assert connection.execute("SELECT name FROM repositories").fetchall() == [("team/app",)]


def test_a_schema_is_sound(connection: sqlite3.Connection) -> None:
    """SQLite finds nothing wrong with the file or its foreign keys."""
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_an_index_of_a_newer_program_is_refused(path: Path, connection: sqlite3.Connection) -> None:
    """An older program leaves a newer index alone, and says which program to start."""
    newer = migrations.VERSION + 1
    connection.execute(f"PRAGMA user_version = {newer}")
    before = path.read_bytes()
    with pytest.raises(StorageFault) as caught:
        prepare(path)

    assert f"version {newer}" in caught.value.reason
    assert "start the newer registry_wsgi that wrote it, or restore a backup" in caught.value.reason
    assert path.read_bytes() == before


MIGRATIONS = {
    2: "CREATE TABLE second (a); INSERT INTO second VALUES (2)",
    3: "CREATE TABLE third (a); INSERT INTO third SELECT a + 1 FROM second",
}


@pytest.fixture
def migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is two versions newer."""
    monkeypatch.setattr(migrations, "MIGRATIONS", MIGRATIONS)
    monkeypatch.setattr(migrations, "VERSION", 3)


@pytest.mark.parametrize("found", [1, 2])
def test_an_older_index_is_brought_up_to_date(
    found: int,
    path: Path,
    connection: sqlite3.Connection,
    request: pytest.FixtureRequest,
) -> None:
    """Each migration after the index's version is applied once, in order."""
    connection.execute("PRAGMA user_version = 1")
    if found == 2:
        connection.executescript(f"{MIGRATIONS[2]}; PRAGMA user_version = 2")
    request.getfixturevalue("migrated")
    prepare(path)

    assert migrations.version(connection) == 3
    assert connection.execute("SELECT a FROM second").fetchall() == [(2,)]
    assert connection.execute("SELECT a FROM third").fetchall() == [(3,)]


@pytest.mark.usefixtures("migrated")
def test_a_migration_that_fails_changes_nothing(
    path: Path, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index stays at the last version that was reached whole."""
    broken = {**MIGRATIONS, 3: "CREATE TABLE third (a); INSERT INTO nowhere VALUES (1)"}
    monkeypatch.setattr(migrations, "MIGRATIONS", broken)
    connection.execute("PRAGMA user_version = 1")
    with pytest.raises(StorageFault):
        prepare(path)
    tables = {name for kind, name, *_ in described(connection) if kind == "table"}

    assert migrations.version(connection) == 2
    assert "second" in tables
    assert "third" not in tables


def test_migrations_are_numbered_without_a_gap() -> None:
    """The version is one more than the number of migrations, each of which leads to the next."""
    assert sorted(migrations.MIGRATIONS) == list(range(2, migrations.VERSION + 1))


def test_a_schema_half_applied_by_a_crash_is_applied_again(path: Path) -> None:
    """An empty file, all that a crash in a first start can leave, becomes an index."""
    path.write_bytes(b"")
    prepare(path)
    connection = connect(path)
    tables = described(connection)
    connection.close()

    assert ("table", "repositories") in [row[:2] for row in tables]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(b"not a database" * 1000), id="no database"),
        pytest.param(
            lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 8192),
            id="overwritten",
        ),
    ],
)
def test_a_damaged_index_is_refused(path: Path, damage: Callable[[Path], int]) -> None:
    """A start on a damaged index fails with a fault that names its file, and does not repair it."""
    prepare(path)
    damage(path)
    damaged = path.read_bytes()
    with pytest.raises(StorageFault) as caught:
        prepare(path)

    assert caught.value.path == str(path)
    assert path.read_bytes() == damaged
