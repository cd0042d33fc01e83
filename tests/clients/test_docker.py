"""A Docker daemon, with images made of real file content."""

from pathlib import Path

import pytest
from support.images import MIB, make_image, noise, tar_of, write_layout
from support.programs import Tool
from support.server import RunningServer


def import_image(docker: Tool, folder: Path, reference: str, size: int = MIB) -> str:
    """Import a tar file with one file of ``size`` bytes as an image; its id."""
    tar = folder / "root.tar"
    tar.write_bytes(tar_of({"data/first": noise(size, reference)}))
    return docker("import", "--change", 'CMD ["/data/first"]', tar, reference)


def add_layer(docker: Tool, folder: Path, base: str, reference: str, name: str) -> str:
    """Commit an image that has one file more than ``base``; its id."""
    added = folder / name
    added.write_bytes(noise(MIB, f"{reference} {name}"))
    container = docker("create", base, "/none")
    docker("cp", added, f"{container}:/data/{name}")
    image = docker("commit", container, reference)
    docker("rm", container)
    return image


def image_id(docker: Tool, reference: str) -> str:
    """The id of a local image, which is the digest of its configuration."""
    return docker("image", "inspect", "--format", "{{.Id}}", reference)


@pytest.fixture(scope="module")
def pushed(docker: Tool, registry: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of one layer of 32 MiB in the registry and in the daemon."""
    reference = f"{registry.host}/docker/base:1"
    import_image(docker, tmp_path_factory.mktemp("base"), reference, 32 * MIB)
    docker("push", reference)
    return reference


def test_an_image_comes_back_with_its_id(docker: Tool, pushed: str) -> None:
    """An image with a layer of 32 MiB that was pushed and removed has the same id when pulled."""
    pushed_id = image_id(docker, pushed)
    docker("rmi", pushed)
    docker("pull", pushed)

    assert image_id(docker, pushed) == pushed_id


def test_an_image_of_several_layers_comes_back(
    docker: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """An image of three layers has the same id and layers after a push and a pull."""
    reference = f"{registry.host}/{repository}:three"
    import_image(docker, tmp_path, reference)
    add_layer(docker, tmp_path, reference, reference, "second")
    image = add_layer(docker, tmp_path, reference, reference, "third")
    docker("push", reference)
    docker("rmi", "--force", image)
    docker("pull", reference)

    assert image_id(docker, reference) == image
    assert docker("image", "inspect", "--format", "{{len .RootFS.Layers}}", reference) == "3"
    assert len(registry.http.get(f"/v2/{repository}/manifests/three").json()["layers"]) == 3


def test_a_second_push_sends_only_the_new_layer(
    docker: Tool, registry: RunningServer, pushed: str, tmp_path: Path
) -> None:
    """A push of an image with one layer more leaves out the layer that the registry has."""
    reference = f"{registry.host}/docker/base:2"
    add_layer(docker, tmp_path, pushed, reference, "second")
    said = docker("push", reference)

    assert said.count("Layer already exists") == 1
    assert said.count("Pushed") == 1


def test_a_push_to_another_repository_mounts_its_layer(
    docker: Tool, registry: RunningServer, pushed: str, repository: str
) -> None:
    """A push to a second repository mounts the layer from the first and sends nothing."""
    reference = f"{registry.host}/{repository}:mounted"
    docker("tag", pushed, reference)
    said = docker("push", reference)

    assert "Mounted from docker/base" in said
    assert "Pushed" not in said


def test_an_image_is_pulled_by_its_digest(
    docker: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """A pull by the digest that the push printed brings the same image."""
    reference = f"{registry.host}/{repository}"
    image = import_image(docker, tmp_path, f"{reference}:old")
    digest = docker("push", f"{reference}:old").rpartition("digest: ")[2].split()[0]
    docker("rmi", "--force", image)
    docker("pull", f"{reference}@{digest}")

    assert image_id(docker, f"{reference}@{digest}") == image


def test_a_tag_moves_with_the_last_push(
    docker: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """A tag pushed twice is pulled as the second image."""
    reference = f"{registry.host}/{repository}:latest"
    first = import_image(docker, tmp_path, reference)
    docker("push", reference)
    second = add_layer(docker, tmp_path, reference, reference, "second")
    docker("push", reference)
    docker("rmi", "--force", second)
    docker("rmi", "--force", first)
    docker("pull", reference)

    assert image_id(docker, reference) == second


def test_an_index_gives_the_image_of_the_daemons_platform(
    docker: Tool, skopeo: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """A pull of a tag that names an index brings the image for the asked platform."""
    images = [make_image(repository, architecture=arch) for arch in ("amd64", "arm64")]
    layout = write_layout(tmp_path / "layout", {"multi": images})
    reference = f"{registry.host}/{repository}:multi"
    skopeo(
        "copy", "--all", "--dest-tls-verify=false", f"oci:{layout}:multi", f"docker://{reference}"
    )
    pulled = {}
    for image in images:
        docker("pull", "--platform", f"linux/{image.architecture}", reference)
        pulled[image.architecture] = image_id(docker, reference)
        docker("rmi", "--force", pulled[image.architecture])

    assert pulled == {image.architecture: image.config_digest for image in images}


def test_a_list_of_two_images_is_pushed(
    docker: Tool, registry: RunningServer, repository: str, tmp_path: Path
) -> None:
    """``docker manifest push`` makes a list of two images that are in the registry."""
    reference = f"{registry.host}/{repository}"
    for tag in ("one", "two"):
        import_image(docker, tmp_path, f"{reference}:{tag}")
        docker("push", f"{reference}:{tag}")
    docker(
        "manifest",
        "create",
        "--insecure",
        f"{reference}:both",
        f"{reference}:one",
        f"{reference}:two",
    )
    docker("manifest", "annotate", "--arch", "arm64", f"{reference}:both", f"{reference}:two")
    digest = docker("manifest", "push", "--insecure", f"{reference}:both").splitlines()[-1]
    answer = registry.http.get(f"/v2/{repository}/manifests/both")

    assert answer["Docker-Content-Digest"] == digest
    assert len(answer.json()["manifests"]) == 2
