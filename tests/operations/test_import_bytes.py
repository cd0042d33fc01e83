"""``import-distribution``: how bytes get from the old files, and what a killed run leaves."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import registry_wsgi
from support.copies import blobs_of
from support.counts import Counts
from support.foreign import Tree, standing
from support.images import sha256
from support.mortal import KilledError, Mortal, lives
from support.opened import opened
from support.transfers import assert_sound, tags_in

from registry_wsgi import wiring_transfer
from registry_wsgi.names import Digest, Name
from registry_wsgi.services import adopting
from registry_wsgi.storage.distribution import TakenBlob
from registry_wsgi.storage.fsops import FileOps

APP = Name("app")
LAYER = b"a layer"


@pytest.fixture
def tree(folder: Path) -> Tree:
    """Two repositories with an image each, which share a layer."""
    made = Tree(folder / "tree")
    made.put_image("app", LAYER, "tag")
    made.put_image("copy", LAYER, "tag")
    made.put_image("copy", b"another", "another")
    return made


def take(tree: Tree, data: Path, *words: str) -> dict[str, int]:
    """Import a tree; how many of what were taken how."""
    ended = registry_wsgi("import-distribution", tree.root, "--json", *words, data=data)
    counts: dict[str, int] = ended.json()["counts"]
    return {key: number for key, number in counts.items() if key.startswith("blobs")}


def refuse(code: int) -> Callable[..., None]:
    """A function that fails as a system call does."""

    def refused(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return refused


def clone(ops: FileOps, source: int, target: int) -> bool:
    """As ioctl_ficlone(2), for whoever looks at the bytes alone."""
    ops.copy(source, target)
    return True


@pytest.mark.parametrize("given", [".", "docker/registry/v2"])
def test_the_root_is_found(tree: Tree, folder: Path, given: str) -> None:
    """ROOT is the rootdirectory of the old settings, or where its files begin."""
    words = ("import-distribution", tree.root / given)
    registry_wsgi(*words, data=folder / "data")

    assert set(tags_in(folder / "data", Name("copy"))) == {"tag", "another"}


@pytest.mark.parametrize("given", ["docker/registry", "docker/registry/v2/blobs", "none"])
def test_what_is_no_such_tree_is_refused(tree: Tree, folder: Path, given: str) -> None:
    """Anything else is an error, which says what was looked for."""
    words = ("import-distribution", tree.root / given)
    ended = registry_wsgi(*words, data=folder / "data", expect=2)

    assert "no files of docker distribution: no docker/registry/v2/repositories" in ended.err


def test_blobs_are_linked(tree: Tree, folder: Path) -> None:
    """On one file system blobs become links, read once however many repositories have them."""
    before = standing(tree.root)
    counts = take(tree, folder / "data")
    linked = blobs_of(folder / "data")

    assert counts == {"blobs linked": 4, "blobs shared": 2}
    assert all(path.samefile(tree.data(f"sha256:{name}")) for name, path in linked.items())
    assert standing(tree.root) == before
    assert_sound(folder / "data")


def assert_own(tree: Tree, data: Path) -> None:
    """The test fails unless every blob is a read-only file of its own, with the same bytes."""
    mine = blobs_of(data)
    assert {path.stat().st_nlink for path in mine.values()} == {1}
    assert {path.stat().st_mode & 0o777 for path in mine.values()} == {0o444}
    for name, path in mine.items():
        assert path.read_bytes() == tree.data(f"sha256:{name}").read_bytes()


def test_blobs_are_copied_where_linking_is_refused(
    tree: Tree, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel refuses to link another's file, every blob is copied, and nothing else."""
    before = standing(tree.root)
    monkeypatch.setattr(FileOps, "link", refuse(errno.EPERM))
    counts = take(tree, folder / "data")

    assert counts == {"blobs copied": 4, "blobs shared": 2}
    assert_own(tree, folder / "data")
    assert standing(tree.root) == before


def test_blobs_are_copied_on_request(tree: Tree, folder: Path) -> None:
    """With ``--copy`` nothing is shared with the old files."""
    assert take(tree, folder / "data", "--copy") == {"blobs copied": 4, "blobs shared": 2}
    assert_own(tree, folder / "data")


def test_blobs_are_copied_from_another_file_system(tree: Tree, tmp_path: Path) -> None:
    """From another file system every blob is copied."""
    if tree.root.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("the machine has one file system only")
    counts = take(tree, tmp_path / "data")

    assert counts == {"blobs copied": 4, "blobs shared": 2}
    assert_own(tree, tmp_path / "data")


def test_blobs_are_cloned_where_that_can_be(
    tree: Tree, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that clones, every blob is a file of its own that shares the old bytes."""
    before = standing(tree.root)
    monkeypatch.setattr(FileOps, "clone", clone)
    counts = take(tree, folder / "data")

    assert counts == {"blobs cloned": 4, "blobs shared": 2}
    assert_own(tree, folder / "data")
    assert standing(tree.root) == before


def test_a_symbolic_link_is_copied(tree: Tree, folder: Path) -> None:
    """A blob that the old registry has behind a symbolic link becomes a file, not such a link."""
    place = tree.data(sha256(LAYER))
    (folder / "elsewhere").write_bytes(LAYER)
    place.unlink()
    place.symlink_to(folder / "elsewhere")
    counts = take(tree, folder / "data")
    taken = blobs_of(folder / "data")[sha256(LAYER)[7:]]

    assert counts == {"blobs linked": 3, "blobs copied": 1, "blobs shared": 2}
    assert not taken.is_symlink()
    assert not taken.samefile(folder / "elsewhere")


def test_a_full_disk_ends_the_run(
    tree: Tree, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk without room is an error of ours and no finding; the next run takes the rest."""
    monkeypatch.setattr(FileOps, "copy", refuse(errno.ENOSPC))
    words = ("import-distribution", tree.root, "--copy", "--json")
    ended = registry_wsgi(*words, data=folder / "data", expect=2)
    monkeypatch.undo()
    registry_wsgi(*words, "--verify", data=folder / "data")

    assert "blob cannot be taken" in ended.err
    assert ended.out == ""
    assert_sound(folder / "data")


@pytest.mark.parametrize("way", ["linking", "copying"])
def test_a_killed_run_is_finished_by_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch, counts: Counts, way: str
) -> None:
    """Killed at whatever step, no row is without its file, and the next run completes it."""
    words = ["--copy"] if way == "copying" else []
    monkeypatch.setattr(adopting, "WORKERS", 1)  # so that the n-th operation is always the same one
    small = Tree(folder / "small")
    small.put_image("app", LAYER, "tag")

    def run(ops: Mortal) -> None:
        data = folder / f"data-{ops.life}"
        monkeypatch.setattr(wiring_transfer, "FileOps", lambda **_: ops)
        try:
            take(small, data, *words)
        except KilledError:
            with opened(data) as here:
                assert here.problems() == []
            raise
        finally:
            monkeypatch.setattr(wiring_transfer, "FileOps", FileOps)
            registry_wsgi("import-distribution", small.root, "--verify", *words, data=data)
            with opened(data) as here:
                here.collect()
                assert here.fsck() == []

    spent = lives(run)
    counts(f"imports killed, {way}", steps=len(spent))

    assert len(spent) > 10


def test_gc_waits_for_an_import(tree: Tree, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blob whose manifest has not come yet is not collected while the import runs."""
    publish, said = TakenBlob.publish, set()

    def publish_slowly(blob: TakenBlob, digest: Digest) -> None:
        said.add(registry_wsgi("gc", "--grace", "0", data=folder / "data").out)
        publish(blob, digest)

    monkeypatch.setattr(TakenBlob, "publish", publish_slowly)
    monkeypatch.setattr(adopting, "WORKERS", 1)
    take(tree, folder / "data")

    assert said == {"another gc is running: nothing to do\n"}
