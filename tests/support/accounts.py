"""Who may sign in: accounts, tokens and htpasswd files made beforehand, and the headers they send."""

import base64
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bcrypt
from support.verbs import Answer, Verbs
from werkzeug.security import generate_password_hash

from registry_wsgi.auth.base import Authenticator
from registry_wsgi.auth.machines import hash_of, new_secret
from registry_wsgi.auth.users import UsersBackend
from registry_wsgi.storage.accounts import Account, Accounts, MachineToken
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.opening import Storage, open_data

CHEAP = "pbkdf2:sha256:1"
"""A hash that costs nothing: for tests that are not about its cost."""

CHEAP_COST = 4
"""The same of bcrypt."""

PASSWORD = "correct horse"


@contextlib.contextmanager
def opened_data(data: Path) -> Iterator[Storage]:
    """A data directory, made if it is not there, as the command line opens it."""
    storage = open_data(data, FileOps(syncing=False))
    try:
        yield storage
    finally:
        storage.index.database.close()


def cheap_account(name: str, password: str = PASSWORD) -> Account:
    """An account whose password costs nothing to check."""
    return Account(name, generate_password_hash(password, CHEAP), "2026-01-02T03:04:05+00:00")


def with_cheap_nobody(backend: Authenticator) -> Authenticator:
    """The ``users`` back end, to which unknown names cost nothing either."""
    assert isinstance(backend, UsersBackend)
    backend.__dict__["_nobody"] = generate_password_hash("the password of nobody", CHEAP)
    return backend


def add_user(accounts: Accounts, name: str, *groups: str, password: str = PASSWORD) -> None:
    """Make an account, in these groups."""
    assert accounts.put_account(cheap_account(name, password), new=True)
    for group in groups:
        accounts.join(group, name)


def add_token(
    accounts: Accounts,
    name: str,
    repositories: str = "**",
    actions: str = "pull",
    *,
    life: timedelta | None = None,
) -> str:
    """Make a machine token, which expires after ``life`` if that is given; its secret."""
    secret = new_secret()
    expiry = None if life is None else (datetime.now(UTC) + life).isoformat(timespec="seconds")
    patterns, allowed = tuple(repositories.split(",")), tuple(actions.split(","))
    made = "2026-01-02T03:04:05+00:00"
    assert accounts.add_token(MachineToken(name, hash_of(secret), patterns, allowed, made, expiry))
    return secret


def htpasswd_line(name: str, password: str = PASSWORD, cost: int = CHEAP_COST) -> str:
    """A line as ``htpasswd -B`` writes it."""
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()
    return f"{name}:{hashed}\n"


def basic(name: str, password: str = PASSWORD) -> dict[str, str]:
    """The header of a name and a password."""
    text = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


def bearer(token: str) -> dict[str, str]:
    """The header of a bearer token."""
    return {"Authorization": f"Bearer {token}"}


def fetch_token(http: Verbs, *scopes: str, **headers: str) -> str:
    """Ask the token endpoint for scopes; the token."""
    query = "&".join(f"scope={scope}" for scope in scopes)
    answer = http.request("GET", f"/token?{query}", None, 200, headers)
    token: str = answer.json()["token"]
    return token


def code_of(answer: Answer) -> str:
    """The code of an error."""
    code: str = answer.json()["errors"][0]["code"]
    return code
