"""Descriptors, and the members that manifests have in common with them.

Everything here takes parsed JSON and a path, which says where in the manifest that JSON stands, and
raises RegistryError (MANIFEST_INVALID) with a detail such as ``layers[3].size: not a number``.
Sections quoted are those of the OCI image specification.
"""

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from registry_wsgi.errors import MANIFEST_INVALID, RegistryError
from registry_wsgi.names import Digest

SIZE_LIMIT: Final = 2**63 - 1
"""Largest ``size`` of a descriptor, in bytes (it is an int64)."""

MEDIA_TYPE_LIMIT: Final = 255
"""Longest media type, in characters (RFC 6838 section 4.2: 127, a slash, 127)."""

_ECHO_LIMIT: Final = 100

_RESTRICTED_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
# Parameters are outside RFC 6838's names, but people do push `text/plain;charset=utf-8` files.
_MEDIA_TYPE: Final = re.compile(rf"{_RESTRICTED_NAME}/{_RESTRICTED_NAME}(?: *;[ -~]*)?")
_URL: Final = re.compile(r"https?://[^\x00-\x20\x7f]+", re.IGNORECASE)

COMMON_MEMBERS: Final = frozenset({"annotations", "artifactType", "mediaType"})
"""What both descriptors and manifests may have."""

_MEMBERS: Final = COMMON_MEMBERS | {"data", "digest", "platform", "size", "urls"}

Path = tuple[str | int, ...]
"""Where in a manifest something stands, as ``("layers", 3, "size")``."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to content: its type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int


def refusal(path: Path, reason: str) -> RegistryError:
    """The error for what is wrong at ``path``."""
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return RegistryError(MANIFEST_INVALID, f"{place[1:]}: {reason}" if path else reason)


def read_descriptors(values: object, name: str) -> list[Descriptor]:
    """The descriptors in the list that a manifest has under ``name``."""
    # Go's encoder, hence many a client, writes an empty list as null.
    if values is None:
        return []
    if not isinstance(values, list):
        raise refusal((name,), "not a list")
    return [read_descriptor(value, (name, index)) for index, value in enumerate(values)]


def read_descriptor(value: object, path: Path) -> Descriptor:
    """The descriptor that ``value`` holds."""
    if not isinstance(value, dict):
        raise refusal(path, "a descriptor is an object")
    check_spelling(value, _MEMBERS, path)
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    # > Values MUST comply with RFC 6838, including the naming requirements in its section 4.2.
    if not _is_media_type(media_type):
        raise refusal((*path, "mediaType"), "missing, or not a media type")
    # > A digest string MUST match the following grammar
    known = Digest.maybe(digest) if isinstance(digest, str) else None
    if known is None:
        raise refusal((*path, "digest"), "missing, or not a sha256 or sha512 digest")
    # > The size MUST NOT be negative.
    if type(size) is not int or not 0 <= size <= SIZE_LIMIT:
        raise refusal((*path, "size"), "missing, or not a whole number from 0 to 2^63-1")
    descriptor = Descriptor(media_type, known, size)
    _check_optional_members(value, descriptor, path)
    return descriptor


def read_annotations(holder: Mapping[str, Any], path: Path) -> Mapping[str, str]:
    """The annotations of a manifest or descriptor; empty when it has none."""
    annotations = holder.get("annotations")
    if annotations is None:
        return {}
    if not isinstance(annotations, dict):
        raise refusal((*path, "annotations"), "not an object")
    # > Annotations MUST be a key-value map where both the key and value MUST be strings.
    for key, value in annotations.items():
        if not isinstance(value, str):
            raise refusal((*path, "annotations", key[:_ECHO_LIMIT]), "not a string")
    return annotations


def read_artifact_type(holder: Mapping[str, Any], path: Path) -> str:
    """The ``artifactType`` of a manifest or descriptor; ``""`` when it has none."""
    # > If defined, the value MUST comply with RFC 6838
    value = holder.get("artifactType")
    if value is None or value == "":
        return ""
    if not _is_media_type(value):
        raise refusal((*path, "artifactType"), "not a media type")
    return value


def check_spelling(members: Mapping[str, Any], known: frozenset[str], path: Path) -> None:
    """Refuse a name that differs from a ``known`` one in case only.

    Unknown members are welcome. But many clients are written in Go, whose encoding/json ignores
    case in names: to them ``Layers`` is ``layers``, to this registry it would be something unknown.
    """
    unknown = [name for name in members if name not in known]
    if not unknown:
        return
    folded = {name.casefold(): name for name in known}
    for name in unknown:
        if name.casefold() in folded:
            raise refusal((*path, name), f"some readers take this for {folded[name.casefold()]}")


def _check_optional_members(value: Mapping[str, Any], descriptor: Descriptor, path: Path) -> None:
    read_annotations(value, path)
    read_artifact_type(value, path)
    if not isinstance(value.get("platform"), dict | None):
        raise refusal((*path, "platform"), "not an object")
    if value.get("urls") is not None:
        _check_urls(value["urls"], (*path, "urls"))
    if value.get("data") is not None:
        _check_data(value["data"], descriptor, (*path, "data"))


def _check_urls(urls: object, path: Path) -> None:
    if not isinstance(urls, list):
        raise refusal(path, "not a list")
    for index, url in enumerate(urls):
        # > Entries SHOULD use the `http` and `https` schemes
        # Clients fetch them: `file:` would be read from the machine that pulls.
        if not isinstance(url, str) or not _URL.fullmatch(url):
            raise refusal((*path, index), "not an http or https URL")


def _check_data(data: object, descriptor: Descriptor, path: Path) -> None:
    # > Values MUST conform to the Base 64 encoding, as defined in RFC 4648. The decoded data MUST
    # > be identical to the referenced content
    if not isinstance(data, str):
        raise refusal(path, "not a string")
    try:
        content = binascii.a2b_base64(data, strict_mode=True)
    except ValueError as error:
        raise refusal(path, "not base64") from error
    if len(content) != descriptor.size:
        raise refusal(path, f"{len(content)} bytes, but the size is {descriptor.size}")
    if Digest.of(content, descriptor.digest.algorithm) != descriptor.digest:
        raise refusal(path, "not the content that the digest names")


def _is_media_type(value: object) -> TypeGuard[str]:
    return (
        isinstance(value, str)
        and len(value) <= MEDIA_TYPE_LIMIT
        and _MEDIA_TYPE.fullmatch(value) is not None
    )
