"""What every sign-in back end does, whatever it knows users by: one suite, a fixture each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.accounts import (
    PASSWORD,
    add_token,
    add_user,
    cheap_account,
    htpasswd_line,
    with_cheap_nobody,
)

from registry_wsgi.auth import htpasswd
from registry_wsgi.auth.base import Authenticator
from registry_wsgi.auth.htpasswd import HtpasswdBackend
from registry_wsgi.auth.machines import MachineTokens
from registry_wsgi.auth.passwords import PasswordChecker, Turns, make_hash
from registry_wsgi.auth.users import UsersBackend
from registry_wsgi.storage.accounts import Account, Accounts

NAME = "anna"


@dataclass
class Place:
    """A back end that knows one principal, and what an operator does to that one.

    ``verified`` is the stored hashes that a password was compared with at a cost.
    """

    backend: Authenticator
    password: str
    kind: str
    change: Callable[[], str]
    remove: Callable[[], object]
    verified: list[str] = field(default_factory=list)


def counting(verify: Callable[[str, str], bool], verified: list[str]) -> Callable[[str, str], bool]:
    """The same check, noting what it was asked about."""

    def check(stored: str, password: str) -> bool:
        verified.append(stored)
        return verify(stored, password)

    return check


def users_place(accounts: Accounts) -> Place:
    """An account in the index, whose password is changed and which is removed there."""
    verified: list[str] = []
    plain = PasswordChecker(Turns(1), lambda: 0.0)
    checker = PasswordChecker(Turns(1), lambda: 0.0, counting(plain._verify, verified))
    add_user(accounts, NAME)

    def change() -> str:
        accounts.put_account(cheap_account(NAME, "another"), new=False)
        return "another"

    backend = UsersBackend(accounts, checker)
    return Place(backend, PASSWORD, "user", change, lambda: accounts.remove_account(NAME), verified)


def htpasswd_place(accounts: Accounts, path: Path) -> Place:
    """A line of a file, which is written anew."""
    verified: list[str] = []
    checker = PasswordChecker(Turns(1), lambda: 0.0, counting(htpasswd.verify, verified))
    path.write_text(htpasswd_line(NAME))

    def change() -> str:
        path.write_text(htpasswd_line(NAME, "another") + "\n")
        return "another"

    backend = HtpasswdBackend(path, accounts, checker)
    return Place(backend, PASSWORD, "user", change, lambda: path.write_text(""), verified)


def token_place(accounts: Accounts) -> Place:
    """A machine token, which is revoked, and made anew under its name."""
    secret = add_token(accounts, NAME)

    def change() -> str:
        accounts.remove_token(NAME)
        return add_token(accounts, NAME)

    backend = MachineTokens(accounts, lambda: datetime(2026, 1, 2, tzinfo=UTC))
    return Place(backend, secret, "token", change, lambda: accounts.remove_token(NAME))


@pytest.fixture(params=["users", "htpasswd", "tokens"])
def place(request: pytest.FixtureRequest, accounts: Accounts, tmp_path: Path) -> Place:
    """Each back end in turn."""
    if request.param == "htpasswd":
        return htpasswd_place(accounts, tmp_path / "htpasswd")
    if request.param == "tokens":
        return token_place(accounts)
    place = users_place(accounts)
    with_cheap_nobody(place.backend)
    return place


def test_the_right_password_signs_in(place: Place) -> None:
    """The principal has the name, the kind of its back end and a fingerprint."""
    principal = place.backend.check(NAME, place.password)

    assert principal is not None
    assert (principal.name, principal.kind) == (NAME, place.kind)
    assert principal.fingerprint
    assert principal.scope is None


@pytest.mark.parametrize(
    ("name", "password"),
    [
        pytest.param(NAME, "wrong", id="wrong"),
        pytest.param(NAME, "", id="empty"),
        pytest.param(NAME, "{}x", id="longer"),
        pytest.param(NAME, "x" * 73, id="longer than bcrypt looks at"),
        pytest.param("berta", "{}", id="another's"),
        pytest.param("Anna", "{}", id="another case"),
        pytest.param("", "{}", id="no name"),
        pytest.param("-", "", id="nobody"),
        pytest.param("anna\0", "{}", id="a name with a NUL"),
    ],
)
def test_another_password_or_name_does_not(place: Place, name: str, password: str) -> None:
    """Nobody is signed in, at first and when it is tried again."""
    for _ in range(2):
        assert place.backend.check(name, password.format(place.password)) is None
        assert place.backend.recall(name, password.format(place.password)) is None


def test_who_has_signed_in_is_found_by_name(place: Place) -> None:
    """A bearer token's principal is found as it signed in, credentials and all."""
    assert place.backend.find(NAME) == place.backend.check(NAME, place.password)
    assert place.backend.find("berta") is None


def test_a_password_that_was_right_is_recalled(place: Place) -> None:
    """After a sign-in the same pair is known without work."""
    signed_in = place.backend.check(NAME, place.password)
    place.verified.clear()

    assert place.backend.recall(NAME, place.password) == signed_in
    assert place.verified == []


def test_a_changed_credential_counts_at_once(place: Place) -> None:
    """The old one is refused, also where it was known; the new one has another fingerprint."""
    before = place.backend.check(NAME, place.password)
    new = place.change()
    after = place.backend.check(NAME, new)

    assert place.backend.recall(NAME, place.password) is None
    assert place.backend.check(NAME, place.password) is None
    assert before is not None
    assert after is not None
    assert after.fingerprint != before.fingerprint
    assert place.backend.find(NAME) == after


def test_a_removed_credential_is_refused_at_once(place: Place) -> None:
    """Its pair is not recalled, not accepted, and its name is not found."""
    place.backend.check(NAME, place.password)
    place.remove()

    assert place.backend.recall(NAME, place.password) is None
    assert place.backend.check(NAME, place.password) is None
    assert place.backend.find(NAME) is None


def test_groups_are_those_of_now(place: Place, accounts: Accounts) -> None:
    """A user is in the groups of the name as they are; a machine token is in none."""
    accounts.join("developers", NAME)
    joined = place.backend.find(NAME)
    accounts.leave("developers", NAME)
    left = place.backend.find(NAME)

    assert joined is not None
    assert left is not None
    assert joined.groups == ({"developers"} if place.kind == "user" else set())
    assert left.groups == set()


COST = {"users": "scrypt:32768:8:1", "htpasswd": "$2b$10$"}
"""What the hashes start with that ``user add`` and ``htpasswd -B -C 10`` make."""


@pytest.mark.parametrize("password", ["wrong", ""])
@pytest.mark.parametrize("back_end", COST)
def test_an_unknown_user_costs_as_much_as_a_known_one(
    back_end: str, password: str, accounts: Accounts, tmp_path: Path
) -> None:
    """Each wrong pair is compared once with a hash of the same cost, however often it comes."""
    if back_end == "users":
        place = users_place(accounts)
        accounts.put_account(Account(NAME, make_hash(PASSWORD), ""), new=False)
    else:
        place = htpasswd_place(accounts, tmp_path / "htpasswd")
        (tmp_path / "htpasswd").write_text(htpasswd_line(NAME, cost=10))
    for name in (NAME, NAME, "berta", "berta", "-"):
        place.backend.check(name, password)
    cost = COST[back_end]

    assert [stored[: len(cost)] for stored in place.verified] == 5 * [cost]
