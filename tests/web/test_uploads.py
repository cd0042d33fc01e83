"""How bytes become a blob: end-4, end-5 and end-6 of the spec."""

import pytest
from support.images import noise, sha256
from support.pushes import (
    UNKNOWN_DIGEST,
    code_of,
    offset_of,
    open_upload,
    sha512,
    with_digest,
)
from support.verbs import Verbs, request_target

CONTENT = noise(70_000, "an upload")
DIGEST = sha256(CONTENT)
NOTHING = sha256(b"")


def test_a_new_session_has_an_id_and_a_place(http: Verbs, repository: str) -> None:
    """POST gets 202 with the session's id, in ``Location`` too, and an empty range."""
    answer = http.post(f"/v2/{repository}/blobs/uploads/")
    path = f"/v2/{repository}/blobs/uploads/{answer['Docker-Upload-UUID']}"

    assert request_target(answer.location).startswith(f"{path}?_state=")
    assert (answer["Range"], answer["Content-Length"]) == ("0-0", "0")


def test_a_session_is_opened_without_the_slash_too(http: Verbs, repository: str) -> None:
    """A client that leaves out the slash at the end is served, not redirected to a GET."""
    location = http.post(f"/v2/{repository}/blobs/uploads").location

    http.put(with_digest(location, DIGEST), CONTENT)


def test_a_blob_is_pushed_in_one_post(http: Verbs, repository: str) -> None:
    """POST with the digest and the content gets 201, and the blob is there."""
    answer = http.post(f"/v2/{repository}/blobs/uploads/?digest={DIGEST}", CONTENT, expect=201)

    assert answer["Docker-Content-Digest"] == DIGEST
    assert request_target(answer.location) == f"/v2/{repository}/blobs/{DIGEST}"
    assert http.get(answer.location).body == CONTENT


def test_a_blob_is_pushed_in_one_post_without_a_length(http: Verbs, repository: str) -> None:
    """The body of such a POST may be chunked."""
    path = f"/v2/{repository}/blobs/uploads/?digest={DIGEST}"

    assert http.get(http.post(path, iter([CONTENT]), expect=201).location).body == CONTENT


def test_a_post_of_other_content_is_refused(http: Verbs, repository: str) -> None:
    """POST with a digest that the content does not have gets 400, and nothing is there."""
    path = f"/v2/{repository}/blobs/uploads/?digest={DIGEST}"

    assert code_of(http.post(path, b"other", expect=400)) == "DIGEST_INVALID"
    http.head(f"/v2/{repository}/blobs/{DIGEST}", 404)


def test_a_put_takes_the_whole_content(http: Verbs, session: str) -> None:
    """POST, then one PUT with the content."""
    answer = http.put(with_digest(session, DIGEST), CONTENT)

    assert http.get(answer.location).body == CONTENT


def test_a_put_takes_the_whole_content_without_a_length(http: Verbs, session: str) -> None:
    """The same with a chunked body."""
    answer = http.put(with_digest(session, DIGEST), iter([CONTENT[:7], CONTENT[7:]]))

    assert http.get(answer.location).body == CONTENT


def test_a_stream_and_an_empty_put_are_what_docker_does(http: Verbs, session: str) -> None:
    """PATCH without a length, then PUT without a body."""
    patched = http.patch(session, iter([CONTENT[:40_000], CONTENT[40_000:]]))
    answer = http.put(with_digest(patched.location, DIGEST))

    assert patched["Range"] == f"0-{len(CONTENT) - 1}"
    assert http.get(answer.location).body == CONTENT


@pytest.mark.parametrize("form", ["{}-{}", "bytes {}-{}/*", "bytes {}-{}/70000"])
def test_chunks_in_order_make_a_blob(http: Verbs, session: str, form: str) -> None:
    """PATCHes that say where they start, each at the place that the last one told."""
    location = session
    for first in range(0, 60_000, 20_000):
        chunk = CONTENT[first : first + 20_000]
        answer = http.patch(location, chunk, Content_Range=form.format(first, first + 19_999))
        assert answer["Range"] == f"0-{first + 19_999}"
        location = answer.location
    ended = http.put(
        with_digest(location, DIGEST), CONTENT[60_000:], Content_Range=form.format(60_000, 69_999)
    )

    assert http.get(ended.location).body == CONTENT


def test_a_patch_in_pieces_and_a_put_with_the_rest(http: Verbs, session: str) -> None:
    """Without any Content-Range, bytes follow one another."""
    patched = http.patch(session, CONTENT[:1])
    answer = http.put(with_digest(patched.location, DIGEST), CONTENT[1:])

    assert http.get(answer.location).body == CONTENT


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(
    ("first", "last"),
    [(5, 9), (0, 4), (11, 15), (1000, 1004)],
    ids=["inside", "again", "gap", "far"],
)
def test_a_chunk_out_of_order_is_refused(
    http: Verbs, repository: str, session: str, method: str, first: int, last: int
) -> None:
    """416 with ``Range`` and ``Location``, from which the upload goes on."""
    content = b"0123456789abcde"
    location = http.patch(session, content[:10]).location
    target = with_digest(location, sha256(content)) if method == "PUT" else location
    answer = http.request(method, target, b"xxxxx", 416, {"Content-Range": f"{first}-{last}"})

    assert code_of(answer) == "BLOB_UPLOAD_INVALID"
    assert answer["Range"] == "0-9"
    assert answer["Docker-Upload-UUID"] in answer.location
    ended = http.put(
        with_digest(answer.location, sha256(content)), content[10:], Content_Range="10-14"
    )
    assert http.get(f"/v2/{repository}/blobs/{sha256(content)}").body == content
    assert ended.status == 201


def test_a_first_chunk_that_does_not_start_at_zero_is_refused(http: Verbs, session: str) -> None:
    """416 with the range of an empty upload."""
    answer = http.patch(session, b"56789", 416, Content_Range="5-9")

    assert answer["Range"] == "0-0"
    http.patch(answer.location, b"01234", Content_Range="0-4")


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(
    "header",
    ["abc", "-1-5", "9-0", "0-", "-5", "0-4x", "0-18446744073709551616", "bytes=0-4", "0 - 4", ""],
)
def test_a_malformed_content_range_is_refused(
    http: Verbs, session: str, method: str, header: str
) -> None:
    """400 BLOB_UPLOAD_INVALID, and the upload is where it was."""
    target = with_digest(session, DIGEST) if method == "PUT" else session
    answer = http.request(method, target, b"01234", 400, {"Content-Range": header})

    assert code_of(answer) == "BLOB_UPLOAD_INVALID"
    assert offset_of(http, session) == "0-0"
    http.put(with_digest(session, DIGEST), CONTENT)


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("declared", ["0-9", "0-3", "0-0"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_content_range_of_another_length_is_refused(
    http: Verbs, session: str, method: str, framing: str, declared: str
) -> None:
    """400 SIZE_INVALID when the body is not as long as its Content-Range, and nothing is kept."""
    target = with_digest(session, DIGEST) if method == "PUT" else session
    body = b"01234" if framing == "length" else iter([b"0", b"123", b"4"])
    answer = http.request(method, target, body, 400, {"Content-Range": declared})

    assert code_of(answer) == "SIZE_INVALID"
    assert offset_of(http, session) == "0-0"
    http.put(with_digest(session, DIGEST), CONTENT)


def test_a_put_without_a_digest_leaves_the_session(http: Verbs, session: str) -> None:
    """400 DIGEST_INVALID; a PUT with the digest succeeds afterwards."""
    location = http.patch(session, CONTENT).location

    assert code_of(http.put(location, expect=400)) == "DIGEST_INVALID"
    http.put(with_digest(location, DIGEST))


@pytest.mark.parametrize("digest", ["", "sha256:abc", f"md5:{'a' * 32}", "latest", f"{DIGEST}0"])
def test_a_put_with_no_digest_at_all_leaves_the_session(
    http: Verbs, session: str, digest: str
) -> None:
    """400 DIGEST_INVALID for what is no digest, before the body counts."""
    location = http.patch(session, CONTENT).location

    assert code_of(http.put(with_digest(location, digest), b"more", 400)) == "DIGEST_INVALID"
    http.put(with_digest(location, DIGEST))


def test_a_put_of_other_content_is_refused(http: Verbs, repository: str, session: str) -> None:
    """400 DIGEST_INVALID, no blob, and the session has ended."""
    location = http.patch(session, CONTENT).location

    assert code_of(http.put(with_digest(location, UNKNOWN_DIGEST), expect=400)) == "DIGEST_INVALID"
    http.get(f"/v2/{repository}/blobs/{UNKNOWN_DIGEST}", 404)
    http.get(f"/v2/{repository}/blobs/{DIGEST}", 404)
    assert code_of(http.get(location, 404)) == "BLOB_UPLOAD_UNKNOWN"


def test_an_empty_upload_is_the_empty_blob(http: Verbs, session: str) -> None:
    """PUT of nothing at all with the digest of nothing gets 201."""
    assert http.get(http.put(with_digest(session, NOTHING)).location).body == b""


def test_an_empty_upload_is_nothing_else(http: Verbs, session: str) -> None:
    """PUT of nothing at all with another digest gets 400."""
    assert code_of(http.put(with_digest(session, DIGEST), expect=400)) == "DIGEST_INVALID"


def test_the_body_of_a_put_is_never_a_form(http: Verbs, session: str) -> None:
    """Content that looks like a form is kept as it is, whatever its Content-Type says."""
    content = f"digest={UNKNOWN_DIGEST}&_state=x".encode()
    form = "application/x-www-form-urlencoded"
    answer = http.put(with_digest(session, sha256(content)), content, Content_Type=form)

    assert http.get(answer.location).body == content


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/x-tar", "", "nonsense"])
def test_the_type_of_a_chunk_does_not_matter(http: Verbs, session: str, kind: str) -> None:
    """A blob is bytes."""
    location = http.patch(session, CONTENT, Content_Type=kind).location

    http.put(with_digest(location, DIGEST), Content_Type=kind)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "by-digest-alone"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_a_sha512_blob_is_pushed_in_chunks(
    http: Verbs, repository: str, pieces: int, announced: bool
) -> None:
    """With ``?digest-algorithm=sha512`` on the POST or without, the PUT's digest decides."""
    location = open_upload(http, repository, "?digest-algorithm=sha512" if announced else "")
    step = -(-len(CONTENT) // pieces)
    for first in range(0, len(CONTENT), step):
        location = http.patch(location, CONTENT[first : first + step]).location
    answer = http.put(with_digest(location, sha512(CONTENT)))

    assert answer["Docker-Content-Digest"] == sha512(CONTENT)
    assert http.get(answer.location).body == CONTENT


def test_a_session_for_sha512_may_end_in_sha256(http: Verbs, repository: str) -> None:
    """What was announced is a help to the registry and binds nobody."""
    location = open_upload(http, repository, "?digest-algorithm=sha512")
    location = http.patch(location, CONTENT).location

    assert http.get(http.put(with_digest(location, DIGEST)).location).body == CONTENT


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "SHA256", "", "sha256%00", "sha256,sha512"])
def test_an_unknown_digest_algorithm_is_refused(
    http: Verbs, repository: str, algorithm: str
) -> None:
    """400 DIGEST_INVALID before any byte is sent."""
    path = f"/v2/{repository}/blobs/uploads/?digest-algorithm={algorithm}"

    assert code_of(http.post(path, expect=400)) == "DIGEST_INVALID"
