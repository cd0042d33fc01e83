"""Referrers: end-12 of the spec, and what clients of older registries left under a tag."""

import itertools
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from support.images import INDEX, MANIFEST, descriptor, encode, sha256
from support.pushes import (
    EMPTY,
    EMPTY_TYPE,
    UNKNOWN_DIGEST,
    Pushed,
    artifact,
    image,
    index,
    push_artifact,
    push_blob,
    push_image,
    push_manifest,
    put_manifest,
    sha512,
)
from support.variants import Variants
from support.verbs import Answer, Verbs

SBOM = "application/vnd.test.sbom+json"
SIGNATURE = "application/vnd.test.signature"


@pytest.fixture
def subject(http: Verbs, repository: str) -> Pushed:
    """An image that others refer to."""
    return push_image(http, repository, "v1")


def refer(
    http: Verbs, repository: str, subject: dict[str, Any], kind: str = SBOM, number: int = 0
) -> Pushed:
    """Push an artifact about a subject."""
    note = {"number": str(number)}
    return push_artifact(http, repository, subject=subject, artifactType=kind, annotations=note)


def entries(answer: Answer) -> list[dict[str, Any]]:
    """The descriptors in an answer."""
    found: list[dict[str, Any]] = answer.json()["manifests"]
    return found


def test_referrers_are_an_index_of_what_refers(
    http: Verbs, repository: str, subject: Pushed
) -> None:
    """Each is there with type, digest, size, artifact type and annotations, in an OCI index."""
    pushed = refer(http, repository, subject.descriptor)
    answer = http.get(f"/v2/{repository}/referrers/{subject.digest}")

    assert answer["Content-Type"] == INDEX
    assert answer.headers["OCI-Filters-Applied"] is None
    assert answer.headers["Link"] is None
    assert answer.json() == {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{**pushed.descriptor, "artifactType": SBOM, "annotations": {"number": "0"}}],
    }


def test_the_artifact_type_may_come_from_the_config(
    http: Verbs, repository: str, subject: Pushed
) -> None:
    """An image without ``artifactType`` has its config's type; one without notes has none."""
    for blob in (EMPTY, b"layer"):
        push_blob(http, repository, blob)
    document = image(EMPTY, b"layer", subject=subject.descriptor)
    document["config"]["mediaType"] = "application/vnd.test.config"
    push_manifest(http, repository, document)
    (entry,) = entries(http.get(f"/v2/{repository}/referrers/{subject.digest}"))

    assert entry["artifactType"] == "application/vnd.test.config"
    assert "annotations" not in entry


@pytest.mark.parametrize("kind", [SBOM, None], ids=["with-type", "without"])
def test_an_index_refers_too(
    http: Verbs, repository: str, subject: Pushed, kind: str | None
) -> None:
    """An index with a subject is listed; without ``artifactType`` it has none."""
    more = {} if kind is None else {"artifactType": kind}
    pushed = push_manifest(http, repository, index(subject=subject.descriptor, **more))
    (entry,) = entries(http.get(f"/v2/{repository}/referrers/{subject.digest}"))

    assert (entry["mediaType"], entry["digest"]) == (INDEX, pushed.digest)
    assert entry.get("artifactType") == kind


@pytest.mark.parametrize("digest", [UNKNOWN_DIGEST, f"sha512:{'0' * 128}"], ids=["256", "512"])
def test_an_unknown_subject_has_no_referrers(
    http: Verbs, repository: str, subject: Pushed, digest: str
) -> None:
    """200 with an empty index for what nothing refers to, in any repository."""
    for name in (repository, f"{repository}/unknown"):
        answer = http.get(f"/v2/{name}/referrers/{digest}")
        assert (answer["Content-Type"], entries(answer)) == (INDEX, [])
    assert digest != subject.digest


@pytest.mark.parametrize("digest", ["sha256:short", "latest", f"md5:{'a' * 32}", "%00"])
def test_a_malformed_subject_is_refused(
    http: Verbs, repository: str, subject: Pushed, digest: str
) -> None:
    """400 DIGEST_INVALID, even if it is a tag."""
    answer = http.get(f"/v2/{repository}/referrers/{digest}", 400)

    assert answer.json()["errors"][0]["code"] == "DIGEST_INVALID"
    assert digest != subject.digest


def test_referrers_may_come_first(http: Verbs, repository: str) -> None:
    """What was pushed before its subject is listed before and after that is there."""
    config = b'{"late":true}'
    document = image(config)
    late = descriptor(MANIFEST, encode(document))
    pushed = refer(http, repository, late)
    before = http.get(f"/v2/{repository}/referrers/{late['digest']}").body
    push_blob(http, repository, config)
    push_manifest(http, repository, document)

    assert pushed.digest.encode() in before
    assert http.get(f"/v2/{repository}/referrers/{late['digest']}").body == before


def test_a_subject_of_another_size_is_refused(
    http: Verbs, repository: str, subject: Pushed
) -> None:
    """When the subject is there its size has to be the one told."""
    wrong = {**subject.descriptor, "size": 1}
    push_blob(http, repository, EMPTY)

    put_manifest(http, f"/v2/{repository}/manifests/bad", artifact(subject=wrong), 400)


def test_a_subject_of_sha512_has_referrers(http: Verbs, repository: str) -> None:
    """The digest in ``subject`` is of either algorithm."""
    body = encode(artifact(annotations={"by": "sha512"}))
    push_blob(http, repository, EMPTY)
    http.put(f"/v2/{repository}/manifests/{sha512(body)}", body, Content_Type=MANIFEST)
    named = {"mediaType": MANIFEST, "digest": sha512(body), "size": len(body)}
    pushed = refer(http, repository, named)
    (entry,) = entries(http.get(f"/v2/{repository}/referrers/{sha512(body)}"))

    assert entry["digest"] == pushed.digest


def test_referrers_are_of_one_repository(http: Verbs, repository: str, subject: Pushed) -> None:
    """What refers to the same digest elsewhere is not shown."""
    refer(http, f"{repository}/other", subject.descriptor)

    assert entries(http.get(f"/v2/{repository}/referrers/{subject.digest}")) == []


def test_a_deleted_referrer_is_not_listed(http: Verbs, repository: str, subject: Pushed) -> None:
    """After DELETE it is gone, and the others stay."""
    first, second = (refer(http, repository, subject.descriptor, number=n) for n in range(2))
    http.delete(f"/v2/{repository}/manifests/{first.digest}")
    (entry,) = entries(http.get(f"/v2/{repository}/referrers/{subject.digest}"))

    assert entry["digest"] == second.digest


def test_a_filter_leaves_out_other_types(http: Verbs, repository: str, subject: Pushed) -> None:
    """``artifactType`` selects, and the header says that it did."""
    wanted = refer(http, repository, subject.descriptor, SBOM)
    refer(http, repository, subject.descriptor, SIGNATURE)
    path = f"/v2/{repository}/referrers/{subject.digest}"

    for spelling in (SBOM, SBOM.replace("/", "%2F").replace("+", "%2B")):
        answer = http.get(f"{path}?artifactType={spelling}")
        assert [entry["digest"] for entry in entries(answer)] == [wanted.digest]
        assert answer["OCI-Filters-Applied"] == "artifactType"


@pytest.mark.parametrize(
    "kind", ["text/plain; charset=utf-8", "a/b+c ;x=1 + 2; y=z", "a/b+c;d", "a/b+"]
)
@pytest.mark.parametrize("plus", ["+", "%2B"])
def test_a_filter_finds_every_type_that_is_taken(
    http: Verbs, repository: str, subject: Pushed, kind: str, plus: str
) -> None:
    """Spaces of its parameters are spaces; a plus sign before them need not be escaped."""
    pushed = refer(http, repository, subject.descriptor, kind)
    name, *parameters = kind.partition(";")
    spelled = quote(name).replace("%2B", plus) + quote("".join(parameters))
    path = f"/v2/{repository}/referrers/{subject.digest}"
    (entry,) = entries(http.get(f"{path}?artifactType={spelled}"))

    assert (entry["digest"], entry["artifactType"]) == (pushed.digest, kind)


@pytest.mark.parametrize("kind", ["application/vnd.test.none", "%00", "x" * 2000, "'%22--"])
def test_a_filter_may_leave_nothing(
    http: Verbs, repository: str, subject: Pushed, kind: str
) -> None:
    """An empty index, and the header, when nothing has the type, whatever it is."""
    refer(http, repository, subject.descriptor)
    answer = http.get(f"/v2/{repository}/referrers/{subject.digest}?artifactType={kind}")

    assert entries(answer) == []
    assert answer["OCI-Filters-Applied"] == "artifactType"


def test_an_empty_filter_is_none(http: Verbs, repository: str, subject: Pushed) -> None:
    """``?artifactType=`` selects everything, and no header claims otherwise."""
    refer(http, repository, subject.descriptor)
    answer = http.get(f"/v2/{repository}/referrers/{subject.digest}?artifactType=")

    assert len(entries(answer)) == 1
    assert answer.headers["OCI-Filters-Applied"] is None


def test_a_filter_that_comes_twice_is_refused(
    http: Verbs, repository: str, subject: Pushed
) -> None:
    """400 UNSUPPORTED, for only one of them could be applied."""
    path = f"/v2/{repository}/referrers/{subject.digest}?artifactType=a/b&artifactType=c/d"

    assert http.get(path, 400).json()["errors"][0]["code"] == "UNSUPPORTED"


def test_what_was_pushed_under_the_fallback_tag_is_listed(
    http: Verbs, repository: str, subject: Pushed
) -> None:
    """A manifest that a client also put into the index at ``sha256-HEX`` is listed once."""
    pushed = refer(http, repository, subject.descriptor)
    tag = subject.digest.replace(":", "-")
    fallback = index({**pushed.descriptor, "artifactType": SBOM})
    put_manifest(http, f"/v2/{repository}/manifests/{tag}", fallback)
    listed = entries(http.get(f"/v2/{repository}/referrers/{subject.digest}"))

    assert [entry["digest"] for entry in listed] == [pushed.digest]
    assert http.get(f"/v2/{repository}/manifests/{tag}").json() == fallback


def follow(http: Verbs, path: str) -> Iterator[Answer]:
    """The pages from a path on, by their ``Link``."""
    following: str | None = path
    while following is not None:
        answer = http.get(following)
        yield answer
        link = answer.headers["Link"]
        following = None if link is None else link.removesuffix('>; rel="next"').removeprefix("<")
        assert following is None or following.startswith("/v2/")


@pytest.mark.parametrize("query", ["?n=2", f"?n=2&artifactType={SBOM.replace('+', '%2B')}"])
def test_referrers_are_paged(http: Verbs, repository: str, subject: Pushed, query: str) -> None:
    """Pages of ``n`` hold every referrer once, the filter stays on, and the last has no Link."""
    pushed = [refer(http, repository, subject.descriptor, number=n).digest for n in range(5)]
    other = refer(http, repository, subject.descriptor, SIGNATURE).digest
    pages = list(follow(http, f"/v2/{repository}/referrers/{subject.digest}{query}"))
    found = [entry["digest"] for page in pages for entry in entries(page)]

    filtered = "artifactType" in query
    assert found == sorted(pushed if filtered else [*pushed, other])
    assert [len(entries(page)) for page in pages] == ([2, 2, 1] if filtered else [2, 2, 2])
    for page in pages:
        assert page["Content-Type"] == INDEX
        assert page.headers["OCI-Filters-Applied"] == ("artifactType" if filtered else None)


def test_a_link_has_all_that_the_request_had(http: Verbs, repository: str, subject: Pushed) -> None:
    """The next page's query is ``n``, ``last`` and the filter, escaped."""
    for number in range(2):
        refer(http, repository, subject.descriptor, number=number)
    filtered = f"?n=1&artifactType={SBOM.replace('+', '%2B')}"
    answer = http.get(f"/v2/{repository}/referrers/{subject.digest}{filtered}")
    target = urlsplit(answer["Link"].partition(">")[0][1:])

    assert target.path == f"/v2/{repository}/referrers/{subject.digest}"
    assert parse_qs(target.query) == {
        "n": ["1"],
        "artifactType": [SBOM],
        "last": [entries(answer)[0]["digest"]],
    }


@pytest.mark.parametrize("query", ["n=-1", "n=x", "n=1&n=1", "n=1.5", "last=nothing"])
def test_a_malformed_page_is_refused(
    http: Verbs, repository: str, subject: Pushed, query: str
) -> None:
    """400 for a number that is none and a ``last`` that is no digest."""
    http.get(f"/v2/{repository}/referrers/{subject.digest}?{query}", 400)


def test_a_long_answer_is_paged_by_itself() -> None:
    """Above ``limits.page_size`` there is a Link without being asked; ``n`` is capped by it."""
    with Variants({"small": "[limits]\npage_size = 3\n"}) as servers:
        http = servers["small"].http
        subject = push_image(http, "team/app")
        for number in range(7):
            refer(http, "team/app", subject.descriptor, number=number)
        path = f"/v2/team/app/referrers/{subject.digest}"
        sizes = {
            query: [len(entries(page)) for page in follow(http, path + query)]
            for query in ("", "?n=1000000000", "?n=4")
        }

    assert list(itertools.chain(*sizes.values())) == [3, 3, 1] * 3


NOTES = {"short": "x" * 1_500_000, "longest": "x" * 4_190_000, "not ASCII": "\u20ac" * 600_000}


@pytest.mark.parametrize("note", NOTES.values(), ids=NOTES)
@pytest.mark.parametrize("n", ["", "?n=5"])
def test_no_page_is_larger_than_a_manifest(
    http: Verbs, repository: str, subject: Pushed, note: str, n: str
) -> None:
    """Clients read 4 MiB of one; what does not fit beside the others is on the next page."""
    pushed = [
        push_artifact(
            http, repository, subject=subject.descriptor, annotations={"a": note, "b": str(number)}
        )
        for number in range(5)
    ]
    pages = list(follow(http, f"/v2/{repository}/referrers/{subject.digest}{n}"))
    found = [entry for page in pages for entry in entries(page)]

    assert [entry["digest"] for entry in found] == sorted(one.digest for one in pushed)
    assert {entry["annotations"]["a"] for entry in found} == {note}
    assert 1 < len(pages) <= 5
    assert max(len(page.body) for page in pages) <= 4 << 20


def test_zero_referrers_are_none(http: Verbs, repository: str, subject: Pushed) -> None:
    """``n=0`` gets an empty index without a Link."""
    refer(http, repository, subject.descriptor)
    answer = http.get(f"/v2/{repository}/referrers/{subject.digest}?n=0")

    assert entries(answer) == []
    assert answer.headers["Link"] is None


def test_an_artifact_that_refers_has_its_own_headers(
    http: Verbs, repository: str, subject: Pushed
) -> None:
    """The PUT of a referrer tells the subject that it understood."""
    push_blob(http, repository, EMPTY)
    document = artifact(subject=subject.descriptor)
    answer = put_manifest(http, f"/v2/{repository}/manifests/sig", document)

    assert answer["OCI-Subject"] == subject.digest
    assert answer["Docker-Content-Digest"] == sha256(encode(document))
    assert document["config"]["mediaType"] == EMPTY_TYPE
