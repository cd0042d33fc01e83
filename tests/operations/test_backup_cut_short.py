"""``backup`` and ``restore``, killed: there is a whole one at every moment, and the next goes on."""

import shutil
from pathlib import Path

import pytest
from support.copies import blobs_of, change, contents, copy_all, restored_tags, service, tags_in
from support.counts import Counts
from support.mortal import Mortal, lives
from support.opened import opened

from registry_wsgi.errors import StorageFault
from registry_wsgi.services.backup import CopyService
from registry_wsgi.storage.bringing import Bringer
from registry_wsgi.storage.disk_copies import DiskRestore
from registry_wsgi.storage.fsops import FileOps


def test_there_is_a_backup_at_every_moment(data: Path, folder: Path, counts: Counts) -> None:
    """Killed at whatever step of a second backup, the first is whole until the second is."""
    old, new = {"first", "second"}, {"second", "third"}
    copy_all(service(data, folder / "old", FileOps(syncing=False)))
    change(data)
    found = []

    def back_up(ops: Mortal) -> None:
        backup = folder / f"backup-{ops.life}"
        shutil.copytree(folder / "old", backup)
        try:
            copy_all(service(data, backup, ops))
        finally:
            found.append(restored_tags(backup, folder / f"restored-{ops.life}"))

    spent = lives(back_up)
    counts("backups killed", steps=len(spent))

    assert len(spent) > 30
    assert found == sorted(found, key=[old, new].index)
    assert (found[0], found[-1]) == (old, new)


def test_a_killed_backup_is_finished_by_the_next(data: Path, folder: Path) -> None:
    """Killed at whatever step of the very first backup, the next one to that place is whole."""

    def back_up(ops: Mortal) -> None:
        backup = folder / f"backup-{ops.life}"
        try:
            copy_all(service(data, backup, ops))
        finally:
            copy_all(service(data, backup, FileOps(syncing=False)))
            tags = restored_tags(backup, folder / f"restored-{ops.life}")
            assert tags == {"first", "second"}
            assert set(blobs_of(backup)) == set(blobs_of(data))

    assert len(lives(back_up)) > 30


def test_everything_is_synced_before_the_index_is_renamed(data: Path, folder: Path) -> None:
    """When the index goes in place, every file that it tells of, and its name, are on the disk."""
    ops = Mortal(-1)
    copy_all(service(data, folder / "backup", ops))
    index = folder / "backup" / "registry.sqlite3"
    before = ops.done[: ops.done.index(("replace", index))]
    named = [path for what, path in before if what == "replace"]
    staged = [path.with_name(f".{path.name}.new") for path in [*named, index]]
    unsynced = [
        path
        for path in named
        if ("sync", path.parent) not in before[before.index(("replace", path)) :]
    ]

    assert {path.name for path in named} == {*blobs_of(data), "secret", "backup.json"}
    assert [path for path in staged if ("sync", path) not in before] == []
    assert unsynced == []
    assert ("sync", index.parent) in ops.done[len(before) :]


def test_a_restore_cut_short_is_not_served_and_goes_on(data: Path, folder: Path) -> None:
    """Killed at whatever step, a restored directory is whole or refused, and finished by another."""
    copy_all(service(data, folder / "backup", FileOps(syncing=False)))
    refused = []

    def restore(ops: Mortal) -> None:
        target = folder / f"restored-{ops.life}"
        try:
            copy_all(CopyService(DiskRestore(folder / "backup", target, ops, Bringer(ops))))
        finally:
            marked = (target / "restoring").exists()
            if marked:
                with pytest.raises(StorageFault) as refusal, opened(target):
                    pass
                refused.append(refusal.value.reason)
            if marked or not (target / "registry.sqlite3").exists():
                again = FileOps(syncing=False)
                copy_all(CopyService(DiskRestore(folder / "backup", target, again, Bringer(again))))
            assert tags_in(target) == {"first", "second"}
            assert contents(target) == contents(data)

    assert len(lives(restore)) > 30
    assert all("the restore into it was not finished" in said for said in refused)
    assert len(refused) > 20
