"""Images made from nothing, in the forms that clients read: a tree, a tar file, an OCI layout."""

import dataclasses
import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MIB = 1 << 20
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def noise(size: int, seed: str) -> bytes:
    """``size`` bytes that don't compress; the same for the same seed."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - content, not a secret


def sha256(data: bytes) -> str:
    """The digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def tar_of(files: dict[str, bytes]) -> bytes:
    """A tar file with these files in it; the same bytes for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def descriptor(media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    """The descriptor of some bytes."""
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data), **more}


@dataclasses.dataclass(frozen=True)
class Image:
    """An image: its manifest's bytes, and all the blobs that the manifest names, by digest."""

    manifest: bytes
    blobs: dict[str, bytes]
    architecture: str

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return sha256(self.manifest)

    @property
    def config_digest(self) -> str:
        """The digest of the configuration, which docker and others call the image id."""
        digest: str = json.loads(self.manifest)["config"]["digest"]
        return digest

    @property
    def layer_digests(self) -> list[str]:
        """The digests of the layers, lowest first."""
        return [layer["digest"] for layer in json.loads(self.manifest)["layers"]]

    @property
    def descriptor(self) -> dict[str, Any]:
        """The manifest's descriptor, with the platform, as an index has it."""
        platform = {"architecture": self.architecture, "os": "linux"}
        return descriptor(MANIFEST, self.manifest, platform=platform)


def make_image(
    name: str, *, layers: int = 2, size: int = 64 << 10, architecture: str = "amd64"
) -> Image:
    """An image whose every layer has one file of ``size`` bytes.

    Images of the same name and size have the same layers, for every architecture and as far as
    they go: an image of three layers has both layers of the image of two.
    """
    tars = [tar_of({f"data/{n}": noise(size, f"{name} {n}")}) for n in range(layers)]
    packed = [gzip.compress(tar, compresslevel=1, mtime=0) for tar in tars]
    config = encode(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/bin/true"], "Labels": {"name": name}},
            "rootfs": {"type": "layers", "diff_ids": [sha256(tar) for tar in tars]},
            "history": [{"created_by": f"layer {n}"} for n in range(layers)],
        }
    )
    manifest = encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config),
            "layers": [descriptor(LAYER, blob) for blob in packed],
        }
    )
    blobs = {sha256(blob): blob for blob in [config, *packed]}
    return Image(manifest, blobs, architecture)


def make_index(images: Sequence[Image]) -> bytes:
    """The bytes of an index of these images."""
    manifests = [image.descriptor for image in images]
    return encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})


def encode(document: dict[str, Any]) -> bytes:
    """JSON without spaces."""
    return json.dumps(document, separators=(",", ":")).encode()


def write_layout(folder: Path, tags: dict[str, Image | Sequence[Image]]) -> Path:
    """Write an OCI image layout; a tag names an image or, for several, an index of them."""
    content: dict[str, bytes] = {}
    entries = []
    for tag, tagged in tags.items():
        images = [tagged] if isinstance(tagged, Image) else tagged
        for image in images:
            content |= {**image.blobs, image.digest: image.manifest}
        entry = images[0].descriptor
        if not isinstance(tagged, Image):
            index = make_index(images)
            content[sha256(index)] = index
            entry = descriptor(INDEX, index)
        entries.append({**entry, "annotations": {"org.opencontainers.image.ref.name": tag}})
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for digest, data in content.items():
        (blobs / digest.removeprefix("sha256:")).write_bytes(data)
    (folder / "oci-layout").write_bytes(encode({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_bytes(
        encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    )
    return folder


def write_docker_archive(path: Path, name: str, image: Image) -> Path:
    """Write what ``docker save`` writes: a tar file of uncompressed layers and a manifest.json."""
    manifest = json.loads(image.manifest)
    layers = [f"{layer['digest'][7:]}/layer.tar" for layer in manifest["layers"]]
    config = f"{image.config_digest[7:]}.json"
    files = {config: image.blobs[image.config_digest]}
    for layer, digest in zip(layers, image.layer_digests, strict=True):
        files[layer] = gzip.decompress(image.blobs[digest])
    entry = {"Config": config, "RepoTags": [name], "Layers": layers}
    files["manifest.json"] = json.dumps([entry]).encode()
    path.write_bytes(tar_of(files))
    return path
