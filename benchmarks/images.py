"""What the benchmarks push: small images without meaning, the same to every registry."""

import hashlib
import json
import os

from clients import Client, target_of

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
SMALL = 10 << 10
LAYERS = 6
"""How many layers a manifest names: a usual image's."""


def digest_of(data: bytes) -> str:
    """The digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def push_small(client: Client, repository: str, data: bytes) -> str:
    """Push a blob with an empty PATCH-less PUT; its digest."""
    digest = digest_of(data)
    found = client.request("POST", f"/v2/{repository}/blobs/uploads/")
    location = target_of(found["location"])
    target = f"{location}{'&' if '?' in location else '?'}digest={digest}"
    client.request("PUT", target, data, "Content-Type: application/octet-stream")
    return digest


def manifest_of(blobs: list[tuple[str, int]], name: str) -> bytes:
    """An image's manifest: the first blob is its config; ``name`` makes it differ from others."""
    (config, size), *layers = blobs
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "size": size, "digest": config},
        "layers": [{"mediaType": LAYER, "size": size, "digest": digest} for digest, size in layers],
        "annotations": {"org.bench.name": name},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def tag_names(count: int) -> list[str]:
    """Tags as builds make them."""
    return [f"1.{number // 100}.{number % 100}-build" for number in range(count)]


def put_manifest(client: Client, repository: str, tag: str, body: bytes) -> None:
    """Put a tag on a manifest."""
    target = f"/v2/{repository}/manifests/{tag}"
    client.request("PUT", target, body, f"Content-Type: {MANIFEST}")


def fill(client: Client, repository: str, tags: int) -> list[str]:
    """Push blobs, and an image of its own under each tag; the blobs' digests."""
    blobs = []
    for _ in range(1 + LAYERS):
        data = os.urandom(SMALL)
        blobs.append((push_small(client, repository, data), len(data)))
    for name in tag_names(tags):
        put_manifest(client, repository, name, manifest_of(blobs, name))
    return [digest for digest, _ in blobs]
