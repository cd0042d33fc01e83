"""Back ends together: asked in order, slowed together, and found again by a token of before."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.accounts import (
    CHEAP_COST,
    PASSWORD,
    add_token,
    add_user,
    basic,
    cheap_account,
    htpasswd_line,
    with_cheap_nobody,
)
from support.storage import refused

from registry_wsgi.auth import htpasswd
from registry_wsgi.auth.base import Authenticator, Environ
from registry_wsgi.auth.htpasswd import HtpasswdBackend
from registry_wsgi.auth.machines import MachineTokens
from registry_wsgi.auth.passwords import PASSWORD_LIMIT, PasswordChecker, Turns
from registry_wsgi.auth.proxy import ProxyBackend
from registry_wsgi.auth.signin import SignIn
from registry_wsgi.auth.throttle import BURST, Throttle
from registry_wsgi.auth.users import UsersBackend
from registry_wsgi.errors import TOO_MANY_REQUESTS
from registry_wsgi.storage.accounts import Accounts

HOME: Environ = {"REMOTE_ADDR": "192.0.2.1"}
ELSEWHERE: Environ = {"REMOTE_ADDR": "198.51.100.7"}


@dataclass
class Door:
    """All back ends over the accounts of a test; what was right is never remembered."""

    accounts: Accounts
    sign_in: SignIn
    file: Path

    def kind(self, name: str, password: str = PASSWORD, environ: Environ = HOME) -> str | None:
        """Which credential signed in: a user by the index or the file, or a token."""
        found = self.sign_in.by_password(environ, name, password)
        if found is None:
            return None
        if found.kind != "user":
            return found.kind
        account = self.accounts.account(name)
        of_index = account is not None and self.sign_in.authenticators[1].find(name) == found
        return "users" if of_index else "htpasswd"

    def guess(self, name: str = "anna", environ: Environ = HOME, times: int = BURST) -> None:
        """Try wrong passwords."""
        for number in range(times):
            assert self.sign_in.by_password(environ, name, f"wrong {number}") is None


@pytest.fixture
def door(accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    """Anna is in the index and the file with one password each, berta in the file alone."""
    monkeypatch.setattr(htpasswd, "LOWEST_COST", CHEAP_COST)
    file = tmp_path / "htpasswd"
    file.write_text(htpasswd_line("anna", "of the file") + htpasswd_line("berta"))
    add_user(accounts, "anna")
    turns = Turns(1)
    by_index = UsersBackend(accounts, PasswordChecker(turns, lambda: 0.0, seconds=0.0))
    checker = PasswordChecker(turns, lambda: 0.0, htpasswd.verify, seconds=0.0)
    backends: list[Authenticator] = [
        MachineTokens(accounts, lambda: datetime(2026, 1, 2, tzinfo=UTC)),
        with_cheap_nobody(by_index),
        HtpasswdBackend(file, accounts, checker),
    ]

    def address(environ: Environ) -> str:
        return str(environ["REMOTE_ADDR"])

    sign_in = SignIn(backends, Throttle(lambda: 1000.0), address)
    return Door(accounts, sign_in, file)


@pytest.mark.parametrize(
    ("name", "password", "kind"),
    [
        ("anna", PASSWORD, "users"),
        ("anna", "of the file", "htpasswd"),
        ("berta", PASSWORD, "htpasswd"),
        ("berta", "of the file", None),
        ("carla", PASSWORD, None),
    ],
)
def test_back_ends_are_asked_in_turn(
    door: Door, name: str, password: str, kind: str | None
) -> None:
    """The first one whose password it is signs in."""
    assert door.kind(name, password) == kind


def test_a_token_is_known_beside_all_back_ends(door: Door) -> None:
    """By its secret, which is no user's password."""
    secret = add_token(door.accounts, "ci")

    assert door.kind("ci", secret) == "token"
    assert door.kind("anna", secret) is None


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("anna", f"{PASSWORD}\0"),
        ("anna", "x" * (PASSWORD_LIMIT + 1)),
        ("", PASSWORD),
        ("an:na", PASSWORD),
        ("a" * 129, PASSWORD),
    ],
    ids=["a NUL", "long", "no name", "a colon", "a long name"],
)
def test_what_cannot_be_is_nobody_for_all_back_ends(
    door: Door, name: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked up as nobody, so that it takes as long as a wrong password."""
    asked: list[tuple[str, str]] = []
    users = door.sign_in.authenticators[1]
    monkeypatch.setattr(users, "check", lambda *pair: asked.append(pair))

    assert door.sign_in.by_password(HOME, name, password) is None
    assert asked == [("-", "")]


def test_guesses_are_slowed_over_all_back_ends(door: Door) -> None:
    """One wrong password is one try, however many back ends were asked."""
    door.guess()
    with refused(TOO_MANY_REQUESTS):
        door.guess(times=1)


def test_a_right_password_is_no_try(door: Door) -> None:
    """Whoever signs in often is not slowed."""
    for _ in range(3 * BURST):
        assert door.kind("anna") == "users"
    door.guess()


def test_where_somebody_has_signed_in_they_are_known(door: Door) -> None:
    """Guesses from elsewhere use up none of their tries."""
    assert door.kind("anna") == "users"
    door.guess(environ=ELSEWHERE)
    with refused(TOO_MANY_REQUESTS):
        door.guess(environ=ELSEWHERE, times=1)

    assert door.kind("anna") == "users"


def test_a_token_passes_whatever_was_guessed(door: Door) -> None:
    """Its secret cannot be guessed: it is known at once."""
    secret = add_token(door.accounts, "ci")
    door.guess("ci")

    assert door.kind("ci", secret) == "token"


def test_an_address_is_of_the_client(door: Door) -> None:
    """What the sign-in is told to be the address is what is slowed."""
    for number in range(BURST):
        door.guess(f"user{number}", times=1)
    with refused(TOO_MANY_REQUESTS):
        door.guess("another", times=1)

    door.guess("another", ELSEWHERE, times=1)


@pytest.mark.parametrize("name", ["anna", "berta", "ci"])
def test_a_credential_is_found_again(door: Door, name: str) -> None:
    """The principal of a bearer token is who signed in, of whichever back end."""
    password = add_token(door.accounts, "ci") if name == "ci" else PASSWORD
    principal = door.sign_in.by_password(HOME, name, password)

    assert principal is not None
    assert door.sign_in.find(principal) == principal
    assert door.sign_in.find(principal._replace(fingerprint="another")) is None
    assert door.sign_in.find(principal._replace(kind="proxy")) is None


def test_a_token_of_one_back_end_is_not_anothers(door: Door) -> None:
    """Anna of the file is found while her line is there, whatever her account's password is."""
    principal = door.sign_in.by_password(HOME, "anna", "of the file")
    door.accounts.put_account(cheap_account("anna", "new"), new=False)

    assert principal is not None
    assert door.sign_in.find(principal) == principal
    door.file.write_text(htpasswd_line("berta"))
    assert door.sign_in.find(principal) is None


def test_a_proxys_user_is_found_where_there_is_a_proxy(door: Door) -> None:
    """By the name alone: nobody else can say whether it is still somebody."""
    proxy = ProxyBackend("X-Remote-User", lambda _: True, door.accounts)
    principal = proxy.identify({"HTTP_X_REMOTE_USER": "petra"})

    assert principal is not None
    assert door.sign_in.find(principal) is None
    assert replace(door.sign_in, proxy=proxy).find(principal) == principal


def test_credentials_of_a_header_are_a_password(door: Door) -> None:
    """The name ends at the first colon; the rest is the password."""
    door.accounts.put_account(cheap_account("anna", "a:b:c"), new=False)
    value = basic("anna", "a:b:c")["Authorization"].partition(" ")[2]
    found = door.sign_in.by_basic(HOME, value)

    assert found is not None
    assert found.name == "anna"
