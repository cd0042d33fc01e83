"""``delete``: a repository, a tag or a manifest, while the registry serves."""

import sys

import pytest
from support.programs import CHECKOUT, run
from support.pushes import push_image
from support.server import RunningServer
from support.verbs import Verbs

from registry_wsgi.names import Digest


def delete(server: RunningServer, target: str, status: int = 0) -> tuple[str, str]:
    """Run the command on a server's data; what it printed and what it complained of."""
    done = run(
        [sys.executable, "-m", "registry_wsgi", "delete", target, "--data", server.data],
        environment={"PYTHONPATH": str(CHECKOUT)},
        expect=status,
    )
    return done.stdout, done.stderr


def tags(http: Verbs, repository: str) -> list[str]:
    """The tags of a repository."""
    listed: list[str] = http.get(f"/v2/{repository}/tags/list").json()["tags"]
    return listed


def repositories(http: Verbs) -> list[str]:
    """The repositories that are listed."""
    listed: list[str] = http.get("/v2/_catalog").json()["repositories"]
    return listed


def test_a_tag_is_deleted(registry: RunningServer, repository: str) -> None:
    """``NAME:TAG`` is gone at once; the manifest and its other tags stay."""
    pushed = push_image(registry.http, repository, "first")
    push_image(registry.http, repository, "second")
    printed, _ = delete(registry, f"{repository}:first")

    assert printed.startswith(f"deleted {repository}:first")
    assert tags(registry.http, repository) == ["second"]
    assert registry.http.get(f"/v2/{repository}/manifests/{pushed.digest}").body == pushed.body


def test_a_manifest_is_deleted(registry: RunningServer, repository: str) -> None:
    """``NAME@DIGEST`` is gone with all its tags; others stay."""
    pushed = push_image(registry.http, repository, "first")
    push_image(registry.http, repository, "second")
    push_image(registry.http, repository, "other", content=b"other")
    delete(registry, f"{repository}@{pushed.digest}")

    assert tags(registry.http, repository) == ["other"]
    registry.http.get(f"/v2/{repository}/manifests/{pushed.digest}", expect=404)


def test_a_repository_is_deleted(registry: RunningServer, repository: str) -> None:
    """``NAME`` is gone with all it held, and no ghost of it is listed; its neighbours stay."""
    push_image(registry.http, repository, "latest")
    push_image(registry.http, f"{repository}/below", "latest")
    before = repositories(registry.http)
    delete(registry, repository)

    assert repository in before
    assert set(before) - set(repositories(registry.http)) == {repository}
    assert f"{repository}/below" in repositories(registry.http)
    registry.http.get(f"/v2/{repository}/tags/list", expect=404)


def test_a_deleted_repository_can_be_pushed_to(registry: RunningServer, repository: str) -> None:
    """Deleting forbids nothing."""
    push_image(registry.http, repository, "before")
    delete(registry, repository)
    push_image(registry.http, repository, "after")

    assert tags(registry.http, repository) == ["after"]


MISSING = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param("{}/nowhere", "not known to registry", id="no repository"),
        pytest.param("{}:nowhere", "manifest unknown", id="no tag"),
        pytest.param("{}@" + MISSING, "manifest unknown", id="no manifest"),
        pytest.param("{}/nowhere:latest", "manifest unknown", id="a tag of no repository"),
        pytest.param("Team/App", "invalid repository name", id="no name"),
        pytest.param("", "invalid repository name", id="nothing"),
        pytest.param("{}:", "a tag is", id="no name of a tag"),
        pytest.param("{}:-x", "a tag is", id="a malformed tag"),
        pytest.param("{}@sha256:short", "not a digest", id="a malformed digest"),
        pytest.param("{}@latest", "not a digest", id="a tag for a digest"),
        pytest.param("localhost:5000/app", "a tag is", id="with a host"),
    ],
)
def test_what_is_not_there_is_not_deleted(
    registry: RunningServer, repository: str, target: str, expected: str
) -> None:
    """The exit status is 1, the reason is on standard error, and nothing is changed."""
    push_image(registry.http, repository, "latest")
    printed, complaint = delete(registry, target.format(repository), status=1)

    assert printed == ""
    assert complaint.startswith("registry-wsgi: ")
    assert expected in complaint
    assert complaint.count("\n") == 1
    assert tags(registry.http, repository) == ["latest"]


def test_deleting_twice_is_an_error(registry: RunningServer, repository: str) -> None:
    """Whoever deletes something learns whether it was there."""
    digest = Digest(push_image(registry.http, repository, "latest").digest)
    delete(registry, f"{repository}@{digest}")
    delete(registry, f"{repository}@{digest}", status=1)

    assert repository not in repositories(registry.http)
