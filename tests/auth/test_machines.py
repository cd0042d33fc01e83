"""Machine tokens: their secrets, their end, and the note of their last use."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from support.accounts import add_token

from registry_wsgi.auth.base import Grant
from registry_wsgi.auth.machines import MachineTokens, hash_of, new_secret
from registry_wsgi.errors import UNAVAILABLE, RegistryError, StorageFault
from registry_wsgi.storage.accounts import Accounts, MachineToken

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Time:
    """The wall clock, which a test sets."""

    moment: datetime = START

    def __call__(self) -> datetime:
        """What time it is."""
        return self.moment


def test_a_secret_is_long_and_known_for_one() -> None:
    """It is of 256 random bits behind a prefix that scanners can look for."""
    secret = new_secret()

    assert re.fullmatch(r"rwt_[A-Za-z0-9_-]{43}", secret)
    assert secret != new_secret()


def test_only_the_hash_of_a_secret_is_kept(accounts: Accounts) -> None:
    """The index has its SHA-256, and the secret nowhere."""
    secret = add_token(accounts, "ci")
    kept = accounts.token("ci")

    assert kept is not None
    assert kept.secret_hash == hashlib.sha256(secret.encode()).digest() == hash_of(secret)
    assert secret.removeprefix("rwt_") not in repr(kept)


def test_a_token_brings_its_grants(accounts: Accounts) -> None:
    """What it was made for is part of the principal."""
    secret = add_token(accounts, "ci", "team/*,base/**", "pull,push")
    principal = MachineTokens(accounts, Time()).check("ci", secret)

    assert principal is not None
    assert principal.grant == Grant(("team/*", "base/**"), ("pull", "push"))


@pytest.mark.parametrize(
    ("passed", "valid"),
    [
        pytest.param(timedelta(), True, id="at first"),
        pytest.param(timedelta(hours=1) - timedelta(seconds=1), True, id="a second before"),
        pytest.param(timedelta(hours=1), False, id="at its end"),
        pytest.param(timedelta(days=400), False, id="long after"),
    ],
)
def test_a_token_ends(accounts: Accounts, passed: timedelta, valid: bool) -> None:
    """From its expiry on it neither signs in nor is found for a bearer token of before."""
    secret = new_secret()
    expiry = (START + timedelta(hours=1)).isoformat()
    accounts.add_token(MachineToken("ci", hash_of(secret), ("**",), ("pull",), "", expiry))
    tokens = MachineTokens(accounts, Time(START + passed))

    assert (tokens.check("ci", secret) is not None) is valid
    assert (tokens.recall("ci", secret) is not None) is valid
    assert (tokens.find("ci") is not None) is valid


def last_use(accounts: Accounts) -> str | None:
    """When the token was last used, as the index has it."""
    token = accounts.token("ci")
    assert token is not None
    return token.last_used_at


def test_the_last_use_is_noted_once_a_minute(accounts: Accounts) -> None:
    """The first use is, and the next one that comes a minute later; being found is no use."""
    secret, time = add_token(accounts, "ci"), Time()
    tokens = MachineTokens(accounts, time)
    noted = [last_use(accounts)]
    for seconds in (0, 59, 60):
        time.moment = START + timedelta(seconds=seconds)
        tokens.check("ci", secret)
        noted.append(last_use(accounts))
    time.moment += timedelta(hours=1)
    tokens.find("ci")
    tokens.check("ci", "rwt_wrong")

    first, later = START.isoformat(), (START + timedelta(minutes=1)).isoformat()
    assert noted == [None, first, first, later]
    assert last_use(accounts) == later


@pytest.mark.parametrize("error", [StorageFault("full"), RegistryError(UNAVAILABLE)], ids=type)
def test_a_use_that_cannot_be_noted_is_no_reason_to_refuse(
    accounts: Accounts,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On a full, failing or busy disk pulls go on; the log says so without the secret."""
    secret = add_token(accounts, "ci")

    def fail(*_: str) -> None:
        raise error

    monkeypatch.setattr(accounts, "token_used", fail)

    assert MachineTokens(accounts, Time()).check("ci", secret) is not None
    assert "token ci" in caplog.text
    assert secret not in caplog.text
