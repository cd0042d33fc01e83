"""Blobs: end-2 and end-10 of the spec."""

import email
import email.policy

import pytest
from support.images import noise, sha256
from support.pushes import UNKNOWN_DIGEST, image, push_blob, push_image, push_manifest, sha512
from support.server import ServerFactory
from support.verbs import Verbs

CONTENT = noise(100_000, "a blob")
DIGEST = sha256(CONTENT)
SIZE = len(CONTENT)
ETAG = f'"{DIGEST}"'
PUBLIC_HEADERS = {
    "Accept-Ranges": "bytes",
    "Cache-Control": "max-age=31536000",
    "Content-Type": "application/octet-stream",
    "Docker-Content-Digest": DIGEST,
    "Docker-Distribution-Api-Version": "registry/2.0",
    "ETag": ETAG,
    "X-Content-Type-Options": "nosniff",
}


@pytest.fixture(scope="module")
def blob(http: Verbs) -> str:
    """The path of a blob of 100 000 bytes."""
    push_blob(http, "test/blobs", CONTENT)
    return f"/v2/test/blobs/blobs/{DIGEST}"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_has_its_headers(http: Verbs, blob: str, method: str) -> None:
    """GET and HEAD tell size, digest, validator and that ranges work."""
    answer = http.request(method, blob, None, 200, {})

    assert {name: answer[name] for name in PUBLIC_HEADERS} == PUBLIC_HEADERS
    assert answer["Content-Length"] == str(SIZE)


def test_a_blob_is_served_byte_for_byte(http: Verbs, blob: str) -> None:
    """What was pushed comes back."""
    assert http.get(blob).body == CONTENT


def test_a_colon_in_a_digest_may_be_escaped(http: Verbs, blob: str) -> None:
    """``sha256%3A…`` is the same blob."""
    assert http.get(blob.replace(":", "%3A")).body == CONTENT


def test_a_sha512_blob_is_served(http: Verbs, repository: str) -> None:
    """The other registered algorithm works for push and pull."""
    digest = sha512(CONTENT)
    pushed = http.post(f"/v2/{repository}/blobs/uploads/?digest={digest}", CONTENT, expect=201)
    answer = http.get(f"/v2/{repository}/blobs/{digest}")

    assert pushed["Docker-Content-Digest"] == answer["Docker-Content-Digest"] == digest
    assert answer["ETag"] == f'"{digest}"'
    assert answer.body == CONTENT


def test_the_two_digests_of_a_content_are_two_blobs(http: Verbs, repository: str) -> None:
    """A blob pushed by its sha256 is not there by its sha512."""
    push_blob(http, repository, CONTENT)

    http.get(f"/v2/{repository}/blobs/{sha512(CONTENT)}", 404)


def test_an_empty_blob_is_served(http: Verbs, repository: str) -> None:
    """Nothing at all has a digest, and can be pushed and pulled."""
    digest = push_blob(http, repository, b"")
    answer = http.get(f"/v2/{repository}/blobs/{digest}")

    assert (answer["Content-Length"], answer.body) == ("0", b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_digest_is_no_right_to_a_blob(http: Verbs, repository: str, method: str) -> None:
    """A blob that is in one repository is not found in another by its digest."""
    digest = push_blob(http, repository, b"mine")

    http.request(method, f"/v2/{repository}-other/blobs/{digest}", None, 404, {})


@pytest.mark.parametrize(
    "spelling",
    [
        f"sha256:{'a' * 63}",
        f"sha256:{'a' * 65}",
        f"sha256:{'A' * 64}",
        f"SHA256:{'a' * 64}",
        f"sha512:{'a' * 64}",
        f"md5:{'a' * 32}",
        "sha256:",
        ":abc",
        "sha256",
        f"sha256:{'g' * 64}",
        f"sha256:{'a' * 64}%0A",
        f"%20sha256:{'a' * 64}",
        "sha256:..",
        "uploads",
    ],
    ids=[
        "63-digits",
        "65-digits",
        "upper-case-hex",
        "upper-case-algorithm",
        "sha512-of-64-digits",
        "md5",
        "no-hash",
        "no-algorithm",
        "no-colon",
        "no-hex",
        "newline-at-the-end",
        "space-before",
        "dots",
        "a-word",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_malformed_digest_is_an_error(http: Verbs, method: str, spelling: str) -> None:
    """What is no digest gets 400 DIGEST_INVALID, whatever is asked for."""
    answer = http.request(method, f"/v2/test/blobs/blobs/{spelling}", None, 400, {})

    assert method == "HEAD" or answer.json()["errors"][0]["code"] == "DIGEST_INVALID"


RANGES = [
    ("bytes=0-0", 0, 0),
    ("bytes=5-9", 5, 9),
    ("bytes=99990-", 99_990, SIZE - 1),
    ("bytes=-3", SIZE - 3, SIZE - 1),
    ("bytes=0-", 0, SIZE - 1),
    ("bytes=99999-99999", SIZE - 1, SIZE - 1),
    ("bytes=10-1000000", 10, SIZE - 1),
    ("bytes=-1000000", 0, SIZE - 1),
    ("Bytes=1-2", 1, 2),
    (f"bytes=5-{10**30}", 5, SIZE - 1),
    (f"bytes=-{10**30}", 0, SIZE - 1),
]


@pytest.mark.parametrize(("header", "first", "last"), RANGES, ids=[r[0] for r in RANGES])
def test_a_range_is_served(http: Verbs, blob: str, header: str, first: int, last: int) -> None:
    """One range inside the blob gets 206 with its bytes, and where they are from."""
    answer = http.get(blob, 206, Range=header)

    assert answer.body == CONTENT[first : last + 1]
    assert answer["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert answer["Content-Length"] == str(last - first + 1)
    assert {name: answer[name] for name in PUBLIC_HEADERS} == PUBLIC_HEADERS


@pytest.mark.parametrize(
    "header",
    [
        "bytes=100000-",
        "bytes=100000-100001",
        "bytes=-0",
        "bytes=5-2",
        f"bytes={10**18}-",
        f"bytes={10**30}-",
    ],
)
def test_a_range_outside_is_refused(http: Verbs, blob: str, header: str) -> None:
    """A range that has no byte of the blob gets 416, with the size to do better."""
    answer = http.get(blob, 416, Range=header)

    assert answer["Content-Range"] == f"bytes */{SIZE}"
    assert answer.json()["errors"][0]["detail"] == {"size": SIZE}


@pytest.mark.parametrize(
    "header",
    [
        "items=0-1",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=0x0-0x1",
        "bytes=+1-2",
        "bytes=1-2-3",
        "bytes 0-1",
        f"bytes={'9' * 500}-",
        "\xb2-\xb3",
        "bytes=0-1,4-3",
        "bytes=0-1,x",
        "bytes=,",
        "bytes=0-,0-",
        "bytes=" + ",".join(["0-0"] * 2100),
    ],
)
def test_what_is_no_range_is_ignored(http: Verbs, blob: str, header: str) -> None:
    """Another unit, nonsense, and more than the whole get the whole blob, with 200."""
    assert http.get(blob, 200, Range=header).body == CONTENT


SEVERAL = {
    "bytes=0-1,5-6": [(0, 1), (5, 6)],
    "bytes=5-6 , 0-0,-3": [(5, 6), (0, 0), (SIZE - 3, SIZE - 1)],
    "bytes=,0-1,,1-2,": [(0, 1), (1, 2)],
    "bytes=0-1,100000-,3-3": [(0, 1), (3, 3)],
    "bytes=" + ",".join(f"{at}-{at}" for at in range(0, 3000, 2)): [
        (at, at) for at in range(0, 3000, 2)
    ],
}


@pytest.mark.parametrize(
    ("header", "expected"), SEVERAL.items(), ids=["two", "odd", "gaps", "one outside", "1,500"]
)
def test_several_ranges_are_served_in_turn(
    http: Verbs, blob: str, header: str, expected: list[tuple[int, int]]
) -> None:
    """Each is a part with its place and its bytes, in the order that was asked for."""
    answer = http.get(blob, 206, Range=header)
    message = email.message_from_bytes(
        b"Content-Type: " + answer["Content-Type"].encode() + b"\r\n\r\n" + answer.body,
        policy=email.policy.HTTP,
    )
    parts = [(part["Content-Range"], part.get_content()) for part in message.iter_parts()]

    assert message.get_content_type() == "multipart/byteranges"
    assert parts == [
        (f"bytes {first}-{last}/{SIZE}", CONTENT[first : last + 1]) for first, last in expected
    ]
    assert answer["Content-Length"] == str(len(answer.body))
    assert answer["Etag"] == ETAG


@pytest.mark.parametrize("fast", ["true", "false"])
def test_large_ranges_are_sent_whichever_way(fresh_registry: ServerFactory, fast: str) -> None:
    """By the kernel or through gunicorn: what is sent is what was asked for."""
    http = fresh_registry(settings=f"[server]\nfast = {fast}\n").http
    content = noise(9_000_000, "ranges")
    path = f"/v2/a/blobs/{push_blob(http, 'a', content)}"
    answer = http.get(path, 206, Range="bytes=1000-4000000,4000001-4000001,5000000-8999999")
    _, *parts, _ = answer.body.split(f"--{answer['Content-Type'].partition('=')[2]}".encode())

    assert [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts] == [
        content[1000:4_000_001],
        content[4_000_001:4_000_002],
        content[5_000_000:],
    ]
    assert http.get("/v2/").status == 200


def test_one_range_that_is_left_of_several_is_served_alone(http: Verbs, blob: str) -> None:
    """Where the others are outside the blob no parts are made."""
    answer = http.get(blob, 206, Range="bytes=100000-,5-9")

    assert (answer.body, answer["Content-Range"]) == (CONTENT[5:10], f"bytes 5-9/{SIZE}")


def test_several_ranges_outside_are_refused(http: Verbs, blob: str) -> None:
    """416, as for a single one."""
    answer = http.get(blob, 416, Range="bytes=100000-,200000-200001")

    assert answer["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_any_range_of_an_empty_blob_is_outside(http: Verbs, repository: str, method: str) -> None:
    """There is no first byte to serve; HEAD has no ranges."""
    digest = push_blob(http, repository, b"")
    expected = 416 if method == "GET" else 200

    http.request(method, f"/v2/{repository}/blobs/{digest}", None, expected, {"Range": "bytes=0-0"})


def test_a_head_ignores_a_range(http: Verbs, blob: str) -> None:
    """HEAD tells the size of the whole blob: RFC 9110 defines ranges for GET alone."""
    answer = http.head(blob, Range="bytes=0-0")

    assert answer["Content-Length"] == str(SIZE)
    assert answer.headers["Content-Range"] is None


@pytest.mark.parametrize(
    ("validator", "status"),
    [
        (ETAG, 206),
        ('"sha256:other"', 200),
        (f"W/{ETAG}", 200),
        ("Mon, 21 Sep 2020 05:25:13 GMT", 200),
        (DIGEST, 200),
    ],
    ids=["same", "other", "weak", "date", "bare"],
)
def test_if_range_decides_about_the_range(
    http: Verbs, blob: str, validator: str, status: int
) -> None:
    """A range is served only to whoever has the rest of the same blob; else it is the whole."""
    answer = http.get(blob, status, Range="bytes=0-9", If_Range=validator)

    assert answer.body == (CONTENT[:10] if status == 206 else CONTENT)


def test_if_range_comes_before_the_range_is_looked_at(http: Verbs, blob: str) -> None:
    """With another validator a range outside is no error."""
    http.get(blob, 200, Range="bytes=100000-", If_Range='"another"')


@pytest.mark.parametrize(
    "header",
    [ETAG, DIGEST, f"W/{ETAG}", f'"x", {ETAG}', f'"x",{ETAG} ,"y"', "*", f"x, {DIGEST}"],
    ids=["quoted", "bare", "weak", "second", "in-the-middle", "star", "second-bare"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_client_has_is_not_sent_again(
    http: Verbs, blob: str, method: str, header: str
) -> None:
    """If-None-Match with this blob's validator gets 304, which has it again, and no body."""
    answer = http.request(method, blob, None, 304, {"If-None-Match": header})

    assert (answer["ETag"], answer["Docker-Content-Digest"]) == (ETAG, DIGEST)
    assert answer["Cache-Control"] == PUBLIC_HEADERS["Cache-Control"]
    assert answer.body == b""


@pytest.mark.parametrize("header", ['"other"', "", '"', f'"{DIGEST[:-1]}"', "W/"])
def test_what_the_client_lacks_is_sent(http: Verbs, blob: str, header: str) -> None:
    """If-None-Match with any other validator gets the blob."""
    assert http.get(blob, 200, If_None_Match=header).body == CONTENT


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("header", "status"), [(ETAG, 200), ("*", 200), ('"other"', 412), (f"W/{ETAG}", 412)]
)
def test_if_match_is_kept(http: Verbs, blob: str, method: str, header: str, status: int) -> None:
    """If-Match with this blob's validator gets it, and with any other 412."""
    answer = http.request(method, blob, None, status, {"If-Match": header})

    assert (answer.body == CONTENT) is ((method, status) == ("GET", 200))


def test_a_blob_is_not_deleted_as_another(http: Verbs, blob: str) -> None:
    """If-Match with another digest keeps a DELETE from doing anything."""
    http.delete(blob, 412, If_Match='"other"')
    http.get(blob, 200)


def test_if_match_comes_before_a_range(http: Verbs, blob: str) -> None:
    """With another validator the range is not looked at."""
    http.get(blob, 412, If_Match='"other"', Range="bytes=5-2")


def test_not_modified_comes_before_a_range(http: Verbs, blob: str) -> None:
    """A client that has it all is told so, whatever range it asks for."""
    http.get(blob, 304, If_None_Match=ETAG, Range="bytes=5-2")


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_an_unknown_blob_is_not_found(http: Verbs, blob: str, method: str) -> None:
    """404 BLOB_UNKNOWN, with the digest that was asked for."""
    path = blob.replace(DIGEST, UNKNOWN_DIGEST)
    answer = http.request(method, path, None, 404, {})

    if method != "HEAD":
        (error,) = answer.json()["errors"]
        assert (error["code"], error["detail"]) == ("BLOB_UNKNOWN", UNKNOWN_DIGEST)


def test_a_deleted_blob_is_gone(http: Verbs, repository: str) -> None:
    """DELETE gets 202, and afterwards everything 404."""
    path = f"/v2/{repository}/blobs/{push_blob(http, repository, b'short-lived')}"
    http.delete(path)

    http.get(path, 404)
    http.head(path, 404)
    http.delete(path, 404)


def test_a_deleted_blob_stays_elsewhere(http: Verbs, repository: str) -> None:
    """Deleting a blob in one repository leaves it in another that has it too."""
    digest = push_blob(http, repository, b"shared")
    push_blob(http, f"{repository}-b", b"shared")
    http.delete(f"/v2/{repository}/blobs/{digest}")

    assert http.get(f"/v2/{repository}-b/blobs/{digest}").body == b"shared"


def test_a_deleted_blob_can_be_pushed_again(http: Verbs, repository: str) -> None:
    """Nothing remembers that it was deleted."""
    digest = push_blob(http, repository, b"again")
    http.delete(f"/v2/{repository}/blobs/{digest}")
    push_blob(http, repository, b"again")

    assert http.get(f"/v2/{repository}/blobs/{digest}").body == b"again"


def test_a_blob_that_a_manifest_needs_is_not_deleted(http: Verbs, repository: str) -> None:
    """DELETE of a layer in use gets 405 with Allow, and the image stays whole."""
    pushed = push_image(http, repository, content=b"needed")
    path = f"/v2/{repository}/blobs/{sha256(b'needed')}"
    answer = http.delete(path, 405)
    (error,) = answer.json()["errors"]

    assert error["code"] == "UNSUPPORTED"
    assert error["detail"] == {"digest": sha256(b"needed"), "manifest": pushed.digest}
    assert answer["Allow"] == "GET, HEAD"
    assert http.get(path).body == b"needed"


def test_a_blob_can_be_deleted_once_its_manifest_is(http: Verbs, repository: str) -> None:
    """What kept the blob is gone, so that it may go."""
    pushed = push_image(http, repository, content=b"was needed")
    http.delete(f"/v2/{repository}/manifests/{pushed.digest}")

    http.delete(f"/v2/{repository}/blobs/{sha256(b'was needed')}")


def test_a_layer_is_shared_by_repositories_with_manifests_of_their_own(
    http: Verbs, repository: str
) -> None:
    """A manifest of one repository does not keep the blob of another from being deleted."""
    config = push_blob(http, repository, b"{}")
    push_manifest(http, repository, image(b"{}"))
    push_blob(http, f"{repository}-b", b"{}")

    http.delete(f"/v2/{repository}-b/blobs/{config}")
    http.get(f"/v2/{repository}/blobs/{config}")
