"""``backup`` of a registry that lost blobs: they are named, and what an earlier one has is kept."""

from pathlib import Path

import pytest
from support.commands import registry_wsgi
from support.copies import APP, assert_whole, blobs_of, contents, repaired, tags_in
from support.opened import ACTOR, opened
from support.storage import image

from registry_wsgi.names import Digest


def test_a_missing_blob_is_told_and_the_rest_kept(data: Path, folder: Path) -> None:
    """A blob whose file is gone makes the status 1; everything else is in the backup."""
    lost = Digest.of(b"first")
    blobs_of(data)[lost.hex].unlink()
    ended = registry_wsgi("backup", folder / "backup", "--json", data=data, expect=1)

    assert ended.json()["problems"] == [{"digest": lost, "problem": "missing"}]
    assert set(blobs_of(folder / "backup")) == set(blobs_of(data))


@pytest.mark.parametrize("repair", [False, True], ids=["its row is there", "its row is dropped"])
@pytest.mark.parametrize("content", [b"first", b"{}"], ids=["a layer", "a shared config"])
def test_an_earlier_backup_keeps_what_the_registry_lost(
    data: Path, folder: Path, content: bytes, repair: bool
) -> None:
    """A blob that the registry lost is named each time, and restored from a backup that has it."""
    lost = Digest.of(content)
    registry_wsgi("backup", folder / "backup", data=data)
    blobs_of(data)[lost.hex].unlink()
    if repair:
        repaired(data)
    ended = [
        registry_wsgi("backup", folder / "backup", "--json", data=data, expect=1) for _ in range(2)
    ]
    registry_wsgi("restore", folder / "backup", data=folder / "restored")

    assert [one.json()["problems"] for one in ended] == [[{"digest": lost, "problem": "kept"}]] * 2
    assert ended[1].json()["counts"] == {"present": 2, "kept": 1}
    assert tags_in(folder / "restored") == {"first", "second"}
    assert_whole(folder / "restored")


def test_a_backup_names_a_blob_whose_row_was_dropped(data: Path, folder: Path) -> None:
    """What manifests need, and neither the registry nor the backup has, makes the status 1."""
    lost = Digest.of(b"first")
    blobs_of(data)[lost.hex].unlink()
    repaired(data)
    ended = registry_wsgi("backup", folder / "backup", "--json", data=data, expect=1)
    again = registry_wsgi("restore", folder / "backup", data=folder / "restored", expect=1)

    assert ended.json()["problems"] == [{"digest": lost, "problem": "missing"}]
    assert f"PROBLEM: {lost}: its file is missing" in again.out
    assert contents(folder / "restored") == contents(data)


def test_a_kept_blob_of_other_content_is_not_taken_for_it(data: Path, folder: Path) -> None:
    """A backup's file without a row in the registry counts only with its hash.

    Else it would be taken for the blob when that is pushed again: a copy is looked at by its size.
    """
    lost = Digest.of(b"first")
    registry_wsgi("backup", folder / "backup", data=data)
    kept = blobs_of(folder / "backup")[lost.hex]
    kept.unlink()
    kept.write_bytes(b"fir\0t")
    blobs_of(data)[lost.hex].unlink()
    repaired(data)
    ended = registry_wsgi("backup", folder / "backup", "--json", data=data, expect=1)

    with opened(data) as here:
        here.push(APP, b"first")
    again = registry_wsgi("backup", folder / "backup", "--json", data=data)

    assert ended.json()["problems"] == [{"digest": lost, "problem": "missing"}]
    assert again.json()["problems"] == []
    assert kept.read_bytes() == b"first"


def test_a_blob_that_comes_back_is_lost_no_more(data: Path, folder: Path) -> None:
    """Once the lost blob was pushed again the backup is whole, with status 0."""
    registry_wsgi("backup", folder / "backup", data=data)
    blobs_of(data)[Digest.of(b"first").hex].unlink()
    repaired(data)
    before = registry_wsgi("backup", folder / "backup", data=data, expect=1)
    with opened(data) as here:
        here.push(APP, b"first")
    ended = registry_wsgi("backup", folder / "backup", "--json", data=data)

    assert f"PROBLEM: {Digest.of(b'first')}: the registry lost it, this copy keeps it" in before.out
    assert ended.json()["counts"] == {"present": 3}


def test_what_was_lost_goes_with_the_last_image_that_needs_it(data: Path, folder: Path) -> None:
    """A kept blob leaves the backup when no manifest needs it any more."""
    lost = Digest.of(b"first")
    registry_wsgi("backup", folder / "backup", data=data)
    blobs_of(data)[lost.hex].unlink()
    repaired(data)
    registry_wsgi("backup", folder / "backup", data=data, expect=1)
    with opened(data) as here:
        here.manifests.delete(APP, Digest.of(image(b"first")), ACTOR)
    ended = registry_wsgi("backup", folder / "backup", "--json", data=data)

    assert ended.json()["counts"] == {"present": 2, "removed": 1}
    assert lost.hex not in blobs_of(folder / "backup")
