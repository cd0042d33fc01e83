"""A manifest's bytes are checked, and read into what the index records."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_wsgi import oci
from registry_wsgi.errors import MANIFEST_INVALID, RegistryError
from registry_wsgi.names import Digest, Tag
from registry_wsgi.oci import Descriptor, Manifest, parse_manifest, referrers_tag

Json = dict[str, Any]

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
SBOM_TYPE = "application/vnd.example.sbom.v1"
FOREIGN_TYPE = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


def describe(content: bytes, media_type: str = LAYER_TYPE, **members: Any) -> Json:
    """A descriptor of ``content``, as JSON."""
    algorithm = members.pop("algorithm", "sha256")
    digest = Digest.of(content, algorithm)
    return {"mediaType": media_type, "digest": digest, "size": len(content), **members}


def image(*layers: Json, **members: Any) -> Json:
    """An image manifest, as JSON."""
    return {
        "schemaVersion": 2,
        "mediaType": oci.OCI_MANIFEST,
        "config": describe(b"config", CONFIG_TYPE),
        "layers": list(layers),
        **members,
    }


def index(*manifests: Json, **members: Any) -> Json:
    """An index, as JSON."""
    return {
        "schemaVersion": 2,
        "mediaType": oci.OCI_INDEX,
        "manifests": list(manifests),
        **members,
    }


def without(document: Json, *names: str) -> Json:
    """``document`` less some of its members."""
    return {name: value for name, value in document.items() if name not in names}


def parse(document: object, content_type: str | None = None) -> Manifest:
    """Parse a manifest given as JSON values."""
    return parse_manifest(json.dumps(document).encode(), content_type)


def detail_of(body: bytes, content_type: str | None = None) -> str:
    """The detail with which ``body`` is refused."""
    with pytest.raises(RegistryError) as caught:
        parse_manifest(body, content_type)

    assert caught.value.row is MANIFEST_INVALID
    assert isinstance(caught.value.detail, str)
    return caught.value.detail


def read(*descriptors: Json) -> tuple[Descriptor, ...]:
    """What descriptors given as JSON are read into."""
    return tuple(Descriptor(d["mediaType"], Digest(d["digest"]), d["size"]) for d in descriptors)


# --- What is read ---------------------------------------------------------------------------------


def test_an_image_is_read_into_its_config_and_layers_in_order() -> None:
    """The blobs of an image are its config, then its layers as listed."""
    layers = [describe(b"b"), describe(b"a", "text/plain;charset=utf-8"), describe(b"")]

    manifest = parse(image(*layers))

    assert manifest == Manifest(
        media_type=oci.OCI_MANIFEST,
        blobs=read(describe(b"config", CONFIG_TYPE), *layers),
        foreign=(),
        children=(),
        subject=None,
        artifact_type=CONFIG_TYPE,
        annotations={},
    )


def test_an_index_is_read_into_its_children() -> None:
    """The children of an index are its manifests, nested indexes too; it has no artifact type."""
    children = [
        describe(b"1", oci.OCI_MANIFEST, platform={"os": "linux", "architecture": "amd64"}),
        describe(b"2", oci.OCI_INDEX),
        describe(b"3", oci.DOCKER_MANIFEST, algorithm="sha512"),
    ]

    manifest = parse(index(*children))

    assert manifest == Manifest(
        media_type=oci.OCI_INDEX,
        blobs=(),
        foreign=(),
        children=read(*children),
        subject=None,
        artifact_type="",
        annotations={},
    )


def test_what_an_index_lists_that_is_no_manifest_is_a_blob() -> None:
    """The layers and config in a BuildKit cache's index are blobs, its manifests children."""
    config = describe(b"cache", "application/vnd.buildkit.cacheconfig.v0")
    child = describe(b"child", oci.OCI_MANIFEST)

    manifest = parse(index(describe(b"layer"), child, config))

    assert manifest.blobs == read(describe(b"layer"), config)
    assert manifest.children == read(child)


def test_an_artifact_manifest_of_the_release_candidates_is_read() -> None:
    """The retired artifact manifest has blobs, a subject and no schema version."""
    blob, subject = describe(b"sbom", "application/gzip"), describe(b"image", oci.OCI_MANIFEST)
    document = {
        "mediaType": oci.OCI_ARTIFACT,
        "artifactType": SBOM_TYPE,
        "blobs": [blob],
        "subject": subject,
        "annotations": {"a": "b"},
    }

    manifest = parse(document, oci.OCI_ARTIFACT)

    assert manifest == Manifest(
        media_type=oci.OCI_ARTIFACT,
        blobs=read(blob),
        foreign=(),
        children=(),
        subject=read(subject)[0],
        artifact_type=SBOM_TYPE,
        annotations={"a": "b"},
    )


@pytest.mark.parametrize("media_type", sorted(oci.FOREIGN_LAYERS))
def test_a_foreign_layer_is_kept_apart(media_type: str) -> None:
    """A layer of a foreign type is not among the blobs that must exist."""
    layer = describe(b"windows", media_type, urls=["https://example.com/a", "HTTP://example.com/b"])

    manifest = parse(image(layer, describe(b"ours")))

    assert manifest.foreign == read(layer)
    assert manifest.blobs == read(describe(b"config", CONFIG_TYPE), describe(b"ours"))


def test_a_digest_listed_twice_is_recorded_once() -> None:
    """Config, layers and children that repeat a digest are recorded at its first occurrence."""
    empty = describe(b"{}", EMPTY_TYPE)
    child, other = describe(b"1", oci.OCI_MANIFEST), describe(b"2", oci.OCI_MANIFEST)

    artifact = parse(image(describe(b"{}"), describe(b"a"), empty, config=empty))
    listing = parse(index(child, other, child | {"platform": {"os": "linux"}}))

    assert artifact.blobs == read(empty, describe(b"a"))
    assert listing.children == read(child, other)


def test_a_foreign_layer_that_is_also_an_ordinary_one_must_exist() -> None:
    """A digest listed as foreign and not as foreign is among the blobs alone."""
    manifest = parse(image(describe(b"a", FOREIGN_TYPE), describe(b"a")))

    assert manifest.foreign == ()
    assert read(describe(b"a"))[0] in manifest.blobs


def test_as_many_layers_as_fit_are_read() -> None:
    """Twenty thousand layers, most of the size limit, are each recorded."""
    layers = [describe(str(number).encode()) for number in range(20_000)]

    manifest = parse(image(*layers))

    assert manifest.blobs[1:] == read(*layers)


ARTIFACT_TYPES = {
    "an image's own": (image(artifactType=SBOM_TYPE), SBOM_TYPE),
    "an image without one": (image(), CONFIG_TYPE),
    "an image with an empty one": (image(artifactType=""), CONFIG_TYPE),
    "an image with null": (image(artifactType=None), CONFIG_TYPE),
    "an image with a custom config": (
        image(config=describe(b"{}", "application/vnd.cncf.helm.config.v1+json")),
        "application/vnd.cncf.helm.config.v1+json",
    ),
    "an index's own": (index(artifactType=SBOM_TYPE), SBOM_TYPE),
    "an index without one": (index(), ""),
    "an index with an empty one": (index(artifactType=""), ""),
    "an artifact manifest without one": ({"mediaType": oci.OCI_ARTIFACT}, ""),
}


@pytest.mark.parametrize(
    ("document", "artifact_type"), ARTIFACT_TYPES.values(), ids=ARTIFACT_TYPES.keys()
)
def test_the_artifact_type_is_the_one_that_referrers_show(
    document: Json, artifact_type: str
) -> None:
    """The artifact type is the manifest's, else an image's config type, else none."""
    assert parse(document).artifact_type == artifact_type


def test_the_subject_and_annotations_are_read() -> None:
    """An image and an index have their subject and annotations recorded."""
    subject = describe(b"missing", oci.OCI_MANIFEST)
    annotations = {"org.example.a": "", "b": "é\0"}

    manifests = [
        parse(image(subject=subject, annotations=annotations)),
        parse(index(subject=subject, annotations=annotations)),
    ]

    assert [manifest.subject for manifest in manifests] == [*read(subject), *read(subject)]
    assert [manifest.annotations for manifest in manifests] == [annotations, annotations]


# --- What is taken --------------------------------------------------------------------------------

TYPES = {
    "both": (oci.OCI_MANIFEST, oci.OCI_MANIFEST),
    "a Content-Type alone": (None, oci.OCI_MANIFEST),
    "a Content-Type and an empty mediaType": ("", oci.OCI_MANIFEST),
    "a mediaType alone": (oci.OCI_MANIFEST, None),
    "a mediaType and an empty Content-Type": (oci.OCI_MANIFEST, ""),
    "parameters": (oci.OCI_MANIFEST, oci.OCI_MANIFEST + "; charset=utf-8"),
    "parameters without a space": (None, oci.OCI_MANIFEST + ";charset=utf-8"),
    "white space around": (oci.OCI_MANIFEST, f" {oci.OCI_MANIFEST}\t"),
}


@pytest.mark.parametrize(("declared", "sent"), TYPES.values(), ids=TYPES.keys())
def test_the_type_comes_from_content_type_or_media_type(
    declared: str | None, sent: str | None
) -> None:
    """Either names the type, parameters aside; null and empty are as good as absent."""
    assert parse(image(mediaType=declared), sent).media_type == oci.OCI_MANIFEST


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        (image(), oci.OCI_MANIFEST),
        (image(), oci.DOCKER_MANIFEST),
        (index(), oci.OCI_INDEX),
        (index(), oci.DOCKER_LIST),
        ({"blobs": []}, oci.OCI_ARTIFACT),
    ],
    ids=["OCI image", "Docker image", "OCI index", "Docker list", "OCI artifact"],
)
def test_each_known_type_is_taken(document: Json, media_type: str) -> None:
    """The five types that can be interpreted are taken, and are all that are offered."""
    manifest = parse(document | {"mediaType": media_type}, media_type)

    assert manifest.media_type == media_type
    assert len(oci.MANIFEST_TYPES) == 5


LARGE = {f"large-annotation-{number}": "A" * 10_000 for number in range(390)}
CHILD = describe(b"child", oci.OCI_MANIFEST)

VALID = {
    "no layers": image(),
    "layers null, as Go's encoder has an empty list": image(layers=None),
    "no manifests": index(),
    "manifests null": index(manifests=None),
    "an artifact manifest without blobs": {"mediaType": oci.OCI_ARTIFACT},
    "optional members null": image(subject=None, annotations=None, artifactType=None),
    "uncompressed layers": image(describe(b"a", "application/vnd.oci.image.layer.v1.tar")),
    "sha512": image(describe(b"a", algorithm="sha512"), config=describe(b"", algorithm="sha512")),
    "390 annotations of 10000 characters": image(describe(b"a"), annotations=LARGE),
    "children without a platform": index(CHILD, describe(b"2", oci.OCI_INDEX)),
    "an artifact": image(
        describe(b"a", SBOM_TYPE), config=describe(b"{}", EMPTY_TYPE), artifactType=SBOM_TYPE
    ),
    "an artifact without layers": image(
        describe(b"{}", EMPTY_TYPE), config=describe(b"{}", EMPTY_TYPE), artifactType=SBOM_TYPE
    ),
    "an artifact index": index(CHILD | {"artifactType": SBOM_TYPE}, artifactType=SBOM_TYPE),
    "data": image(
        describe(b"a", data=base64.b64encode(b"a").decode()),
        describe(b"", data=""),
        describe(b"ab", algorithm="sha512", data=base64.b64encode(b"ab").decode()),
        config=describe(b"{}", EMPTY_TYPE, data="e30="),
    ),
    "urls on an ordinary layer": image(describe(b"a", urls=["http://example.com/"])),
    "custom members": image(
        describe(b"a") | {"org.example.x": {"size": -1}}, **{"org.K5": [None], "x": {"Size": 1}}
    ),
    "a descriptor's members beside those of a manifest": image(Size=1, Digest="x", DATA="", URLs=1),
    "blobs, which mean nothing in an image": image(blobs="custom"),
}


@pytest.mark.parametrize("document", VALID.values(), ids=VALID.keys())
def test_a_valid_manifest_is_taken(document: Json) -> None:
    """What the specification allows, and what clients are known to push, is taken."""
    manifest = parse(document, document["mediaType"])

    assert manifest.media_type == document["mediaType"]


# --- What is refused ------------------------------------------------------------------------------

BODIES = {
    "nothing": (b"", "not valid JSON: Expecting value"),
    "a list": (b"[]", "a manifest is a JSON object"),
    "a string": (b'""', "a manifest is a JSON object"),
    "null": (b"null", "a manifest is a JSON object"),
    "a number": (b"1", "a manifest is a JSON object"),
    "invalid UTF-8": (b'{"\xff": 1}', "not valid JSON: 'utf-8' codec"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "not valid JSON: Unexpected UTF-8 BOM"),
    "UTF-16": ("{}".encode("utf-16"), "not valid JSON: 'utf-8' codec"),
    "half a surrogate pair": (rb'{"a": "\ud800"}', "not valid JSON: half a surrogate pair"),
    "NaN": (b'{"a": NaN}', "not valid JSON: NaN"),
    "1e999": (b'{"a": 1e999}', "not valid JSON: the number 1e999 is out of range"),
    "5000 digits": (b'{"a": ' + b"1" * 5000 + b"}", "not valid JSON: a number of 5000"),
    "layers twice": (b'{"layers": [], "layers": [1]}', "not valid JSON: the name 'layers'"),
    "100000 levels": (b'{"a":' * 100_000, "not valid JSON: nested deeper than 64 levels"),
}


@pytest.mark.parametrize(("body", "start"), BODIES.values(), ids=BODIES.keys())
def test_what_is_no_json_object_is_refused(body: bytes, start: str) -> None:
    """A body that is not one well-formed JSON object is MANIFEST_INVALID."""
    assert detail_of(body, oci.OCI_MANIFEST).startswith(start)


BAD_TYPES = {
    "neither": (None, None, "neither a Content-Type nor a mediaType"),
    "both empty": ("", "", "neither a Content-Type nor a mediaType"),
    "two types": (oci.OCI_MANIFEST, oci.DOCKER_MANIFEST, "mediaType: is 'application/vnd.oci"),
    "another case": (oci.OCI_MANIFEST, oci.OCI_MANIFEST.upper(), "mediaType: is "),
    "a page": (None, "text/html", "'text/html' is not a type of manifest taken here: "),
    "a form": (None, "application/x-www-form-urlencoded", "'application/x-www-form-urlencoded'"),
    "JSON": (None, "application/json", "'application/json' is not a type"),
    "schema 1": (
        None,
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "'application/vnd.docker.distribution.manifest.v1+prettyjws' is not a type",
    ),
    "a config": (CONFIG_TYPE, None, f"'{CONFIG_TYPE}' is not a type"),
    "a line break inside": (None, "application/a\r\nX-Evil: 1", "malformed Content-Type: "),
    "a line break after": (None, oci.OCI_MANIFEST + "\n", "malformed Content-Type: "),
    "a line break in a parameter": (None, oci.OCI_MANIFEST + ";a\r\nb", "malformed Content-Type"),
    "a NUL": (None, oci.OCI_MANIFEST + "\0", "malformed Content-Type: "),
    "two in one header": (None, f"{oci.OCI_MANIFEST}, text/html", "malformed Content-Type: "),
    "1 KiB": (None, "application/" + "a" * 1012, "malformed Content-Type: "),
    "1 KiB of parameters": (None, oci.OCI_MANIFEST + ";" + "a" * 1024, "malformed Content-Type: "),
    "blank": (None, " ", "malformed Content-Type: "),
    "parameters alone": (None, ";charset=utf-8", "malformed Content-Type: "),
    "a mediaType that is a number": (0, oci.OCI_MANIFEST, "mediaType: not a string"),
    "a mediaType that is a list": ([oci.OCI_MANIFEST], None, "mediaType: not a string"),
}


@pytest.mark.parametrize(("declared", "sent", "start"), BAD_TYPES.values(), ids=BAD_TYPES.keys())
def test_a_type_that_is_unclear_or_unknown_is_refused(
    declared: object, sent: str | None, start: str
) -> None:
    """A media type that is missing, ambiguous, malformed or not interpreted is refused."""
    body = json.dumps(image(mediaType=declared)).encode()

    assert detail_of(body, sent).startswith(start)


SHAPES = {
    "an index with layers": (index(CHILD, layers=[]), "layers: an index has none"),
    "an index with a config": (index(config=describe(b"")), "config: an index has none"),
    "an index with fsLayers": (index(fsLayers=[]), "fsLayers: an index has none"),
    "an index with layers null": (index(layers=None), "layers: an index has none"),
    "an image with manifests": (image(manifests=[]), "manifests: an image manifest has none"),
    "an image with fsLayers": (image(fsLayers=[]), "fsLayers: an image manifest has none"),
    "an index that says image": (
        index(CHILD, mediaType=oci.OCI_MANIFEST),
        "manifests: an image manifest has none",
    ),
    "an image that says index": (
        image(mediaType=oci.DOCKER_LIST),
        "config: an index has none",
    ),
    "an artifact manifest with layers": (
        {"mediaType": oci.OCI_ARTIFACT, "layers": []},
        "layers: an artifact manifest has none",
    ),
    "an artifact manifest with manifests": (
        {"mediaType": oci.OCI_ARTIFACT, "manifests": []},
        "manifests: an artifact manifest has none",
    ),
    "Layers beside layers": (image(Layers=[]), "Layers: some readers take this for layers"),
    "Manifests in an image": (image(Manifests=[]), "Manifests: some readers take this for"),
    "a long s in fsLayers": (image() | {"f\u017fLayers": []}, "f\u017fLayers: some readers take"),
    "MediaType alone": (
        without(image(MediaType=oci.OCI_INDEX), "mediaType"),
        "MediaType: some readers take this for mediaType",
    ),
    "no config": (without(image(), "config"), "config: missing"),
    "config null": (image(config=None), "config: a descriptor is an object"),
    "no layers": (without(image(), "layers"), "layers: missing"),
    "layers an object": (image(layers={}), "layers: not a list"),
    "no manifests": (without(index(), "manifests"), "manifests: missing"),
    "manifests a string": (index(manifests=""), "manifests: not a list"),
    "no schemaVersion": (without(image(), "schemaVersion"), "schemaVersion: missing"),
    "schemaVersion 1": (image(schemaVersion=1), "schemaVersion: not 2"),
    "schemaVersion 2.0": (index(schemaVersion=2.0), "schemaVersion: not 2"),
    "schemaVersion a string": (index(schemaVersion="2"), "schemaVersion: not 2"),
    "schemaVersion true": (image(schemaVersion=True), "schemaVersion: not 2"),
    "schema 1 that says schema 2": (
        {"schemaVersion": 1, "mediaType": oci.DOCKER_MANIFEST, "fsLayers": [], "history": []},
        "fsLayers: an image manifest has none",
    ),
    "annotations a list": (image(annotations=[]), "annotations: not an object"),
    "an annotation that is a number": (index(annotations={"a": 1}), "annotations.a: not a string"),
    "an annotation that is null": (index(annotations={"a": None}), "annotations.a: not a string"),
    "artifactType a number": (image(artifactType=1), "artifactType: not a media type"),
    "artifactType without a slash": (index(artifactType="sbom"), "artifactType: not a media type"),
    "subject a string": (image(subject="sha256:"), "subject: a descriptor is an object"),
    "subject without a size": (
        index(subject=without(CHILD, "size")),
        "subject.size: missing, or not a whole number",
    ),
    "a digest with two sizes": (
        image(describe(b"a"), describe(b"a") | {"size": 2}),
        f"{Digest.of(b'a')} is listed with sizes 1 and 2",
    ),
    "a config and a layer with two sizes": (
        image(describe(b"config") | {"size": 7}),
        f"{Digest.of(b'config')} is listed with sizes 6 and 7",
    ),
    "a child and the subject with two sizes": (
        index(CHILD, subject=CHILD | {"size": 6}),
        f"{Digest.of(b'child')} is listed with sizes 5 and 6",
    ),
}


@pytest.mark.parametrize(("document", "start"), SHAPES.values(), ids=SHAPES.keys())
def test_a_document_of_the_wrong_shape_is_refused(document: Json, start: str) -> None:
    """A document that lacks a member, or could be taken for another kind, is refused."""
    assert detail_of(json.dumps(document).encode()).startswith(start)


PLACES: dict[str, Callable[[Any], Json]] = {
    "config": lambda bad: image(config=bad),
    "subject": lambda bad: image(subject=bad),
    "layers[2]": lambda bad: image(describe(b"1"), describe(b"2"), bad),
    "manifests[1]": lambda bad: index(CHILD, bad),
    "blobs[0]": lambda bad: {"mediaType": oci.OCI_ARTIFACT, "blobs": [bad]},
}


@pytest.mark.parametrize("place", PLACES)
def test_a_bad_descriptor_is_refused_wherever_it_stands(place: str) -> None:
    """A malformed descriptor is refused, and the detail says where it stands."""
    document = PLACES[place](describe(b"a") | {"urls": ["https://a", "file:///etc/passwd"]})

    detail = detail_of(json.dumps(document).encode())

    assert detail == f"{place}.urls[1]: not an http or https URL"


def test_a_detail_stays_short_whatever_was_sent() -> None:
    """The detail repeats no more than a part of a long name or type."""
    documents = [
        image(annotations={"k" * 100_000: 1}),
        image(mediaType="a" * 100_000),
        {"x" * 100_000: 1},
    ]

    assert all(len(detail_of(json.dumps(document).encode())) < 1000 for document in documents)


# --- The referrers tag ----------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_the_referrers_tag_is_the_digest_cut_to_64_characters(algorithm: str) -> None:
    """The referrers tag is a tag: the algorithm, a hyphen and 64 characters of the hash."""
    digest = Digest(f"{algorithm}:{'a' * 64}{'b' * (64 if algorithm == 'sha512' else 0)}")

    tag = referrers_tag(digest)

    assert tag == f"{algorithm}-{'a' * 64}"
    assert Tag.maybe(tag) is not None


# --- Properties -----------------------------------------------------------------------------------

MEDIA_TYPES = st.from_regex(
    r"[A-Za-z0-9][a-z0-9.+-]{0,20}/[a-z0-9][a-z0-9.+-]{0,20}", fullmatch=True
)
CONTENT = st.binary(max_size=8)


@st.composite
def descriptors(draw: st.DrawFn, media_types: st.SearchStrategy[str] = MEDIA_TYPES) -> Json:
    """Valid descriptors, with and without what is optional."""
    content = draw(CONTENT)
    algorithm = draw(st.sampled_from(["sha256", "sha512"]))
    optional: dict[str, Any] = {
        "annotations": st.dictionaries(st.text(), st.text(), max_size=2),
        "artifactType": MEDIA_TYPES,
        "data": st.just(base64.b64encode(content).decode()),
        "platform": st.fixed_dictionaries({"os": st.text(), "architecture": st.text()}),
        "urls": st.lists(st.just("https://example.com/x"), max_size=2),
    }
    members = draw(st.fixed_dictionaries({}, optional=optional))
    return describe(content, draw(media_types), algorithm=algorithm, **members)


@st.composite
def manifests(draw: st.DrawFn) -> Json:
    """Valid manifests of the kinds in use."""
    members = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "annotations": st.dictionaries(st.text(), st.text(), max_size=3),
                "artifactType": MEDIA_TYPES,
                "subject": descriptors(),
                "org.example.custom": st.text(),
            },
        )
    )
    if draw(st.booleans()):
        layer_types = MEDIA_TYPES | st.sampled_from(sorted(oci.FOREIGN_LAYERS))
        layers = draw(st.lists(descriptors(layer_types), max_size=6))
        types = st.sampled_from([oci.OCI_MANIFEST, oci.DOCKER_MANIFEST])
        return image(*layers, config=draw(descriptors()), mediaType=draw(types), **members)
    child_types = MEDIA_TYPES | st.sampled_from(oci.MANIFEST_TYPES)
    listed = draw(st.lists(descriptors(child_types), max_size=6))
    return index(
        *listed, mediaType=draw(st.sampled_from([oci.OCI_INDEX, oci.DOCKER_LIST])), **members
    )


@settings(deadline=None)
@given(manifests(), st.booleans())
def test_a_valid_manifest_loses_nothing(document: Json, escaped: bool) -> None:
    """Every digest that a valid manifest lists is recorded, once in a group, as it was listed."""
    body = json.dumps(document, ensure_ascii=escaped).encode()

    manifest = parse_manifest(body, document["mediaType"] + "; charset=utf-8")

    config = [document["config"]] if "config" in document else []
    listed = read(*config, *document.get("layers", []), *document.get("manifests", []))
    groups = (manifest.blobs, manifest.foreign, manifest.children)
    assert {d.digest for group in groups for d in group} == {d.digest for d in listed}
    assert all(d in listed for group in groups for d in group)
    assert all(len({d.digest for d in group}) == len(group) for group in groups)
    assert all(d.media_type in oci.FOREIGN_LAYERS for d in manifest.foreign)
    assert all(d.media_type in oci.MANIFEST_TYPES for d in manifest.children)
    assert manifest.media_type == document["mediaType"]
    assert manifest.annotations == document.get("annotations", {})
    subject = document.get("subject")
    assert manifest.subject == (read(subject)[0] if subject else None)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = [*image(), *index(), "subject", "blobs", "fsLayers", "artifactType", "annotations"]
CONTENT_TYPES = st.none() | st.sampled_from(oci.MANIFEST_TYPES) | st.text()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The bytes of a valid manifest with a piece replaced."""
    body = json.dumps(draw(manifests())).encode()
    start = draw(st.integers(0, len(body)))
    end = draw(st.integers(start, min(len(body), start + 8)))
    return body[:start] + draw(st.binary(max_size=4)) + body[end:]


@st.composite
def distorted(draw: st.DrawFn) -> bytes:
    """A manifest, as bytes, with one member of it or of one of its descriptors replaced."""
    document = draw(manifests())
    places = [document, *(d for d in (document.get("config"), document.get("subject")) if d)]
    places += document.get("layers", []) + document.get("manifests", [])
    place = draw(st.sampled_from(places))
    place[draw(st.sampled_from([*place, *MEMBERS, "data", "urls", "platform"]))] = draw(JSON_VALUES)
    return json.dumps(document).encode()


@settings(deadline=None, max_examples=300)
@given(
    st.binary()
    | JSON_VALUES.map(lambda value: json.dumps(value).encode())
    | damaged()
    | distorted(),
    CONTENT_TYPES,
)
def test_any_bytes_give_a_manifest_or_manifest_invalid(
    body: bytes, content_type: str | None
) -> None:
    """Whatever is sent is read, or refused with MANIFEST_INVALID and a detail for the answer."""
    try:
        manifest = parse_manifest(body, content_type)
    except RegistryError as error:
        refused = error
    else:
        assert manifest.media_type in oci.MANIFEST_TYPES
        return

    assert refused.row is MANIFEST_INVALID
    assert json.dumps(refused.detail, ensure_ascii=False).encode()
