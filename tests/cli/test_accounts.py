"""``user``, ``group`` and ``token``: who may sign in, made and taken away by an operator."""

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.accounts import PASSWORD, opened_data
from support.commands import Ended, registry_wsgi

from registry_wsgi.auth.passwords import PASSWORD_LIMIT, PasswordChecker, Turns
from registry_wsgi.auth.users import UsersBackend
from registry_wsgi.cli import accounts as commands

Command = Callable[..., Ended]
Listed = Callable[[str], list[dict[str, Any]]]


def add(command: Command, name: str, *words: str, password: str = PASSWORD) -> None:
    """Make a user."""
    command("user", "add", name, "--password-stdin", *words, stdin=f"{password}\n")


def signs_in(data: Path, name: str, password: str = PASSWORD) -> bool:
    """Whether the password is the user's."""
    with opened_data(data) as storage:
        checker = PasswordChecker(Turns(1), lambda: 0.0)
        backend = UsersBackend(storage.index.accounts, checker)
        return backend.check(name, password) is not None


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


def test_a_password_that_is_no_text_is_refused(command: Command) -> None:
    """Bytes that are not UTF-8 come as what cannot be encoded."""
    ended = command("user", "add", "anna", "--password-stdin", stdin="\udcff\n", expect=1)

    assert ended.err == "registry-wsgi: the password is not UTF-8\n"


def test_a_password_that_does_not_come_is_none(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal nothing can be typed: the message says what to do."""

    def nothing(prompt: str) -> str:
        raise EOFError(prompt)

    monkeypatch.setattr("getpass.getpass", nothing)
    ended = command("user", "add", "anna", expect=1)

    assert ended.err == "registry-wsgi: no password came: send one with --password-stdin\n"


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


def test_users_are_listed(command: Command, listed: Listed) -> None:
    """By name, with their groups, as text or JSON, and without anything secret."""
    add(command, "berta")
    add(command, "anna", "--group", "office", "--group", "@developers")
    text, rows = command("user", "list").out, listed("user")

    assert [line.split("\t")[:2] for line in text.splitlines()] == [
        ["anna", "developers,office"],
        ["berta", "-"],
    ]
    assert [(row["name"], row["groups"]) for row in rows] == [
        ("anna", ["developers", "office"]),
        ("berta", []),
    ]
    assert set(rows[0]) == {"name", "groups", "created_at"}
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


def test_names_are_put_into_groups_and_taken_out(command: Command, listed: Listed) -> None:
    """Of any back end, so that they need not be accounts; the group's @ may be written."""
    command("group", "add", "developers", "anna", "berta")
    command("group", "add", "@office", "anna")
    command("group", "add", "developers", "anna")
    command("group", "remove", "@developers", "berta")

    assert command("group", "list").out == "developers\tanna\noffice\tanna\n"
    assert listed("group") == [
        {"group": "developers", "user": "anna"},
        {"group": "office", "user": "anna"},
    ]


def test_who_is_in_no_group_cannot_be_taken_out(command: Command) -> None:
    """The message names both."""
    command("group", "add", "developers", "anna")
    ended = command("group", "remove", "developers", "berta", expect=1)

    assert ended.err == "registry-wsgi: 'berta' is not in 'developers'\n"


def test_no_flag_takes_a_secret() -> None:
    """What stands on a command line, every user of the machine can read."""
    with pytest.raises(SystemExit):
        registry_wsgi("user", "add", "anna", "--password", PASSWORD, data=Path("nowhere"))
    assert "--password-stdin" in Path(commands.__file__).read_text("utf-8")
