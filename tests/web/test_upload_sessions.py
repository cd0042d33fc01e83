"""Upload sessions and their ``_state``: end-6, end-13 and end-14 of the spec."""

import base64
from urllib.parse import quote

import pytest
from support.images import noise, sha256
from support.pushes import (
    code_of,
    offset_of,
    open_upload,
    with_digest,
)
from support.server import ServerFactory
from support.variants import QUICK
from support.verbs import Verbs, request_target

CONTENT = noise(70_000, "an upload")
DIGEST = sha256(CONTENT)


def test_each_answer_has_a_new_state(http: Verbs, session: str) -> None:
    """``_state`` tells the offset, so it changes when that does."""
    first = http.patch(session, b"12345").location
    second = http.patch(first, b"678").location

    assert len({session, first, second}) == 3
    assert {request_target(url).split("?")[0] for url in (session, first, second)} == {
        request_target(session).split("?")[0]
    }


@pytest.mark.parametrize(
    ("sent", "declared"), [(b"", "0-0"), (b"x", "0-0"), (b"xy", "0-1")], ids=["none", "one", "two"]
)
def test_a_session_tells_how_far_it_is(
    http: Verbs, repository: str, session: str, sent: bytes, declared: str
) -> None:
    """GET on a session gets 204 with id, place and range."""
    location = http.patch(session, sent).location if sent else session
    answer = http.get(location, 204)

    assert answer["Range"] == declared
    assert request_target(answer.location).startswith(f"/v2/{repository}/blobs/uploads/")
    assert answer["Docker-Upload-UUID"] in answer.location
    assert answer.headers["Content-Length"] is None


def test_a_lost_state_is_found_again(http: Verbs, session: str) -> None:
    """GET on the session needs no ``_state`` and gives one to go on with."""
    http.patch(session, CONTENT[:100])
    fresh = http.get(request_target(session).split("?")[0], 204).location

    http.put(with_digest(fresh, DIGEST), CONTENT[100:])


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_an_old_state_is_out_of_order(http: Verbs, session: str, method: str) -> None:
    """After more data came, a request with the ``_state`` from before gets 416 and the way on."""
    http.patch(session, CONTENT[:50_000])
    target = with_digest(session, DIGEST) if method == "PUT" else session
    answer = http.request(method, target, CONTENT[:50_000], 416, {})

    assert answer["Range"] == "0-49999"
    http.put(with_digest(answer.location, DIGEST), CONTENT[50_000:])


def test_a_put_that_was_answered_already_is_answered_again(http: Verbs, session: str) -> None:
    """A client that did not hear the 201 asks again, and hears it."""
    target = with_digest(http.patch(session, CONTENT).location, DIGEST)
    first, second = http.put(target), http.put(target)

    assert first.location == second.location
    assert second["Docker-Content-Digest"] == DIGEST


def test_a_put_with_a_body_is_answered_again(http: Verbs, session: str) -> None:
    """The same when the content came in the PUT."""
    target = with_digest(session, DIGEST)
    http.put(target, CONTENT)

    http.put(target, CONTENT)


def test_a_replayed_put_of_a_deleted_blob_is_unknown(http: Verbs, session: str) -> None:
    """Once the blob is gone, the session that made it is too."""
    target = with_digest(session, DIGEST)
    http.delete(http.put(target, CONTENT).location)

    assert code_of(http.put(target, CONTENT, 404)) == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.parametrize("method", ["PATCH", "GET", "DELETE"])
def test_a_finished_session_is_unknown(http: Verbs, session: str, method: str) -> None:
    """After its PUT a session takes nothing more."""
    http.put(with_digest(session, DIGEST), CONTENT)

    assert code_of(http.request(method, session, None, 404, {})) == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.parametrize("method", ["PATCH", "PUT", "GET", "DELETE"])
def test_a_cancelled_session_is_unknown(http: Verbs, session: str, method: str) -> None:
    """DELETE gets 204, and everything afterwards 404."""
    http.patch(session, CONTENT)
    location = http.get(session, 204).location
    http.delete(location, 204)

    target = with_digest(location, DIGEST)
    assert code_of(http.request(method, target, None, 404, {})) == "BLOB_UPLOAD_UNKNOWN"


def test_an_older_state_cancels_too(http: Verbs, session: str) -> None:
    """A client that gives up need not know how far it came."""
    http.patch(session, CONTENT)

    http.delete(session, 204)


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("kind", ["missing", "empty", "garbage", "cut", "foreign", "unsigned"])
def test_a_state_that_is_not_ours_is_refused(
    http: Verbs, repository: str, session: str, method: str, kind: str
) -> None:
    """404 BLOB_UPLOAD_INVALID, and nothing is written or cancelled."""
    path, _, state = request_target(session).partition("?_state=")
    other = request_target(open_upload(http, repository)).partition("?_state=")[2]
    payload = base64.urlsafe_b64encode(b'{"Name":"x","UUID":"y","Offset":0}').decode().rstrip("=")
    states = {
        "missing": None,
        "empty": "",
        "garbage": "x.y%FF",
        "cut": state[:-1],
        "foreign": other,
        "unsigned": payload,
    }
    query = "" if states[kind] is None else f"_state={states[kind]}&"
    answer = http.request(method, f"{path}?{query}digest={DIGEST}", CONTENT, 404, {})

    assert code_of(answer) == "BLOB_UPLOAD_INVALID"
    assert offset_of(http, session) == "0-0"


def test_a_state_with_any_one_character_changed_is_refused(http: Verbs, session: str) -> None:
    """The signature covers all of it: 404 BLOB_UPLOAD_INVALID wherever the change is."""
    path, _, state = request_target(session).partition("?_state=")
    changed = [
        f"{state[:at]}{'A' if state[at] != 'A' else 'B'}{state[at + 1 :]}"
        for at in range(0, len(state) - 1, 7)
    ]

    assert {code_of(http.patch(f"{path}?_state={quote(text)}", b"x", 404)) for text in changed} == {
        "BLOB_UPLOAD_INVALID"
    }
    assert offset_of(http, session) == "0-0"


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
def test_a_state_is_of_one_repository(
    http: Verbs, repository: str, session: str, method: str
) -> None:
    """The same session and state under another name get 404, and nothing is written."""
    elsewhere = request_target(session).replace(repository, f"{repository}-b")

    answer = http.request(method, with_digest(elsewhere, DIGEST), CONTENT, 404, {})
    assert code_of(answer) == "BLOB_UPLOAD_INVALID"
    assert offset_of(http, session) == "0-0"


def test_a_session_is_of_one_repository(http: Verbs, repository: str, session: str) -> None:
    """GET of the session under another name gets 404."""
    elsewhere = request_target(session).replace(repository, f"{repository}-b")

    assert code_of(http.get(elsewhere, 404)) == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.parametrize(
    "parameters",
    ["_state={0}&_state={0}", "_state={0}&digest={1}&digest={1}"],
    ids=["state", "digest"],
)
def test_a_parameter_that_comes_twice_is_refused(
    http: Verbs, session: str, parameters: str
) -> None:
    """400 UNSUPPORTED, for it is not clear what is meant; the session goes on."""
    path, _, state = request_target(session).partition("?_state=")
    answer = http.put(f"{path}?{parameters.format(state, DIGEST)}", CONTENT, 400)

    assert code_of(answer) == "UNSUPPORTED"
    http.put(with_digest(session, DIGEST), CONTENT)


@pytest.mark.parametrize(
    "identifier", ["x", "..%2F..", "%2e%2e", "0" * 36, "a" * 1024, "%00", "%FF"]
)
def test_an_id_that_is_no_session_is_unknown(http: Verbs, repository: str, identifier: str) -> None:
    """404 for whatever stands where an id does."""
    answer = http.get(f"/v2/{repository}/blobs/uploads/{identifier}", 404)

    assert code_of(answer) in {"BLOB_UPLOAD_UNKNOWN", "UNSUPPORTED"}


def test_a_session_survives_a_restart(fresh_registry: ServerFactory) -> None:
    """The secret is kept, so that a ``_state`` from before is good afterwards."""
    server = fresh_registry(settings=QUICK)
    location = server.http.patch(open_upload(server.http, "team/app"), CONTENT[:30_000]).location
    server.kill()
    server.start()
    answer = server.http.put(with_digest(location, DIGEST), CONTENT[30_000:])

    assert server.http.get(answer.location).body == CONTENT


def test_a_state_is_good_for_as_long_as_its_key_is_kept(fresh_registry: ServerFactory) -> None:
    """A newer key signs while older ones still count; once a key is taken away its states do not."""
    server = fresh_registry(settings=QUICK)
    old = open_upload(server.http, "team/app")
    server.kill()
    secret = server.data / "secret"
    kept = secret.read_bytes()
    secret.write_bytes(kept + b"ab" * 32 + b"\n")
    server.start()
    server.http.patch(old, b"")
    new = open_upload(server.http, "team/app")
    server.kill()
    secret.write_bytes(secret.read_bytes().removeprefix(kept))
    server.start()

    assert code_of(server.http.patch(old, b"", 404)) == "BLOB_UPLOAD_INVALID"
    server.http.patch(new, b"")
