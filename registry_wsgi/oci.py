"""What a manifest's bytes say: media types, and manifest bytes to what the index records.

A manifest is read once, when it is pushed. Its media type is decided here and stored with it, and
it is refused if two readers could take it for two things (CVE-2021-41190). Nothing here does I/O:
whether the blobs and children exist, with these sizes, is for the caller to check.

Sections quoted below are those of the OCI image specification, unless named otherwise.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from registry_wsgi import strict_json
from registry_wsgi.descriptors import (
    COMMON_MEMBERS,
    Descriptor,
    check_spelling,
    read_annotations,
    read_artifact_type,
    read_descriptor,
    read_descriptors,
    refusal,
)
from registry_wsgi.names import Digest

__all__ = [
    "DOCKER_LIST",
    "DOCKER_MANIFEST",
    "FOREIGN_LAYERS",
    "MANIFEST_LIMIT",
    "MANIFEST_TYPES",
    "OCI_ARTIFACT",
    "OCI_INDEX",
    "OCI_MANIFEST",
    "Descriptor",
    "Manifest",
    "parse_manifest",
    "referrers_tag",
]

# > Client and registry implementations SHOULD expect to be able to support manifest pushes of at
# > least 4 megabytes.        (distribution spec, "Pushing Manifests")
MANIFEST_LIMIT: Final = 4 * 1024 * 1024
"""Longest manifest that is read, in bytes; more is 413, by whoever reads the request."""

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_ARTIFACT: Final = "application/vnd.oci.artifact.manifest.v1+json"
"""In the image specification's release candidates of 1.1 only, but clients have pushed it."""
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"

FOREIGN_LAYERS: Final = frozenset(
    {
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    }
)
"""Layers that a registry need not hold: clients may leave them where their ``urls`` point."""

_ECHO_LIMIT: Final = 100
_CONTENT_TYPE_LIMIT: Final = 512

_CONTENT_TYPE: Final = re.compile(r"[ \t]*([!-:<-~]+)[ \t]*(?:;[\t -~\x80-\xff]*)?")

_MEMBERS: Final = COMMON_MEMBERS | (
    {"blobs", "config", "fsLayers", "layers", "manifests", "schemaVersion", "subject"}
)
_Descriptors = tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the index records of a manifest; in each tuple a digest occurs once, in order.

    ``blobs`` are its config and layers, and what an index lists that is no manifest (BuildKit's
    caches do); they must exist in the repository. ``foreign`` layers need not. ``children`` are
    the manifests of an index. ``artifact_type`` is ``""`` when there is none.
    """

    media_type: str
    blobs: tuple[Descriptor, ...]
    foreign: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Kind:
    """The members of one kind of manifest: which list it has, must have, and must not have."""

    name: str
    contents: str
    required: tuple[str, ...]
    forbidden: tuple[str, ...]


_IMAGE: Final = _Kind(
    "an image manifest", "layers", ("schemaVersion", "config", "layers"), ("manifests", "fsLayers")
)
_INDEX: Final = _Kind(
    "an index", "manifests", ("schemaVersion", "manifests"), ("config", "layers", "fsLayers")
)
_ARTIFACT: Final = _Kind(
    "an artifact manifest", "blobs", (), ("config", "layers", "manifests", "fsLayers")
)
_KINDS: Final = {
    OCI_MANIFEST: _IMAGE,
    DOCKER_MANIFEST: _IMAGE,
    OCI_INDEX: _INDEX,
    DOCKER_LIST: _INDEX,
    OCI_ARTIFACT: _ARTIFACT,
}
MANIFEST_TYPES: Final = tuple(_KINDS)
"""The media types of manifests that this registry takes."""


def parse_manifest(body: bytes, content_type: str | None) -> Manifest:
    """Check a manifest that is being pushed, with the request's ``Content-Type``.

    Raises RegistryError (MANIFEST_INVALID) whose detail says what is wrong and where. Takes time
    in proportion to the length of ``body``; that it is at most MANIFEST_LIMIT is the caller's to
    check.
    """
    try:
        document = strict_json.loads(body)
    except ValueError as error:
        raise refusal((), f"not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise refusal((), "a manifest is a JSON object")
    check_spelling(document, _MEMBERS, ())
    media_type = _decide_type(document, content_type)
    _check_shape(document, _KINDS[media_type])
    return _read(document, media_type)


def referrers_tag(digest: Digest) -> str:
    """The tag under which clients of registries without referrers list a subject's referrers."""
    # > The Referrers Tag associated with a Content Digest MUST match the Truncated Algorithm, a `-`
    # > character, and the Truncated Encoded section        (distribution spec)
    # > ... MUST match the digest's `encoded` section truncated to 64 characters.
    return f"{digest.algorithm}-{digest.hex[:64]}"


def _decide_type(document: Mapping[str, Any], content_type: str | None) -> str:
    declared = document.get("mediaType")
    if not isinstance(declared, str | None):
        raise refusal(("mediaType",), "not a string")
    sent = _without_parameters(content_type) if content_type else ""
    # > If a manifest includes a `mediaType` field, clients MUST set the `Content-Type` header to
    # > the value specified by the `mediaType` field.        (distribution spec, "Push")
    if sent and declared and sent != declared:
        raise refusal(
            ("mediaType",), f"is {_shown(declared)}, but the Content-Type is {_shown(sent)}"
        )
    media_type = sent or declared
    if not media_type:
        raise refusal((), "neither a Content-Type nor a mediaType says what this is")
    if media_type not in _KINDS:
        raise refusal(
            (), f"{_shown(media_type)} is not a type of manifest taken here: {', '.join(_KINDS)}"
        )
    return media_type


def _without_parameters(content_type: str) -> str:
    # > The registry SHOULD ignore parameters on the `Content-Type` header.        (as above)
    short = len(content_type) <= _CONTENT_TYPE_LIMIT
    match = _CONTENT_TYPE.fullmatch(content_type) if short else None
    if match is None:
        raise refusal((), f"malformed Content-Type: {_shown(content_type)}")
    return match[1]


def _check_shape(document: Mapping[str, Any], kind: _Kind) -> None:
    for name in kind.forbidden:
        if name in document:
            raise refusal((name,), f"{kind.name} has none; a manifest is one thing only")
    for name in kind.required:
        if name not in document:
            raise refusal((name,), f"missing; {kind.name} has {', '.join(kind.required)}")
    # > For this version of the specification, this MUST be `2`        (manifest, image index)
    if "schemaVersion" in kind.required:
        version = document["schemaVersion"]
        if type(version) is not int or version != 2:  # noqa: PLR2004 - quoted above
            raise refusal(("schemaVersion",), "not 2")


def _read(document: Mapping[str, Any], media_type: str) -> Manifest:
    kind = _KINDS[media_type]
    config = [read_descriptor(document["config"], ("config",))] if kind is _IMAGE else []
    listed = read_descriptors(document.get(kind.contents), kind.contents)
    subject = document.get("subject")
    weak = [] if subject is None else [read_descriptor(subject, ("subject",))]
    _check_sizes([*config, *listed, *weak])
    blobs, foreign, children = _sort_out(kind, config, listed)
    return Manifest(
        media_type=media_type,
        blobs=blobs,
        foreign=foreign,
        children=children,
        subject=weak[0] if weak else None,
        # > If the `artifactType` is empty or missing in the image manifest, the value of
        # > `artifactType` MUST be set to the config descriptor `mediaType` value.
        # > If the `artifactType` is empty or missing in an index, the `artifactType` MUST be
        # > omitted.        (distribution spec, "Listing Referrers")
        artifact_type=read_artifact_type(document, ()) or (config[0].media_type if config else ""),
        annotations=read_annotations(document, ()),
    )


def _sort_out(
    kind: _Kind, config: list[Descriptor], listed: list[Descriptor]
) -> tuple[_Descriptors, _Descriptors, _Descriptors]:
    """The blobs, foreign layers and children among what a manifest lists."""
    if kind is _INDEX:
        # > An encountered `mediaType` that is unknown to the implementation MUST NOT generate an
        # > error.        (image index, on its manifests; such content can only be here as a blob)
        children = _unique(item for item in listed if item.media_type in _KINDS)
        return _unique(item for item in listed if item.media_type not in _KINDS), (), children
    blobs = _unique([*config, *(item for item in listed if item.media_type not in FOREIGN_LAYERS)])
    held = {item.digest for item in blobs}
    return blobs, _unique(item for item in listed if item.digest not in held), ()


def _unique(descriptors: Iterable[Descriptor]) -> _Descriptors:
    first: dict[Digest, Descriptor] = {}
    for item in descriptors:
        first.setdefault(item.digest, item)
    return tuple(first.values())


def _check_sizes(descriptors: Iterable[Descriptor]) -> None:
    sizes: dict[Digest, int] = {}
    for item in descriptors:
        if sizes.setdefault(item.digest, item.size) != item.size:
            raise refusal(
                (), f"{item.digest} is listed with sizes {sizes[item.digest]} and {item.size}"
            )


def _shown(text: str) -> str:
    return ascii(text[:_ECHO_LIMIT])
