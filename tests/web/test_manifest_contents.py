"""What manifests may be about: images, artifacts, indexes of indexes; and how large they may be."""

import json
from typing import Any

import pytest
from support.images import CONFIG, LAYER, MANIFEST, descriptor, encode
from support.pushes import (
    EMPTY,
    EMPTY_TYPE,
    UNKNOWN_DIGEST,
    Pushed,
    artifact,
    image,
    index,
    manifest_path,
    push_artifact,
    push_blob,
    push_image,
    push_manifest,
    put_manifest,
    sha512,
)
from support.verbs import Verbs

MIB = 1 << 20
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.fixture
def pushed(http: Verbs, repository: str) -> Pushed:
    """An image in the test's repository, tagged ``latest``."""
    return push_image(http, repository, "latest")


def helm() -> dict[str, Any]:
    """What ``helm push`` pushes."""
    config = descriptor("application/vnd.cncf.helm.config.v1+json", EMPTY)
    chart = descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"chart")
    return {"schemaVersion": 2, "config": config, "layers": [chart]}


def typed(config_type: str, layer_type: str, **more: Any) -> dict[str, Any]:
    """A manifest whose config and one layer have these types."""
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(config_type, EMPTY),
        "layers": [descriptor(layer_type, b"chart")],
        **more,
    }


FOREIGN = {
    "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "digest": UNKNOWN_DIGEST,
    "size": 1000,
    "urls": ["https://example.test/layer"],
}
CONTENTS: dict[str, dict[str, Any]] = {
    "oci-image": image(EMPTY, b"chart"),
    "oci-image-without-layers": image(EMPTY),
    "oci-image-with-layers-null": {**image(EMPTY), "layers": None},
    "oci-image-without-media-type": {k: v for k, v in image(EMPTY).items() if k != "mediaType"},
    "docker-image": {**image(EMPTY, b"chart"), "mediaType": DOCKER},
    "docker-image-with-foreign-layer": {
        **image(EMPTY),
        "mediaType": DOCKER,
        "layers": [FOREIGN, descriptor(LAYER, b"chart")],
    },
    "artifact": artifact(),
    "artifact-of-config-type": typed("application/vnd.test.config", "text/plain"),
    "helm-chart": helm(),
    "wasm": typed("application/vnd.wasm.config.v0+json", "application/wasm"),
    "sbom": typed(EMPTY_TYPE, "application/spdx+json", artifactType="application/spdx+json"),
    "signature": typed(CONFIG, "application/vnd.dev.cosign.simplesigning.v1+json"),
    "data-in-the-descriptor": {
        **artifact(),
        "config": {**descriptor(EMPTY_TYPE, EMPTY), "data": "e30="},
    },
    "annotated": image(EMPTY, annotations={"org.example.note": "ünïcode \u2603"}),
    "layer-of-sha512": {
        **image(EMPTY),
        "layers": [{"mediaType": LAYER, "digest": sha512(b"long"), "size": 4}],
    },
    "empty-index": index(),
    "empty-docker-list": {**index(), "mediaType": DOCKER_LIST},
}


@pytest.mark.parametrize("name", CONTENTS)
def test_each_kind_of_content_is_kept(http: Verbs, repository: str, name: str) -> None:
    """Images, artifacts, charts, modules, signatures: what clients push comes back as it was."""
    for blob in (EMPTY, b"chart"):
        push_blob(http, repository, blob)
    http.post(f"/v2/{repository}/blobs/uploads/?digest={sha512(b'long')}", b"long", expect=201)
    document = CONTENTS[name]
    put_manifest(http, manifest_path(repository, "v1"), document)
    answer = http.get(manifest_path(repository, "v1"))

    assert answer.body == encode(document)
    assert answer["Content-Type"] == document.get("mediaType", MANIFEST)


def test_indexes_hold_indexes(http: Verbs, repository: str, pushed: Pushed) -> None:
    """A manifest, an index of it, a Docker list of both, and an index of all."""
    inner = push_manifest(http, repository, index(pushed.descriptor))
    listed = {**index(inner.descriptor, pushed.descriptor), "mediaType": DOCKER_LIST}
    docker = push_manifest(http, repository, listed)
    outer = push_manifest(http, repository, index(docker.descriptor, inner.descriptor), "all")

    assert http.get(manifest_path(repository, "all")).body == outer.body


def test_a_deep_diamond_of_indexes_is_served(http: Verbs, repository: str) -> None:
    """Thirty levels of two indexes, each of which lists both below it: 2^30 ways, 60 manifests."""
    level = [push_artifact(http, repository, annotations={"n": str(n)}) for n in range(2)]
    for depth in range(30):
        documents = [
            index(*(item.descriptor for item in level), annotations={"n": f"{depth} {n}"})
            for n in range(2)
        ]
        level = [push_manifest(http, repository, document) for document in documents]
    put_manifest(http, manifest_path(repository, "top"), json.loads(level[0].body))

    assert http.get(manifest_path(repository, "top")).body == level[0].body
    http.delete(manifest_path(repository, level[0].digest))


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_manifest_may_have_4_mib(http: Verbs, repository: str, framing: str) -> None:
    """The largest that is read is taken."""
    body = sized(4 * MIB)
    push_blob(http, repository, EMPTY)
    sent = body if framing == "length" else iter([body[: 3 * MIB], body[3 * MIB :]])
    http.put(manifest_path(repository, "large"), sent, Content_Type=MANIFEST)

    assert http.get(manifest_path(repository, "large")).body == body


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_manifest_of_more_than_4_mib_is_refused(
    http: Verbs, repository: str, framing: str
) -> None:
    """One byte more gets 413 SIZE_INVALID, with the limit."""
    body = sized(4 * MIB + 1)
    push_blob(http, repository, EMPTY)
    sent = body if framing == "length" else iter([body[: 3 * MIB], body[3 * MIB :]])
    (error,) = http.put(
        manifest_path(repository, "large"), sent, 413, Content_Type=MANIFEST
    ).json()["errors"]

    assert (error["code"], error["detail"]) == ("SIZE_INVALID", {"limit": 4 * MIB})
    http.head(manifest_path(repository, "large"), 404)


def sized(length: int) -> bytes:
    """An artifact's manifest of this many bytes."""
    room = length - len(encode(artifact(annotations={"pad": ""})))
    return encode(artifact(annotations={"pad": "x" * room}))
