"""Mounting a blob from another repository: end-11 of the spec."""

import pytest
from support.images import noise, sha256
from support.pushes import UNKNOWN_DIGEST, push_blob, push_image, sha512, with_digest
from support.verbs import Verbs, request_target


@pytest.fixture
def digest(http: Verbs, repository: str) -> str:
    """A blob that only ``{repository}/source`` has."""
    return push_blob(http, f"{repository}/source", noise(5_000, repository))


def mount(repository: str, digest: str, more: str = "") -> str:
    """The path of a request to mount."""
    return f"/v2/{repository}/blobs/uploads/?mount={digest}{more}"


@pytest.mark.parametrize("source", ["&from={}/source", ""], ids=["from", "without-from"])
def test_a_mounted_blob_is_there_at_once(
    http: Verbs, repository: str, digest: str, source: str
) -> None:
    """201 with the blob's place, from the named repository or, without a name, from any."""
    answer = http.post(mount(repository, digest, source.format(repository)), expect=201)

    assert request_target(answer.location) == f"/v2/{repository}/blobs/{digest}"
    assert answer["Docker-Content-Digest"] == digest
    assert answer.headers["Docker-Upload-UUID"] is None
    assert sha256(http.get(answer.location).body) == digest


def test_an_escaped_source_is_understood(http: Verbs, repository: str, digest: str) -> None:
    """Digest and name may have their colon and slashes escaped, as clients send them."""
    source = f"&from={repository}/source".replace("/", "%2F")

    http.post(mount(repository, digest.replace(":", "%3A"), source), expect=201)


def test_a_blob_is_mounted_from_its_own_repository(
    http: Verbs, repository: str, digest: str
) -> None:
    """A client that mounts what is there already is told that it is."""
    source = f"{repository}/source"

    http.post(mount(source, digest, f"&from={source}"), expect=201)


def test_a_sha512_blob_is_mounted(http: Verbs, repository: str) -> None:
    """Mounting works for both algorithms."""
    digest = sha512(b"mounted")
    http.post(f"/v2/{repository}-a/blobs/uploads/?digest={digest}", b"mounted", expect=201)

    http.post(mount(repository, digest, f"&from={repository}-a"), expect=201)


@pytest.mark.parametrize(
    ("wanted", "source"),
    [
        (UNKNOWN_DIGEST, "&from={}/source"),
        (UNKNOWN_DIGEST, ""),
        ("{digest}", "&from={}/nowhere"),
        ("{digest}", "&from=UPPER"),
        ("{digest}", "&from="),
        ("{digest}", "&from=../../etc"),
        ("{digest}", "&from=%00"),
        ("sha256:short", "&from={}/source"),
        ("", "&from={}/source"),
        ("latest", ""),
    ],
    ids=[
        "unknown-blob",
        "unknown-blob-anywhere",
        "unknown-repository",
        "malformed-repository",
        "empty-repository",
        "dots",
        "nul",
        "malformed-digest",
        "empty-digest",
        "no-digest",
    ],
)
def test_what_cannot_be_mounted_opens_a_session(
    http: Verbs, repository: str, digest: str, wanted: str, source: str
) -> None:
    """202 for any reason alike, so that the client uploads and learns nothing."""
    path = mount(repository, wanted.format(digest=digest), source.format(repository))
    answer = http.post(path)

    assert "Docker-Content-Digest" not in answer.headers
    http.head(f"/v2/{repository}/blobs/{digest}", 404)
    http.put(with_digest(answer.location, sha256(b"instead")), b"instead")


@pytest.mark.parametrize("parameters", ["&mount={0}", "&from=a&from=b"], ids=["mount", "from"])
def test_a_mount_of_two_things_is_refused(
    http: Verbs, repository: str, digest: str, parameters: str
) -> None:
    """A parameter that comes twice gets 400."""
    answer = http.post(mount(repository, digest, parameters.format(digest)), expect=400)

    assert answer.json()["errors"][0]["code"] == "UNSUPPORTED"


def test_what_cannot_be_mounted_can_be_sent_at_once(http: Verbs, repository: str) -> None:
    """A mount that names a digest for its body too takes the body when it fails."""
    path = mount(repository, UNKNOWN_DIGEST, f"&digest={sha256(b'body')}")

    http.post(path, b"body", expect=201)
    assert http.get(f"/v2/{repository}/blobs/{sha256(b'body')}").body == b"body"


def test_a_mounted_blob_outlives_its_source(http: Verbs, repository: str, digest: str) -> None:
    """Deleting the blob where it came from leaves it where it was mounted."""
    http.post(mount(repository, digest, f"&from={repository}/source"), expect=201)
    http.delete(f"/v2/{repository}/source/blobs/{digest}")

    assert sha256(http.get(f"/v2/{repository}/blobs/{digest}").body) == digest


def test_a_deleted_blob_is_not_mounted(http: Verbs, repository: str, digest: str) -> None:
    """What is in no repository any more cannot be mounted, though its file may still be there."""
    http.delete(f"/v2/{repository}/source/blobs/{digest}")

    http.post(mount(repository, digest))
    http.post(mount(repository, digest, f"&from={repository}/source"))


def test_a_manifest_finds_what_was_mounted(http: Verbs, repository: str) -> None:
    """An image whose blobs were all mounted can be pushed."""
    pushed = push_image(http, f"{repository}/source", content=b"a layer of two")
    for part in pushed.body.decode().split('"digest":"')[1:]:
        http.post(mount(repository, part[:71], f"&from={repository}/source"), expect=201)

    http.put(f"/v2/{repository}/manifests/latest", pushed.body, 201, Content_Type=pushed.media_type)
