"""OCI image layouts of other tools come in, and what is wrong with one is told."""

import gzip
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import registry_wsgi
from support.images import make_image, make_index, sha256, write_layout
from support.opened import opened
from support.programs import Tool
from support.pushes import push_artifact
from support.server import RunningServer
from support.transfers import (
    APP,
    assert_sound,
    manifests_in,
    names_in,
    put_all,
    tags_in,
)

from registry_wsgi.names import Name

IMAGE = make_image("a layout")
ARCHITECTURES = [make_image("a layout", architecture=arch) for arch in ("amd64", "arm64")]


@pytest.fixture
def data(folder: Path) -> Path:
    """A data directory, which is made when something is imported."""
    return folder / "data"


@pytest.fixture
def layout(folder: Path) -> Path:
    """A layout of an image ``one`` and an index ``two`` of two."""
    return write_layout(folder / "layout", {"one": IMAGE, "two": ARCHITECTURES})


def path_of(layout: Path, digest: str) -> Path:
    """Where a layout has content."""
    return layout / "blobs" / digest.replace(":", "/")


def packed(layout: Path, prefix: str = "") -> Path:
    """A tar file of a layout, whose members' names begin with ``prefix``."""
    with tarfile.open(layout.with_suffix(".tar"), "w") as archive:
        for path in sorted(layout.rglob("*")):
            archive.add(path, f"{prefix}{path.relative_to(layout)}", recursive=False)
    return layout.with_suffix(".tar")


# --- Other tools ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["oci:{}", "oci-archive:{}.tar"], ids=["directory", "tar"])
def test_skopeo_reads_what_was_exported(skopeo: Tool, data: Path, folder: Path, form: str) -> None:
    """An exported tag, and an index with all its images, are copied by skopeo with their digests."""
    source = write_layout(folder / "in", {"one": IMAGE, "two": ARCHITECTURES})
    registry_wsgi("import", source, APP, data=data)
    for name in ("out", "out.tar"):
        registry_wsgi("export", APP, folder / name, data=data)
    exported = form.format(folder / "out")
    for tag in ("one", "two"):
        skopeo("copy", "--all", f"{exported}:{tag}", f"oci:{folder}/read:{tag}")

    assert names_in(folder / "read") == {
        "one": IMAGE.digest,
        "two": sha256(make_index(ARCHITECTURES)),
    }


@pytest.mark.parametrize("form", ["oci:{}", "oci-archive:{}"], ids=["directory", "tar"])
def test_what_skopeo_writes_is_imported(
    skopeo: Tool, layout: Path, data: Path, folder: Path, form: str
) -> None:
    """A layout and an archive that skopeo wrote are imported with tag and digest."""
    written = form.format(folder / "written")
    skopeo("copy", "--all", f"oci:{layout}:two", f"{written}:tag")
    registry_wsgi("import", folder / "written", APP, data=data)

    assert tags_in(data, APP) == {"tag": sha256(make_index(ARCHITECTURES))}
    assert_sound(data)


def test_what_buildah_writes_is_imported(
    buildah: Tool, layout: Path, data: Path, folder: Path
) -> None:
    """An image that buildah pushed to a layout is imported with its configuration."""
    image = buildah("pull", "--quiet", f"oci:{layout}:one")
    buildah("push", "--quiet", image, f"oci:{folder}/written:tag")
    buildah("rmi", image)
    registry_wsgi("import", folder / "written", APP, data=data)
    (manifest,) = manifests_in(data, APP).values()

    assert set(tags_in(data, APP)) == {"tag"}
    assert json.loads(manifest)["config"]["digest"] == IMAGE.config_digest


def test_what_oras_writes_is_imported(
    oras: Tool, registry: RunningServer, repository: str, data: Path, folder: Path
) -> None:
    """An artifact with a referrer that oras copied to a layout is imported with it."""
    subject = push_artifact(registry.http, repository, "tag")
    referrer = push_artifact(registry.http, repository, subject=subject.descriptor)
    source = f"{registry.host}/{repository}:tag"
    oras("copy", "-r", "--from-plain-http", source, "--to-oci-layout", f"{folder}/written:tag")
    registry_wsgi("import", folder / "written", APP, data=data)

    assert tags_in(data, APP) == {"tag": subject.digest}
    assert set(manifests_in(data, APP)) == {subject.digest, referrer.digest}


def test_oras_finds_exported_referrers(
    oras: Tool, registry: RunningServer, repository: str, folder: Path
) -> None:
    """A referrer in an exported layout is discovered by oras."""
    subject = push_artifact(registry.http, repository, "tag")
    referrer = push_artifact(registry.http, repository, subject=subject.descriptor)
    registry_wsgi("export", f"{repository}:tag", folder / "layout", data=registry.data)
    found = oras("discover", "--oci-layout", f"{folder}/layout:tag", "--format", "json")

    assert referrer.digest in found


@pytest.mark.parametrize("prefix", ["", "./"], ids=["names", "dotted names"])
def test_a_tar_file_of_a_layout_is_imported(layout: Path, data: Path, prefix: str) -> None:
    """A layout that somebody packed is imported without being unpacked."""
    registry_wsgi("import", packed(layout, prefix), APP, data=data)

    assert tags_in(data, APP) == {"one": IMAGE.digest, "two": sha256(make_index(ARCHITECTURES))}
    assert_sound(data)


# --- Where to -------------------------------------------------------------------------------------

NAMES = {
    "a tag": ("v1", "given/name", "given/name:v1"),
    "a name and a tag": ("team/app:v1", None, "team/app:v1"),
    "a name and a tag, and another name": ("team/app:v1", "given/name", "given/name:v1"),
    "a host": ("docker.io/team/app:v1", None, "team/app:v1"),
    "a host with a port": ("localhost:5000/team/app:v1", None, "team/app:v1"),
    "a tag that is given": ("v1", "given/name:v2", "given/name:v2"),
}


@pytest.mark.parametrize(("called", "given", "found"), NAMES.values(), ids=NAMES)
def test_a_name_is_understood(
    folder: Path, data: Path, called: str, given: str | None, found: str
) -> None:
    """The repository is the one given, else the layout's; so is the tag."""
    source = write_layout(folder / "layout", {called: IMAGE})
    registry_wsgi("import", source, *([given] if given else []), data=data)
    name, _, tag = found.partition(":")

    assert tags_in(data, Name(name)) == {tag: IMAGE.digest}


def test_what_cannot_be_a_tag_comes_in_by_digest(folder: Path, data: Path) -> None:
    """A name that is no tag is told, and its manifest is imported all the same."""
    source = write_layout(folder / "layout", {"no tag at all": IMAGE})
    ended = registry_wsgi("import", source, APP, data=data, expect=1)

    assert "PROBLEM: tag no tag at all: it cannot be a tag" in ended.out
    assert set(manifests_in(data, APP)) == {IMAGE.digest}


# --- What is wrong --------------------------------------------------------------------------------

Damage = Callable[[Path], object]


def write_json(layout: Path, name: str, document: object) -> None:
    """Put other JSON in a file of a layout."""
    (layout / name).write_text(json.dumps(document))


def truncate(path: Path) -> None:
    """Take the last byte off a file."""
    path.write_bytes(path.read_bytes()[:-1])


def spoil(path: Path) -> None:
    """Change a file's last byte."""
    path.write_bytes(path.read_bytes()[:-1] + b"?")


INDEX = sha256(make_index(ARCHITECTURES))
DAMAGES: dict[str, tuple[Damage, str, list[str]]] = {
    "a layer cut short": (
        lambda layout: truncate(path_of(layout, IMAGE.layer_digests[0])),
        f"blob {APP}@{IMAGE.layer_digests[0]}: provided digest did not match",
        [],
    ),
    "a layer with other bytes": (
        lambda layout: spoil(path_of(layout, IMAGE.layer_digests[0])),
        f"blob {APP}@{IMAGE.layer_digests[0]}: provided digest did not match",
        [],
    ),
    "a missing layer": (
        lambda layout: path_of(layout, IMAGE.layer_digests[0]).unlink(),
        f"blob {APP}@{IMAGE.layer_digests[0]}: nobody has it",
        [],
    ),
    "a manifest with other bytes": (
        lambda layout: spoil(path_of(layout, IMAGE.digest)),
        f"manifest {APP}@{IMAGE.digest}: its bytes in the layout have another digest",
        [],
    ),
    "a missing manifest": (
        lambda layout: path_of(layout, IMAGE.digest).unlink(),
        f"manifest {APP}@{IMAGE.digest}: neither the layout nor the repository has it",
        [],
    ),
    "a missing child": (
        lambda layout: path_of(layout, ARCHITECTURES[1].digest).unlink(),
        f"manifest {APP}@{INDEX}: manifest references a manifest or blob unknown",
        ["one"],
    ),
}


@pytest.mark.parametrize("form", [lambda layout: layout, packed], ids=["directory", "tar"])
@pytest.mark.parametrize(("damage", "message", "tags"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_stays_out(
    layout: Path,
    data: Path,
    damage: Damage,
    message: str,
    tags: list[str],
    form: Callable[[Path], Path],
) -> None:
    """Damaged or missing content is told with its digest; nothing that needs it comes in."""
    damage(layout)
    ended = registry_wsgi("import", form(layout), APP, data=data, expect=1)

    assert f"PROBLEM: {message}" in ended.out
    assert list(tags_in(data, APP)) == tags
    assert_sound(data)


BAD_INDEX = {"schemaVersion": 2, "manifests": [{"mediaType": "a/b", "digest": "no", "size": 1}]}
NO_LAYOUTS: dict[str, tuple[Damage, int, str]] = {
    "no oci-layout": (lambda layout: (layout / "oci-layout").unlink(), 2, "no oci-layout"),
    "no index.json": (lambda layout: (layout / "index.json").unlink(), 2, "no index.json"),
    "an oci-layout of nothing": (
        lambda layout: (layout / "oci-layout").write_text(""),
        2,
        "oci-layout: ",
    ),
    "another version": (
        lambda layout: write_json(layout, "oci-layout", {"imageLayoutVersion": "2.0.0"}),
        2,
        "version '2.0.0'",
    ),
    "an index.json of garbage": (
        lambda layout: (layout / "index.json").write_text("{"),
        1,
        "index.json: ",
    ),
    "an index.json without manifests": (
        lambda layout: write_json(layout, "index.json", {}),
        1,
        "index.json lists no manifests",
    ),
    "a malformed descriptor": (
        lambda layout: write_json(layout, "index.json", BAD_INDEX),
        1,
        "manifests[0].digest",
    ),
}


@pytest.mark.parametrize("form", [lambda layout: layout, packed], ids=["directory", "tar"])
@pytest.mark.parametrize(("damage", "status", "message"), NO_LAYOUTS.values(), ids=NO_LAYOUTS)
def test_what_is_no_layout_is_refused(
    layout: Path,
    data: Path,
    damage: Damage,
    status: int,
    message: str,
    form: Callable[[Path], Path],
) -> None:
    """What is no layout is an error that says what is wrong, and nothing comes in."""
    damage(layout)
    ended = registry_wsgi("import", form(layout), APP, data=data, expect=status)

    assert message in ended.err
    assert manifests_in(data, APP) == {}


def test_a_compressed_tar_file_is_refused(layout: Path, data: Path) -> None:
    """A compressed tar file, in which nothing can be found without reading all, is refused."""
    path = packed(layout).with_suffix(".tar.gz")
    path.write_bytes(gzip.compress(packed(layout).read_bytes()))
    ended = registry_wsgi("import", path, APP, data=data, expect=2)

    assert "nor an uncompressed tar file" in ended.err


def test_a_layout_must_say_where_to(layout: Path, data: Path) -> None:
    """Without a name that was given or is in the layout, nothing is imported."""
    ended = registry_wsgi("import", layout, data=data, expect=1)

    assert "name a repository" in ended.err


def test_several_repositories_are_not_mixed(folder: Path, data: Path) -> None:
    """A layout of several repositories is not imported into one."""
    with opened(folder / "near") as near:
        put_all(near, APP)
        put_all(near, Name("team/other"))
    registry_wsgi("export", "**", folder / "layout", data=folder / "near")
    ended = registry_wsgi("import", folder / "layout", "one/name", data=data, expect=1)

    assert "several repositories" in ended.err


def test_a_tag_is_for_one_manifest(layout: Path, data: Path) -> None:
    """A tag cannot be given to a layout of two images."""
    ended = registry_wsgi("import", layout, "one/name:tag", data=data, expect=1)

    assert "does not hold just one manifest" in ended.err


def test_a_link_in_a_tar_file_leads_nowhere(folder: Path, data: Path) -> None:
    """A member that is a link, to a file of this machine say, is nothing that is in the layout."""
    layout = write_layout(folder / "layout", {"one": IMAGE})
    secret = folder / "secret"
    secret.write_bytes(path_of(layout, IMAGE.layer_digests[0]).read_bytes())
    target = path_of(layout, IMAGE.layer_digests[0])
    target.unlink()
    target.symlink_to(secret)
    ended = registry_wsgi("import", packed(layout), APP, data=data, expect=1)

    assert "nobody has it" in ended.out


def test_an_unknown_kind_of_content_is_passed_over(layout: Path, data: Path) -> None:
    """What index.json lists beside manifests is no error, and does not come in."""
    document = json.loads((layout / "index.json").read_text())
    other = {"mediaType": "application/vnd.test", "digest": sha256(b"x"), "size": 1}
    write_json(layout, "index.json", {**document, "manifests": [*document["manifests"], other]})
    registry_wsgi("import", layout, APP, data=data)

    assert set(tags_in(data, APP)) == {"one", "two"}
