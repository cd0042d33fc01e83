"""buildah: images built without a daemon."""

import json
from pathlib import Path

import pytest
from support.images import MIB, noise
from support.programs import Tool
from support.server import RunningServer


def build(buildah: Tool, folder: Path, name: str, form: str, architecture: str = "amd64") -> str:
    """Build an image of one layer from nothing; its id."""
    content = folder / "content"
    content.write_bytes(noise(MIB, f"{name} {architecture}"))
    container = buildah("from", "scratch")
    buildah("add", container, content, "/data/content")
    buildah("config", "--arch", architecture, "--cmd", "/data/content", container)
    image = buildah("commit", "--quiet", "--rm", "--format", form, container, name)
    return image.splitlines()[-1]


@pytest.mark.parametrize("form", ["oci", "docker"])
def test_a_built_image_comes_back(
    buildah: Tool, registry: RunningServer, repository: str, tmp_path: Path, form: str
) -> None:
    """An image that buildah built, pushed and removed has the same id when pulled."""
    reference = f"{registry.host}/{repository}:built"
    image = build(buildah, tmp_path, reference, form)
    buildah("push", "--tls-verify=false", reference)
    buildah("rmi", "--force", image)
    pulled = buildah("pull", "--quiet", "--tls-verify=false", reference)

    assert pulled == image


def test_a_manifest_list_is_pushed_with_its_images(
    buildah: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """``buildah manifest push --all`` makes an index of two images in the registry."""
    reference = f"{registry.host}/{repository}:both"
    buildah("manifest", "create", reference)
    for architecture in ("amd64", "arm64"):
        image = build(buildah, tmp_path, f"{repository}-{architecture}", "oci", architecture)
        buildah("manifest", "add", reference, image)
    buildah("manifest", "push", "--all", "--tls-verify=false", reference, f"docker://{reference}")
    index = registry.http.get(f"/v2/{repository}/manifests/both").json()
    found = {}
    for entry in index["manifests"]:
        manifest = registry.http.get(f"/v2/{repository}/manifests/{entry['digest']}").json()
        config = registry.http.get(f"/v2/{repository}/blobs/{manifest['config']['digest']}")
        found[entry["platform"]["architecture"]] = json.loads(config.body)["architecture"]

    assert found == {"amd64": "amd64", "arm64": "arm64"}
