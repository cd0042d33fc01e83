"""The events table as an outbox."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple
from typing import Final

from registry_wsgi.storage.adopting import ELSEWHERE
from registry_wsgi.storage.outbox import Delivery, Numbered
from registry_wsgi.storage.sqlite.database import Database
from registry_wsgi.storage.sqlite.inspect import EVENT_COLUMNS, event_of

_IS_SENT: Final = "(? OR action <> 'pull') AND address <> ?"
"""Takes whether pulls are, and ELSEWHERE: what happened in another registry never is."""

_AFTER: Final = f"""
    SELECT id, {EVENT_COLUMNS} FROM events
    WHERE id > ? AND {_IS_SENT} ORDER BY id LIMIT ?
"""  # noqa: S608 - names, not values

_WAITING: Final = f"""
    SELECT count(*) FROM events WHERE {_IS_SENT} AND id > (
        SELECT min(last_event) FROM deliveries
        WHERE endpoint IN (SELECT value FROM json_each(?)))
"""  # noqa: S608 - names, not values

_MOVE: Final = """
    UPDATE deliveries
    SET (endpoint, last_event, failures, next_age, problem) = (?, ?, ?, ?, ?)
    WHERE (endpoint, last_event, failures, next_age, problem) = (?, ?, ?, ?, ?)
"""


class SqliteOutbox:
    """``Outbox`` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last_event(self) -> int:
        """The newest event's number."""
        with self._database.reading() as connection:
            return int(connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0])

    def events_after(self, number: int, limit: int, *, pulls: bool) -> list[Numbered]:
        """The oldest events after ``number``, but for those that happened in another registry."""
        with self._database.reading() as connection:
            rows = connection.execute(_AFTER, (number, pulls, ELSEWHERE, limit)).fetchall()
        return [Numbered(row[0], event_of(row[1:])) for row in rows]

    def waiting(self, endpoints: Sequence[str], *, pulls: bool) -> int:
        """What is after the least position."""
        values = (pulls, ELSEWHERE, json.dumps(list(endpoints)))
        with self._database.reading() as connection:
            return int(connection.execute(_WAITING, values).fetchone()[0])

    def deliveries(self) -> list[Delivery]:
        """Where every known endpoint stands."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM deliveries ORDER BY endpoint")
            return [Delivery(*row) for row in rows]

    def put_delivery(self, delivery: Delivery) -> None:
        """Keep where an endpoint stands."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?)", astuple(delivery)
            )

        self._database.write(work)

    def move_delivery(self, before: Delivery, after: Delivery) -> bool:
        """Compare and set."""

        def work(connection: sqlite3.Connection) -> bool:
            done = connection.execute(_MOVE, (*astuple(after), *astuple(before)))
            return done.rowcount == 1

        return self._database.write(work)
