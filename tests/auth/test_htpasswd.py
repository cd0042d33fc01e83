"""The htpasswd file: what it may be, when it is read again, what happens when it breaks."""

import logging
import os
from pathlib import Path

import bcrypt
import pytest
from support.accounts import PASSWORD, htpasswd_line
from support.programs import require, run

from registry_wsgi.auth.htpasswd import (
    HtpasswdBackend,
    HtpasswdError,
    Table,
    parse,
    verify,
)
from registry_wsgi.auth.passwords import PasswordChecker, Turns
from registry_wsgi.config import ConfigError, load
from registry_wsgi.storage.accounts import Accounts
from registry_wsgi.wiring_access import load_htpasswd

HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
TURNS = Turns(1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file, with one user."""
    path = tmp_path / "htpasswd"
    path.write_text(htpasswd_line("anna"))
    return path


@pytest.fixture
def backend(path: Path, accounts: Accounts) -> HtpasswdBackend:
    """The back end over it."""
    return HtpasswdBackend(path, accounts, PasswordChecker(TURNS, lambda: 0.0, verify))


def replace(path: Path, text: str | bytes) -> None:
    """Put another file in its place, as careful editors do."""
    new = path.with_name("new")
    new.write_bytes(text if isinstance(text, bytes) else text.encode())
    new.replace(path)


def knows(backend: HtpasswdBackend, name: str) -> bool:
    """Whether the name signs in."""
    return backend.check(name, PASSWORD) is not None


# --- What a file may be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("", [], id="empty"),
        pytest.param(f"anna:{HASH}\n", ["anna"], id="a line"),
        pytest.param(f"anna:{HASH}", ["anna"], id="without a line end"),
        pytest.param(f"anna:{HASH}\r\nberta:{HASH}\r\n", ["anna", "berta"], id="CRLF"),
        pytest.param(f"\n# who may\n\nanna:{HASH}\n  \n", ["anna"], id="comments and blank lines"),
        pytest.param(f"  anna:{HASH}  \n", ["anna"], id="blanks around"),
        pytest.param(f"a.b+c@d-e_f:{HASH}\n", ["a.b+c@d-e_f"], id="all letters of a name"),
        pytest.param(f"a:{HASH}\na:$2y{HASH[3:]}\n", ["a"], id="twice, the last one counts"),
    ],
)
def test_a_file_is_lines_of_names_and_hashes(text: str, names: list[str]) -> None:
    """Each line is one user; what htpasswd and docker distribution accept is accepted."""
    assert list(parse(text).hashes) == names


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param("anna", "is not NAME:BCRYPT-HASH", id="no hash"),
        pytest.param("anna:", "is not NAME:BCRYPT-HASH", id="an empty hash"),
        pytest.param(f":{HASH}", "is not NAME:BCRYPT-HASH", id="no name"),
        pytest.param("anna:secret", "is not NAME:BCRYPT-HASH", id="a plain password"),
        pytest.param("anna:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "is not NAME", id="SHA-1"),
        pytest.param("anna:$apr1$x$5XyMHMXGwlnfrDDHyRQKf1", "is not NAME", id="MD5"),
        pytest.param("anna:$6$x$" + "a" * 86, "is not NAME", id="crypt's SHA-512"),
        pytest.param(f"anna:{HASH}x", "is not NAME:BCRYPT-HASH", id="a longer hash"),
        pytest.param(f"anna:{HASH}:more", "is not NAME:BCRYPT-HASH", id="a third field"),
        pytest.param(f"an na:{HASH}", "is not NAME:BCRYPT-HASH", id="a blank in the name"),
        pytest.param(f"anna:$2y$15{HASH[6:]}", "has cost 15", id="a check of seconds"),
        pytest.param(f"anna:$2y$31{HASH[6:]}", "has cost 31", id="a check of hours"),
        pytest.param(f"anna:$2y$03{HASH[6:]}", "has cost 3", id="a cost that is none"),
    ],
)
def test_a_line_that_is_none_is_refused(line: str, reason: str) -> None:
    """With its number, why, and not a word of its content."""
    with pytest.raises(HtpasswdError, match=f"line 2 {reason}") as caught:
        parse(f"# first\n{line}\n")

    assert line.partition(":")[2] not in str(caught.value) or not line.partition(":")[2]


def test_a_weak_hash_is_taken_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Below cost 10 the log says so, once a line; the hash is not in it."""
    parse(htpasswd_line("anna", cost=4) + htpasswd_line("berta", cost=10))

    assert [record.getMessage() for record in caplog.records] == [
        "htpasswd line 1 has cost 4: weak, use htpasswd -B -C 10"
    ]


def test_a_name_that_nobody_can_sign_in_with_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """It is no reason to lock the others out."""
    table = parse(f"jörg:{HASH}\nanna:{HASH}\n")

    assert set(table.hashes) == {"jörg", "anna"}
    assert "line 1 has a name that nobody can sign in with" in caplog.text


@pytest.mark.parametrize(("costs", "highest"), [([], 10), ([4], 10), ([10, 11], 11), ([12, 4], 12)])
def test_nobody_costs_as_much_as_the_slowest(costs: list[int], highest: int) -> None:
    """Unknown names are compared at the highest cost in the file, at 10 or more."""
    text = "".join(f"user{cost}:$2y${cost:02}{HASH[6:]}\n" for cost in costs)
    table: Table = parse(text)

    assert table.nobody.startswith(f"$2b${highest}$")
    assert len(table.nobody) == len(HASH)


def test_nobodys_hash_is_of_no_password() -> None:
    """It can be checked, and is wrong, for the passwords that are tried first."""
    nobody = parse("").nobody

    assert not any(verify(nobody, password) for password in ("", "password", "."))


@pytest.mark.parametrize(
    ("password", "right"),
    [
        pytest.param(PASSWORD, True, id="the password"),
        pytest.param(PASSWORD + "\0", False, id="with a NUL"),
        pytest.param("x" * 72, False, id="72 bytes"),
        pytest.param("x" * 73, False, id="73 bytes"),
        pytest.param("é" * 37, False, id="74 bytes in 37 letters"),
        pytest.param("x" * 1024, False, id="1 KiB"),
    ],
)
def test_passwords_are_compared_whole(password: str, right: bool) -> None:
    """What bcrypt would cut or stumble over is a mismatch, and no error."""
    assert verify(HASH, password) is right


def test_no_password_is_cut_to_72_bytes() -> None:
    """A longer one that starts with the right one is another."""
    stored = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()

    assert verify(stored, "x" * 72)
    assert not verify(stored, "x" * 73)


def test_apache_writes_such_files(path: Path, accounts: Accounts) -> None:
    """What ``htpasswd -B`` makes is a user."""
    htpasswd = require("htpasswd", "apache2-utils")
    run([htpasswd, "-B", "-C", "10", "-b", "-c", path, "anna", PASSWORD])

    assert knows(
        HtpasswdBackend(path, accounts, PasswordChecker(TURNS, lambda: 0.0, verify)), "anna"
    )


# --- When it changes ------------------------------------------------------------------------------


def test_a_new_user_signs_in_at_once(path: Path, backend: HtpasswdBackend) -> None:
    """Nothing has to be reloaded."""
    before = knows(backend, "berta")
    replace(path, htpasswd_line("anna") + htpasswd_line("berta"))

    assert not before
    assert knows(backend, "berta")
    assert knows(backend, "anna")


def test_a_file_written_in_place_is_read_again(path: Path, backend: HtpasswdBackend) -> None:
    """As the htpasswd program writes it."""
    with path.open("a") as file:
        file.write(htpasswd_line("berta"))

    assert knows(backend, "berta")


def test_a_file_of_the_same_size_and_time_is_read_again(
    path: Path, backend: HtpasswdBackend
) -> None:
    """A copy with its old time, from a backup say, is another file."""
    before = path.stat()
    replace(path, htpasswd_line("rosa"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert path.stat().st_size == before.st_size
    assert knows(backend, "rosa")
    assert not knows(backend, "anna")


def test_an_unchanged_file_is_not_read_again(
    path: Path, backend: HtpasswdBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sign-in looks at its time and size alone."""

    def fail(*_: object) -> str:
        raise AssertionError("it was read")

    monkeypatch.setattr(Path, "read_text", fail)

    assert knows(backend, "anna")
    assert path.exists()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("anna:plain\n", id="no hash"),
        pytest.param(htpasswd_line("berta") + "an", id="cut off"),
        pytest.param(b"\xff\xfe\n", id="not UTF-8"),
        pytest.param(None, id="removed"),
    ],
)
def test_a_broken_file_leaves_the_last_good_one_in_force(
    path: Path,
    backend: HtpasswdBackend,
    content: str | bytes | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is told once, however many sign in; a good file counts again at once."""
    if content is None:
        path.unlink()
    else:
        replace(path, content)
    known = [knows(backend, name) for name in ("anna", "berta", "anna")]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    replace(path, htpasswd_line("berta"))

    assert known == [True, False, True]
    assert len(errors) == 1
    assert "the users read last stay in force" in errors[0].getMessage()
    assert knows(backend, "berta")
    assert not knows(backend, "anna")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param("anna:plain\n", "line 1 is not NAME:BCRYPT-HASH", id="broken"),
        pytest.param(None, "No such file", id="missing"),
        pytest.param(b"\xff", "decode", id="not UTF-8"),
    ],
)
def test_a_broken_file_is_an_error_at_start(
    path: Path, accounts: Accounts, content: str | bytes | None, reason: str
) -> None:
    """There is no last good one: the settings are wrong, and the message says how."""
    path.unlink() if content is None else replace(path, content)
    with pytest.raises(ConfigError, match=reason) as caught:
        load_htpasswd(str(path), accounts, TURNS)

    assert "auth.htpasswd_file" in str(caught.value)


def test_the_file_has_to_be_named(accounts: Accounts) -> None:
    """A back end without its file is an error at start."""
    with pytest.raises(ConfigError, match=r"auth\.htpasswd_file"):
        load_htpasswd(load().auth.htpasswd_file, accounts, TURNS)


def test_a_missing_extra_is_an_error_at_start(
    path: Path, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without bcrypt the message says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "registry_wsgi.auth.htpasswd", None)
    with pytest.raises(ConfigError, match=r"pip install 'registry_wsgi\[htpasswd\]'"):
        load_htpasswd(str(path), accounts, TURNS)
