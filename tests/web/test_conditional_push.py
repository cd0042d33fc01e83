"""``If-Match`` and ``If-None-Match: *`` on a manifest: two jobs cannot undo each other's work."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.images import encode, sha256
from support.pushes import (
    EMPTY,
    UNKNOWN_DIGEST,
    Pushed,
    artifact,
    index,
    push_artifact,
    push_blob,
    put_manifest,
)
from support.verbs import Answer, Verbs

WRITERS = 8


@pytest.fixture
def pushed(http: Verbs, repository: str) -> Pushed:
    """An artifact in the test's repository, tagged ``v1``."""
    return push_artifact(http, repository, "v1")


def other(
    http: Verbs, repository: str, reference: str, expect: int | None, **headers: str
) -> Answer:
    """PUT another manifest than ``pushed``."""
    document = artifact(annotations={"other": "yes"})
    return put_manifest(
        http, f"/v2/{repository}/manifests/{reference}", document, expect, **headers
    )


def test_a_new_tag_is_made_if_there_is_none(http: Verbs, repository: str, pushed: Pushed) -> None:
    """If-None-Match: * on a tag that is not there gets 201."""
    other(http, repository, "v2", 201, If_None_Match="*")

    assert http.get(f"/v2/{repository}/manifests/v1").body == pushed.body


def test_a_tag_that_is_there_is_not_made_again(
    http: Verbs, repository: str, pushed: Pushed
) -> None:
    """If-None-Match: * on a tag that is there gets 412, and it stays where it is."""
    answer = other(http, repository, "v1", 412, If_None_Match="*")

    assert answer.json()["errors"][0]["detail"] == {"reference": "v1", "digest": pushed.digest}
    assert http.get(f"/v2/{repository}/manifests/v1").body == pushed.body


def test_even_the_same_manifest_is_not_made_again(
    http: Verbs, repository: str, pushed: Pushed
) -> None:
    """If-None-Match: * says no to any tag that is there, whatever it is on."""
    document = json.loads(pushed.body)

    put_manifest(http, f"/v2/{repository}/manifests/v1", document, 412, If_None_Match="*")


@pytest.mark.parametrize("form", ['"{}"', "{}", '"sha256:x", "{}"', "*"])
def test_a_tag_moves_from_where_it_was_seen(
    http: Verbs, repository: str, pushed: Pushed, form: str
) -> None:
    """If-Match with the digest that the tag is on gets 201."""
    moved = other(http, repository, "v1", 201, If_Match=form.format(pushed.digest))

    assert http.get(f"/v2/{repository}/manifests/v1")["ETag"] == (
        f'"{moved["Docker-Content-Digest"]}"'
    )


@pytest.mark.parametrize("form", [f'"{UNKNOWN_DIGEST}"', '""', "", '"v1"', "W/", 'W/"{}"'])
def test_a_tag_does_not_move_from_elsewhere(
    http: Verbs, repository: str, pushed: Pushed, form: str
) -> None:
    """If-Match with anything else gets 412, a weak tag too, and the tag stays where it is."""
    answer = other(http, repository, "v1", 412, If_Match=form.format(pushed.digest))

    assert answer.json()["errors"][0]["code"] == "MANIFEST_INVALID"
    assert http.get(f"/v2/{repository}/manifests/v1").body == pushed.body


@pytest.mark.parametrize("form", ["*", f'"{UNKNOWN_DIGEST}"'])
def test_a_tag_that_is_not_there_matches_nothing(
    http: Verbs, repository: str, pushed: Pushed, form: str
) -> None:
    """If-Match on a tag that is not there gets 412, and none is made."""
    other(http, repository, "v2", 412, If_Match=form)

    assert http.get(f"/v2/{repository}/tags/list").json()["tags"] == ["v1"]
    assert http.get(f"/v2/{repository}/manifests/v1").body == pushed.body


def test_a_tag_moves_unless_it_is_where_it_should_not_be(
    http: Verbs, repository: str, pushed: Pushed
) -> None:
    """If-None-Match with a digest gets 412 while the tag is on it, and 201 otherwise."""
    other(http, repository, "v1", 412, If_None_Match=f'"{pushed.digest}"')
    assert http.get(f"/v2/{repository}/manifests/v1").body == pushed.body

    other(http, repository, "v1", 201, If_None_Match=f'"{UNKNOWN_DIGEST}"')


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_what_was_seen_is_deleted(http: Verbs, repository: str, pushed: Pushed, by: str) -> None:
    """DELETE with If-Match gets 412 and deletes nothing while another digest is there, else 202."""
    reference = "v1" if by == "tag" else pushed.digest
    path = f"/v2/{repository}/manifests/{reference}"
    http.delete(path, 412, If_Match=f'"{UNKNOWN_DIGEST}"')
    http.delete(path, 412, If_None_Match="*")
    http.delete(path, 412, If_None_Match=f'W/"{pushed.digest}"')
    assert http.get(f"/v2/{repository}/manifests/v1").body == pushed.body

    http.delete(path, 202, If_Match=f'"{pushed.digest}"')
    http.get(path, 404)
    http.delete(path, 404, If_Match=f'"{pushed.digest}"')


def test_a_condition_is_on_every_tag(http: Verbs, repository: str, pushed: Pushed) -> None:
    """If one of several tags is there, none is made."""
    document = json.loads(pushed.body)
    path = f"/v2/{repository}/manifests/{pushed.digest}?tag=v0&tag=v1&tag=v2"
    put_manifest(http, path, document, 412, If_None_Match="*")

    assert http.get(f"/v2/{repository}/tags/list").json()["tags"] == ["v1"]


def test_a_condition_without_tags_is_on_the_digest(
    http: Verbs, repository: str, pushed: Pushed
) -> None:
    """If-None-Match: * on a PUT by digest is about the manifest of that digest."""
    path = f"/v2/{repository}/manifests/{pushed.digest}"

    put_manifest(http, path, json.loads(pushed.body), 412, If_None_Match="*")
    put_manifest(http, path, json.loads(pushed.body), 201, If_Match=f'"{pushed.digest}"')


def test_a_manifest_that_is_refused_is_not_kept(
    http: Verbs, repository: str, pushed: Pushed
) -> None:
    """After 412 the manifest is not there by its digest either."""
    other(http, repository, "v1", 412, If_None_Match="*")
    digest = sha256(encode(artifact(annotations={"other": "yes"})))

    http.head(f"/v2/{repository}/manifests/{digest}", 404)
    assert digest != pushed.digest


def test_a_condition_in_a_repository_that_is_not_there_makes_none(
    http: Verbs, repository: str
) -> None:
    """A failed PUT leaves no ghost of a repository."""
    other(http, repository, "v1", 412, If_Match="*")

    http.get(f"/v2/{repository}/tags/list", 404)


def test_one_of_many_writers_makes_a_tag(http: Verbs, repository: str) -> None:
    """Of eight jobs that make the same tag at once, one gets 201 and seven 412."""
    push_blob(http, repository, EMPTY)
    start = threading.Barrier(WRITERS)

    def write(number: int) -> Answer:
        document = artifact(annotations={"writer": str(number)})
        start.wait()
        return put_manifest(
            http, f"/v2/{repository}/manifests/v1", document, None, If_None_Match="*"
        )

    with ThreadPoolExecutor(WRITERS) as pool:
        answers = list(pool.map(write, range(WRITERS)))
    (winner,) = [number for number, answer in enumerate(answers) if answer.status == 201]

    assert sorted(answer.status for answer in answers) == [201, *[412] * (WRITERS - 1)]
    found = http.get(f"/v2/{repository}/manifests/v1").json()
    assert found["annotations"] == {"writer": str(winner)}


def test_no_writers_entry_is_lost(http: Verbs, repository: str) -> None:
    """Jobs that add an entry to an index, each from what it saw, all find theirs in the end."""
    pushed = push_artifact(http, repository)
    path = f"/v2/{repository}/manifests/all"
    put_manifest(http, path, index())

    def add(number: int) -> int:
        attempts = 0
        while True:
            attempts += 1
            seen = http.get(path)
            entry = {**pushed.descriptor, "annotations": {"writer": str(number)}}
            document = index(*seen.json()["manifests"], entry)
            if put_manifest(http, path, document, None, If_Match=seen["ETag"]).status == 201:
                return attempts

    with ThreadPoolExecutor(WRITERS) as pool:
        attempts = list(pool.map(add, range(WRITERS)))
    entries = http.get(path).json()["manifests"]

    assert sorted(entry["annotations"]["writer"] for entry in entries) == [
        str(number) for number in range(WRITERS)
    ]
    assert sum(attempts) >= WRITERS


@pytest.mark.usefixtures("pushed")
def test_without_a_condition_the_last_push_wins(http: Verbs, repository: str) -> None:
    """An ordinary push moves a tag, as it always did."""
    answer = other(http, repository, "v1", 201)

    assert (
        http.get(f"/v2/{repository}/manifests/v1")["Docker-Content-Digest"]
        == (answer["Docker-Content-Digest"])
    )
