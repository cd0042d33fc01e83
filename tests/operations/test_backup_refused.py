"""``backup`` and ``restore``: where to and from where they refuse to, and leave everything alone."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import registry_wsgi
from support.copies import assert_whole, blobs_of, copy_all, quiet, service, standing
from support.opened import opened

from registry_wsgi.errors import StorageFault
from registry_wsgi.services.backup import CopyService
from registry_wsgi.storage.bringing import Bringer
from registry_wsgi.storage.disk_copies import DiskRestore
from registry_wsgi.storage.fsops import FileOps

# --- What is refused ------------------------------------------------------------------------------


def nothing(_: Path) -> None:
    """Leave everything as it is."""


def put_file(folder: Path) -> None:
    """Put a stranger's file there."""
    folder.mkdir()
    (folder / "a stranger's file").write_text("precious")


def put_data(folder: Path) -> None:
    """Make it a data directory."""
    with opened(folder):
        pass


def serve_backup(folder: Path) -> None:
    """Make a backup, and then start a registry on it."""
    registry_wsgi("backup", folder, data=folder.parent / "data")
    put_data(folder)


TARGETS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "in the data directory": (nothing, "data/backup", "cannot be in one another"),
    "the data directory": (nothing, "data", "cannot be in one another"),
    "around the data directory": (nothing, ".", "cannot be in one another"),
    "a directory of something else": (put_file, "other", "something else than a backup"),
    "another data directory": (put_data, "other", "something else than a backup"),
    "a file": (lambda path: path.write_text("precious"), "other", "is not a directory"),
    "a backup that was served": (serve_backup, "other", "is no backup any more"),
}


@pytest.mark.parametrize(("prepare", "place", "message"), TARGETS.values(), ids=TARGETS)
def test_a_backup_goes_nowhere_else(
    data: Path, folder: Path, prepare: Callable[[Path], Any], place: str, message: str
) -> None:
    """A target that is something else is refused with a reason, and left as it was."""
    prepare(folder / place)
    before = standing(folder)
    ended = registry_wsgi("backup", folder / place, data=data, expect=2)

    assert message in ended.err
    assert standing(folder) == before


def test_there_is_no_backup_of_nothing(tmp_path: Path) -> None:
    """A data directory that is not there is an error, and not made."""
    ended = registry_wsgi("backup", tmp_path / "backup", data=tmp_path / "none", expect=2)

    assert "there is no registry" in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["data", "other"])
def test_only_an_empty_directory_is_restored_to(data: Path, folder: Path, place: str) -> None:
    """A data directory that is in use, or anything that is not empty, is refused."""
    registry_wsgi("backup", folder / "backup", data=data)
    put_file(folder / "other")
    before = standing(folder)
    ended = registry_wsgi("restore", folder / "backup", data=folder / place, expect=2)

    assert "the data directory is not empty" in ended.err
    assert standing(folder) == before


def test_an_empty_directory_is_restored_to(data: Path, folder: Path) -> None:
    """A mounted file system has lost+found, and is as good as empty."""
    registry_wsgi("backup", folder / "backup", data=data)
    (folder / "mounted" / "lost+found").mkdir(parents=True)
    registry_wsgi("restore", folder / "backup", data=folder / "mounted")

    assert_whole(folder / "mounted")


@pytest.mark.parametrize("prepare", [nothing, put_file, put_data], ids=["none", "files", "data"])
def test_only_a_backup_is_restored(tmp_path: Path, prepare: Callable[[Path], Any]) -> None:
    """What is no backup is refused, and no data directory made."""
    prepare(tmp_path / "source")
    ended = registry_wsgi("restore", tmp_path / "source", data=tmp_path / "data", expect=2)

    assert "there is no finished backup" in ended.err
    assert not (tmp_path / "data").exists()


OPENING = [
    *[("stats",), ("fsck", "--deep"), ("audit",), ("user", "list"), ("gc",), ("delete", "x")],
    *[("group", "add", "developers", "anna"), ("token", "create", "ci"), ("secret", "rotate")],
    *[("import", "nowhere"), ("import-distribution", "nowhere"), ("events", "status")],
]


@pytest.mark.parametrize("words", OPENING, ids=" ".join)
def test_no_command_opens_a_backup(data: Path, folder: Path, words: tuple[str, ...]) -> None:
    """To look at it as at a registry would end it: the message says how to, and it is restored yet."""
    registry_wsgi("backup", folder / "backup", data=data)
    before = standing(folder / "backup")
    ended = registry_wsgi(*words, data=folder / "backup", expect=2)

    assert "restore it to another directory" in ended.err
    assert standing(folder / "backup") == before
    registry_wsgi("restore", folder / "backup", data=folder / "restored")


@pytest.mark.usefixtures("data")
def test_what_was_served_from_a_backup_is_backed_up_elsewhere(folder: Path) -> None:
    """As the message of the refusal says: it is a registry now, with its own backups."""
    serve_backup(folder / "served")
    refused = registry_wsgi("restore", folder / "served", data=folder / "restored", expect=2)
    registry_wsgi("backup", folder / "backup", data=folder / "served")
    registry_wsgi("restore", folder / "backup", data=folder / "restored")

    assert "what `backup` makes of it elsewhere is one" in refused.err
    assert_whole(folder / "restored")


def test_a_newer_backup_is_refused(data: Path, folder: Path) -> None:
    """The backup of a newer program is refused before anything is copied."""
    registry_wsgi("backup", folder / "backup", data=data)
    connection = sqlite3.connect(folder / "backup" / "registry.sqlite3")
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    ended = registry_wsgi("restore", folder / "backup", data=folder / "restored", expect=2)

    assert "the index is of version 9999" in ended.err
    assert blobs_of(folder / "restored") == {}


def test_two_backups_to_one_place_are_refused(data: Path, folder: Path) -> None:
    """While one backup is being made, or restored, no other is made in its place."""
    ops = FileOps(syncing=False)
    running = service(data, folder / "backup", ops).run(quiet)
    next(running)
    with pytest.raises(StorageFault, match="another backup or restore uses it"):
        copy_all(service(data, folder / "backup", ops))
    steps = list(running)
    restoring = CopyService(DiskRestore(folder / "backup", folder / "restored", ops, Bringer(ops)))
    next(half := restoring.run(quiet))
    with pytest.raises(StorageFault, match="another backup or restore uses it"):
        copy_all(service(data, folder / "backup", ops))

    assert len(steps) == 2
    assert len(list(half)) == 2
