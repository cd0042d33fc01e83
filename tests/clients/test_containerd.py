"""containerd, through ``ctr``."""

from pathlib import Path

from support.clients import Containerd
from support.images import MIB, make_image, make_index, sha256, tar_of, write_layout
from support.server import RunningServer

FLAGS = ("--plain-http", "--snapshotter=native")


def layout_tar(layout: Path) -> Path:
    """An OCI layout as one tar file."""
    files = {str(f.relative_to(layout)): f.read_bytes() for f in layout.rglob("*") if f.is_file()}
    tar = layout.with_suffix(".tar")
    tar.write_bytes(tar_of(files))
    return tar


def listed_digest(ctr: Containerd, reference: str) -> str:
    """The digest that containerd has for an image's name."""
    lines = ctr("images", "list", f"name=={reference}").splitlines()
    return lines[1].split()[2]


def test_an_image_comes_back(
    ctr: Containerd, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """An image that was imported, pushed and removed has the same digest when pulled."""
    image = make_image(repository, layers=3, size=MIB)
    reference = f"{registry.host}/{repository}:a"
    tar = layout_tar(write_layout(tmp_path / "layout", {"a": image}))
    ctr(
        "images",
        "import",
        "--snapshotter=native",
        "--base-name",
        f"{registry.host}/{repository}",
        tar,
    )
    ctr.push(reference)
    ctr("images", "remove", "--sync", reference)
    ctr("images", "pull", *FLAGS, reference)

    assert listed_digest(ctr, reference) == image.digest


def test_an_index_comes_back_with_all_its_images(
    ctr: Containerd, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """An index pulled for all platforms is complete: it can be pushed to another repository."""
    images = [make_image(repository, architecture=arch) for arch in ("amd64", "arm64")]
    reference = f"{registry.host}/{repository}:multi"
    copy = f"{registry.host}/{repository}/copy:multi"
    tar = layout_tar(write_layout(tmp_path / "layout", {"multi": images}))
    base = f"--base-name={registry.host}/{repository}"
    ctr("images", "import", "--all-platforms", "--no-unpack", base, tar)
    ctr.push(reference)
    ctr("images", "remove", "--sync", reference)
    ctr("images", "pull", *FLAGS, "--all-platforms", reference)
    ctr("images", "tag", reference, copy)
    ctr.push(copy)

    assert listed_digest(ctr, reference) == sha256(make_index(images))
    assert registry.http.get(f"/v2/{repository}/copy/manifests/multi").body == make_index(images)
    for image in images:
        registry.http.get(f"/v2/{repository}/copy/blobs/{image.config_digest}")
