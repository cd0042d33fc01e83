"""oras: artifacts of any type, and what refers to them."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.images import noise, sha256
from support.programs import Tool
from support.server import RunningServer

REPORT = "application/vnd.example.report"
SBOM = "application/vnd.example.sbom"
SIGNATURE = "application/vnd.example.signature"
TEXT = "application/vnd.example.text"


@pytest.fixture
def folder(tmp_path: Path, repository: str) -> Path:
    """A directory with the file ``report`` in it."""
    (tmp_path / "report").write_bytes(noise(1 << 18, repository))
    return tmp_path


@pytest.fixture
def pushed(oras: Tool, registry: RunningServer, repository: str, folder: Path) -> str:
    """The name of an artifact of the type ``REPORT`` with one file."""
    name = f"{registry.host}/{repository}:report"
    oras("push", "--plain-http", "--artifact-type", REPORT, name, f"report:{TEXT}", cwd=folder)
    return name


def attach(oras: Tool, name: str, artifact_type: str, folder: Path) -> str:
    """Attach a file to an artifact; the digest of the manifest that refers to it."""
    (folder / "attached").write_bytes(artifact_type.encode())
    printed = oras(
        "attach",
        "--plain-http",
        "--format=json",
        f"--artifact-type={artifact_type}",
        name,
        f"attached:{TEXT}",
        cwd=folder,
    )
    digest: str = json.loads(printed)["digest"]
    return digest


def discover(oras: Tool, name: str, *flags: str) -> dict[str, Any]:
    """What ``oras discover`` finds: the referring manifests, by digest."""
    found = json.loads(oras("discover", "--plain-http", "--format=json", *flags, name))
    return {entry["digest"]: entry for entry in found["referrers"]}


def test_an_artifact_comes_back(oras: Tool, pushed: str, folder: Path) -> None:
    """A file pushed as an artifact is pulled with the same bytes."""
    oras("pull", "--plain-http", "--output", folder / "out", pushed)

    assert (folder / "out" / "report").read_bytes() == (folder / "report").read_bytes()


def test_an_artifact_keeps_its_types(oras: Tool, pushed: str) -> None:
    """The manifest has the artifact's type, the empty config and the file's type."""
    manifest = json.loads(oras("manifest", "fetch", "--plain-http", pushed))

    assert manifest["artifactType"] == REPORT
    assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    assert [layer["mediaType"] for layer in manifest["layers"]] == [TEXT]


def test_a_custom_config_is_kept(
    oras: Tool, registry: RunningServer, repository: str, folder: Path
) -> None:
    """An artifact with a configuration of a type of its own gives that configuration back."""
    (folder / "config.json").write_text('{"made":"here"}')
    name = f"{registry.host}/{repository}:configured"
    config = f"--config=config.json:{REPORT}.config+json"
    oras("push", "--plain-http", config, name, f"report:{TEXT}", cwd=folder)

    assert oras("manifest", "fetch-config", "--plain-http", name) == '{"made":"here"}'


def test_attached_artifacts_are_discovered(oras: Tool, pushed: str, folder: Path) -> None:
    """All that was attached to an artifact is discovered, down to a signature of an attachment."""
    sbom = attach(oras, pushed, SBOM, folder)
    signature = attach(oras, f"{pushed.rpartition(':')[0]}@{sbom}", SIGNATURE, folder)
    found = discover(oras, pushed)

    assert list(found) == [sbom]
    assert [entry["digest"] for entry in found[sbom]["referrers"]] == [signature]


def test_discovery_filters_by_type(oras: Tool, pushed: str, folder: Path) -> None:
    """Only attachments of the asked type are discovered."""
    attach(oras, pushed, SBOM, folder)
    signature = attach(oras, pushed, SIGNATURE, folder)
    found = discover(
        oras, pushed, f"--artifact-type={SIGNATURE}", "--distribution-spec=v1.1-referrers-api"
    )

    assert list(found) == [signature]


def test_a_fallback_tag_is_discovered_through_the_api(
    oras: Tool, pushed: str, folder: Path, registry: RunningServer, repository: str
) -> None:
    """What a client attached under the fallback tag scheme is found by the referrers API too."""
    (folder / "attached").write_bytes(b"old")
    printed = oras(
        "attach",
        "--plain-http",
        "--format=json",
        "--distribution-spec=v1.1-referrers-tag",
        f"--artifact-type={SBOM}",
        pushed,
        f"attached:{TEXT}",
        cwd=folder,
    )
    subject = oras("resolve", "--plain-http", pushed)
    answer = registry.http.get(f"/v2/{repository}/referrers/{subject}").json()

    assert [entry["digest"] for entry in answer["manifests"]] == [json.loads(printed)["digest"]]


def test_a_copy_takes_referrers_along(
    oras: Tool, registry: RunningServer, repository: str, pushed: str, folder: Path
) -> None:
    """``oras cp --recursive`` brings an artifact with what is attached to it."""
    sbom = attach(oras, pushed, SBOM, folder)
    copy = f"{registry.host}/{repository}/copy:report"
    oras("cp", "--recursive", "--from-plain-http", "--to-plain-http", pushed, copy)

    assert oras("resolve", "--plain-http", copy) == oras("resolve", "--plain-http", pushed)
    assert list(discover(oras, copy)) == [sbom]


def test_a_deleted_attachment_is_not_discovered(oras: Tool, pushed: str, folder: Path) -> None:
    """A deleted attachment is discovered no more."""
    sbom = attach(oras, pushed, SBOM, folder)
    oras("manifest", "delete", "--plain-http", "--force", f"{pushed.rpartition(':')[0]}@{sbom}")

    assert discover(oras, pushed) == {}


def test_a_blob_is_fetched_and_deleted(
    oras: Tool, registry: RunningServer, repository: str, folder: Path
) -> None:
    """A blob that was pushed alone is fetched with the same bytes, and gone once deleted."""
    data = (folder / "report").read_bytes()
    name = f"{registry.host}/{repository}@{sha256(data)}"
    oras("blob", "push", "--plain-http", name, folder / "report")
    oras("blob", "fetch", "--plain-http", "--output", folder / "fetched", name)
    oras("blob", "delete", "--plain-http", "--force", name)

    assert (folder / "fetched").read_bytes() == data
    registry.http.get(f"/v2/{repository}/blobs/{sha256(data)}", expect=404)


def test_an_artifact_gets_more_tags(oras: Tool, pushed: str) -> None:
    """Tags added to an artifact are listed and resolve to the same digest."""
    name = pushed.rpartition(":")[0]
    oras("tag", "--plain-http", pushed, "v1", "v2")

    assert oras("repo", "tags", "--plain-http", name).split() == ["report", "v1", "v2"]
    assert oras("resolve", "--plain-http", f"{name}:v2") == oras("resolve", "--plain-http", pushed)


def test_an_index_of_artifacts_is_made(
    oras: Tool, pushed: str, registry: RunningServer, repository: str
) -> None:
    """``oras manifest index create`` makes an index that names the artifact."""
    name = pushed.rpartition(":")[0]
    oras("manifest", "index", "create", "--plain-http", f"{name}:index", "report")
    index = registry.http.get(f"/v2/{repository}/manifests/index").json()

    assert [entry["digest"] for entry in index["manifests"]] == [
        oras("resolve", "--plain-http", pushed)
    ]
