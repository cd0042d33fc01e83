"""``access`` and ``secret``: rights are explained, keys rotated."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from support.accounts import (
    add_token,
    add_user,
    htpasswd_line,
    opened_data,
)
from support.commands import Ended, registry_wsgi

SETTINGS = """
[auth]
backends = [{backends}]
htpasswd_file = "{folder}/htpasswd"
[[access]]
repositories = "open/**"
users = ["anonymous"]
actions = ["pull"]
[[access]]
repositories = "team/**"
users = ["anna", "@developers"]
actions = ["pull", "push"]
[[access]]
repositories = "**"
users = ["admin"]
actions = ["admin"]
"""

# --- access ---------------------------------------------------------------------------------------

Check = Callable[..., Ended]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Asks ``access check`` of a registry with accounts, an htpasswd file and tokens."""
    (tmp_path / "htpasswd").write_text(htpasswd_line("henry"))
    with opened_data(tmp_path / "data") as storage:
        accounts = storage.index.accounts
        for name in ("anna", "berta", "admin"):
            add_user(accounts, name)
        for name in ("berta", "henry", "petra"):
            accounts.join("developers", name)
        add_token(accounts, "ci", "ci/*", "push")
        add_token(accounts, "old", "ci/*", "push", life=-timedelta(days=1))

    def go(*words: str, backends: str = '"users", "htpasswd"', expect: int | None = None) -> Ended:
        settings = tmp_path / "registry.toml"
        settings.write_text(SETTINGS.format(backends=backends, folder=tmp_path))
        command = ("access", "check", *words, "--config", str(settings))
        return registry_wsgi(*command, data=tmp_path / "data", expect=expect)

    return go


TEAM = "[[access]] team/**: @developers, anna: pull, push"


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ("anna push team/app", f"allowed by {TEAM}"),
        ("berta push team/app", f"allowed by {TEAM}"),
        ("henry push team/app", f"allowed by {TEAM}"),
        ("anna pull open/app", "allowed by [[access]] open/**: anonymous: pull"),
        ("anonymous pull open/app", "allowed by [[access]] open/**: anonymous: pull"),
        ("admin delete any/thing", "allowed by [[access]] **: admin: admin"),
        ("admin admin any/thing", "allowed by [[access]] **: admin: admin"),
        ("ci push ci/app", "allowed by its own grant, ci/*: token ci: push"),
        ("anna delete team/app", "denied: no rule allows anna to delete in team/app"),
        ("anna overwrite team/app", "denied: no rule allows anna to overwrite in team/app"),
        ("anonymous push open/app", "denied: no rule allows anonymous to push in open/app"),
        ("ci push team/app", "denied: no rule allows ci to push in team/app"),
        ("ci pull ci/app", "denied: no rule allows ci to pull in ci/app"),
    ],
)
def test_a_verdict_is_explained(check: Check, words: str, verdict: str) -> None:
    """With the rule behind it; the exit status is 0 for yes and 1 for no."""
    ended = check(*words.split())

    assert ended.out == f"{verdict}\n"
    assert ended.status == (0 if verdict.startswith("allowed") else 1)
    assert ended.err == ""


@pytest.mark.parametrize("name", ["ghost", "old"], ids=["unknown", "an expired token"])
def test_who_cannot_sign_in_is_told_as_such(check: Check, name: str) -> None:
    """The rules may still name them; a mistyped name shows."""
    ended = check(name, "pull", "open/app")

    assert ended.out == "allowed by [[access]] open/**: anonymous: pull\n"
    assert ended.err == f"note: nobody can sign in as {name} now\n"


def test_whom_only_the_proxy_knows_is_judged_by_name(check: Check) -> None:
    """There is no list of them; groups are the registry's own."""
    ended = check("petra", "push", "team/app", backends='"proxy"')

    assert (ended.status, ended.err) == (0, "")


def test_without_rules_the_default_is_told(tmp_path: Path) -> None:
    """And without back ends, that everybody may everything."""
    data, settings = tmp_path / "data", tmp_path / "registry.toml"
    with opened_data(data) as storage:
        add_user(storage.index.accounts, "anna")
    said = []
    for text in ('[auth]\nbackends = ["users"]\n', ""):
        settings.write_text(text)
        words = ("access", "check", "anna", "push", "a", "--config", str(settings))
        said.append(registry_wsgi(*words, data=data).out)

    assert said[0].startswith("allowed by the default, as there is no [[access]]: **")
    assert said[1] == "allowed: nobody has to sign in (auth.backends is empty)\n"


def test_to_ask_is_no_use_of_a_token(check: Check, tmp_path: Path) -> None:
    """The list of last uses shows what the token did, not who asked about it."""
    check("ci", "push", "ci/app", expect=0)
    with opened_data(tmp_path / "data") as storage:
        token = storage.index.accounts.token("ci")

    assert token is not None
    assert token.last_used_at is None


def test_a_name_that_is_none_is_refused(check: Check) -> None:
    """The repository has to be one that could be."""
    assert "invalid repository name" in check("anna", "pull", "UPPER", expect=1).err


# --- secret ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "kept"), [((), 1), (("--keep", "0"), 0), (("--keep", "1"), 1), (("--keep", "9"), 3)]
)
def test_keys_are_rotated(tmp_path: Path, words: tuple[str, ...], kept: int) -> None:
    """A new one is last, as many older ones as were asked for are before it, and none is printed."""
    data = tmp_path / "data"
    with opened_data(data):
        secret = data / "secret"
        secret.write_bytes(b"".join(letter * 64 + b"\n" for letter in (b"a", b"b", b"c")))
    ended = registry_wsgi("secret", "rotate", *words, data=data)
    keys = secret.read_bytes().split()

    assert ended.out == f"a new key signs from now on; {kept} older stay valid\n"
    assert keys[:-1] == [letter * 64 for letter in (b"a", b"b", b"c")][3 - kept :]
    assert len(bytes.fromhex(keys[-1].decode())) == 32
    assert secret.stat().st_mode & 0o777 == 0o600
    assert keys[-1].decode() not in ended.out + ended.err


def test_fewer_than_no_keys_cannot_be_kept(tmp_path: Path) -> None:
    """The keys stay as they are."""
    with opened_data(tmp_path / "data"):
        before = (tmp_path / "data" / "secret").read_bytes()
    ended = registry_wsgi("secret", "rotate", "--keep", "-1", data=tmp_path / "data", expect=1)

    assert ended.err == "registry-wsgi: --keep must be 0 or more\n"
    assert (tmp_path / "data" / "secret").read_bytes() == before
