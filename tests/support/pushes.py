"""Pushing over plain HTTP, for tests that are about what comes after a push."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

from support.images import CONFIG, INDEX, LAYER, MANIFEST, descriptor, encode, sha256
from support.verbs import Answer, Verbs

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
UNKNOWN_DIGEST = f"sha256:{'0' * 64}"


@dataclasses.dataclass(frozen=True)
class Pushed:
    """A manifest that is in the registry."""

    digest: str
    body: bytes
    media_type: str

    @property
    def descriptor(self) -> dict[str, Any]:
        """What another manifest names it by."""
        return descriptor(self.media_type, self.body)


def sha512(data: bytes) -> str:
    """The sha512 digest of some bytes."""
    return f"sha512:{hashlib.sha512(data).hexdigest()}"


def push_blob(http: Verbs, repository: str, data: bytes) -> str:
    """Push a blob in one request; its digest."""
    digest = sha256(data)
    http.post(f"/v2/{repository}/blobs/uploads/?digest={digest}", data, expect=201)
    return digest


def open_upload(http: Verbs, repository: str, query: str = "") -> str:
    """Open an upload session; where it is."""
    return http.post(f"/v2/{repository}/blobs/uploads/{query}").location


def offset_of(http: Verbs, location: str) -> str:
    """The ``Range`` that the session at ``location`` tells."""
    return http.get(location, 204)["Range"]


def code_of(answer: Answer) -> str:
    """The code of the first error in an answer."""
    code: str = answer.json()["errors"][0]["code"]
    return code


def with_digest(location: str, digest: str) -> str:
    """The URL that closes the session at ``location``."""
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def image(config: bytes, *layers: bytes, **more: Any) -> dict[str, Any]:
    """The manifest of an image whose blobs have this content, with further members."""
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": [descriptor(LAYER, layer) for layer in layers],
        **more,
    }


def artifact(**more: Any) -> dict[str, Any]:
    """The manifest of an artifact without content of its own, with further members."""
    nothing = descriptor(EMPTY_TYPE, EMPTY)
    members = {"config": nothing, "layers": [nothing], "artifactType": "application/vnd.test.thing"}
    return {"schemaVersion": 2, "mediaType": MANIFEST, **members, **more}


def index(*manifests: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """An index of manifests by their descriptors, with further members."""
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests), **more}


def manifest_path(repository: str, reference: str) -> str:
    """The path of a manifest."""
    return f"/v2/{repository}/manifests/{reference}"


def put_manifest(
    http: Verbs,
    path: str,
    document: Mapping[str, Any] | bytes,
    expect: int | None = 201,
    **headers: str,
) -> Answer:
    """PUT a manifest to a path such as ``/v2/NAME/manifests/TAG``.

    Its ``Content-Type`` is its ``mediaType``, unless ``headers`` have another one.
    """
    if isinstance(document, bytes):
        return http.put(path, document, expect, **headers)
    sent = {"Content_Type": str(document.get("mediaType", MANIFEST)), **headers}
    return http.put(path, encode(dict(document)), expect, **sent)


def push_manifest(
    http: Verbs, repository: str, document: Mapping[str, Any], reference: str | None = None
) -> Pushed:
    """Push a manifest whose blobs are there, under a tag or, without one, under its digest."""
    body = encode(dict(document))
    digest = sha256(body)
    path = f"/v2/{repository}/manifests/{reference or digest}"
    put_manifest(http, path, document)
    return Pushed(digest, body, str(document["mediaType"]))


def push_image(
    http: Verbs, repository: str, tag: str | None = None, *, content: bytes = b"content"
) -> Pushed:
    """Push an image of one layer, whose bytes are ``content``."""
    config = b'{"of":"%b"}' % sha256(content).encode()
    for blob in (config, content):
        push_blob(http, repository, blob)
    return push_manifest(http, repository, image(config, content), tag)


def push_artifact(http: Verbs, repository: str, tag: str | None = None, **more: Any) -> Pushed:
    """Push an artifact without content of its own, with further members in its manifest."""
    push_blob(http, repository, EMPTY)
    return push_manifest(http, repository, artifact(**more), tag)
