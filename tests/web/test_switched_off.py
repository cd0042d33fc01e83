"""Deleting turned off, a read-only registry, and the largest blob: what settings forbid."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.images import MANIFEST, noise, sha256
from support.pushes import UNKNOWN_DIGEST, code_of, open_upload, push_blob, push_image, with_digest
from support.server import RunningServer
from support.variants import QUICK, Variants
from support.verbs import Verbs

NAME = "team/app"
LAYER = b"a layer"
LIMIT = 50_000
SETTINGS = {
    "no-delete": "[delete]\nenabled = false\n",
    "read-only": "read_only = true\n",
    "limited": f"[limits]\nblob_size = {LIMIT}\n",
}


def fill(data: Path) -> None:
    """Push an image to a registry that forbids nothing yet."""
    with RunningServer(data, settings=QUICK) as server:
        push_image(server.http, NAME, "v1", content=LAYER)


@pytest.fixture(scope="module")
def servers() -> Iterator[Variants]:
    """A server for each setting, all with an image at ``NAME``."""
    with Variants(SETTINGS, prepare=fill) as variants:
        yield variants


@pytest.fixture(scope="module")
def no_delete(servers: Variants) -> Verbs:
    """A client of a server where nothing may be deleted."""
    return servers["no-delete"].http


@pytest.fixture(scope="module")
def read_only(servers: Variants) -> Verbs:
    """A client of a server that takes nothing."""
    return servers["read-only"].http


@pytest.fixture(scope="module")
def limited(servers: Variants) -> Verbs:
    """A client of a server whose blobs are at most ``LIMIT`` bytes."""
    return servers["limited"].http


MANIFESTS = f"/v2/{NAME}/manifests"
BLOB = f"/v2/{NAME}/blobs/{sha256(LAYER)}"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (f"{MANIFESTS}/v1", "GET, HEAD, PUT"),
        (f"{MANIFESTS}/unknown", "GET, HEAD, PUT"),
        (f"{MANIFESTS}/{UNKNOWN_DIGEST}", "GET, HEAD, PUT"),
        (f"{MANIFESTS}/digest", "GET, HEAD, PUT"),
        (BLOB, "GET, HEAD"),
        (f"/v2/{NAME}/blobs/{UNKNOWN_DIGEST}", "GET, HEAD"),
    ],
    ids=["tag", "unknown-tag", "unknown-manifest", "manifest", "blob", "unknown-blob"],
)
def test_nothing_is_deleted_when_that_is_off(no_delete: Verbs, path: str, allowed: str) -> None:
    """405 UNSUPPORTED for tags, manifests and blobs alike, and DELETE is not in ``Allow``."""
    digest = no_delete.head(f"{MANIFESTS}/v1")["Docker-Content-Digest"]
    answer = no_delete.delete(path.replace("/digest", f"/{digest}"), 405)

    assert code_of(answer) == "UNSUPPORTED"
    assert answer["Allow"] == allowed
    no_delete.get(f"{MANIFESTS}/v1")
    no_delete.get(BLOB)


def test_an_upload_is_cancelled_nevertheless(no_delete: Verbs) -> None:
    """What was never finished is not deleted by cancelling it."""
    location = open_upload(no_delete, NAME)
    refused = no_delete.post(location, expect=405)
    no_delete.delete(location, 204)

    assert refused["Allow"] == "DELETE, GET, HEAD, PATCH, PUT"


def test_a_repository_called_uploads_is_no_upload(no_delete: Verbs) -> None:
    """``Allow`` is by what a path is, not by a word in it."""
    answer = no_delete.post("/v2/a/blobs/uploads/b/manifests/v1", expect=405)

    assert answer["Allow"] == "GET, HEAD, PUT"


def test_pushing_goes_on_when_deleting_is_off(no_delete: Verbs) -> None:
    """The rest of the registry is as ever, moving a tag included."""
    pushed = push_image(no_delete, f"{NAME}/more", "v1", content=b"other")
    moved = push_image(no_delete, f"{NAME}/more", "v1", content=b"another")

    assert no_delete.get(f"/v2/{NAME}/more/manifests/v1").body == moved.body != pushed.body


SESSION = f"/v2/{NAME}/blobs/uploads/00000000-0000-0000-0000-000000000000?_state=x"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", f"/v2/{NAME}/blobs/uploads/", ""),
        ("POST", f"/v2/{NAME}/blobs/uploads/?digest={sha256(b'x')}", ""),
        ("POST", f"/v2/{NAME}/other/blobs/uploads/?mount={sha256(LAYER)}&from={NAME}", ""),
        ("PATCH", SESSION, "GET, HEAD"),
        ("PUT", f"{SESSION}&digest={sha256(b'x')}", "GET, HEAD"),
        ("DELETE", SESSION, "GET, HEAD"),
        ("PUT", f"{MANIFESTS}/v2", "GET, HEAD"),
        ("DELETE", f"{MANIFESTS}/v1", "GET, HEAD"),
        ("DELETE", BLOB, "GET, HEAD"),
    ],
    ids=["open", "post", "mount", "patch", "put", "cancel", "manifest", "tag", "blob"],
)
def test_a_read_only_registry_takes_nothing(
    read_only: Verbs, method: str, path: str, allowed: str
) -> None:
    """405 UNSUPPORTED for every write, with what may still be done."""
    answer = read_only.request(method, path, b"x", 405, {"Content-Type": MANIFEST})

    assert code_of(answer) == "UNSUPPORTED"
    assert answer["Allow"] == allowed
    assert answer.json()["errors"][0]["detail"]["why"] == "the registry is read-only"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        "/v2/",
        f"{MANIFESTS}/v1",
        BLOB,
        f"/v2/{NAME}/tags/list",
        "/v2/_catalog",
        f"/v2/{NAME}/referrers/{UNKNOWN_DIGEST}",
        "/healthz",
        "/readyz",
    ],
)
def test_a_read_only_registry_serves_everything(read_only: Verbs, path: str, method: str) -> None:
    """Pulling, listing and asking for health go on."""
    read_only.request(method, path, None, 200, {})


def test_an_unknown_path_is_not_found_in_a_read_only_registry(read_only: Verbs) -> None:
    """404 where there is nothing to write to in any registry."""
    read_only.put("/v2/nothing", b"x", 404)


def test_a_blob_of_the_largest_size_is_taken(limited: Verbs) -> None:
    """Exactly ``limits.blob_size`` bytes are allowed, however they come."""
    content = noise(LIMIT, "at the limit")
    digest = push_blob(limited, f"{NAME}/a", content)
    location = limited.patch(open_upload(limited, f"{NAME}/b"), iter([content])).location
    limited.put(with_digest(location, digest))
    location = limited.patch(open_upload(limited, f"{NAME}/c"), content[:1]).location
    limited.put(with_digest(location, digest), content[1:])

    for name in "abc":
        assert limited.get(f"/v2/{NAME}/{name}/blobs/{digest}").body == content


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("way", ["post", "patch", "put", "second-patch", "put-after-patch"])
def test_a_larger_blob_is_refused(limited: Verbs, way: str, framing: str) -> None:
    """413 SIZE_INVALID with the limit, and a session is where it was before."""
    content = noise(LIMIT + 1, "above the limit")
    digest, kept = sha256(content), 0
    location = open_upload(limited, NAME)
    if way in {"second-patch", "put-after-patch"}:
        kept = 1_000
        location = limited.patch(location, content[:kept]).location
    target = f"/v2/{NAME}/blobs/uploads/?digest={digest}" if way == "post" else location
    if way.startswith("put"):
        target = with_digest(location, digest)
    method = {"post": "POST", "patch": "PATCH", "second-patch": "PATCH"}.get(way, "PUT")
    rest = content[kept:]
    body = rest if framing == "length" else iter([rest[:40_000], rest[40_000:]])
    answer = limited.request(method, target, body, 413, {})

    assert code_of(answer) == "SIZE_INVALID"
    assert answer.json()["errors"][0]["detail"] == {"limit": LIMIT}
    assert limited.get(location, 204)["Range"] == f"0-{max(kept - 1, 0)}"
    limited.head(f"/v2/{NAME}/blobs/{digest}", 404)


def test_a_refused_chunk_may_be_followed_by_a_smaller_one(limited: Verbs) -> None:
    """After 413 the same session ends well with what fits."""
    content = noise(LIMIT, "fits")
    location = limited.patch(open_upload(limited, NAME), content[:10]).location
    limited.patch(location, iter([noise(LIMIT, "x"), b"more"]), 413)

    answer = limited.put(with_digest(location, sha256(content)), content[10:])
    assert limited.get(answer.location).body == content
