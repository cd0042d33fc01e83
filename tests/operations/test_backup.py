"""``backup`` and ``restore``: whole, while pushes go on, and no byte twice."""

import errno
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import registry_wsgi
from support.copies import (
    APP,
    OtherFileSystem,
    SharingExtents,
    assert_whole,
    blobs_of,
    change,
    contents,
    copy_all,
    service,
    tags_in,
)
from support.counts import Counts
from support.images import noise
from support.opened import ACTOR, opened
from support.programs import CHECKOUT
from support.pushers import Pushers, found_in
from support.pushes import open_upload, push_image
from support.server import RunningServer, ServerFactory
from support.storage import image

from registry_wsgi.names import Digest
from registry_wsgi.storage.bringing import CLONED, COPIED, LINKED, Bringer
from registry_wsgi.storage.disk_copies import DiskCopy
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.inspecting import BlobRow

SECONDS = 60
PUSHERS = 4
ROUNDS = 3


# --- Whole ----------------------------------------------------------------------------------------


def test_a_backup_is_restored_elsewhere(data: Path, folder: Path) -> None:
    """A backup taken and restored has every blob, tag, account and key, and fsck finds nothing."""
    with opened(data) as here:
        here.storage.index.accounts.join("developers", "anna")
    registry_wsgi("backup", folder / "backup", data=data)
    registry_wsgi("restore", folder / "backup", data=folder / "restored")
    checked = registry_wsgi("fsck", "--deep", data=folder / "restored")
    with opened(folder / "restored") as there:
        members = there.storage.index.accounts.memberships()

    assert checked.out == "sound: 0 problems, 0 notes\n"
    assert contents(folder / "restored") == contents(data)
    assert tags_in(folder / "restored") == {"first", "second"}
    assert members == [("developers", "anna")]
    assert (folder / "restored" / "secret").read_bytes() == (data / "secret").read_bytes()


@pytest.mark.parametrize("name", ["secret", "registry.sqlite3"])
def test_what_is_secret_stays_so(data: Path, folder: Path, name: str) -> None:
    """Keys and password hashes are readable by their owner alone, in the backup and after it."""
    registry_wsgi("backup", folder / "backup", data=data)
    registry_wsgi("restore", folder / "backup", data=folder / "restored")
    places = (folder / "backup" / name, folder / "restored" / name)
    modes = {place.stat().st_mode & 0o777 for place in places}

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


def test_a_doomed_blob_stays_behind(data: Path, folder: Path) -> None:
    """What a killed gc was about to remove is not in a backup, be its bytes there or not."""
    with opened(data) as here:
        here.manifests.delete(APP, Digest.of(image(b"first")), ACTOR)
        links = here.storage.index.collection.links(here.collector().rule())
        assert [str(gone.digest) for gone in links] == [Digest.of(b"first")]
        (doomed,) = here.storage.index.collection.doom()
        here.storage.store.remove(doomed.digest)
    registry_wsgi("backup", folder / "backup", data=data)
    registry_wsgi("restore", folder / "backup", data=folder / "restored")

    assert_whole(folder / "restored")
    assert tags_in(folder / "restored") == {"second"}


def test_a_second_backup_brings_the_first_up_to_date(data: Path, folder: Path) -> None:
    """Only new blobs are brought, what is no longer needed goes, and the rest is left alone."""
    first = registry_wsgi("backup", folder / "backup", "--json", data=data).json()
    before = {name: path.stat().st_ino for name, path in blobs_of(folder / "backup").items()}
    change(data)
    second = registry_wsgi("backup", folder / "backup", "--json", data=data).json()
    after = {name: path.stat().st_ino for name, path in blobs_of(folder / "backup").items()}
    kept = set(before) & set(after)
    registry_wsgi("restore", folder / "backup", data=folder / "restored")

    assert first["counts"] == {"linked": 3}
    assert second["counts"] == {"linked": 1, "present": 2, "removed": 1}
    assert {name: before[name] for name in kept} == {name: after[name] for name in kept}
    assert contents(folder / "restored") == contents(data)
    assert_whole(folder / "restored")


def test_a_damaged_blob_is_told(data: Path, folder: Path) -> None:
    """A blob of another size than its row has is not taken for it."""
    damaged = Digest.of(b"first")
    path = blobs_of(data)[damaged.hex]
    path.chmod(0o600)
    path.write_bytes(b"shorter"[:3])
    ended = registry_wsgi("backup", folder / "backup", data=data, expect=1)

    assert f"PROBLEM: {damaged}: its file is damaged" in ended.out
    assert damaged.hex not in blobs_of(folder / "backup")


def test_a_damaged_copy_is_made_anew(data: Path, folder: Path) -> None:
    """A blob of a backup that has not its size any more is brought again, and no other."""
    registry_wsgi("backup", folder / "backup", data=data)
    damaged = blobs_of(folder / "backup")[Digest.of(b"first").hex]
    damaged.unlink()
    damaged.write_bytes(b"fir")
    second = registry_wsgi("backup", folder / "backup", "--json", data=data).json()

    assert second["counts"] == {"linked": 1, "present": 2}
    assert damaged.read_bytes() == b"first"


def test_gc_waits_for_a_backup(data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is deleted while a backup runs keeps its bytes until every blob is copied."""
    keep = DiskCopy.keep
    said: list[str] = []

    def keep_slowly(copy: DiskCopy, row: BlobRow) -> str:
        if not said:
            registry_wsgi("delete", APP, data=data)
        said.append(registry_wsgi("gc", "--grace", "0", data=data).out)
        return keep(copy, row)

    monkeypatch.setattr(DiskCopy, "keep", keep_slowly)
    ended = registry_wsgi("backup", folder / "backup", "--json", data=data)
    monkeypatch.undo()
    after = registry_wsgi("gc", "--grace", "0", "--json", data=data)
    registry_wsgi("restore", folder / "backup", data=folder / "restored")

    assert set(said) == {"another gc is running: nothing to do\n"}
    assert ended.json()["counts"] == {"linked": 3}
    assert after.json()["counts"]["blob"] == 3
    assert tags_in(folder / "restored") == {"first", "second"}
    assert_whole(folder / "restored")


# --- How bytes get there --------------------------------------------------------------------------


WAYS = {LINKED: FileOps, CLONED: SharingExtents, COPIED: OtherFileSystem}


@pytest.mark.parametrize("way", WAYS)
def test_a_blob_is_brought_the_cheapest_way(data: Path, folder: Path, way: str) -> None:
    """A blob is linked, else cloned, else copied; each is read-only and has the same bytes."""
    steps = copy_all(service(data, folder / "backup", WAYS[way](syncing=False)))
    source, copied = blobs_of(data), blobs_of(folder / "backup")
    same = {name: path.samefile(source[name]) for name, path in copied.items()}

    assert [step.how for step in steps] == [way] * 3
    assert contents(folder / "backup") == contents(data)
    assert set(same.values()) == {way == LINKED}
    assert {path.stat().st_mode & 0o777 for path in copied.values()} == {0o444}


def test_a_real_other_file_system_gets_copies(data: Path, tmp_path: Path) -> None:
    """Where the target is on another file system every blob is copied."""
    if data.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("the machine has one file system only")
    ended = registry_wsgi("backup", tmp_path / "backup", "--json", data=data)

    assert ended.json()["counts"] == {"copied": 3}
    assert contents(tmp_path / "backup") == contents(data)


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


def test_restoring_leaves_the_backup_alone(data: Path, folder: Path) -> None:
    """No blob of a restored registry is a file of the backup."""
    registry_wsgi("backup", folder / "backup", data=data)
    registry_wsgi("restore", folder / "backup", data=folder / "restored")
    mine, theirs = blobs_of(folder / "restored"), blobs_of(folder / "backup")

    assert set(mine) == set(theirs)
    assert not any(path.samefile(theirs[name]) for name, path in mine.items())


# --- On a terminal, and under load ----------------------------------------------------------------


def test_a_terminal_is_shown_how_far_it_is(data: Path, folder: Path) -> None:
    """On a terminal a bar goes from nothing to all; standard output has the result alone."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "registry_wsgi", "backup", folder / "backup"]
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


def test_elsewhere_nothing_is_shown(data: Path, folder: Path) -> None:
    """Without a terminal standard error stays empty."""
    ended = registry_wsgi("backup", folder / "backup", data=data)

    assert ended.err == ""
    assert ended.out.endswith("3 linked)\n")


def test_pushes_go_on_while_backups_are_made(
    fresh_registry: ServerFactory, folder: Path, counts: Counts
) -> None:
    """Each backup under load is whole, and has all that was acknowledged before it began."""
    pushers = Pushers(server := fresh_registry())
    backup = server.data.with_name("backup")
    with pushers.pushing(PUSHERS):
        for number in range(ROUNDS):
            pushers.wait_for(5)
            before = dict(pushers.acknowledged)
            registry_wsgi("backup", backup, data=server.data)
            pushers.wait_for(1)
            registry_wsgi("restore", backup, data=folder / f"{number}")

            assert found_in(folder / f"{number}", before) == before
    counts("backups under load", made=ROUNDS, acknowledged=len(pushers.acknowledged), lost=0)

    assert pushers.failures == []
