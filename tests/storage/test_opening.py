"""A data directory is opened wherever it is, by many processes at once, as often as they like."""

import shutil
from pathlib import Path

import pytest
from support.faulty import FaultyOps
from support.opened import opened
from support.processes import Pipe, run_together
from support.storage import APP

from registry_wsgi.errors import StorageFault
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.opening import open_data


@pytest.mark.parametrize("name", ["with space", "a#b", "a?b=c", "100%", "a%20b", "ü", "a'b\"c"])
def test_a_data_directory_may_have_any_name(name: str, tmp_path: Path) -> None:
    """Nothing in the path is taken for a part of SQLite's URI."""
    with opened(tmp_path / name / "data") as registry:
        digest = registry.push(APP, b"content")
    with opened(tmp_path / name / "data") as again:
        assert again.read(APP, digest) == b"content"

    assert (tmp_path / name / "data" / "registry.sqlite3").stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def open_at_once(pipe: Pipe, data: Path) -> None:
    """Open a data directory together with others, and push to it."""
    pipe.send("ready")
    pipe.recv()
    with opened(data) as registry:
        registry.push(APP, b"content")


def test_processes_may_open_a_new_data_directory_at_once(tmp_path: Path) -> None:
    """Whoever is first makes it, all use it, and they have one secret."""
    data = tmp_path / "data"
    run_together(open_at_once, *[(data,)] * 4)
    with opened(data) as registry:
        assert registry.fsck() == []
        assert len(registry.storage.keys()) == 1


def test_a_session_can_be_written_to_until_it_is_a_blob(tmp_path: Path) -> None:
    """Its file is made read-only only when it is in place: a killed process leaves no locked session."""
    ops = FaultyOps()
    with opened(tmp_path / "data", ops) as registry:
        ops.arm(-1, 0)
        registry.push(APP, b"content")

    assert ops.done.index("replace") < ops.done.index("finish")


def test_what_a_killed_start_left_is_replaced(tmp_path: Path) -> None:
    """Files that were to become the secret and the index, and a reserve without its bytes, are no harm."""
    data = tmp_path / "data"
    data.mkdir()
    for name in (".secret.new", ".registry.sqlite3.new", "reserve"):
        (data / name).write_bytes(b"half")
    with opened(data) as registry:
        registry.push(APP, b"content")

        assert registry.fsck() == []
    assert (data / "reserve").stat().st_size > 4
    assert sorted(path.name for path in data.glob(".*")) == []


def test_an_index_is_not_begun_anew_over_blobs(tmp_path: Path) -> None:
    """Without its index the directory is refused: gc would take every blob for a stray one."""
    data = tmp_path / "data"
    with opened(data) as registry:
        registry.push(APP, b"content")
    (data / "registry.sqlite3").unlink()
    with pytest.raises(StorageFault, match="missing or empty, but there are blobs"):
        open_data(data, FileOps(syncing=False))

    shutil.rmtree(data / "blobs")
    with opened(data) as registry:
        assert registry.fsck() == []
