"""crane: pushes, copies, edits and lists."""

import json
from pathlib import Path

import pytest
from support.images import Image, make_image, make_index, noise, sha256, tar_of, write_layout
from support.programs import Tool
from support.server import RunningServer


@pytest.fixture
def image(repository: str) -> Image:
    """An image that only this test pushes."""
    return make_image(repository)


@pytest.fixture
def pushed(
    crane: Tool, registry: RunningServer, repository: str, image: Image, tmp_path: Path
) -> str:
    """The name of a repository that has the image under the tag ``a``."""
    name = f"{registry.host}/{repository}"
    crane("push", write_layout(tmp_path / "in", {"a": image}), f"{name}:a")
    return name


def test_an_image_comes_back(crane: Tool, pushed: str, image: Image, tmp_path: Path) -> None:
    """An image keeps its digest from layout to layout, and is valid in the registry."""
    crane("pull", "--format=oci", f"{pushed}:a", tmp_path / "out")
    index = json.loads((tmp_path / "out" / "index.json").read_text())

    assert [entry["digest"] for entry in index["manifests"]] == [image.digest]
    assert "PASS" in crane.said("validate", "--remote", f"{pushed}:a")


def test_a_digest_and_a_manifest_are_told(crane: Tool, pushed: str, image: Image) -> None:
    """The digest, the manifest and the configuration are those that were pushed."""
    assert crane("digest", f"{pushed}:a") == image.digest
    assert crane("manifest", f"{pushed}@{image.digest}").encode() == image.manifest
    assert crane("config", f"{pushed}:a").encode() == image.blobs[image.config_digest]


def test_a_copy_to_another_repository_mounts_its_blobs(
    crane: Tool, registry: RunningServer, pushed: str, repository: str, image: Image
) -> None:
    """A copy within the registry mounts every blob and uploads none."""
    copy = f"{registry.host}/{repository}/copy:a"
    said = crane.said("copy", f"{pushed}:a", copy)

    assert said.count("mounted blob") == len(image.blobs)
    assert "pushed blob" not in said
    assert crane("digest", copy) == image.digest


def test_all_tags_are_copied(
    crane: Tool, registry: RunningServer, pushed: str, repository: str
) -> None:
    """``crane copy --all-tags`` brings every tag of a repository into another."""
    for tag in ("b", "c"):
        crane("tag", f"{pushed}:a", tag)
    copy = f"{registry.host}/{repository}/copy"
    crane("copy", "--all-tags", pushed, copy)

    assert crane("ls", copy).split() == ["a", "b", "c"]


def test_a_pushed_repository_is_in_the_catalog(
    crane: Tool, registry: RunningServer, pushed: str
) -> None:
    """``crane catalog`` lists the repository that was pushed to."""
    assert pushed.partition("/")[2] in crane("catalog", registry.host).split()


def test_a_deleted_tag_leaves_the_others(crane: Tool, pushed: str, image: Image) -> None:
    """A deleted tag is listed no more, and another tag of the same image still works."""
    crane("tag", f"{pushed}:a", "b")
    crane("delete", f"{pushed}:a")

    assert crane("ls", pushed).split() == ["b"]
    assert crane("digest", f"{pushed}:b") == image.digest


def test_a_deleted_digest_takes_its_tags_along(crane: Tool, pushed: str, image: Image) -> None:
    """An image deleted by its digest is found neither by digest nor by tag."""
    crane("delete", f"{pushed}@{image.digest}")

    assert "MANIFEST_UNKNOWN" in crane.said("manifest", f"{pushed}:a", expect=1)
    assert "MANIFEST_UNKNOWN" in crane.said("manifest", f"{pushed}@{image.digest}", expect=1)


def test_a_layer_is_appended(
    crane: Tool, registry: RunningServer, pushed: str, repository: str, image: Image, tmp_path: Path
) -> None:
    """``crane append`` makes an image with one layer more and uploads only what is new."""
    layer = tmp_path / "layer.tar"
    layer.write_bytes(tar_of({"data/more": noise(1 << 16, repository)}))
    said = crane.said(
        "append", "--base", f"{pushed}:a", "--new_layer", layer, "--new_tag", f"{pushed}:b"
    )
    layers = registry.http.get(f"/v2/{repository}/manifests/b").json()["layers"]

    assert [entry["digest"] for entry in layers[:-1]] == image.layer_digests
    assert said.count("existing blob") == len(image.layer_digests)
    assert said.count("pushed blob") == 2


def test_two_images_become_an_index(
    crane: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """``crane index append`` makes an index from which each platform's image is pulled."""
    images = {arch: make_image(repository, architecture=arch) for arch in ("amd64", "arm64")}
    name = f"{registry.host}/{repository}"
    for arch, image in images.items():
        crane("push", write_layout(tmp_path / arch, {arch: image}), f"{name}:{arch}")
    added = [f"--manifest={name}:{arch}" for arch in images]
    crane("index", "append", *added, "--tag", f"{name}:both")
    digests = {arch: crane("digest", f"--platform=linux/{arch}", f"{name}:both") for arch in images}

    assert digests == {arch: image.digest for arch, image in images.items()}


def test_an_index_is_pushed_whole(
    crane: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """A layout of two images pushed as one index is valid with all its images."""
    images = [make_image(repository, architecture=arch) for arch in ("amd64", "arm64")]
    layout = write_layout(tmp_path / "in", {image.architecture: image for image in images})
    name = f"{registry.host}/{repository}:both"
    crane("push", "--index", layout, name)
    manifest = crane("manifest", name).encode()

    assert manifest == (layout / "index.json").read_bytes()
    assert crane("digest", name) == sha256(manifest) != sha256(make_index(images))
    assert "PASS" in crane.said("validate", "--remote", name)
