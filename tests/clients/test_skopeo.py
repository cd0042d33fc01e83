"""skopeo: copies between transports and formats, lists, deletes."""

import json
from pathlib import Path

import pytest
from support.images import (
    INDEX,
    Image,
    make_image,
    make_index,
    sha256,
    write_docker_archive,
    write_layout,
)
from support.programs import Tool
from support.server import RunningServer

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INSECURE = ("--src-tls-verify=false", "--dest-tls-verify=false")


@pytest.fixture
def image(repository: str) -> Image:
    """An image that only this test pushes."""
    return make_image(repository)


def layout_digests(layout: Path) -> list[str]:
    """The digests that an OCI layout's index names."""
    return [
        entry["digest"] for entry in json.loads((layout / "index.json").read_text())["manifests"]
    ]


def test_an_oci_layout_goes_in_and_comes_out(
    skopeo: Tool, registry: RunningServer, repository: str, image: Image, tmp_path: Path
) -> None:
    """An image copied in from an OCI layout and out to another one keeps its digest."""
    source = write_layout(tmp_path / "in", {"a": image})
    reference = f"docker://{registry.host}/{repository}:a"
    skopeo("copy", *INSECURE, f"oci:{source}:a", reference)
    skopeo("copy", *INSECURE, reference, f"oci:{tmp_path}/out:a")

    assert layout_digests(tmp_path / "out") == [image.digest]


def test_a_docker_archive_goes_in_and_comes_out(
    skopeo: Tool, registry: RunningServer, repository: str, image: Image, tmp_path: Path
) -> None:
    """An image copied in from a docker-archive comes out as one with the same configuration."""
    source = write_docker_archive(tmp_path / "in.tar", "example:a", image)
    reference = f"docker://{registry.host}/{repository}:a"
    skopeo("copy", *INSECURE, f"docker-archive:{source}", reference)
    skopeo("copy", *INSECURE, reference, f"docker-archive:{tmp_path}/out.tar:example:a")
    config = skopeo("inspect", "--raw", "--config", f"docker-archive:{tmp_path}/out.tar")

    assert sha256(config.encode()) == image.config_digest


def test_a_directory_goes_in_and_comes_out(
    skopeo: Tool, registry: RunningServer, repository: str, image: Image, tmp_path: Path
) -> None:
    """An image copied through a directory in both directions keeps its digest."""
    source = write_layout(tmp_path / "layout", {"a": image})
    reference = f"docker://{registry.host}/{repository}:a"
    skopeo("copy", f"oci:{source}:a", f"dir:{tmp_path}/in")
    skopeo("copy", *INSECURE, f"dir:{tmp_path}/in", reference)
    skopeo("copy", *INSECURE, reference, f"dir:{tmp_path}/out")

    assert sha256((tmp_path / "out" / "manifest.json").read_bytes()) == image.digest


@pytest.mark.parametrize(
    ("form", "media_type"),
    [
        pytest.param("v2s2", DOCKER_MANIFEST, id="docker schema 2"),
        pytest.param("oci", "application/vnd.oci.image.manifest.v1+json", id="oci"),
    ],
)
def test_a_format_is_kept(
    skopeo: Tool,
    registry: RunningServer,
    repository: str,
    image: Image,
    tmp_path: Path,
    form: str,
    media_type: str,
) -> None:
    """A manifest is served with the media type of the format it was pushed in."""
    source = write_layout(tmp_path / "in", {"a": image})
    reference = f"docker://{registry.host}/{repository}:a"
    skopeo("copy", *INSECURE, "--format", form, f"oci:{source}:a", reference)
    raw = json.loads(skopeo("inspect", "--tls-verify=false", "--raw", reference))

    assert raw["mediaType"] == media_type
    assert registry.http.get(f"/v2/{repository}/manifests/a")["Content-Type"] == media_type


def test_an_image_is_inspected(
    skopeo: Tool, registry: RunningServer, repository: str, image: Image, tmp_path: Path
) -> None:
    """``skopeo inspect`` tells the digest, the layers, the platform and the tags."""
    source = write_layout(tmp_path / "in", {"a": image})
    reference = f"docker://{registry.host}/{repository}:a"
    skopeo("copy", *INSECURE, f"oci:{source}:a", reference)
    seen = json.loads(skopeo("inspect", "--tls-verify=false", reference))

    assert seen["Digest"] == image.digest
    assert seen["Layers"] == image.layer_digests
    assert seen["Architecture"] == "amd64"
    assert seen["RepoTags"] == ["a"]


def test_tags_are_listed_and_deleted(
    skopeo: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """A deleted image is in no list of tags any more and can't be inspected."""
    images = {tag: make_image(f"{repository}-{tag}") for tag in ("a", "b")}
    source = write_layout(tmp_path / "in", dict(images))
    name = f"docker://{registry.host}/{repository}"
    for tag in images:
        skopeo("copy", *INSECURE, f"oci:{source}:{tag}", f"{name}:{tag}")
    before = json.loads(skopeo("list-tags", "--tls-verify=false", name))["Tags"]
    skopeo("delete", "--tls-verify=false", f"{name}:a")
    after = json.loads(skopeo("list-tags", "--tls-verify=false", name))["Tags"]

    assert before == ["a", "b"]
    assert after == ["b"]
    registry.http.get(f"/v2/{repository}/manifests/{images['a'].digest}", expect=404)


def test_an_index_is_copied_with_all_its_images(
    skopeo: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """``skopeo copy --all`` brings an index and its images in and out byte for byte."""
    images = [make_image(repository, architecture=arch) for arch in ("amd64", "arm64", "s390x")]
    source = write_layout(tmp_path / "in", {"multi": images})
    reference = f"docker://{registry.host}/{repository}:multi"
    skopeo("copy", "--all", *INSECURE, f"oci:{source}:multi", reference)
    skopeo("copy", "--all", *INSECURE, reference, f"oci:{tmp_path}/out:multi")
    answer = registry.http.get(f"/v2/{repository}/manifests/multi")

    assert answer.body == make_index(images)
    assert answer["Content-Type"] == INDEX
    assert layout_digests(tmp_path / "out") == [answer["Docker-Content-Digest"]]


def test_a_repository_is_synchronised_to_a_directory_and_back(
    skopeo: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """``skopeo sync`` brings every tag of a repository out, and into another repository."""
    images = {tag: make_image(f"{repository}-{tag}") for tag in ("a", "b")}
    source = write_layout(tmp_path / "in", dict(images))
    for tag in images:
        skopeo(
            "copy", *INSECURE, f"oci:{source}:{tag}", f"docker://{registry.host}/{repository}:{tag}"
        )
    out = tmp_path / "out"
    skopeo("sync", "--src=docker", "--dest=dir", *INSECURE, f"{registry.host}/{repository}", out)
    skopeo(
        "sync", "--src=dir", "--dest=docker", *INSECURE, out, f"{registry.host}/{repository}/copy"
    )
    name = f"{repository}/copy/{repository.rpartition('/')[2]}"
    digests = {
        tag: registry.http.head(f"/v2/{name}/manifests/{tag}")["Docker-Content-Digest"]
        for tag in images
    }

    assert digests == {tag: image.digest for tag, image in images.items()}
