"""``export`` and ``import``: repositories out as OCI image layouts, and in elsewhere."""

import errno
import fcntl
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from support.commands import registry_wsgi
from support.images import sha256
from support.mounts import free, tmpfs
from support.opened import Content, opened
from support.storage import foreign_image, image
from support.transfers import (
    APP,
    LATER,
    OTHER,
    TYPE,
    LaterClock,
    assert_sound,
    lose,
    manifests_in,
    names_in,
    put_all,
    put_image,
    tags_in,
)
from support.waiting import wait_until

from registry_wsgi.cli import transfer
from registry_wsgi.config import Config
from registry_wsgi.names import Digest, Name, Tag
from registry_wsgi.oci import referrers_tag
from registry_wsgi.storage.layout_files import DirectoryWriter
from registry_wsgi.storage.opening import Storage
from registry_wsgi.wiring import open_existing

FORMS = ("layout", "layout.tar")


@pytest.fixture
def data(folder: Path) -> Path:
    """A data directory with two repositories; ``folder`` is where it is."""
    with opened(folder / "data") as here:
        put_all(here, APP)
        put_image(here, OTHER, b"other", "latest")
    return folder / "data"


# --- There and back -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_repository_goes_out_and_comes_in(data: Path, folder: Path, form: str) -> None:
    """Every manifest, tag, referrer and blob of an exported repository is imported elsewhere."""
    registry_wsgi("export", APP, folder / form, data=data)
    registry_wsgi("import", folder / form, data=folder / "elsewhere")

    assert manifests_in(folder / "elsewhere", APP) == manifests_in(data, APP)
    assert tags_in(folder / "elsewhere", APP) == tags_in(data, APP)
    assert_sound(folder / "elsewhere")


@pytest.mark.parametrize("form", FORMS)
def test_all_repositories_go_out_together(data: Path, folder: Path, form: str) -> None:
    """A pattern exports several repositories, and the import puts each where it was."""
    registry_wsgi("export", "**", folder / form, data=data)
    registry_wsgi("import", folder / form, data=folder / "elsewhere")

    for name in (APP, OTHER):
        assert manifests_in(folder / "elsewhere", name) == manifests_in(data, name)
        assert tags_in(folder / "elsewhere", name) == tags_in(data, name)
    assert_sound(folder / "elsewhere")


def test_a_repository_comes_in_under_another_name(data: Path, folder: Path) -> None:
    """What the import is told to be its name wins over the layout's."""
    registry_wsgi("export", APP, folder / "layout", data=data)
    registry_wsgi("import", folder / "layout", "new/name", data=folder / "elsewhere")

    assert tags_in(folder / "elsewhere", Name("new/name")) == tags_in(data, APP)
    assert tags_in(folder / "elsewhere", APP) == {}


def test_an_import_again_changes_nothing(data: Path, folder: Path) -> None:
    """A second import of the same layout finds all of it there, and leaves no event."""
    registry_wsgi("export", "**", folder / "layout", data=data)
    registry_wsgi("import", folder / "layout", data=folder / "elsewhere")
    before = registry_wsgi("audit", data=folder / "elsewhere").out
    again = registry_wsgi("import", folder / "layout", "--json", data=folder / "elsewhere").json()

    assert {key.rpartition(" ")[2] for key in again["counts"]} == {"here"}
    assert registry_wsgi("audit", data=folder / "elsewhere").out == before
    assert "import" in before


def test_a_tag_takes_along_what_refers_to_it(data: Path, folder: Path) -> None:
    """A tag is exported with all it lists, referrers and signatures of any of it, and no more."""
    registry_wsgi("export", f"{APP}:nested", folder / "layout", data=data)
    registry_wsgi("import", folder / "layout", data=folder / "elsewhere")
    with opened(folder / "elsewhere") as there:
        inner = Digest.of(image(b"inner"))
        referrers = there.storage.index.listings.referrers(APP, inner, TYPE, None, 10)

    assert set(tags_in(folder / "elsewhere", APP)) == {"nested", f"{referrers_tag(inner)}.sig"}
    assert [str(one.media_type) for one in referrers] == [json.loads(image(b""))["mediaType"]]
    assert Digest.of(image(b"plain")) not in manifests_in(folder / "elsewhere", APP)
    assert_sound(folder / "elsewhere")


def test_a_manifest_goes_out_without_a_name(data: Path, folder: Path) -> None:
    """A digest is exported without a name, and imported without a tag, or with one that is given."""
    digest = Digest.of(image(b"plain"))
    registry_wsgi("export", f"{APP}@{digest}", folder / "layout", data=data)
    registry_wsgi("import", folder / "layout", data=folder / "elsewhere")
    registry_wsgi("import", folder / "layout", "a/b:named", data=folder / "elsewhere")

    assert names_in(folder / "layout") == {}
    assert set(manifests_in(folder / "elsewhere", APP)) == {digest}
    assert tags_in(folder / "elsewhere", APP) == {}
    assert tags_in(folder / "elsewhere", Name("a/b")) == {"named": digest}


def test_content_of_another_algorithm_goes_out_and_comes_in(folder: Path) -> None:
    """sha512 blobs and manifests are exported and imported as such."""
    with opened(folder / "data") as here:
        here.push(APP, b"{}")
        long = Digest.of(b"layer", "sha512")
        here.uploads.push(APP, long, Content((b"layer",)))
        body = image(b"layer").replace(sha256(b"layer").encode(), long.encode())
        digest = here.put(APP, Digest.of(body, "sha512"), body, "tag")
    registry_wsgi("export", APP, folder / "layout.tar", data=folder / "data")
    registry_wsgi("import", folder / "layout.tar", data=folder / "elsewhere")

    assert digest.algorithm == "sha512"
    assert tags_in(folder / "elsewhere", APP) == {"tag": digest}
    assert_sound(folder / "elsewhere")


# --- Lacking ------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["**", APP, f"{APP}:plain"])
@pytest.mark.parametrize("repair", [False, True], ids=["before fsck", "after fsck"])
def test_what_images_need_and_is_not_here_is_told(
    data: Path, folder: Path, source: str, repair: bool
) -> None:
    """A blob that was lost makes the status of an export 1, and all else is in the layout."""
    lost = lose(data, b"plain", repair=repair)
    ended = registry_wsgi("export", source, folder / "layout", data=data, expect=1)
    layout = {path.name for path in (folder / "layout" / "blobs" / "sha256").iterdir()}

    assert f"PROBLEM: blob {APP}@{lost}: the repository lacks it" in ended.out
    assert {Digest.of(image(b"plain")).hex, Digest.of(b"{}").hex} <= layout
    assert lost.hex not in layout


def test_what_is_not_here_is_told_as_json(data: Path, folder: Path) -> None:
    """``--json`` lists what an export lacks, and counts what it has."""
    lost = lose(data, b"plain")
    ended = registry_wsgi("export", "**", folder / "layout", "--json", data=data, expect=1)

    assert ended.json()["counts"] == {"manifest": 7, "blob": 5}
    assert ended.json()["problems"] == [
        {"what": f"{APP}@{lost}", "problem": "the repository lacks it"}
    ]


def test_a_foreign_layer_may_be_elsewhere(folder: Path) -> None:
    """A layer that clients get from its URLs is no problem of an export that has it not."""
    with opened(folder / "data") as here:
        here.push(APP, b"{}")
        here.put(APP, Tag("foreign"), foreign_image(b"elsewhere"))
    ended = registry_wsgi("export", APP, folder / "layout", "--json", data=folder / "data")

    assert ended.json()["counts"] == {"manifest": 1, "blob": 1}
    assert ended.json()["problems"] == []


def test_a_layout_lacks_nothing_that_any_repository_gave_it(data: Path, folder: Path) -> None:
    """A blob that one repository lost is no problem where another one puts it in the layout."""
    unlink = """DELETE FROM repository_blobs WHERE (repository_id, blob_id) = (
                SELECT r.id, b.id FROM repositories AS r, blobs AS b
                WHERE r.name = ? AND b.digest = ?)"""
    with opened(data) as here:
        row = (APP, Digest.of(b"{}").pack())
        here.storage.index.database.write(lambda connection: connection.execute(unlink, row))
    registry_wsgi("export", APP, folder / "alone", data=data, expect=1)
    registry_wsgi("export", "**", folder / "together", data=data)

    assert (folder / "together" / "blobs" / "sha256" / Digest.of(b"{}").hex).exists()


# --- Since ----------------------------------------------------------------------------------------


def test_a_site_without_network_is_kept_up_to_date(folder: Path) -> None:
    """Exports of what came since, one after another, make the other site the same."""
    with opened(folder / "near") as near:
        put_all(near, APP)
    first = registry_wsgi("export", "**", folder / "1.tar", "--json", data=folder / "near").json()
    with opened(folder / "near", clock=LaterClock()) as near:
        put_image(near, APP, b"new", "plain")
        near.put(APP, Tag("moved-to-old"), image(b"inner"))
        put_image(near, OTHER, b"other", "latest")
    since = ("--since", LATER)
    second = registry_wsgi("export", "**", folder / "2.tar", *since, "--json", data=folder / "near")
    for number in (1, 2):
        registry_wsgi("import", folder / f"{number}.tar", data=folder / "far")

    assert first["counts"] == {"manifest": 6, "blob": 5}
    assert second.json()["counts"] == {"manifest": 3, "blob": 3}
    for name in (APP, OTHER):
        assert tags_in(folder / "far", name) == tags_in(folder / "near", name)
    assert_sound(folder / "far")


def test_an_export_says_where_the_next_one_goes_on(data: Path, folder: Path) -> None:
    """What was pushed before an export began is not in one since the moment that it told."""
    registry_wsgi("export", "**", folder / "0", data=data)
    registry_wsgi("import", folder / "0", data=folder / "now")
    told = registry_wsgi("export", "**", folder / "1", "--json", data=folder / "now").json()
    since = ("--since", told["next_since"])
    later = registry_wsgi("export", "**", folder / "2", *since, "--json", data=folder / "now")

    assert told["counts"] == {"manifest": 7, "blob": 6}
    assert later.json()["counts"] == {"manifest": 0, "blob": 0}


def waits_for(lock: Path) -> bool:
    """Whether some process waits for a lock on this file."""
    inode = f":{lock.stat().st_ino} "
    return any(
        "->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines()
    )


def test_a_push_that_is_being_committed_is_in_an_export_or_in_the_next(
    data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers take their times under a lock, so the next export begins with a time of that lock's.

    A push that got its time before this one began to read, and was committed after it, would be
    in neither.
    """
    lock = data / "locks" / "write"
    committed: list[datetime] = []

    def commit(writer: BinaryIO) -> None:
        wait_until(lambda: waits_for(lock), "the export waits for the writer")
        committed.append(datetime.now(UTC))
        fcntl.flock(writer, fcntl.LOCK_UN)

    with lock.open("rb") as writer, ThreadPoolExecutor(1) as pool:

        def opened_beside_a_writer(config: Config) -> Storage:
            storage = open_existing(config)
            fcntl.flock(writer, fcntl.LOCK_EX)
            pool.submit(commit, writer)
            return storage

        monkeypatch.setattr(transfer, "open_existing", opened_beside_a_writer)
        told = registry_wsgi("export", "**", folder / "new", "--json", data=data).json()

    (moment,) = committed
    assert datetime.fromisoformat(told["next_since"]) >= moment - timedelta(milliseconds=1)


def test_an_increment_alone_says_what_it_lacks(data: Path, folder: Path) -> None:
    """A tag on a manifest from before is reported where that is not there, and the rest goes on."""
    with opened(data, clock=LaterClock()) as near:
        near.put(APP, Tag("moved-to-old"), image(b"inner"))
        put_image(near, OTHER, b"new", "new")
    registry_wsgi("export", "**", folder / "2.tar", "--since", LATER, data=data)
    ended = registry_wsgi("import", folder / "2.tar", data=folder / "far", expect=1)

    assert f"PROBLEM: blob {APP}@{sha256(b'inner')}: nobody has it" in ended.out
    assert f"PROBLEM: tag {APP}:moved-to-old: its manifest could not be brought" in ended.out
    assert set(tags_in(folder / "far", OTHER)) == {"new"}
    assert_sound(folder / "far")


MOMENTS = {
    "a date": ("2026-01-02", 7),
    "a moment in UTC": ("2026-01-02T03:04:05Z", 7),
    "a moment elsewhere": ("2026-01-02T05:04:05+02:00", 7),
    "a moment later": ("2026-01-02T03:04:06Z", 0),
    "a date later": ("2026-01-03", 0),
}


@pytest.mark.parametrize(("since", "found"), MOMENTS.values(), ids=MOMENTS)
def test_a_moment_is_understood(data: Path, folder: Path, since: str, found: int) -> None:
    """``--since`` takes RFC 3339 with any offset, and a date; without an offset it is UTC."""
    ended = registry_wsgi("export", "**", folder / "new", "--since", since, "--json", data=data)

    assert ended.json()["counts"]["manifest"] == found


# --- Refused --------------------------------------------------------------------------------------

REFUSED = {
    "no such repository": (["none"], 1, "repository name not known"),
    "no repository of the pattern": (["none/**"], 1, "repository name not known"),
    "no such tag": (["team/app:none"], 1, "manifest unknown"),
    "no such digest": ([f"team/app@sha256:{'0' * 64}"], 1, "manifest unknown"),
    "no digest": (["team/app@sha256:0"], 1, "not a digest"),
    "no tag": (["team/app:-"], 1, "a tag is"),
    "an empty tag": (["team/app:"], 1, "a tag is"),
    "an empty digest": (["team/app@"], 1, "not a digest"),
    "a moment before all": (["team/app", "--since", "0001-01-01T00:00+05:00"], 1, "not a time"),
    "no name": (["TEAM"], 1, "neither a repository nor a pattern"),
    "no moment": (["team/app", "--since", "yesterday"], 1, "not a time"),
    "a tag since": (["team/app:plain", "--since", "2026-01-01"], 1, "for repositories"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("words", "status", "message"), REFUSED.values(), ids=REFUSED)
def test_an_export_that_cannot_be_leaves_nothing(
    data: Path, folder: Path, words: list[str], status: int, message: str, form: str
) -> None:
    """What cannot be exported is an error that says why, and no layout is begun."""
    ended = registry_wsgi("export", words[0], folder / form, *words[1:], data=data, expect=status)

    assert message in ended.err
    assert sorted(path.name for path in folder.iterdir()) == ["data"]


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_written_over(data: Path, folder: Path, form: str) -> None:
    """A target that is something already is refused, and left as it was."""
    (folder / "layout").mkdir()
    (folder / "layout" / "precious").write_text("precious")
    (folder / "layout.tar").write_text("precious")
    ended = registry_wsgi("export", APP, folder / form, data=data, expect=2)

    assert "there is something already" in ended.err
    assert [path.name for path in (folder / "layout").iterdir()] == ["precious"]
    assert (folder / "layout.tar").read_text() == "precious"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("content", [b"plaim", b"longer than it was"], ids=repr)
def test_a_corrupt_blob_ends_an_export(data: Path, folder: Path, content: bytes, form: str) -> None:
    """A blob whose bytes are not its digest's goes nowhere, and there is no layout."""
    digest = Digest.of(b"plain")
    path = data / "blobs" / "sha256" / digest.hex[:2] / digest.hex
    path.unlink()
    path.write_bytes(content)
    ended = registry_wsgi("export", APP, folder / form, data=data, expect=2)

    assert str(digest) in ended.err or digest.hex in ended.err
    assert sorted(path.name for path in folder.iterdir()) == ["data"]


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_ends_an_export_and_is_given_its_room_back(
    data: Path, folder: Path, form: str
) -> None:
    """An export that does not fit says so, and leaves nothing: there it can be tried again."""
    with opened(data) as here:
        put_image(here, OTHER, bytes(100_000), "large")
    with tmpfs(folder / "disk", "64k") as disk:
        (disk / "layout").mkdir()
        before = free(disk)
        ended = registry_wsgi("export", OTHER, disk / form, data=data, expect=2)

        assert "No space left on device" in ended.err
        assert [path.name for path in disk.rglob("*")] == ["layout"]
        assert free(disk) == before


def test_a_failed_export_takes_nothing_of_others_with_it(
    data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody put beside it while it ran stays."""

    def fail(writer: DirectoryWriter, index: bytes) -> None:  # noqa: ARG001 - as it is called
        (folder / "layout" / "precious").write_text("precious")
        raise OSError(errno.EIO, "it fails")

    monkeypatch.setattr(DirectoryWriter, "finish", fail)
    ended = registry_wsgi("export", APP, folder / "layout", data=data, expect=2)

    assert "it fails" in ended.err
    assert [path.name for path in (folder / "layout").rglob("*")] == ["precious"]


def test_gc_waits_for_an_export(data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is deleted while an export runs keeps its bytes until they were written."""
    add, said = DirectoryWriter.add, set()

    def add_slowly(writer: DirectoryWriter, *of: Any) -> None:
        said.add(registry_wsgi("gc", "--grace", "0", data=data).out)
        add(writer, *of)

    monkeypatch.setattr(DirectoryWriter, "add", add_slowly)
    registry_wsgi("export", APP, folder / "layout", data=data)

    assert said == {"another gc is running: nothing to do\n"}
