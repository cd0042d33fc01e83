"""Manifests: end-3, end-7 and end-9 of the spec."""

import json

import pytest
from support.images import INDEX, MANIFEST, encode, sha256
from support.pushes import (
    EMPTY,
    UNKNOWN_DIGEST,
    Pushed,
    artifact,
    index,
    manifest_path,
    push_blob,
    push_image,
    push_manifest,
    put_manifest,
    sha512,
)
from support.verbs import Verbs, request_target

MIB = 1 << 20
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.fixture
def pushed(http: Verbs, repository: str) -> Pushed:
    """An image in the test's repository, tagged ``latest``."""
    return push_image(http, repository, "latest")


@pytest.mark.parametrize("reference", ["latest", "digest", "escaped"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_manifest_has_its_headers(
    http: Verbs, repository: str, pushed: Pushed, method: str, reference: str
) -> None:
    """By tag and by digest, GET and HEAD tell type, size, digest and validator."""
    references = {"digest": pushed.digest, "escaped": pushed.digest.replace(":", "%3A")}
    path = manifest_path(repository, references.get(reference, reference))
    answer = http.request(method, path, None, 200, {})

    assert answer["Content-Type"] == pushed.media_type
    assert answer["Content-Length"] == str(len(pushed.body))
    assert answer["Docker-Content-Digest"] == pushed.digest
    assert answer["ETag"] == f'"{pushed.digest}"'
    assert answer.body == (pushed.body if method == "GET" else b"")


def test_a_push_tells_where_the_manifest_is(http: Verbs, repository: str) -> None:
    """PUT by tag gets 201, with the digest and a place that names it."""
    push_blob(http, repository, EMPTY)
    answer = put_manifest(http, manifest_path(repository, "v1"), artifact())
    digest = sha256(encode(artifact()))

    assert answer["Docker-Content-Digest"] == digest
    assert request_target(answer.location) == manifest_path(repository, digest)
    assert answer.headers["OCI-Tag"] is None
    assert answer.headers["OCI-Subject"] is None


def test_a_manifest_is_kept_byte_for_byte(http: Verbs, repository: str) -> None:
    """Spaces, the order of members and unknown members come back as they were sent."""
    push_blob(http, repository, EMPTY)
    body = json.dumps({"x-ours": [1.50, None], **artifact()}, indent=7, sort_keys=True).encode()
    http.put(manifest_path(repository, "v1"), body + b" \n", Content_Type=MANIFEST)

    assert http.get(manifest_path(repository, "v1")).body == body + b" \n"


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "application/*",
        MANIFEST,
        f"{DOCKER}, {DOCKER_LIST}",
        f"text/html;q=0.9, {INDEX};q=0.1, */*;q=0",
        "text/html",
        "!!, nonsense",
        DOCKER,
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_accept_is_no_reason_to_refuse(
    http: Verbs, repository: str, pushed: Pushed, method: str, accept: str | None
) -> None:
    """Whatever a client accepts, or if it says nothing, it gets the manifest as it is."""
    headers = {} if accept is None else {"Accept": accept}
    answer = http.request(method, manifest_path(repository, "latest"), None, 200, headers)

    assert answer["Content-Type"] == pushed.media_type


def test_a_tag_on_an_index_is_served_as_the_index(
    http: Verbs, repository: str, pushed: Pushed
) -> None:
    """A client that accepts no index gets the index nevertheless, and not a child of it."""
    listed = push_manifest(http, repository, index(pushed.descriptor), "multi")
    answer = http.get(manifest_path(repository, "multi"), Accept=f"{DOCKER}, {MANIFEST}")

    assert answer["Content-Type"] == INDEX
    assert answer.body == listed.body


@pytest.mark.parametrize("reference", ["latest", "digest"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", ['"{}"', "{}", 'W/"{}"', '"x", "{}"', "*"])
def test_what_the_client_has_is_not_sent_again(
    http: Verbs, repository: str, pushed: Pushed, method: str, reference: str, form: str
) -> None:
    """If-None-Match with the manifest's digest gets 304, with that digest and no body."""
    path = manifest_path(repository, "latest" if reference == "latest" else pushed.digest)
    headers = {"If-None-Match": form.format(pushed.digest)}
    answer = http.request(method, path, None, 304, headers)

    assert answer["ETag"] == f'"{pushed.digest}"'
    assert answer["Docker-Content-Digest"] == pushed.digest
    assert answer.body == b""


def test_a_moved_tag_is_sent_again(http: Verbs, repository: str, pushed: Pushed) -> None:
    """If-None-Match with what the tag was on before gets what it is on now."""
    moved = push_image(http, repository, "latest", content=b"newer")
    answer = http.get(manifest_path(repository, "latest"), If_None_Match=f'"{pushed.digest}"')

    assert answer.body == moved.body


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", ['"{}"', "{}", '"x", "{}"', "*"])
def test_what_the_tag_should_be_on_is_sent(
    http: Verbs, repository: str, pushed: Pushed, method: str, form: str
) -> None:
    """If-Match with the manifest's digest changes nothing."""
    headers = {"If-Match": form.format(pushed.digest)}
    answer = http.request(method, manifest_path(repository, "latest"), None, 200, headers)

    assert answer["Docker-Content-Digest"] == pushed.digest


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", ['"x"', "", 'W/"{}"'], ids=["other", "empty", "weak"])
def test_what_the_tag_should_not_be_on_is_not_sent(
    http: Verbs, repository: str, pushed: Pushed, method: str, form: str
) -> None:
    """If-Match with anything else gets 412, and comes before If-None-Match."""
    headers = {"If-Match": form.format(pushed.digest), "If-None-Match": f'"{pushed.digest}"'}
    answer = http.request(method, manifest_path(repository, "latest"), None, 412, headers)

    if method == "GET":
        (error,) = answer.json()["errors"]
        assert (error["code"], error["detail"]) == ("DIGEST_INVALID", {"digest": pushed.digest})


@pytest.mark.parametrize("reference", ["nothing", UNKNOWN_DIGEST, "x" * 129, ".x", "-x", "a%20b"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_an_unknown_manifest_is_not_found(
    http: Verbs, repository: str, pushed: Pushed, method: str, reference: str
) -> None:
    """404 MANIFEST_UNKNOWN for a tag or digest that is not there, and for what can be neither."""
    answer = http.request(method, manifest_path(repository, reference), None, 404, {})

    assert method == "HEAD" or answer.json()["errors"][0]["code"] == "MANIFEST_UNKNOWN"
    assert http.get(manifest_path(repository, "latest")).body == pushed.body


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_manifest_of_an_unknown_repository_is_not_found(
    http: Verbs, repository: str, method: str
) -> None:
    """404 where nothing was ever pushed."""
    http.request(method, manifest_path(repository, "latest"), None, 404, {})
    http.request(method, manifest_path(repository, UNKNOWN_DIGEST), None, 404, {})


@pytest.mark.parametrize(
    "reference", ["sha256:short", "sha256:", f"sha256:{'A' * 64}", f"md5:{'a' * 32}", ":x", "a:b"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_what_has_a_colon_is_a_digest_or_an_error(
    http: Verbs, repository: str, pushed: Pushed, method: str, reference: str
) -> None:
    """400 DIGEST_INVALID: it is never taken for a tag."""
    body = pushed.body if method == "PUT" else None
    headers = {"Content-Type": MANIFEST}
    answer = http.request(method, manifest_path(repository, reference), body, 400, headers)

    assert method == "HEAD" or answer.json()["errors"][0]["code"] == "DIGEST_INVALID"


@pytest.mark.parametrize(
    "tag", ["x" * 129, ".x", "-x", "a%20b", "a%40b", "%C3%A9", "a%00", "v1%0A", "+"]
)
def test_a_malformed_tag_is_refused(http: Verbs, repository: str, pushed: Pushed, tag: str) -> None:
    """PUT to what is no tag gets 400 MANIFEST_INVALID, in the path and as a parameter."""
    by_path = http.put(manifest_path(repository, tag), pushed.body, 400, Content_Type=MANIFEST)
    by_parameter = http.put(
        f"{manifest_path(repository, pushed.digest)}?tag=good&tag={tag.replace('+', '%2B')}",
        pushed.body,
        400,
        Content_Type=MANIFEST,
    )

    for answer in (by_path, by_parameter):
        assert answer.json()["errors"][0]["code"] == "MANIFEST_INVALID"
    assert http.get(f"/v2/{repository}/tags/list").json()["tags"] == ["latest"]


@pytest.mark.parametrize("tag", ["x" * 128, "_", "0", "A.b-c_d", "sha256-abc", "latest..", "v1-"])
def test_a_well_formed_tag_is_taken(http: Verbs, repository: str, pushed: Pushed, tag: str) -> None:
    """Every form that the spec allows works, and cases differ."""
    put_manifest(http, manifest_path(repository, tag), json.loads(pushed.body))

    assert http.get(manifest_path(repository, tag)).body == pushed.body
    http.head(manifest_path(repository, tag.swapcase() + "x"), 404)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_manifest_is_pushed_by_digest(http: Verbs, repository: str, algorithm: str) -> None:
    """PUT by digest gets 201 with that digest, and there is no tag."""
    push_blob(http, repository, EMPTY)
    body = encode(artifact())
    digest = sha256(body) if algorithm == "sha256" else sha512(body)
    answer = put_manifest(http, manifest_path(repository, digest), body, Content_Type=MANIFEST)
    found = http.get(manifest_path(repository, digest))

    assert answer["Docker-Content-Digest"] == found["Docker-Content-Digest"] == digest
    assert found.body == body
    assert http.get(f"/v2/{repository}/tags/list").json()["tags"] == []


@pytest.mark.parametrize("wrong", [UNKNOWN_DIGEST, f"sha512:{'0' * 128}"], ids=["256", "512"])
def test_a_manifest_of_another_digest_is_refused(
    http: Verbs, repository: str, pushed: Pushed, wrong: str
) -> None:
    """PUT by digest of other bytes gets 400 DIGEST_INVALID, and nothing is stored."""
    answer = http.put(
        f"{manifest_path(repository, wrong)}?tag=never", pushed.body, 400, Content_Type=MANIFEST
    )

    assert answer.json()["errors"][0]["code"] == "DIGEST_INVALID"
    http.head(manifest_path(repository, wrong), 404)
    http.head(manifest_path(repository, "never"), 404)


def test_a_push_by_digest_puts_tags(http: Verbs, repository: str, pushed: Pushed) -> None:
    """``?tag=a&tag=b`` makes all of them, and each is in an ``OCI-Tag`` header."""
    tags = [f"v1.{number}" for number in range(12)]
    query = "&".join(f"tag={tag}" for tag in tags)
    answer = put_manifest(
        http, f"{manifest_path(repository, pushed.digest)}?{query}", json.loads(pushed.body)
    )

    assert ", ".join(answer.headers.get_all("OCI-Tag", [])).split(", ") == tags
    assert {http.get(manifest_path(repository, tag)).body for tag in tags} == {pushed.body}


def test_a_push_by_tag_puts_further_tags(http: Verbs, repository: str, pushed: Pushed) -> None:
    """The tag in the path and those in the query are all made; one named twice is one."""
    path = f"{manifest_path(repository, 'a')}?tag=b&tag=c&tag=b"
    answer = put_manifest(http, path, json.loads(pushed.body))

    assert answer.headers.get_all("OCI-Tag") == ["b", "c"]
    assert http.get(f"/v2/{repository}/tags/list").json()["tags"] == ["a", "b", "c", "latest"]


def test_a_tag_moves_and_leaves_the_old_manifest(
    http: Verbs, repository: str, pushed: Pushed
) -> None:
    """After another push the tag is on the new manifest, and the old one is there by digest."""
    newer = push_image(http, repository, "latest", content=b"newer")

    assert http.get(manifest_path(repository, "latest")).body == newer.body
    assert http.get(manifest_path(repository, pushed.digest)).body == pushed.body


def test_a_manifest_is_pushed_twice(http: Verbs, repository: str, pushed: Pushed) -> None:
    """The second push of the same changes nothing and gets 201 too."""
    put_manifest(http, manifest_path(repository, "latest"), json.loads(pushed.body))

    assert http.get(manifest_path(repository, "latest")).body == pushed.body


def test_a_manifest_keeps_the_type_that_it_was_first_pushed_with(
    http: Verbs, repository: str
) -> None:
    """The same bytes without a mediaType, pushed as another type, are still what they were."""
    document = json.loads(push_image(http, repository).body)
    del document["mediaType"]
    put_manifest(http, manifest_path(repository, "first"), document, Content_Type=MANIFEST)
    put_manifest(http, manifest_path(repository, "second"), document, Content_Type=DOCKER)

    for tag in ("first", "second"):
        assert http.get(manifest_path(repository, tag))["Content-Type"] == MANIFEST


def test_a_deleted_tag_leaves_its_manifest(http: Verbs, repository: str, pushed: Pushed) -> None:
    """DELETE by tag gets 202 and takes the tag alone, not the manifest nor its other tags."""
    put_manifest(http, manifest_path(repository, "other"), json.loads(pushed.body))
    http.delete(manifest_path(repository, "latest"))

    http.get(manifest_path(repository, "latest"), 404)
    http.delete(manifest_path(repository, "latest"), 404)
    assert http.get(manifest_path(repository, "other")).body == pushed.body
    assert http.get(manifest_path(repository, pushed.digest)).body == pushed.body


def test_a_deleted_manifest_takes_its_tags(http: Verbs, repository: str, pushed: Pushed) -> None:
    """DELETE by digest gets 202 and takes every tag on it, and no other."""
    put_manifest(http, manifest_path(repository, "other"), json.loads(pushed.body))
    kept = push_image(http, repository, "kept", content=b"kept")
    http.delete(manifest_path(repository, pushed.digest))

    for reference in ("latest", "other", pushed.digest):
        http.get(manifest_path(repository, reference), 404)
    http.delete(manifest_path(repository, pushed.digest), 404)
    assert http.get(manifest_path(repository, "kept")).body == kept.body
    assert http.get(f"/v2/{repository}/tags/list").json()["tags"] == ["kept"]


def test_a_deleted_manifest_can_be_pushed_again(
    http: Verbs, repository: str, pushed: Pushed
) -> None:
    """Its blobs are still there, so that the manifest is enough."""
    http.delete(manifest_path(repository, pushed.digest))
    put_manifest(http, manifest_path(repository, "latest"), json.loads(pushed.body))

    assert http.get(manifest_path(repository, pushed.digest)).body == pushed.body
