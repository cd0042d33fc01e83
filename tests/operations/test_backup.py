"""``backup`` and ``restore``: whole at every moment, while pushes go on, and no byte twice."""

import errno
import os
import pty
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.commands import registry_wsgi
from support.counts import Counts
from support.images import noise
from support.opened import ACTOR, Opened, opened
from support.programs import CHECKOUT
from support.pushes import open_upload, push_blob, push_image
from support.server import RunningServer
from support.storage import image

from registry_wsgi.errors import StorageFault
from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.services.backup import CopyService, Step
from registry_wsgi.storage.backups import Extent
from registry_wsgi.storage.bringing import CLONED, COPIED, LINKED, Bringer
from registry_wsgi.storage.disk_copies import DiskBackup, DiskCopy, DiskRestore
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.inspecting import BlobRow
from registry_wsgi.storage.sqlite import snapshot

APP = Name("team/app")
MEMORY = Path("/dev/shm")
SECONDS = 60
PUSHERS = 4
ROUNDS = 3


# --- What is backed up ----------------------------------------------------------------------------


def put_image(into: Opened, content: bytes) -> Digest:
    """Push an image of one layer, tagged by what is in it; its manifest's digest."""
    into.push(APP, content)
    into.push(APP, b"{}")
    return into.put(APP, Tag(content.decode()), image(content))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with two images, whose server has ended."""
    with opened(tmp_path / "data") as here:
        put_image(here, b"first")
        put_image(here, b"second")
    return tmp_path / "data"


def change(data: Path) -> None:
    """Push a third image, and delete the first with its layer."""
    with opened(data) as here:
        put_image(here, b"third")
        here.manifests.delete(APP, Digest.of(image(b"first")), ACTOR)
        here.collect()


def blobs_of(folder: Path) -> dict[str, Path]:
    """The files of all blobs, and whatever else is where they are, by name."""
    return {path.name: path for path in (folder / "blobs").rglob("*") if path.is_file()}


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of each of them."""
    return {name: path.read_bytes() for name, path in blobs_of(folder).items()}


def tags_in(folder: Path) -> set[str]:
    """The tags of an index that nobody has open."""
    connection = sqlite3.connect(folder / "registry.sqlite3")
    try:
        return {name for (name,) in connection.execute("SELECT name FROM tags")}
    finally:
        connection.close()


def assert_whole(folder: Path) -> None:
    """The test fails unless every byte of a data directory is as it should be."""
    with opened(folder) as here:
        assert here.fsck() == []


# --- Whole ----------------------------------------------------------------------------------------


def test_a_backup_is_restored_elsewhere(data: Path, tmp_path: Path) -> None:
    """A backup taken and restored has every blob, tag, account and key, and fsck finds nothing."""
    with opened(data) as here:
        here.storage.index.accounts.join("developers", "anna")
    registry_wsgi("backup", tmp_path / "backup", data=data)
    registry_wsgi("restore", tmp_path / "backup", data=tmp_path / "restored")
    checked = registry_wsgi("fsck", "--deep", data=tmp_path / "restored")
    with opened(tmp_path / "restored") as there:
        members = there.storage.index.accounts.memberships()

    assert checked.out == "sound: 0 problems, 0 notes\n"
    assert contents(tmp_path / "restored") == contents(data)
    assert tags_in(tmp_path / "restored") == {"first", "second"}
    assert members == [("developers", "anna")]
    assert (tmp_path / "restored" / "secret").read_bytes() == (data / "secret").read_bytes()


@pytest.mark.parametrize("name", ["secret", "registry.sqlite3"])
def test_what_is_secret_stays_so(data: Path, tmp_path: Path, name: str) -> None:
    """Keys and password hashes are readable by their owner alone, in the backup and after it."""
    registry_wsgi("backup", tmp_path / "backup", data=data)
    registry_wsgi("restore", tmp_path / "backup", data=tmp_path / "restored")
    modes = {(tmp_path / folder / name).stat().st_mode & 0o777 for folder in ("backup", "restored")}

    assert modes == {0o600}


def test_open_uploads_stay_behind(registry: RunningServer, repository: str, tmp_path: Path) -> None:
    """Neither the row nor the bytes of an open upload session are in a backup."""
    location = open_upload(registry.http, repository)
    registry.http.patch(location, b"half of it")
    push_image(registry.http, repository, "whole")
    registry_wsgi("backup", tmp_path / "backup", data=registry.data)
    registry_wsgi("restore", tmp_path / "backup", data=tmp_path / "restored")
    with opened(tmp_path / "restored") as there:
        uploads = there.storage.index.inspection.statistics().uploads
        notes = there.fsck()

    assert (uploads, notes) == (0, [])


def test_a_doomed_blob_stays_behind(data: Path, tmp_path: Path) -> None:
    """What a killed gc was about to remove is not in a backup, be its bytes there or not."""
    with opened(data) as here:
        here.manifests.delete(APP, Digest.of(image(b"first")), ACTOR)
        links = here.storage.index.collection.links(here.collector().rule())
        assert [str(gone.digest) for gone in links] == [Digest.of(b"first")]
        (doomed,) = here.storage.index.collection.doom()
        here.storage.store.remove(doomed.digest)
    registry_wsgi("backup", tmp_path / "backup", data=data)
    registry_wsgi("restore", tmp_path / "backup", data=tmp_path / "restored")

    assert_whole(tmp_path / "restored")
    assert tags_in(tmp_path / "restored") == {"second"}


def test_a_second_backup_brings_the_first_up_to_date(data: Path, tmp_path: Path) -> None:
    """Only new blobs are brought, what is no longer needed goes, and the rest is left alone."""
    first = registry_wsgi("backup", tmp_path / "backup", "--json", data=data).json()
    before = {name: path.stat().st_ino for name, path in blobs_of(tmp_path / "backup").items()}
    change(data)
    second = registry_wsgi("backup", tmp_path / "backup", "--json", data=data).json()
    after = {name: path.stat().st_ino for name, path in blobs_of(tmp_path / "backup").items()}
    kept = set(before) & set(after)
    registry_wsgi("restore", tmp_path / "backup", data=tmp_path / "restored")

    assert first["counts"] == {"linked": 3}
    assert second["counts"] == {"linked": 1, "present": 2, "removed": 1}
    assert {name: before[name] for name in kept} == {name: after[name] for name in kept}
    assert contents(tmp_path / "restored") == contents(data)
    assert_whole(tmp_path / "restored")


def test_a_missing_blob_is_told_and_the_rest_kept(data: Path, tmp_path: Path) -> None:
    """A blob whose file is gone makes the status 1; everything else is in the backup."""
    lost = Digest.of(b"first")
    blobs_of(data)[lost.hex].unlink()
    ended = registry_wsgi("backup", tmp_path / "backup", "--json", data=data, expect=1)

    assert ended.json()["problems"] == [{"digest": lost, "problem": "missing"}]
    assert set(blobs_of(tmp_path / "backup")) == set(blobs_of(data))


def test_a_damaged_blob_is_told(data: Path, tmp_path: Path) -> None:
    """A blob of another size than its row has is not taken for it."""
    damaged = Digest.of(b"first")
    path = blobs_of(data)[damaged.hex]
    path.chmod(0o600)
    path.write_bytes(b"shorter"[:3])
    ended = registry_wsgi("backup", tmp_path / "backup", data=data, expect=1)

    assert f"PROBLEM: {damaged}: its file is damaged" in ended.out
    assert damaged.hex not in blobs_of(tmp_path / "backup")


def test_an_earlier_backup_keeps_what_the_registry_lost(data: Path, tmp_path: Path) -> None:
    """A blob that is gone from the registry is still restored from a backup that has it."""
    registry_wsgi("backup", tmp_path / "backup", data=data)
    blobs_of(data)[Digest.of(b"first").hex].unlink()
    registry_wsgi("backup", tmp_path / "backup", data=data)
    registry_wsgi("restore", tmp_path / "backup", data=tmp_path / "restored")

    assert_whole(tmp_path / "restored")


def test_gc_waits_for_a_backup(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is deleted while a backup runs keeps its bytes until every blob is copied."""
    keep, said = DiskCopy.keep, []

    def keep_slowly(copy: DiskCopy, row: BlobRow) -> str:
        if not said:
            registry_wsgi("delete", APP, data=data)
        said.append(registry_wsgi("gc", "--grace", "0", data=data).out)
        return keep(copy, row)

    monkeypatch.setattr(DiskCopy, "keep", keep_slowly)
    ended = registry_wsgi("backup", tmp_path / "backup", "--json", data=data)
    monkeypatch.undo()
    after = registry_wsgi("gc", "--grace", "0", "--json", data=data)
    registry_wsgi("restore", tmp_path / "backup", data=tmp_path / "restored")

    assert set(said) == {"another gc is running: nothing to do\n"}
    assert ended.json()["counts"] == {"linked": 3}
    assert after.json()["counts"]["blob"] == 3
    assert tags_in(tmp_path / "restored") == {"first", "second"}
    assert_whole(tmp_path / "restored")


# --- How bytes get there --------------------------------------------------------------------------


class OtherFileSystem(FileOps):
    """A target that cannot be linked to."""

    def link(self, source: Path, target: Path) -> None:
        """Refuse, as between file systems."""
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source), None, str(target))


class SharingExtents(OtherFileSystem):
    """One that clones files."""

    def clone(self, source: int, target: int) -> bool:
        """As ioctl_ficlone(2), for whoever looks at the bytes alone."""
        self.copy(source, target)
        return True


def service(data: Path, target: Path, ops: FileOps) -> CopyService:
    """A backup, with these file operations."""
    bringer = Bringer(ops, (LINKED, CLONED))

    def take(path: Path) -> None:
        with opened(data) as here:
            snapshot.take(here.storage.index.database, path)

    return CopyService(DiskBackup(data, target, ops, bringer, take, lambda: "now"))


def quiet(_: Extent) -> None:
    """Hear how much there is."""


def copy_all(made: CopyService) -> list[Step]:
    """Run a copy to its end."""
    return list(made.run(quiet))


WAYS = {LINKED: FileOps, CLONED: SharingExtents, COPIED: OtherFileSystem}


@pytest.mark.parametrize("way", WAYS)
def test_a_blob_is_brought_the_cheapest_way(data: Path, tmp_path: Path, way: str) -> None:
    """A blob is linked, else cloned, else copied; each is read-only and has the same bytes."""
    steps = copy_all(service(data, tmp_path / "backup", WAYS[way](syncing=False)))
    source, copied = blobs_of(data), blobs_of(tmp_path / "backup")
    same = {name: path.samefile(source[name]) for name, path in copied.items()}

    assert [step.how for step in steps] == [way] * 3
    assert contents(tmp_path / "backup") == contents(data)
    assert set(same.values()) == {way == LINKED}
    assert {path.stat().st_mode & 0o777 for path in copied.values()} == {0o444}


def test_a_real_other_file_system_gets_copies(data: Path) -> None:
    """Where the target is on another file system every blob is copied."""
    if MEMORY.stat().st_dev == data.stat().st_dev:
        pytest.skip("/dev/shm is on the file system of the tests")
    target = MEMORY / f"backup-{os.getpid()}"
    try:
        ended = registry_wsgi("backup", target, "--json", data=data)
        copied = contents(target)
    finally:
        shutil.rmtree(target)

    assert ended.json()["counts"] == {"copied": 3}
    assert copied == contents(data)


def refusing(*_: object) -> int:
    """As copy_file_range(2) does between some file systems."""
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


@pytest.mark.parametrize("copy_range", [refusing, lambda *_: 0], ids=["refused", "empty"])
def test_what_the_kernel_does_not_copy_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy_range: Callable[..., int]
) -> None:
    """A file is copied whole where copy_file_range(2) refuses, or finds an end too early."""
    monkeypatch.setattr(os, "copy_file_range", copy_range)
    content = noise((2 << 20) + 7, "a long file")
    (tmp_path / "old").write_bytes(content)
    with Bringer(FileOps()).brought(tmp_path / "old", tmp_path / "staged") as file:
        file.publish(tmp_path / "new")

    assert (tmp_path / "new").read_bytes() == content
    assert not (tmp_path / "staged").exists()


def test_a_link_over_itself_leaves_nothing_behind(tmp_path: Path) -> None:
    """rename(2) does nothing when both names are of one file; the other name goes all the same."""
    (tmp_path / "old").write_bytes(b"content")
    (tmp_path / "new").hardlink_to(tmp_path / "old")
    with Bringer(FileOps(), (LINKED,)).brought(tmp_path / "old", tmp_path / "staged") as file:
        file.publish(tmp_path / "new")

    assert file.how == LINKED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_restoring_leaves_the_backup_alone(data: Path, tmp_path: Path) -> None:
    """No blob of a restored registry is a file of the backup."""
    registry_wsgi("backup", tmp_path / "backup", data=data)
    registry_wsgi("restore", tmp_path / "backup", data=tmp_path / "restored")
    mine, theirs = blobs_of(tmp_path / "restored"), blobs_of(tmp_path / "backup")

    assert set(mine) == set(theirs)
    assert not any(path.samefile(theirs[name]) for name, path in mine.items())


# --- Cut short ------------------------------------------------------------------------------------


class KilledError(BaseException):
    """The process is gone: nothing handles it."""


@dataclass
class Mortal(FileOps):
    """Does ``life`` changes to files; the next one, and all after it, are never made."""

    life: int
    done: list[tuple[str, Path]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(syncing=True)

    def _live(self, what: str, where: Path | int) -> None:
        if len(self.done) == self.life:
            raise KilledError
        path = where if isinstance(where, Path) else Path(f"/proc/self/fd/{where}").readlink()
        self.done.append((what, path))

    def _make_directory(self, path: Path) -> None:
        self._live("make", path)
        super()._make_directory(path)

    def create(self, path: Path, mode: int = 0o600) -> int:
        """As ever."""
        self._live("create", path)
        return super().create(path, mode)

    def write(self, descriptor: int, block: memoryview | bytes, offset: int) -> None:
        """As ever."""
        self._live("write", descriptor)
        super().write(descriptor, block, offset)

    def copy(self, source: int, target: int) -> None:
        """As ever."""
        self._live("copy", target)
        super().copy(source, target)

    def link(self, source: Path, target: Path) -> None:
        """As ever."""
        self._live("link", target)
        super().link(source, target)

    def sync(self, descriptor: int) -> None:
        """Only noted: what a killed process wrote is there."""
        self._live("sync", descriptor)

    def sync_directory(self, path: Path, *, always: bool = False) -> None:
        """Only noted."""
        del always
        self._live("sync", path)

    def replace(self, source: Path, target: Path) -> None:
        """As ever."""
        self._live("replace", target)
        super().replace(source, target)

    def unlink(self, path: Path) -> bool:
        """As ever."""
        self._live("unlink", path)
        return super().unlink(path)


def lives(run: Callable[[Mortal], Any]) -> list[Mortal]:
    """Run something with every life that ends too early, and once to its end."""
    spent = []
    while not spent or spent[-1].life == len(spent[-1].done):
        spent.append(Mortal(len(spent)))
        try:
            run(spent[-1])
        except KilledError:
            continue
        break
    return spent


def restored_tags(backup: Path, target: Path) -> set[str]:
    """The tags of a backup, which is restored to see that it has every blob, by its hash."""
    ops = FileOps(syncing=False)
    steps = copy_all(CopyService(DiskRestore(backup, target, ops, Bringer(ops))))
    assert not any(step.is_problem for step in steps)
    for name, content in contents(target).items():
        assert Digest.of(content).hex == name
    return tags_in(target)


def test_there_is_a_backup_at_every_moment(data: Path, tmp_path: Path, counts: Counts) -> None:
    """Killed at whatever step of a second backup, the first is whole until the second is."""
    old, new = {"first", "second"}, {"second", "third"}
    copy_all(service(data, tmp_path / "old", FileOps(syncing=False)))
    change(data)
    found = []

    def back_up(ops: Mortal) -> None:
        backup = tmp_path / f"backup-{ops.life}"
        shutil.copytree(tmp_path / "old", backup)
        try:
            copy_all(service(data, backup, ops))
        finally:
            found.append(restored_tags(backup, tmp_path / f"restored-{ops.life}"))

    spent = lives(back_up)
    counts("backups killed", steps=len(spent))

    assert len(spent) > 30
    assert found == sorted(found, key=[old, new].index)
    assert (found[0], found[-1]) == (old, new)


def test_a_killed_backup_is_finished_by_the_next(data: Path, tmp_path: Path) -> None:
    """Killed at whatever step of the very first backup, the next one to that place is whole."""

    def back_up(ops: Mortal) -> None:
        backup = tmp_path / f"backup-{ops.life}"
        try:
            copy_all(service(data, backup, ops))
        finally:
            copy_all(service(data, backup, FileOps(syncing=False)))
            tags = restored_tags(backup, tmp_path / f"restored-{ops.life}")
            assert tags == {"first", "second"}
            assert set(blobs_of(backup)) == set(blobs_of(data))

    assert len(lives(back_up)) > 30


def test_everything_is_synced_before_the_index_is_renamed(data: Path, tmp_path: Path) -> None:
    """When the index goes in place, every file that it tells of, and its name, are on the disk."""
    ops = Mortal(-1)
    copy_all(service(data, tmp_path / "backup", ops))
    index = tmp_path / "backup" / "registry.sqlite3"
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


def test_a_restore_cut_short_is_not_served_and_goes_on(data: Path, tmp_path: Path) -> None:
    """Killed at whatever step, a restored directory is whole or refused, and finished by another."""
    copy_all(service(data, tmp_path / "backup", FileOps(syncing=False)))
    refused = []

    def restore(ops: Mortal) -> None:
        target = tmp_path / f"restored-{ops.life}"
        try:
            copy_all(CopyService(DiskRestore(tmp_path / "backup", target, ops, Bringer(ops))))
        finally:
            if (target / "restoring").exists():
                refused.append(registry_wsgi("stats", data=target, expect=2).err)
            if not (target / "registry.sqlite3").exists() or refused[-1:]:
                registry_wsgi("restore", tmp_path / "backup", data=target, expect=None)
            assert restored_tags(tmp_path / "backup", tmp_path / f"again-{ops.life}")
            assert tags_in(target) == {"first", "second"}
            assert contents(target) == contents(data)

    spent = lives(restore)
    assert len(spent) > 30
    assert all("the restore into it was not finished" in said for said in refused)
    assert len(refused) > 20


# --- What is refused ------------------------------------------------------------------------------


def nothing(_: Path) -> None:
    """Leave everything as it is."""


def put_file(folder: Path) -> None:
    """Put a stranger's file there."""
    folder.mkdir()
    (folder / "a stranger's file").write_text("precious")


def put_data(folder: Path) -> None:
    """Make it a data directory."""
    registry_wsgi("stats", data=folder)


def serve_backup(folder: Path) -> None:
    """Make a backup, and then start a registry on it."""
    registry_wsgi("backup", folder, data=folder.parent / "data")
    registry_wsgi("stats", data=folder)


def standing(folder: Path) -> list[Path]:
    """All that is below a directory, but for what comes and goes while an index is open."""
    passing = ("-wal", "-shm", "gc")
    return sorted(path for path in folder.rglob("*") if not path.name.endswith(passing))


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
    data: Path, tmp_path: Path, prepare: Callable[[Path], Any], place: str, message: str
) -> None:
    """A target that is something else is refused with a reason, and left as it was."""
    prepare(tmp_path / place)
    before = standing(tmp_path)
    ended = registry_wsgi("backup", tmp_path / place, data=data, expect=2)

    assert message in ended.err
    assert standing(tmp_path) == before


def test_there_is_no_backup_of_nothing(tmp_path: Path) -> None:
    """A data directory that is not there is an error, and not made."""
    ended = registry_wsgi("backup", tmp_path / "backup", data=tmp_path / "none", expect=2)

    assert "there is no registry" in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["data", "other"])
def test_only_an_empty_directory_is_restored_to(data: Path, tmp_path: Path, place: str) -> None:
    """A data directory that is in use, or anything that is not empty, is refused."""
    registry_wsgi("backup", tmp_path / "backup", data=data)
    put_file(tmp_path / "other")
    before = standing(tmp_path)
    ended = registry_wsgi("restore", tmp_path / "backup", data=tmp_path / place, expect=2)

    assert "the data directory is not empty" in ended.err
    assert standing(tmp_path) == before


def test_an_empty_directory_is_restored_to(data: Path, tmp_path: Path) -> None:
    """A mounted file system has lost+found, and is as good as empty."""
    registry_wsgi("backup", tmp_path / "backup", data=data)
    (tmp_path / "mounted" / "lost+found").mkdir(parents=True)
    registry_wsgi("restore", tmp_path / "backup", data=tmp_path / "mounted")

    assert_whole(tmp_path / "mounted")


@pytest.mark.parametrize("prepare", [nothing, put_file, put_data], ids=["none", "files", "data"])
def test_only_a_backup_is_restored(tmp_path: Path, prepare: Callable[[Path], Any]) -> None:
    """What is no backup is refused, and no data directory made."""
    prepare(tmp_path / "source")
    ended = registry_wsgi("restore", tmp_path / "source", data=tmp_path / "data", expect=2)

    assert "there is no finished backup" in ended.err
    assert not (tmp_path / "data").exists()


def test_a_newer_backup_is_refused(data: Path, tmp_path: Path) -> None:
    """The backup of a newer program is refused before anything is copied."""
    registry_wsgi("backup", tmp_path / "backup", data=data)
    connection = sqlite3.connect(tmp_path / "backup" / "registry.sqlite3")
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    ended = registry_wsgi("restore", tmp_path / "backup", data=tmp_path / "restored", expect=2)

    assert "the index is of version 9999" in ended.err
    assert blobs_of(tmp_path / "restored") == {}


def test_two_backups_to_one_place_are_refused(data: Path, tmp_path: Path) -> None:
    """While one backup is being made, or restored, no other is made in its place."""
    ops = FileOps(syncing=False)
    running = service(data, tmp_path / "backup", ops).run(quiet)
    next(running)
    with pytest.raises(StorageFault, match="another backup or restore uses it"):
        copy_all(service(data, tmp_path / "backup", ops))
    steps = list(running)
    restoring = CopyService(
        DiskRestore(tmp_path / "backup", tmp_path / "restored", ops, Bringer(ops))
    )
    next(half := restoring.run(quiet))
    with pytest.raises(StorageFault, match="another backup or restore uses it"):
        copy_all(service(data, tmp_path / "backup", ops))

    assert len(steps) == 2
    assert len(list(half)) == 2


# --- On a terminal, and under load ----------------------------------------------------------------


def test_a_terminal_is_shown_how_far_it_is(data: Path, tmp_path: Path) -> None:
    """On a terminal a bar goes from nothing to all; standard output has the result alone."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "registry_wsgi", "backup", tmp_path / "backup"]
    done = subprocess.run(
        [*map(str, command), "--data", str(data), "--json"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        timeout=SECONDS,
    )
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)

    assert done.stdout.startswith(b'{"counts": {"linked": 3}')
    assert "backup [" in shown
    assert shown.endswith("\r\x1b[K")


def test_elsewhere_nothing_is_shown(data: Path, tmp_path: Path) -> None:
    """Without a terminal standard error stays empty."""
    ended = registry_wsgi("backup", tmp_path / "backup", data=data)

    assert ended.err == ""
    assert ended.out.endswith("3 linked)\n")


@dataclass
class Pushers:
    """Clients that push images, each with blobs and a tag of its own, until they are stopped."""

    server: RunningServer
    acknowledged: dict[str, str] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)

    def push(self, number: int) -> None:
        """Push one image after another, and note each once it is acknowledged."""
        serial = 0
        while not self.enough.is_set():
            tag = f"t{number}-{serial}"
            content = noise(20_000, tag)
            try:
                pushed = push_image(self.server.http, f"load/{number}", tag, content=content)
                push_blob(self.server.http, f"load/{number}", content[:100])
            except (AssertionError, OSError) as error:
                if ": 503 instead of" in str(error):  # busy: a client tries again
                    continue
                self.failures.append(error)
                return
            self.acknowledged[f"load/{number}:{tag}"] = pushed.digest
            serial += 1

    def wait_for(self, more: int) -> None:
        """Return once so many more were acknowledged; the test fails if they are not."""
        wanted = len(self.acknowledged) + more
        for _ in range(SECONDS * 100):
            if len(self.acknowledged) >= wanted or self.failures:
                break
            self.enough.wait(0.01)
        assert (self.failures, len(self.acknowledged) >= wanted) == ([], True)


def found_in(data: Path, wanted: dict[str, str]) -> dict[str, str]:
    """Where those of these tags that a data directory has point, their blobs read and hashed."""
    found = {}
    with opened(data) as here:
        for target in wanted:
            name, _, tag = target.partition(":")
            stored = here.storage.index.manifests.find(Name(name), Tag(tag))
            if stored is not None:
                found[target] = str(stored.digest)
        assert here.fsck() == []
    return found


def test_pushes_go_on_while_backups_are_made(
    registry: RunningServer, tmp_path: Path, counts: Counts
) -> None:
    """Each backup under load is whole, and has all that was acknowledged before it began."""
    pushers = Pushers(registry)
    threads = [threading.Thread(target=pushers.push, args=(n,)) for n in range(PUSHERS)]
    for thread in threads:
        thread.start()
    try:
        for number in range(ROUNDS):
            pushers.wait_for(5)
            before = dict(pushers.acknowledged)
            registry_wsgi("backup", tmp_path / "backup", data=registry.data)
            pushers.wait_for(1)
            registry_wsgi("restore", tmp_path / "backup", data=tmp_path / f"{number}")

            assert found_in(tmp_path / f"{number}", before) == before
    finally:
        pushers.enough.set()
        for thread in threads:
            thread.join()
    counts("backups under load", made=ROUNDS, acknowledged=len(pushers.acknowledged), lost=0)

    assert pushers.failures == []
