"""``token``: credentials for machines, made and revoked by an operator."""

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.accounts import opened_data
from support.commands import Ended
from support.programs import run
from support.server import CHECKOUT

from registry_wsgi.auth.machines import MachineTokens, hash_of

Command = Callable[..., Ended]
Listed = Callable[[str], list[dict[str, Any]]]


def test_a_token_is_printed_alone(command: Command, data: Path) -> None:
    """One line of standard output is the secret, once; the rest is on standard error."""
    ended = command("token", "create", "ci", "--repositories", "team/*", "--actions", "pull,push")
    secret = ended.out.removesuffix("\n")
    shown = command("token", "list").out + command("token", "list", "--json").out

    assert re.fullmatch(r"rwt_\S{43}", secret)
    assert ended.err == "token ci, shown this once; docker login -u ci\n"
    assert secret not in shown
    with opened_data(data) as storage:
        kept = storage.index.accounts.token("ci")
        assert kept is not None
        assert kept.secret_hash == hash_of(secret)
        assert MachineTokens(storage.index.accounts, storage.clock.now).check("ci", secret)


@pytest.mark.parametrize(
    ("words", "repositories", "actions"),
    [
        ((), "**", "pull"),
        (("--repositories", "team/*"), "team/*", "pull"),
        (("--repositories", "team/*, base/**"), "team/*,base/**", "pull"),
        (("--actions", "pull,push,overwrite"), "**", "pull,push,overwrite"),
        (("--actions", "admin"), "**", "admin"),
    ],
    ids=["nothing said", "a pattern", "two patterns", "actions", "everything"],
)
def test_a_token_is_made_for_something(
    command: Command, listed: Listed, words: tuple[str, ...], repositories: str, actions: str
) -> None:
    """By default to pull, from everywhere, for ever."""
    command("token", "create", "ci", *words)
    (row,) = listed("token")

    assert (row["repositories"], row["actions"]) == (repositories, actions)
    assert (row["expires_at"], row["last_used_at"]) == ("never", "never")


@pytest.mark.parametrize(
    ("text", "life"),
    [("90d", timedelta(days=90)), ("12h", timedelta(hours=12)), ("30m", timedelta(minutes=30))],
)
def test_a_token_may_end(command: Command, listed: Listed, text: str, life: timedelta) -> None:
    """After days, hours or minutes."""
    command("token", "create", "ci", "--expires", text)
    (row,) = listed("token")
    left = datetime.fromisoformat(row["expires_at"]) - datetime.now(UTC)

    assert life - timedelta(minutes=1) < left <= life


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--expires", "90"), "--expires takes 90d, 12h or 30m"),
        (("--expires", "0d"), "--expires takes"),
        (("--expires", "1w"), "--expires takes"),
        (("--expires", ""), "--expires takes"),
        (("--expires", "999999d"), "--expires takes"),
        (("--repositories", "Team/*"), "'Team/*' is no pattern"),
        (("--repositories", ""), "'' is no pattern"),
        (("--repositories", "a,,b"), "'' is no pattern"),
        (("--actions", "write"), "'write' is none of pull, push"),
        (("--actions", ""), "'' is none of"),
    ],
)
def test_a_token_that_cannot_be_is_refused(
    command: Command, data: Path, words: tuple[str, ...], expected: str
) -> None:
    """No secret is printed, and nothing is made."""
    ended = command("token", "create", "ci", *words, expect=1)

    assert expected in ended.err
    assert ended.out == ""
    assert not data.exists()


def test_a_token_is_made_once(command: Command, data: Path) -> None:
    """A second one of the name is refused, and the first one's secret stays."""
    secret = command("token", "create", "ci").out.strip()
    ended = command("token", "create", "ci", expect=1)

    assert ended.out == ""
    assert "there is a token 'ci' already" in ended.err
    with opened_data(data) as storage:
        assert MachineTokens(storage.index.accounts, storage.clock.now).check("ci", secret)


def test_a_token_is_revoked(command: Command, data: Path) -> None:
    """It is gone at once, and cannot be revoked again; another may have its name then."""
    secret = command("token", "create", "ci").out.strip()
    command("token", "revoke", "ci")
    ended = command("token", "revoke", "ci", expect=1)
    command("token", "create", "ci")

    assert ended.err == "registry-wsgi: there is no token 'ci'\n"
    with opened_data(data) as storage:
        assert not MachineTokens(storage.index.accounts, storage.clock.now).check("ci", secret)


def test_tokens_are_listed_with_their_last_use(command: Command, data: Path) -> None:
    """By name, one a line."""
    command("token", "create", "nightly")
    secret = command("token", "create", "ci", "--expires", "1d").out.strip()
    with opened_data(data) as storage:
        MachineTokens(storage.index.accounts, storage.clock.now).check("ci", secret)
    fields = [line.split("\t") for line in command("token", "list").out.splitlines()]

    assert [row[0] for row in fields] == ["ci", "nightly"]
    assert datetime.fromisoformat(fields[0][5]) <= datetime.now(UTC)
    assert fields[1][4:] == ["never", "never"]


def test_a_shell_script_takes_the_token(data: Path) -> None:
    """``TOKEN=$(registry-wsgi token create ...)`` is the secret, and the rest is seen."""
    command = ["-m", "registry_wsgi", "token", "create", "ci", "--data", str(data)]
    done = run([sys.executable, *command], environment={"PYTHONPATH": str(CHECKOUT)})

    assert re.fullmatch(r"rwt_\S{43}\n", done.stdout)
    assert "token ci" in done.stderr
