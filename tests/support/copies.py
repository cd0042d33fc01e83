"""Registries that are backed up: made, changed, copied, and looked at afterwards."""

import errno
import os
import sqlite3
from pathlib import Path

from support.opened import ACTOR, Opened, opened
from support.storage import image

from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.services.backup import CopyService, Step
from registry_wsgi.storage.backups import Extent
from registry_wsgi.storage.bringing import CLONED, LINKED, Bringer
from registry_wsgi.storage.disk_copies import DiskBackup, DiskRestore
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.sqlite import snapshot

APP = Name("team/app")


def put_image(into: Opened, content: bytes) -> Digest:
    """Push an image of one layer, tagged by what is in it; its manifest's digest."""
    into.push(APP, content)
    into.push(APP, b"{}")
    return into.put(APP, Tag(content.decode()), image(content))


def change(data: Path) -> None:
    """Push a third image, and delete the first with its layer."""
    with opened(data) as here:
        put_image(here, b"third")
        here.manifests.delete(APP, Digest.of(image(b"first")), ACTOR)
        here.collect()


def repaired(data: Path) -> None:
    """Have fsck do what is safe, such as drop the rows of blobs whose files are lost."""
    with opened(data) as here:
        here.fsck(repair=True)


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


def standing(folder: Path) -> list[Path]:
    """All that is below a directory, but for what comes and goes while an index is open."""
    passing = ("-wal", "-shm", "gc")
    return sorted(path for path in folder.rglob("*") if not path.name.endswith(passing))


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


def restored_tags(backup: Path, target: Path) -> set[str]:
    """The tags of a backup, which is restored to see that it has every blob, by its hash."""
    ops = FileOps(syncing=False)
    steps = copy_all(CopyService(DiskRestore(backup, target, ops, Bringer(ops))))
    assert not any(step.is_problem for step in steps)
    for name, content in contents(target).items():
        assert Digest.of(content).hex == name
    return tags_in(target)
