"""``user``, ``group`` and ``token``: who may sign in, made and taken away by an operator."""

import getpass
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.accounts import PASSWORD, opened_data
from support.commands import Ended, registry_wsgi
from support.programs import run
from support.server import CHECKOUT
from support.storage import memory_directory

from registry_wsgi.auth.machines import MachineTokens, hash_of
from registry_wsgi.auth.passwords import PASSWORD_LIMIT, PasswordChecker, Turns
from registry_wsgi.auth.users import UsersBackend
from registry_wsgi.cli import accounts as commands

Command = Callable[..., Ended]


@pytest.fixture
def data() -> Iterator[Path]:
    """Where the data directory is, made by the first command that puts something there."""
    with memory_directory() as folder:
        yield folder / "data"


@pytest.fixture
def command(data: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command with a standard input."""

    def go(*words: str, stdin: str = "", expect: int | None = 0) -> Ended:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        return registry_wsgi(*words, data=data, expect=expect)

    return go


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here is not the cost of a hash, nor what a power cut undoes."""
    monkeypatch.setenv("REGISTRY_WSGI_STORAGE_DURABILITY", "relaxed")
    for name in list(os.environ):
        if name.startswith("REGISTRY_WSGI_AUTH_"):
            monkeypatch.delenv(name)


def add(command: Command, name: str, *words: str, password: str = PASSWORD) -> None:
    """Make a user."""
    command("user", "add", name, "--password-stdin", *words, stdin=f"{password}\n")


def signs_in(data: Path, name: str, password: str = PASSWORD) -> bool:
    """Whether the password is the user's."""
    with opened_data(data) as storage:
        checker = PasswordChecker(Turns(1), lambda: 0.0)
        backend = UsersBackend(storage.index.accounts, checker)
        return backend.check(name, password) is not None


def rows(ended: Ended) -> list[dict[str, Any]]:
    """The JSON objects that a command printed, one a line."""
    return [json.loads(line) for line in ended.out.splitlines()]


# --- Users ----------------------------------------------------------------------------------------


def test_a_user_that_was_added_signs_in(command: Command, data: Path) -> None:
    """The password is a line of standard input; nothing is printed."""
    ended = command("user", "add", "anna", "--password-stdin", stdin=f"{PASSWORD}\n")

    assert (ended.out, ended.err) == ("", "")
    assert signs_in(data, "anna")
    assert not signs_in(data, "anna", "wrong")


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nmore\n"])
def test_a_password_is_one_line(command: Command, data: Path, end: str) -> None:
    """Without its end, whichever that is; blanks in and around it are its own."""
    command("user", "add", "anna", "--password-stdin", stdin=f" {PASSWORD} {end}")

    assert signs_in(data, "anna", f" {PASSWORD} ")


def test_a_password_may_be_typed(
    command: Command, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a prompt, twice, and not shown."""
    asked: list[str] = []

    def prompt(text: str) -> str:
        asked.append(text)
        return PASSWORD

    monkeypatch.setattr(getpass, "getpass", prompt)
    command("user", "add", "anna")

    assert asked == ["Password: ", "Again: "]
    assert signs_in(data, "anna")


def test_two_different_passwords_are_none(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever types them differently has to start anew, and there is no user yet."""
    typed = iter(["one", "two"])
    monkeypatch.setattr(getpass, "getpass", lambda _: next(typed))
    ended = command("user", "add", "anna", expect=1)

    assert ended.err == "registry-wsgi: the two passwords differ\n"
    assert command("user", "list").out == ""


@pytest.mark.parametrize(
    "password", ["", "a\0b", "x" * (PASSWORD_LIMIT + 1)], ids=["empty", "a NUL", "long"]
)
def test_a_password_that_nobody_could_sign_in_with_is_refused(
    command: Command, password: str
) -> None:
    """The message does not repeat it."""
    ended = command("user", "add", "anna", "--password-stdin", stdin=password, expect=1)

    assert ended.err == f"registry-wsgi: a password has 1 to {PASSWORD_LIMIT} characters\n"
    assert command("user", "list").out == ""


BAD_NAMES = [
    "",
    "a:b",
    "a,b",
    "a b",
    "@a",
    "\u00e4",
    "a" * 129,
    "anonymous",
    "authenticated",
    "a\n",
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
@pytest.mark.parametrize("what", ["user", "token", "group"])
def test_a_name_that_nobody_can_have_is_refused(
    command: Command, data: Path, what: str, name: str
) -> None:
    """Before anything is made; names that rules have for many are nobody's."""
    words = {
        "user": ("user", "add", name, "--password-stdin"),
        "token": ("token", "create", name),
        "group": ("group", "add", "developers", name),
    }[what]
    ended = command(*words, stdin=PASSWORD, expect=1)

    assert "letters, digits and . _ @ + - only" in ended.err
    assert ended.out == ""
    assert not data.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("user", "add"),
        ("user", "remove"),
        ("token", "create"),
        ("token", "revoke"),
        ("group", "add"),
    ],
    ids=" ".join,
)
def test_a_missing_name_is_told(command: Command, words: tuple[str, ...]) -> None:
    """The command needs one."""
    assert command(*words, expect=None).status in {1, 2}


def test_a_user_is_added_once(command: Command, data: Path) -> None:
    """A second one of the name is refused, and the first one's password stays."""
    add(command, "anna")
    ended = command("user", "add", "anna", "--password-stdin", stdin="other", expect=1)

    assert ended.err == "registry-wsgi: there is a user 'anna' already\n"
    assert signs_in(data, "anna")


def test_a_password_is_changed(command: Command, data: Path) -> None:
    """``passwd`` replaces it, of a user that there is."""
    add(command, "anna")
    command("user", "passwd", "anna", "--password-stdin", stdin="another")
    ended = command("user", "passwd", "berta", "--password-stdin", stdin="x", expect=1)

    assert signs_in(data, "anna", "another")
    assert not signs_in(data, "anna")
    assert ended.err == "registry-wsgi: there is no user 'berta'\n"


def test_a_user_is_removed_with_memberships(command: Command, data: Path) -> None:
    """Whoever gets the name later is in no group; who is not there cannot be removed."""
    add(command, "anna", "--group", "developers")
    command("user", "remove", "anna")
    ended = command("user", "remove", "anna", expect=1)

    assert ended.err == "registry-wsgi: there is no user 'anna'\n"
    assert not signs_in(data, "anna")
    assert command("group", "list").out == ""


def test_users_are_listed(command: Command) -> None:
    """By name, with their groups, as text or JSON, and without anything secret."""
    add(command, "berta")
    add(command, "anna", "--group", "office", "--group", "@developers")
    text, listed = command("user", "list").out, rows(command("user", "list", "--json"))

    assert [line.split("\t")[:2] for line in text.splitlines()] == [
        ["anna", "developers,office"],
        ["berta", "-"],
    ]
    assert [(row["name"], row["groups"]) for row in listed] == [
        ("anna", ["developers", "office"]),
        ("berta", []),
    ]
    assert set(listed[0]) == {"name", "groups", "created_at"}
    assert "scrypt" not in text


def test_a_user_and_a_token_have_different_names(command: Command) -> None:
    """In the audit trail they would look alike."""
    add(command, "anna")
    command("token", "create", "ci")
    as_token = command("token", "create", "anna", expect=1)
    as_user = command("user", "add", "ci", "--password-stdin", stdin=PASSWORD, expect=1)

    assert "there is a user 'anna'" in as_token.err
    assert "there is a token 'ci'" in as_user.err


@pytest.mark.parametrize("what", ["user", "token", "group"])
def test_nothing_is_listed_where_there_is_no_registry(
    command: Command, data: Path, what: str
) -> None:
    """A mistyped data directory is told, and not made."""
    ended = command(what, "list", expect=2)

    assert "there is no registry here" in ended.err
    assert not data.exists()


# --- Groups ---------------------------------------------------------------------------------------


def test_names_are_put_into_groups_and_taken_out(command: Command) -> None:
    """Of any back end, so that they need not be accounts; the group's @ may be written."""
    command("group", "add", "developers", "anna", "berta")
    command("group", "add", "@office", "anna")
    command("group", "add", "developers", "anna")
    command("group", "remove", "@developers", "berta")

    assert command("group", "list").out == "developers\tanna\noffice\tanna\n"
    assert rows(command("group", "list", "--json")) == [
        {"group": "developers", "user": "anna"},
        {"group": "office", "user": "anna"},
    ]


def test_who_is_in_no_group_cannot_be_taken_out(command: Command) -> None:
    """The message names both."""
    command("group", "add", "developers", "anna")
    ended = command("group", "remove", "developers", "berta", expect=1)

    assert ended.err == "registry-wsgi: 'berta' is not in 'developers'\n"


# --- Tokens ---------------------------------------------------------------------------------------


def test_a_token_is_printed_alone(command: Command, data: Path) -> None:
    """One line of standard output is the secret, once; the rest is on standard error."""
    ended = command("token", "create", "ci", "--repositories", "team/*", "--actions", "pull,push")
    secret = ended.out.removesuffix("\n")
    listed = command("token", "list").out + command("token", "list", "--json").out

    assert re.fullmatch(r"rwt_\S{43}", secret)
    assert ended.err == "token ci, shown this once; docker login -u ci\n"
    assert secret not in listed
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
    command: Command, words: tuple[str, ...], repositories: str, actions: str
) -> None:
    """By default to pull, from everywhere, for ever."""
    command("token", "create", "ci", *words)
    (row,) = rows(command("token", "list", "--json"))

    assert (row["repositories"], row["actions"]) == (repositories, actions)
    assert (row["expires_at"], row["last_used_at"]) == ("never", "never")


@pytest.mark.parametrize(
    ("text", "life"),
    [("90d", timedelta(days=90)), ("12h", timedelta(hours=12)), ("30m", timedelta(minutes=30))],
)
def test_a_token_may_end(command: Command, text: str, life: timedelta) -> None:
    """After days, hours or minutes."""
    command("token", "create", "ci", "--expires", text)
    (row,) = rows(command("token", "list", "--json"))
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


# --- In a process of its own ----------------------------------------------------------------------


def test_a_shell_script_takes_the_token(data: Path) -> None:
    """``TOKEN=$(registry-wsgi token create ...)`` is the secret, and the rest is seen."""
    command = ["-m", "registry_wsgi", "token", "create", "ci", "--data", str(data)]
    done = run([sys.executable, *command], environment={"PYTHONPATH": str(CHECKOUT)})

    assert re.fullmatch(r"rwt_\S{43}\n", done.stdout)
    assert "token ci" in done.stderr


def test_no_flag_takes_a_secret() -> None:
    """What stands on a command line, every user of the machine can read."""
    with pytest.raises(SystemExit):
        registry_wsgi("user", "add", "anna", "--password", PASSWORD, data=Path("nowhere"))
    assert "--password-stdin" in Path(commands.__file__).read_text("utf-8")
