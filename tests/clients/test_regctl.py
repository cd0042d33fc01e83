"""regctl: chunked uploads, copies with referrers, artifacts, tags deleted by the tag API."""

import json
from pathlib import Path

import pytest
from support.images import MIB, make_image, noise, sha256, write_layout
from support.programs import Tool
from support.server import RunningServer

SBOM = "application/vnd.example.sbom"


@pytest.fixture
def plain(regctl: Tool, registry: RunningServer, tmp_path: Path) -> Tool:
    """``regctl`` that speaks plain HTTP to the registry and sends blobs in chunks of 1 MiB."""
    environment = {**(regctl.environment or {}), "REGCTL_CONFIG": str(tmp_path / "regctl.json")}
    tool = Tool(*regctl.command, environment=environment)
    chunks = (f"--blob-chunk={MIB}", f"--blob-max={MIB}")
    tool("registry", "set", "--skip-check", "--tls=disabled", *chunks, registry.host)
    return tool


def test_a_blob_is_sent_in_chunks(plain: Tool, registry: RunningServer, repository: str) -> None:
    """A blob that regctl sends in several chunks is whole."""
    data = noise(5 * MIB + 7, repository)
    plain("blob", "put", f"{registry.host}/{repository}", stdin=data)
    answer = registry.http.get(f"/v2/{repository}/blobs/{sha256(data)}")

    assert answer.body == data


def test_an_index_is_copied_with_referrers(
    plain: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """A copy of an index with ``--referrers`` has its images and what refers to it."""
    images = [make_image(repository, architecture=arch) for arch in ("amd64", "arm64")]
    layout = write_layout(tmp_path / "layout", {"multi": images})
    name = f"{registry.host}/{repository}"
    plain("image", "copy", f"ocidir://{layout}:multi", f"{name}:multi")
    plain("artifact", "put", f"--artifact-type={SBOM}", f"--subject={name}:multi", stdin=b"{}")
    plain("image", "copy", "--referrers", f"{name}:multi", f"{name}/copy:multi")
    lists = [
        json.loads(plain("artifact", "list", "--format={{json .Descriptors}}", f"{place}:multi"))
        for place in (name, f"{name}/copy")
    ]

    assert [entry["artifactType"] for entry in lists[0]] == [SBOM]
    assert lists[0] == lists[1]
    for image in images:
        registry.http.get(f"/v2/{repository}/copy/manifests/{image.digest}")


def test_an_artifact_comes_back(plain: Tool, registry: RunningServer, repository: str) -> None:
    """An artifact's content is what was put."""
    name = f"{registry.host}/{repository}:artifact"
    plain("artifact", "put", f"--artifact-type={SBOM}", name, stdin=b'{"packages":[]}')

    assert plain("artifact", "get", name) == '{"packages":[]}'


def test_a_deleted_tag_leaves_the_image(
    plain: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """A tag deleted by regctl is gone, its image and the other tag are not."""
    image = make_image(repository)
    layout = write_layout(tmp_path / "layout", {"a": image})
    name = f"{registry.host}/{repository}"
    for tag in ("a", "b"):
        plain("image", "copy", f"ocidir://{layout}:a", f"{name}:{tag}")
    plain("tag", "delete", f"{name}:a")

    assert plain("tag", "ls", name).split() == ["b"]
    assert plain("image", "digest", f"{name}:b") == image.digest


def test_repositories_are_listed(plain: Tool, registry: RunningServer, repository: str) -> None:
    """``regctl repo ls`` lists a repository that was pushed to."""
    plain(
        "artifact", "put", f"--artifact-type={SBOM}", f"{registry.host}/{repository}:a", stdin=b"{}"
    )

    assert repository in plain("repo", "ls", "--limit=1000", registry.host).split()
