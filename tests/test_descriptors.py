"""A descriptor is checked member by member."""

import base64
from typing import Any

import pytest

from registry_wsgi.descriptors import Descriptor, read_descriptor
from registry_wsgi.errors import MANIFEST_INVALID, RegistryError
from registry_wsgi.names import Digest

Json = dict[str, Any]

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"


def describe(content: bytes, algorithm: str = "sha256", **members: Any) -> Json:
    """A descriptor of ``content``, as JSON."""
    digest = Digest.of(content, algorithm)
    return {"mediaType": LAYER_TYPE, "digest": digest, "size": len(content), **members}


def without(document: Json, *names: str) -> Json:
    """``document`` less some of its members."""
    return {name: value for name, value in document.items() if name not in names}


def encode(content: bytes) -> str:
    """``content`` in base64."""
    return base64.b64encode(content).decode()


VALID = {
    "its three members": describe(b"a"),
    "sha512": describe(b"a", "sha512"),
    "nothing in it": describe(b""),
    "the largest size": describe(b"", size=2**63 - 1),
    "a type of 255 characters": describe(b"", mediaType="a" * 127 + "/" + "b" * 127),
    "a type of every kind of character": describe(b"", mediaType="x/y!#$&^_.+-1"),
    "a type with parameters": describe(b"", mediaType="text/plain;charset=utf-8"),
    "optional members null": describe(
        b"a", urls=None, data=None, annotations=None, platform=None, artifactType=None
    ),
    "an empty artifactType": describe(b"a", artifactType=""),
    "an artifactType": describe(b"a", artifactType="application/vnd.example.sbom.v1"),
    "data": describe(b"a", data=encode(b"a")),
    "data of sha512": describe(b"ab", "sha512", data=encode(b"ab")),
    "data of nothing": describe(b"", data=""),
    "urls": describe(b"a", urls=["https://example.com/a?b#c", "HTTP://example.com/"]),
    "no urls": describe(b"a", urls=[]),
    "annotations": describe(b"a", annotations={"a": "", "": "b"}),
    "a platform": describe(b"a", platform={"os": "linux", "os.features": ["x"]}),
    "custom members": describe(b"a") | {"org.example.x": {"size": -1}, "x": None},
    "members that only manifests have": describe(b"a", Layers=1, Manifests=2),
}


@pytest.mark.parametrize("value", VALID.values(), ids=VALID.keys())
def test_a_valid_descriptor_is_read(value: Json) -> None:
    """What the specification allows is read into type, digest and size."""
    descriptor = read_descriptor(value, ("config",))

    assert descriptor == Descriptor(value["mediaType"], value["digest"], value["size"])
    assert type(descriptor.digest) is Digest


REFUSED = {
    "a string": ("sha256:", ": a descriptor is an object"),
    "null": (None, ": a descriptor is an object"),
    "an empty object": ({}, ".mediaType: missing"),
    "no mediaType": (without(describe(b"a"), "mediaType"), ".mediaType: missing"),
    "an empty mediaType": (describe(b"a", mediaType=""), ".mediaType: missing"),
    "a mediaType without a slash": (describe(b"a", mediaType="tar"), ".mediaType: missing"),
    "a mediaType with two slashes": (describe(b"a", mediaType="a/b/c"), ".mediaType: missing"),
    "a mediaType with a line break": (describe(b"a", mediaType="a/b\n"), ".mediaType: missing"),
    "a mediaType with a tag": (describe(b"a", mediaType="a/<b>"), ".mediaType: missing"),
    "a mediaType of 256 characters": (
        describe(b"a", mediaType="a/b;" + "c" * 252),
        ".mediaType: missing",
    ),
    "a subtype of 128 characters": (
        describe(b"a", mediaType="a/" + "b" * 128),
        ".mediaType: missing",
    ),
    "a mediaType that is a number": (describe(b"a", mediaType=1), ".mediaType: missing"),
    "no digest": (without(describe(b"a"), "digest"), ".digest: missing"),
    "an empty digest": (describe(b"a", digest=""), ".digest: missing"),
    "a short digest": (describe(b"a", digest="sha256:abc"), ".digest: missing"),
    "an upper-case digest": (describe(b"a", digest="sha256:" + "A" * 64), ".digest: missing"),
    "an unknown algorithm": (describe(b"a", digest="blake3:" + "a" * 64), ".digest: missing"),
    "a digest that is a list": (describe(b"a", digest=[]), ".digest: missing"),
    "no size": (without(describe(b"a"), "size"), ".size: missing"),
    "a negative size": (describe(b"a", size=-1), ".size: missing"),
    "a size that is a string": (describe(b"a", size="1"), ".size: missing"),
    "a size that is a float": (describe(b"a", size=1.0), ".size: missing"),
    "a size that is true": (describe(b"a", size=True), ".size: missing"),
    "a size of 2^63": (describe(b"a", size=2**63), ".size: missing"),
    "a size that is null": (describe(b"a", size=None), ".size: missing"),
    "Size beside size": (describe(b"a", Size=2), ".Size: some readers take this for size"),
    "URLs": (describe(b"a", URLs=[]), ".URLs: some readers take this for urls"),
    "urls a string": (describe(b"a", urls="https://example.com"), ".urls: not a list"),
    "a url that is null": (describe(b"a", urls=[None]), ".urls[0]: not an http or https URL"),
    "a file": (describe(b"a", urls=["https://a", "file:///etc/passwd"]), ".urls[1]: not an http"),
    "a script": (describe(b"a", urls=["javascript:alert(1)"]), ".urls[0]: not an http"),
    "a url without a host": (describe(b"a", urls=["https://"]), ".urls[0]: not an http"),
    "a url with a space": (describe(b"a", urls=["https://a b"]), ".urls[0]: not an http"),
    "a url with a line break": (describe(b"a", urls=["https://a\n"]), ".urls[0]: not an http"),
    "a relative url": (describe(b"a", urls=["//example.com/"]), ".urls[0]: not an http"),
    "data a number": (describe(b"a", data=1), ".data: not a string"),
    "data with a space": (describe(b"a", data="YQ== "), ".data: not base64"),
    "data without padding": (describe(b"a", data="YQ"), ".data: not base64"),
    "data in the URL alphabet": (describe(b"a", data="_-=="), ".data: not base64"),
    "data beyond ASCII": (describe(b"a", data="é"), ".data: not base64"),
    "data of another size": (describe(b"a", data="YWE="), ".data: 2 bytes, but the size is 1"),
    "empty data": (describe(b"a", data=""), ".data: 0 bytes, but the size is 1"),
    "other data": (describe(b"a", data="Yg=="), ".data: not the content that the digest names"),
    "annotations a string": (describe(b"a", annotations="a"), ".annotations: not an object"),
    "an annotation that is a list": (
        describe(b"a", annotations={"a": "b", "c": []}),
        ".annotations.c: not a string",
    ),
    "platform a string": (describe(b"a", platform="linux/amd64"), ".platform: not an object"),
    "platform a list": (describe(b"a", platform=[]), ".platform: not an object"),
    "artifactType a list": (describe(b"a", artifactType=[]), ".artifactType: not a media type"),
}


@pytest.mark.parametrize(("value", "end"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_descriptor_is_refused_and_located(value: object, end: str) -> None:
    """A malformed descriptor is MANIFEST_INVALID, and the detail says which member is at fault."""
    with pytest.raises(RegistryError) as caught:
        read_descriptor(value, ("layers", 3))

    assert caught.value.row is MANIFEST_INVALID
    assert str(caught.value.detail).startswith("layers[3]" + end)
