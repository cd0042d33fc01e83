"""``import`` into a registry that has manifests and lost blobs of them: these come back."""

from pathlib import Path

import pytest
from support.commands import registry_wsgi
from support.opened import opened
from support.storage import foreign_image
from support.transfers import APP, assert_sound, lose, manifests_in, put_all, put_image, tags_in

from registry_wsgi.names import Digest, Name, Tag


@pytest.fixture
def data(folder: Path) -> Path:
    """A data directory with several images; ``folder`` is where it is."""
    with opened(folder / "data") as here:
        put_all(here, APP)
    return folder / "data"


@pytest.mark.parametrize("form", ["layout", "layout.tar"])
@pytest.mark.parametrize("content", [b"plain", b"inner", b"sbom", b"{}"], ids=bytes.decode)
def test_lost_blobs_are_brought_for_manifests_that_are_here(
    data: Path, folder: Path, content: bytes, form: str
) -> None:
    """Blobs of images, children, referrers or all of them come in, and nothing else changes."""
    registry_wsgi("export", APP, folder / form, data=data)
    before = tags_in(data, APP), manifests_in(data, APP)
    lose(data, content)
    events = registry_wsgi("audit", data=data).out
    ended = registry_wsgi("import", folder / form, "--json", data=data)

    assert ended.json()["counts"]["blobs pushed"] == 1
    assert "manifests pushed" not in ended.json()["counts"]
    assert (tags_in(data, APP), manifests_in(data, APP)) == before
    assert registry_wsgi("audit", data=data).out == events
    assert_sound(data)


def test_a_lost_blob_is_shared_from_another_repository(data: Path, folder: Path) -> None:
    """What another repository has is linked, and not read again."""
    registry_wsgi("export", APP, folder / "layout", data=data)
    lose(data, b"plain")
    with opened(data) as here:
        put_image(here, Name("team/other"), b"plain")
    ended = registry_wsgi("import", folder / "layout", "--json", data=data)

    assert ended.json()["counts"]["blobs shared"] == 1
    assert_sound(data)


def test_a_lost_blob_that_nobody_has_is_told(data: Path, folder: Path) -> None:
    """A blob that a manifest here needs, and that is not in the layout, makes the status 1."""
    lost = lose(data, b"plain")
    registry_wsgi("export", APP, folder / "layout", data=data, expect=1)
    ended = registry_wsgi("import", folder / "layout", data=data, expect=1)

    assert f"PROBLEM: blob {APP}@{lost}: nobody has it" in ended.out


def test_a_foreign_layer_that_nobody_has_is_no_problem(folder: Path) -> None:
    """An image that is here may go on lacking a layer that clients get elsewhere."""
    with opened(folder / "data") as here:
        here.push(APP, b"{}")
        here.put(APP, Tag("foreign"), foreign_image(b"elsewhere"))
    registry_wsgi("export", APP, folder / "layout", data=folder / "data")
    ended = registry_wsgi("import", folder / "layout", "--json", data=folder / "data")

    assert ended.json()["problems"] == []


def test_a_manifest_that_is_in_the_registry_alone_is_left_alone(data: Path, folder: Path) -> None:
    """Of a manifest that an increment only tags, nothing is looked for."""
    registry_wsgi("export", f"{APP}:plain", folder / "layout", data=data)
    (
        folder / "layout" / "blobs" / "sha256" / Digest.parse(tags_in(data, APP)["plain"]).hex
    ).unlink()
    ended = registry_wsgi("import", folder / "layout", "--json", data=data)

    assert ended.json()["counts"] == {"manifests here": 1, "tags here": 1}
