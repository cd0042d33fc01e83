"""Keys that are rotated while the registry serves, and a key file that others could read."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.accounts import add_user, basic, bearer, fetch_token, opened_data
from support.commands import registry_wsgi
from support.programs import run
from support.pushes import open_upload
from support.server import CHECKOUT, RunningServer, throwaway_directory
from support.verbs import Verbs

from registry_wsgi.errors import StorageFault
from registry_wsgi.storage.secrets import Keys

SETTINGS = """
[storage]
durability = "relaxed"
[server]
workers = 2
[auth]
backends = ["users"]
"""
ATTEMPTS = 12
SCOPE = "repository:team/app:pull,push"


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """A server of two processes, and a user."""
    with throwaway_directory() as folder:
        with opened_data(folder / "data") as storage:
            add_user(storage.index.accounts, "anna")
        with RunningServer(folder / "data", settings=SETTINGS) as running:
            yield running


def statuses(server: RunningServer, token: str) -> set[int]:
    """What a bearer token gets, of whichever process answers."""
    http = Verbs(server.host, bearer(token))
    return {http.get("/v2/", None).status for _ in range(ATTEMPTS)}


def new_token(server: RunningServer) -> str:
    """A bearer token, signed now."""
    return fetch_token(server.http, SCOPE, **basic("anna"))


def rotate(server: RunningServer, *arguments: str) -> str:
    """Rotate the keys; what the command said."""
    return registry_wsgi("secret", "rotate", *arguments, data=server.data).out


def test_a_rotated_key_counts_at_once_in_every_process(server: RunningServer) -> None:
    """The new one signs, the kept one still counts, and what fell away does not."""
    first = new_token(server)
    said = [rotate(server)]
    second = new_token(server)
    after_one = (statuses(server, first), statuses(server, second))
    said.append(rotate(server))
    third = new_token(server)
    after_two = [statuses(server, token) for token in (first, second, third)]
    said.append(rotate(server, "--keep", "0"))

    assert [text.partition(";")[2].split()[0] for text in said] == ["1", "1", "0"]
    assert after_one == ({200}, {200})
    assert after_two == [{401}, {200}, {200}]
    assert [statuses(server, token) for token in (second, third)] == [{401}, {401}]
    assert statuses(server, new_token(server)) == {200}


def test_an_upload_goes_on_over_a_rotation(server: RunningServer) -> None:
    """While the key that signed its ``_state`` is kept; then the client has to ask anew."""
    http = Verbs(server.host, basic("anna"))
    location = open_upload(http, "team/app")
    rotate(server)
    location = http.patch(location, b"one").location
    rotate(server, "--keep", "0")
    http.patch(location, b"two", 404)
    asked = http.get(location.partition("?")[0], 204).location

    http.patch(asked, b"two")


def test_no_key_is_told(server: RunningServer) -> None:
    """The command prints none of them, and the log has none."""
    said = rotate(server)
    keys = (server.data / "secret").read_text().split()

    assert len(keys) == 2
    assert not [key for key in keys if key in said + server.log]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_registry_whose_keys_others_can_read_does_not_start(mode: int, tmp_path: Path) -> None:
    """It says so, with the command that helps."""
    data = tmp_path / "data"
    with opened_data(data):
        (data / "secret").chmod(mode)
    words = [sys.executable, "-m", "registry_wsgi", "serve", "--bind", "127.0.0.1:0"]
    done = run([*words, "--data", data], expect=2, environment={"PYTHONPATH": str(CHECKOUT)})

    assert done.stderr == (
        f"registry-wsgi: the secret is readable by others: chmod 600 {data}/secret "
        f"({data}/secret)\n"
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one key."""
    path = tmp_path / "secret"
    write(path, b"a" * 64)
    return path


def write(path: Path, *keys: bytes, mode: int = 0o600) -> None:
    """Put another file in its place, as a rotation does."""
    new = path.with_name("new")
    new.write_bytes(b"\n".join(keys))
    new.chmod(mode)
    new.replace(path)


def test_keys_are_those_of_the_file_now(path: Path) -> None:
    """They change with it, and are the same object until then."""
    keys = Keys(path)
    first = keys()
    same = keys()
    write(path, b"a" * 64, b"b" * 64)

    assert same is first
    assert first == tuple(keys)[:1] == (b"a" * 64,)
    assert keys() == (b"a" * 64, b"b" * 64)


def test_a_broken_file_leaves_the_keys_as_they_were(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once, without a key; when it is mended it counts again."""
    keys = Keys(path)
    known = []
    for content, mode in ((b"short", 0o600), (b"b" * 64, 0o644)):
        write(path, content, mode=mode)
        known += [keys(), keys()]
    path.unlink()
    known.append(keys())
    write(path, b"c" * 64)

    assert known == 5 * [(b"a" * 64,)]
    assert keys() == (b"c" * 64,)
    assert caplog.text.count("the keys read last stay in force") == 3
    assert "aaaa" not in caplog.text


def test_there_has_to_be_a_key_at_first(tmp_path: Path) -> None:
    """Without one nothing could be signed."""
    with pytest.raises(StorageFault):
        Keys(tmp_path / "secret")
