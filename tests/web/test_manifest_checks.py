"""What is checked before a manifest is kept; the forms of JSON are tested in ``test_oci.py``."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.images import CONFIG, INDEX, LAYER, MANIFEST, descriptor, encode, sha256
from support.pushes import (
    EMPTY,
    UNKNOWN_DIGEST,
    image,
    index,
    push_artifact,
    push_blob,
    push_image,
    put_manifest,
)
from support.variants import Variants
from support.verbs import Verbs

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
LAYER_BYTES = b"layer"


@pytest.fixture(scope="module")
def checked(http: Verbs) -> str:
    """A repository that has the config ``{}`` and one layer, and an image of both."""
    for blob in (EMPTY, LAYER_BYTES):
        push_blob(http, "test/checked", blob)
    put_manifest(http, "/v2/test/checked/manifests/good", image(EMPTY, LAYER_BYTES))
    return "test/checked"


def good(**more: Any) -> dict[str, Any]:
    """A manifest that is taken, with members changed."""
    return image(EMPTY, LAYER_BYTES, **more)


def layer(**more: Any) -> dict[str, Any]:
    """A manifest whose one layer's descriptor has members changed."""
    return good(layers=[{**descriptor(LAYER, LAYER_BYTES), **more}])


def text(document: dict[str, Any], old: str, new: str) -> bytes:
    """A document as bytes, with some of its text replaced by what no encoder writes."""
    return encode(document).decode().replace(old, new).encode("utf-8", "surrogatepass")


def deep(levels: int) -> bytes:
    """A manifest with this many arrays in one another."""
    return text(good(x=0), '"x":0', f'"x":{"[" * levels}{"]" * levels}')


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "not-json": b"{",
    "array": b"[]",
    "string": b'""',
    "null": b"null",
    "number": b"1",
    "two-documents": encode(good()) * 2,
    "invalid-utf-8": text(good(x="?"), "?", "\udcff").replace(b"\xed\xb3\xbf", b"\xff"),
    "byte-order-mark": b"\xef\xbb\xbf" + encode(good()),
    "utf-16": encode(good()).decode().encode("utf-16"),
    "lone-surrogate": text(good(x="?"), "?", "\\ud800"),
    "lone-surrogate-in-a-name": text(good(x=1), '"x"', '"\\udfff"'),
    "raw-surrogate": text(good(x="?"), "?", "\ud800"),
    "nan": text(good(x=0), ":0}", ":NaN}"),
    "infinity": text(good(x=0), ":0}", ":-Infinity}"),
    "1e999": text(good(x=0), ":0}", ":1e999}"),
    "5000-digits": text(good(x=0), ":0}", f":{'9' * 5000}}}"),
    "duplicate-name": text(good(x=0), '"x":0', '"layers":[]'),
    "duplicate-name-deeper": text(layer(x=0), '"x":0', '"size":5'),
    "depth-100": deep(100),
    "depth-100000": deep(100_000),
    "case-twin": encode(good(Layers=[])),
    "case-twin-in-a-descriptor": encode(layer(Digest=sha256(b"x"))),
    "schema-version-1": encode(good(schemaVersion=1)),
    "schema-version-text": encode(good(schemaVersion="2")),
    "no-schema-version": encode({k: v for k, v in good().items() if k != "schemaVersion"}),
    "no-config": encode({k: v for k, v in good().items() if k != "config"}),
    "no-layers": encode({k: v for k, v in good().items() if k != "layers"}),
    "manifests-and-layers": encode(good(manifests=[])),
    "index-with-config": encode({**index(), "config": descriptor(CONFIG, EMPTY)}),
    "index-with-layers": encode({**index(), "layers": []}),
    "signed-schema-1": encode({"schemaVersion": 1, "fsLayers": [], "signatures": []}),
    "other-media-type": encode(good(mediaType=DOCKER)),
    "media-type-no-string": encode(good(mediaType=1)),
    "size-other": encode(layer(size=6)),
    "size-zero": encode(layer(size=0)),
    "size-negative": encode(layer(size=-1)),
    "size-float": encode(layer(size=5.0)),
    "size-text": encode(layer(size="5")),
    "size-true": encode(layer(size=True)),
    "size-2^63": encode(layer(size=2**63)),
    "size-missing": encode(good(layers=[{"mediaType": LAYER, "digest": sha256(LAYER_BYTES)}])),
    "digest-short": encode(layer(digest="sha256:short")),
    "digest-missing": encode(layer(digest=None)),
    "digest-upper-case": encode(layer(digest=sha256(LAYER_BYTES).upper())),
    "digest-unknown-algorithm": encode(layer(digest=f"md5:{'a' * 32}")),
    "digest-path": encode(layer(digest="sha256:../../../etc/passwd")),
    "layer-no-object": encode(good(layers=["x"])),
    "layers-no-list": encode(good(layers={})),
    "layer-type-missing": encode(layer(mediaType=None)),
    "layer-type-nonsense": encode(layer(mediaType="text")),
    "data-other": encode(layer(data="b3RoZXI=")),
    "data-no-base64": encode(layer(data="!")),
    "url-file": encode(layer(urls=["file:///etc/passwd"])),
    "url-javascript": encode(layer(urls=["javascript:alert(1)"])),
    "urls-no-list": encode(layer(urls="https://example.test")),
    "annotation-number": encode(good(annotations={"a": 1})),
    "annotations-list": encode(good(annotations=["a"])),
    "artifact-type-nonsense": encode(good(artifactType="a b")),
    "subject-no-object": encode(good(subject="x")),
    "subject-bad-digest": encode(good(subject={**descriptor(MANIFEST, b""), "digest": "x"})),
}
INDEXES = {"index-with-config", "index-with-layers"}


@pytest.mark.parametrize("name", BODIES)
def test_what_is_no_good_manifest_is_refused(http: Verbs, checked: str, name: str) -> None:
    """400 MANIFEST_INVALID with a reason, and nothing is stored nor tagged."""
    body = BODIES[name]
    kind = INDEX if name in INDEXES else MANIFEST
    answer = http.put(f"/v2/{checked}/manifests/bad", body, 400, Content_Type=kind)
    (error,) = answer.json()["errors"]

    assert error["code"] == "MANIFEST_INVALID"
    assert error["detail"]
    http.head(f"/v2/{checked}/manifests/bad", 404)
    http.head(f"/v2/{checked}/manifests/{sha256(body)}", 404)


def test_the_manifest_they_were_made_from_is_good(http: Verbs, checked: str) -> None:
    """Without the fault each of them would have been taken."""
    put_manifest(http, f"/v2/{checked}/manifests/good", good(x=0))
    put_manifest(http, f"/v2/{checked}/manifests/good", layer(urls=["https://example.test"]))


@pytest.mark.parametrize(
    "sent",
    [
        "text/html",
        "application/json",
        DOCKER,
        SCHEMA1,
        "application/vnd.oci.image.manifest.v2+json",
        f"x{MANIFEST}",
        f"{MANIFEST}, {MANIFEST}",
        f"application/{'x' * 1024}",
        f"{MANIFEST.upper()}",
        "\xe9",
        ";",
    ],
)
def test_a_content_type_that_is_not_the_media_type_is_refused(
    http: Verbs, checked: str, sent: str
) -> None:
    """400 MANIFEST_INVALID when the request says otherwise than the manifest."""
    answer = put_manifest(http, f"/v2/{checked}/manifests/bad", good(), 400, Content_Type=sent)

    assert answer.json()["errors"][0]["code"] == "MANIFEST_INVALID"


@pytest.mark.parametrize(
    "sent", [f"{MANIFEST}; charset=utf-8", f"{MANIFEST};x=y", f" {MANIFEST} ", ""]
)
def test_parameters_of_a_content_type_are_ignored(http: Verbs, checked: str, sent: str) -> None:
    """What follows a semicolon does not count, nor a header without a value; GET has none."""
    put_manifest(http, f"/v2/{checked}/manifests/good", good(), Content_Type=sent)

    assert http.get(f"/v2/{checked}/manifests/good")["Content-Type"] == MANIFEST


def test_a_manifest_that_nothing_names_the_type_of_is_refused(http: Verbs, checked: str) -> None:
    """400 MANIFEST_INVALID with neither Content-Type nor ``mediaType``."""
    document = {k: v for k, v in good().items() if k != "mediaType"}
    answer = http.put(f"/v2/{checked}/manifests/bad", encode(document), 400)

    assert answer.json()["errors"][0]["code"] == "MANIFEST_INVALID"


def test_each_missing_blob_is_named(http: Verbs, checked: str) -> None:
    """400 with one MANIFEST_BLOB_UNKNOWN for each digest that is not there, and no other."""
    absent = [b"absent one", b"absent two"]
    document = image(b"absent config", absent[0], LAYER_BYTES, absent[1], absent[0])
    errors = put_manifest(http, f"/v2/{checked}/manifests/bad", document, 400).json()["errors"]

    assert {error["code"] for error in errors} == {"MANIFEST_BLOB_UNKNOWN"}
    assert [error["detail"] for error in errors] == [
        sha256(content) for content in (b"absent config", *absent)
    ]
    http.head(f"/v2/{checked}/manifests/bad", 404)


def test_a_blob_of_another_repository_is_missing(
    http: Verbs, checked: str, repository: str
) -> None:
    """What a manifest needs has to be in its own repository."""
    answer = put_manifest(http, f"/v2/{repository}/manifests/v1", good(), 400)

    assert [error["detail"] for error in answer.json()["errors"]] == [
        sha256(EMPTY),
        sha256(LAYER_BYTES),
    ]
    http.get(f"/v2/{repository}/tags/list", 404)
    http.head(f"/v2/{checked}/blobs/{sha256(EMPTY)}")


def test_a_missing_child_is_named(http: Verbs, checked: str) -> None:
    """400 MANIFEST_BLOB_UNKNOWN for a child of an index that is not there."""
    absent = descriptor(MANIFEST, b"absent")
    answer = put_manifest(http, f"/v2/{checked}/manifests/bad", index(absent), 400)
    (error,) = answer.json()["errors"]

    assert (error["code"], error["detail"]) == ("MANIFEST_BLOB_UNKNOWN", absent["digest"])


def test_a_child_of_another_size_is_refused(http: Verbs, repository: str) -> None:
    """An index that tells another size than a child has gets 400 MANIFEST_INVALID."""
    pushed = push_image(http, repository)
    wrong = {**pushed.descriptor, "size": len(pushed.body) + 1}
    answer = put_manifest(http, f"/v2/{repository}/manifests/multi", index(wrong), 400)

    assert answer.json()["errors"][0]["code"] == "MANIFEST_INVALID"


def test_a_blob_is_no_child(http: Verbs, checked: str) -> None:
    """Content that is there as a blob only does not stand in for a manifest."""
    child = {**descriptor(LAYER, LAYER_BYTES), "mediaType": MANIFEST}

    put_manifest(http, f"/v2/{checked}/manifests/bad", index(child), 400)


def test_a_foreign_layer_need_not_be_there(http: Verbs, checked: str) -> None:
    """A layer that clients fetch from elsewhere is no missing blob."""
    kind = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    foreign = {"mediaType": kind, "digest": UNKNOWN_DIGEST, "size": 9, "urls": ["https://x.test"]}

    put_manifest(http, f"/v2/{checked}/manifests/good", good(layers=[foreign]))


def test_a_subject_need_not_be_there(http: Verbs, checked: str) -> None:
    """A manifest may be pushed before its subject, and its answer names that."""
    subject = descriptor(MANIFEST, b"to come")
    answer = put_manifest(http, f"/v2/{checked}/manifests/good", good(subject=subject))

    assert answer["OCI-Subject"] == subject["digest"]


def test_a_chain_of_subjects_is_taken(http: Verbs, repository: str) -> None:
    """A hundred manifests, each about the one before, are pushed, listed and deleted."""
    chain = [push_artifact(http, repository)]
    for _ in range(100):
        chain.append(push_artifact(http, repository, subject=chain[-1].descriptor))
    listed = http.get(f"/v2/{repository}/referrers/{chain[0].digest}").json()["manifests"]
    http.delete(f"/v2/{repository}/manifests/{chain[0].digest}")

    assert [entry["digest"] for entry in listed] == [chain[1].digest]
    assert http.get(f"/v2/{repository}/manifests/{chain[-1].digest}").body == chain[-1].body


def test_as_many_layers_as_fit_are_each_looked_for(http: Verbs, checked: str) -> None:
    """25 000 layers that are not there are 25 000 errors, soon."""
    one = json.dumps(descriptor(LAYER, LAYER_BYTES), separators=(",", ":"))
    digest = sha256(LAYER_BYTES)
    layers = ",".join(one.replace(digest, f"sha256:{number:064x}") for number in range(25_000))
    body = encode(good(layers=[])).decode().replace("[]", f"[{layers}]").encode()
    answer = http.put(f"/v2/{checked}/manifests/bad", body, 400, Content_Type=MANIFEST)

    assert len(answer.json()["errors"]) == 25_000


def test_a_large_annotation_is_taken(http: Verbs, repository: str) -> None:
    """A mebibyte of text in one annotation is kept, and shown among the referrers."""
    note = "x" * (1 << 20)
    subject = push_artifact(http, repository)
    push_artifact(http, repository, subject=subject.descriptor, annotations={"note": note})
    (entry,) = http.get(f"/v2/{repository}/referrers/{subject.digest}").json()["manifests"]

    assert entry["annotations"] == {"note": note}


@pytest.fixture(scope="module")
def sparse() -> Iterator[Verbs]:
    """A client of a server that takes sparse indexes."""
    with Variants({"sparse": "[manifests]\nsparse_indexes = true\n"}) as servers:
        yield servers["sparse"].http


def test_a_sparse_index_is_taken_where_that_is_set(sparse: Verbs) -> None:
    """With ``manifests.sparse_indexes`` an index may lack children, but not tell a wrong size."""
    pushed = push_image(sparse, "team/sparse")
    absent = descriptor(MANIFEST, b"absent")
    path = "/v2/team/sparse/manifests/multi"
    put_manifest(sparse, path, index(pushed.descriptor, absent))

    assert sparse.get(path).json()["manifests"] == [pushed.descriptor, absent]
    put_manifest(sparse, path, index({**pushed.descriptor, "size": 1}), 400)


def test_a_sparse_index_is_the_only_exception(sparse: Verbs) -> None:
    """The blobs of an image have to be there nevertheless."""
    path = "/v2/team/sparse/manifests/v1"
    answer = put_manifest(sparse, path, image(b"absent"), 400)

    assert answer.json()["errors"][0]["code"] == "MANIFEST_BLOB_UNKNOWN"
