"""An index that the first version made becomes the one of today, with all that is in it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.opening import open_data
from registry_wsgi.storage.sqlite import index as sqlite_index
from registry_wsgi.storage.sqlite import migrations

SCHEMA_1 = Path(__file__).with_name("schemas") / "1.sql"
"""The schema as version 1 was released: it is never changed."""

BODY = b'{"schemaVersion":2}'
DIGEST = Digest.of(BODY)

CONTENT = """
    INSERT INTO repositories VALUES (7, 'team/app');
    INSERT INTO blobs (id, digest, size) VALUES (3, :digest, 19);
    INSERT INTO repository_blobs VALUES (7, 3, 1000);
    INSERT INTO manifests VALUES
        (5, 7, :digest, 'application/x', '', '{}', NULL, '2026-01-01T00:00:00Z', :body);
    INSERT INTO manifest_leases VALUES (5, 1000);
    INSERT INTO tags VALUES (7, 'latest', 5, '2026-01-01T00:00:00Z');
    INSERT INTO events (at, action, repository, tag, digest, actor, address)
        VALUES ('2026-01-01T00:00:00Z', 'push', 'team/app', 'latest', :digest, 'a', 'b');
    INSERT INTO clock VALUES (1, 'boot', 1000, 5000000, 0, 0);
"""


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """An index as version 1 left it."""
    path = tmp_path / sqlite_index.NAME
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA_1.read_text("utf-8"))
        for statement in CONTENT.split(";")[:-1]:
            connection.execute(statement, {"digest": DIGEST.pack(), "body": BODY})
        connection.execute("PRAGMA user_version = 1")
    return path


def shape(connection: sqlite3.Connection) -> dict[str, Any]:
    """What a schema comes to: columns, keys and indexes of every table, whatever the text says."""

    def pragma(name: str, of: str) -> list[tuple[Any, ...]]:
        return connection.execute(f"PRAGMA {name}({of})").fetchall()

    tables = connection.execute("PRAGMA table_list").fetchall()
    found: dict[str, Any] = {}
    for _, table, kind, columns, without_rowid, strict in tables:
        indexes = sorted(
            (*row[1:], tuple(pragma("index_xinfo", row[1]))) for row in pragma("index_list", table)
        )
        facts = (kind, columns, without_rowid, strict)
        found[table] = (
            facts,
            pragma("table_xinfo", table),
            pragma("foreign_key_list", table),
            indexes,
        )
    clauses = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql LIKE '%WHERE%'"
    )
    found["partial indexes"] = sorted((name, " ".join(sql.split())) for name, sql in clauses)
    return found


def test_an_index_of_version_1_becomes_todays(first: Path) -> None:
    """After all migrations the schema is what ``schema.sql`` makes of nothing."""
    open_data(first.parent, FileOps(syncing=False))
    with closing(sqlite3.connect(first)) as migrated, closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(migrations.schema())
        expected = shape(fresh)

        assert shape(migrated) == expected
        assert migrated.execute("PRAGMA user_version").fetchone() == (migrations.VERSION,)
        assert migrated.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_schema_that_differs_has_another_shape(first: Path) -> None:
    """What is compared would show a migration that was forgotten."""
    with closing(sqlite3.connect(first)) as old, closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(migrations.schema())
        shapes = shape(old), shape(fresh)

    assert shapes[0] != shapes[1]


def test_a_migration_keeps_what_is_known(first: Path) -> None:
    """Manifests, tags, blobs, events and the age are there afterwards."""
    storage = open_data(first.parent, FileOps(syncing=False))
    index, app = storage.index, Name("team/app")
    manifest = index.manifests.find(app, Tag("latest"))
    blob = index.blobs.find(app, DIGEST)
    age = storage.clock.age()
    index.database.close()

    assert manifest is not None
    assert manifest.body == BODY
    assert blob is not None
    assert (blob.size, blob.seen_age) == (19, 1000)
    assert age >= 5_000_000
