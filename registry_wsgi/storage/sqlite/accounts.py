"""Accounts, groups and machine tokens."""

import json
import sqlite3
from typing import Any, Final

from registry_wsgi.storage.accounts import Account, MachineToken
from registry_wsgi.storage.sqlite.database import Database

_SELECT: Final = """
    SELECT name, secret_hash, repositories, actions, created_at, expires_at, last_used_at
    FROM tokens
"""

# One row of groups: a request that is signed in asks once. No group's name has a line break.
_ACCOUNT: Final = """
    SELECT name, password_hash, created_at, (
        SELECT group_concat(group_name, char(10)) FROM memberships WHERE user_name = name
    )
    FROM users
"""
_ACCOUNT_OF: Final = f"{_ACCOUNT} WHERE name = ?"


def _account(row: tuple[Any, ...]) -> Account:
    name, password_hash, created_at, groups = row
    members = frozenset(groups.split("\n")) if groups else frozenset()
    return Account(name, password_hash, created_at, members)


class SqliteAccounts:
    """``Accounts`` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self._database.reading() as connection:
            return connection.execute(statement, parameters).fetchall()

    def _change(self, statement: str, *parameters: object, durable: bool = True) -> bool:
        """Whether the statement changed a row."""

        def work(connection: sqlite3.Connection) -> bool:
            return connection.execute(statement, parameters).rowcount > 0

        return self._database.write(work, durable=durable)

    def account(self, name: str) -> Account | None:
        """The account of this name."""
        rows = self._rows(_ACCOUNT_OF, name)
        return _account(rows[0]) if rows else None

    def accounts(self) -> list[Account]:
        """All accounts, by name."""
        return [_account(row) for row in self._rows(f"{_ACCOUNT} ORDER BY name")]

    def put_account(self, account: Account, *, new: bool) -> bool:
        """Add an account, or change its password."""
        if new:
            row = (account.name, account.password_hash, account.created_at)
            return self._change("INSERT INTO users VALUES (?, ?, ?) ON CONFLICT DO NOTHING", *row)
        statement = "UPDATE users SET password_hash = ? WHERE name = ?"
        return self._change(statement, account.password_hash, account.name)

    def remove_account(self, name: str) -> bool:
        """Remove an account and its memberships."""

        def work(connection: sqlite3.Connection) -> bool:
            if not connection.execute("DELETE FROM users WHERE name = ?", (name,)).rowcount:
                return False
            connection.execute("DELETE FROM memberships WHERE user_name = ?", (name,))
            return True

        return self._database.write(work)

    def groups(self, name: str) -> frozenset[str]:
        """The groups a name is in."""
        rows = self._rows("SELECT group_name FROM memberships WHERE user_name = ?", name)
        return frozenset(group for (group,) in rows)

    def memberships(self) -> list[tuple[str, str]]:
        """All (group, name) pairs, in order."""
        rows = self._rows("SELECT group_name, user_name FROM memberships ORDER BY 1, 2")
        return [(group, name) for group, name in rows]

    def join(self, group: str, name: str) -> None:
        """Put a name into a group."""
        self._change("INSERT INTO memberships VALUES (?, ?) ON CONFLICT DO NOTHING", group, name)

    def leave(self, group: str, name: str) -> bool:
        """Take a name out of a group."""
        statement = "DELETE FROM memberships WHERE group_name = ? AND user_name = ?"
        return self._change(statement, group, name)

    def token(self, name: str) -> MachineToken | None:
        """The machine token of this name."""
        rows = self._rows(f"{_SELECT} WHERE name = ?", name)
        return _token(rows[0]) if rows else None

    def tokens(self) -> list[MachineToken]:
        """All machine tokens, by name."""
        return [_token(row) for row in self._rows(f"{_SELECT} ORDER BY name")]

    def add_token(self, token: MachineToken) -> bool:
        """Keep a new token."""
        return self._change(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, NULL) ON CONFLICT DO NOTHING",
            token.name,
            token.secret_hash,
            json.dumps(token.repositories),
            json.dumps(token.actions),
            token.created_at,
            token.expires_at,
        )

    def remove_token(self, name: str) -> bool:
        """Revoke a token."""
        return self._change("DELETE FROM tokens WHERE name = ?", name)

    def token_used(self, name: str, at: str) -> None:
        """Note when a token was last used."""
        statement = "UPDATE tokens SET last_used_at = ? WHERE name = ?"
        self._change(statement, at, name, durable=False)


def _token(row: tuple[Any, ...]) -> MachineToken:
    name, secret, repositories, actions, *moments = row
    patterns, allowed = tuple(json.loads(repositories)), tuple(json.loads(actions))
    return MachineToken(name, secret, patterns, allowed, *moments)
