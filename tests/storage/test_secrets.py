"""The keys: made once, private, read by all, refused when others could know them."""

from pathlib import Path

import pytest
from support.contenders import make_secret
from support.processes import run_together

from registry_wsgi.errors import StorageFault
from registry_wsgi.storage import secrets
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.locks import FileLock

KEY = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of the keys, not there yet."""
    return tmp_path / secrets.NAME


def prepare(path: Path) -> None:
    """What every start does."""
    secrets.prepare(path, FileLock(path.with_name("lock")), FileOps(syncing=False))


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Put a file of keys there as an operator might."""
    path.write_bytes(content)
    path.chmod(mode)


def test_a_secret_is_made_where_there_is_none(path: Path) -> None:
    """The first start makes one key of 32 random bytes, in hexadecimal."""
    prepare(path)
    keys = secrets.read(path)

    assert len(keys) == 1
    assert len(bytes.fromhex(keys[0].decode())) == 32


def test_a_secret_is_private(path: Path) -> None:
    """Nobody but the registry's user can read or write it."""
    prepare(path)

    assert path.stat().st_mode & 0o7777 == 0o600


def test_a_secret_stays(path: Path) -> None:
    """A later start leaves the keys, and nothing else beside them."""
    prepare(path)
    first = path.read_bytes()
    prepare(path)

    assert path.read_bytes() == first
    assert {entry.name for entry in path.parent.iterdir()} == {"lock", secrets.NAME}


def test_two_secrets_differ(path: Path, tmp_path: Path) -> None:
    """Each registry has a key of its own."""
    other = tmp_path / "other" / secrets.NAME
    other.parent.mkdir()
    prepare(path)
    prepare(other)

    assert secrets.read(path) != secrets.read(other)


class CountingOps(FileOps):
    """File operations that count the files made."""

    made = 0

    def write_new(self, path: Path, content: bytes, mode: int = 0o600) -> None:
        """Count, and make the file."""
        self.made += 1
        super().write_new(path, content, mode)


def test_a_secret_is_made_once(path: Path) -> None:
    """However often it is prepared, it is written once."""
    ops = CountingOps(syncing=False)
    for _ in range(3):
        secrets.prepare(path, FileLock(path.with_name("lock")), ops)

    assert ops.made == 1


def test_processes_that_race_make_one_secret(path: Path, tmp_path: Path) -> None:
    """Of processes that start at the same time one makes the file, and all read the same keys."""
    run_together(make_secret, *[(tmp_path,)] * 4)
    keys = secrets.read(path)
    prepare(path)

    assert len(keys) == 1
    assert secrets.read(path) == keys
    assert {entry.name for entry in tmp_path.iterdir()} == {"lock", secrets.NAME}


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        pytest.param(KEY, [KEY], id="without a line end"),
        pytest.param(KEY + b"\n", [KEY], id="one key"),
        pytest.param(KEY + b"\n" + KEY[::-1] + b"\n", [KEY, KEY[::-1]], id="rotated, newest last"),
        pytest.param(b"\n" + KEY + b"\r\n\n", [KEY], id="empty lines"),
        pytest.param(KEY * 4, [KEY * 4], id="a longer key"),
    ],
)
def test_keys_are_lines(path: Path, content: bytes, keys: list[bytes]) -> None:
    """A file has one key a line, oldest first."""
    write(path, content)

    assert secrets.read(path) == keys


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\n\n", id="empty lines"),
        pytest.param(KEY[:-1], id="short"),
        pytest.param(KEY + b"\nshort\n", id="a short one among others"),
    ],
)
def test_a_secret_without_a_good_key_is_refused(path: Path, content: bytes) -> None:
    """A missing or short key is refused, and the message says what to do."""
    write(path, content)
    with pytest.raises(StorageFault) as caught:
        secrets.read(path)

    assert "restore or remove it" in caught.value.reason
    assert caught.value.path == str(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o666, 0o700 | 0o001], ids=oct)
def test_a_secret_that_others_can_get_at_is_refused(path: Path, mode: int) -> None:
    """A file that group or others may read, write or run is refused, with the command to type."""
    write(path, KEY, mode)
    with pytest.raises(StorageFault) as caught:
        secrets.read(path)

    assert f"chmod 600 {path}" in caught.value.reason


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700], ids=oct)
def test_a_secret_of_the_owner_alone_is_read(path: Path, mode: int) -> None:
    """What group and others have no right to is private enough."""
    write(path, KEY, mode)

    assert secrets.read(path) == [KEY]


def test_a_missing_secret_is_told(path: Path) -> None:
    """A file that is not there is a fault with its path."""
    with pytest.raises(StorageFault) as caught:
        secrets.read(path)

    assert caught.value.path == str(path)
    assert isinstance(caught.value.cause, FileNotFoundError)
