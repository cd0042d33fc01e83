"""Copies between two running registries."""

from pathlib import Path

import pytest
from support.images import Image, make_image, make_index, sha256, write_layout
from support.programs import Tool
from support.server import RunningServer, ServerFactory

INSECURE = ("--src-tls-verify=false", "--dest-tls-verify=false")


@pytest.fixture
def other(fresh_registry: ServerFactory) -> RunningServer:
    """A second registry, empty at first."""
    return fresh_registry()


@pytest.fixture
def images(repository: str) -> list[Image]:
    """Images of two platforms."""
    return [make_image(repository, architecture=arch) for arch in ("amd64", "arm64")]


@pytest.fixture
def pushed(
    crane: Tool, registry: RunningServer, repository: str, images: list[Image], tmp_path: Path
) -> str:
    """The name in the first registry of an index of the images, tagged ``multi``."""
    for image in images:
        name = f"{registry.host}/{repository}:{image.architecture}"
        crane("push", write_layout(tmp_path / image.architecture, {"a": image}), name)
    registry.http.put(
        f"/v2/{repository}/manifests/multi",
        make_index(images),
        Content_Type="application/vnd.oci.image.index.v1+json",
    )
    return f"{registry.host}/{repository}"


def test_skopeo_copies_an_index(
    skopeo: Tool, other: RunningServer, repository: str, images: list[Image], pushed: str
) -> None:
    """``skopeo copy --all`` brings an index and its images to another registry unchanged."""
    source, target = f"docker://{pushed}:multi", f"docker://{other.host}/{repository}:multi"
    skopeo("copy", "--all", *INSECURE, source, target)

    assert other.http.get(f"/v2/{repository}/manifests/multi").body == make_index(images)
    for image in images:
        for digest, blob in image.blobs.items():
            assert other.http.get(f"/v2/{repository}/blobs/{digest}").body == blob


def test_skopeo_synchronises_a_repository(
    skopeo: Tool, other: RunningServer, images: list[Image], pushed: str
) -> None:
    """``skopeo sync --all`` brings every tag to another registry."""
    target = f"{other.host}/mirror"
    skopeo("sync", "--all", "--src=docker", "--dest=docker", *INSECURE, pushed, target)
    name = f"mirror/{pushed.rpartition('/')[2]}"
    digests = {
        tag: other.http.head(f"/v2/{name}/manifests/{tag}")["Docker-Content-Digest"]
        for tag in ("amd64", "arm64", "multi")
    }

    assert digests == {
        "amd64": images[0].digest,
        "arm64": images[1].digest,
        "multi": sha256(make_index(images)),
    }


def test_crane_copies_all_tags(
    crane: Tool, other: RunningServer, repository: str, images: list[Image], pushed: str
) -> None:
    """``crane copy --all-tags`` brings images and index to another registry, whole."""
    target = f"{other.host}/{repository}"
    crane("copy", "--all-tags", pushed, target)

    assert crane("ls", target).split() == ["amd64", "arm64", "multi"]
    assert crane("digest", f"{target}:multi") == sha256(make_index(images))
    assert "PASS" in crane.said("validate", "--remote", f"{target}:multi")


def test_oras_copies_an_attached_artifact(
    oras: Tool, other: RunningServer, repository: str, pushed: str, tmp_path: Path
) -> None:
    """``oras cp --recursive`` brings an image and what is attached to it to another registry."""
    (tmp_path / "sbom").write_text("{}")
    artifact_type = "application/vnd.example.sbom"
    source, target = f"{pushed}:amd64", f"{other.host}/{repository}:amd64"
    oras("attach", "--plain-http", f"--artifact-type={artifact_type}", source, "sbom", cwd=tmp_path)
    oras("cp", "--recursive", "--from-plain-http", "--to-plain-http", source, target)
    digest = oras("resolve", "--plain-http", target)
    referrers = other.http.get(f"/v2/{repository}/referrers/{digest}").json()["manifests"]

    assert [entry["artifactType"] for entry in referrers] == [artifact_type]
