"""Real clients through nginx with TLS, certified by an authority that they are told of.

Docker checks no certificate of a loopback address; the other clients do.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.images import MIB, make_image, noise, sha256, tar_of, write_layout
from support.programs import Tool, run
from support.proxied import Proxied, proxied, registry_command


@pytest.fixture(scope="module")
def signing_in() -> Iterator[Proxied]:
    """The sample settings as they are, and a user."""
    with proxied(settings=str) as running:
        command = registry_command(running.registry.settings_file)
        run(command("user", "add", "anna", "--password-stdin"), stdin=b"correct horse")
        yield running


def trusting(tool: Tool, running: Proxied) -> Tool:
    """The tool, with the authority's certificate and no other."""
    return Tool(*tool.command, environment={**(tool.environment or {}), **running.trust})


def test_docker_pushes_and_pulls(
    docker: Tool, behind_nginx: Proxied, repository: str, tmp_path: Path
) -> None:
    """An image of a large layer that Docker pushed, removed and pulled has the same id."""
    archive = tmp_path / "image.tar"
    archive.write_bytes(tar_of({"content": noise(20 * MIB, repository)}))
    reference = f"{behind_nginx.host}/{repository}:a"
    image = docker("import", archive, reference)
    docker("push", reference)
    docker("rmi", "--force", image)
    docker("pull", reference)

    assert docker("image", "inspect", "--format={{.Id}}", reference) == image
    assert f'"GET /v2/{repository}/blobs/sha256:' in behind_nginx.nginx.access_log


def test_docker_signs_in(
    docker: Tool, signing_in: Proxied, repository: str, tmp_path: Path
) -> None:
    """``docker login`` through nginx lets a user push and pull, and nobody without it."""
    archive = tmp_path / "image.tar"
    archive.write_bytes(tar_of({"content": repository.encode()}))
    reference = f"{signing_in.host}/{repository}:a"
    docker("import", archive, reference)
    refused = docker.said("push", reference, expect=1)
    docker("login", "-u", "anna", "--password-stdin", signing_in.host, stdin=b"correct horse")
    said = docker("push", reference)
    docker("logout", signing_in.host)

    assert "no basic auth credentials" in refused or "unauthorized" in refused
    assert "digest: sha256:" in said


def test_skopeo_checks_the_certificate_and_copies(
    skopeo: Tool, behind_nginx: Proxied, repository: str, tmp_path: Path
) -> None:
    """Skopeo refuses a server that it cannot check, and copies in and out when it can."""
    image = make_image(repository, size=2 * MIB)
    layout = write_layout(tmp_path / "in", {"a": image})
    reference = f"docker://{behind_nginx.host}/{repository}:a"
    refused = skopeo.said("copy", f"oci:{layout}:a", reference, expect=1)
    trusted = trusting(skopeo, behind_nginx)
    trusted("copy", f"oci:{layout}:a", reference)
    trusted("copy", reference, f"dir:{tmp_path}/out")

    assert "certificate" in refused
    assert sha256((tmp_path / "out" / "manifest.json").read_bytes()) == image.digest


def test_skopeo_signs_in(
    skopeo: Tool, signing_in: Proxied, repository: str, tmp_path: Path
) -> None:
    """Skopeo pushes with a user's name and password, and not without."""
    layout = write_layout(tmp_path / "in", {"a": make_image(repository)})
    reference = f"docker://{signing_in.host}/{repository}:a"
    trusted = trusting(skopeo, signing_in)
    refused = trusted.said("copy", f"oci:{layout}:a", reference, expect=1)
    trusted("copy", "--dest-creds=anna:correct horse", f"oci:{layout}:a", reference)

    assert "authentication required" in refused or "unauthorized" in refused


def test_crane_validates_what_it_pushed(
    crane: Tool, behind_nginx: Proxied, repository: str, tmp_path: Path
) -> None:
    """The layers of an image that crane pushed are valid when it reads them again."""
    trusted = trusting(crane, behind_nginx)
    name = f"{behind_nginx.host}/{repository}:a"
    trusted("push", write_layout(tmp_path / "in", {"a": make_image(repository)}), name)

    assert "PASS" in trusted.said("validate", "--remote", name)
