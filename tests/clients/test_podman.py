"""podman: loads, imports, pushes and pulls."""

import json
from pathlib import Path

from support.images import MIB, make_image, noise, tar_of, write_docker_archive
from support.programs import Tool
from support.server import RunningServer

INSECURE = "--tls-verify=false"


def image_id(podman: Tool, reference: str) -> str:
    """The id of a local image."""
    return podman("image", "inspect", "--format", "{{.Id}}", reference)


def test_a_loaded_image_comes_back(
    podman: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """An image of three layers that was loaded, pushed and removed has the same id when pulled."""
    made = make_image(repository, layers=3, size=MIB)
    reference = f"{registry.host}/{repository}:loaded"
    podman("load", "--input", write_docker_archive(tmp_path / "image.tar", reference, made))
    loaded = image_id(podman, reference)
    podman("push", INSECURE, reference)
    podman("rmi", "--force", loaded)
    podman("pull", INSECURE, reference)

    assert image_id(podman, reference) == loaded


def test_an_imported_image_comes_back_by_its_digest(
    podman: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """An imported image is the same when pulled by the digest that the push noted."""
    tar = tmp_path / "root.tar"
    tar.write_bytes(tar_of({"data/first": noise(MIB, repository)}))
    reference = f"{registry.host}/{repository}"
    podman("import", tar, f"{reference}:imported")
    imported = image_id(podman, f"{reference}:imported")
    podman("push", INSECURE, "--digestfile", tmp_path / "digest", f"{reference}:imported")
    digest = (tmp_path / "digest").read_text()
    podman("rmi", "--force", imported)
    podman("pull", INSECURE, f"{reference}@{digest}")

    assert image_id(podman, f"{reference}@{digest}") == imported


def test_tags_are_found_by_search(
    podman: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """``podman search --list-tags`` shows the tags of a repository."""
    reference = f"{registry.host}/{repository}"
    archive = write_docker_archive(tmp_path / "image.tar", f"{reference}:1", make_image(repository))
    podman("load", "--input", archive)
    for tag in ("1", "2"):
        podman("push", INSECURE, f"{reference}:1", f"docker://{reference}:{tag}")
    found = json.loads(podman("search", INSECURE, "--list-tags", "--format", "json", reference))

    assert found[0]["Tags"] == ["1", "2"]
