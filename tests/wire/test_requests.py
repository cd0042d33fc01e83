"""Requests that no client should send, byte for byte, and the answer that each gets.

The number in an id is the same wherever a case of bad input is spoken of. Some are answered by
gunicorn before the application sees them: those have no JSON, and the connection is closed.
"""

import dataclasses
from collections.abc import Sequence

import pytest
from support.images import MANIFEST, sha256
from support.pushes import Pushed, push_image
from support.server import RunningServer
from support.wire import Wire, chunked, request

NAME = "wire/app"
HEX = "a" * 64
REFUSED = frozenset({400})
MANIFEST_HEADER = f"Content-Type: {MANIFEST}"


@dataclasses.dataclass(frozen=True)
class Case:
    """A request and what it gets: a status out of some, the code of the error, or no JSON at all.

    ``kept`` is whether the connection goes on; ``None`` when either is right.
    """

    name: str
    request: bytes
    statuses: Sequence[int] | frozenset[int] = REFUSED
    code: str | None = None
    kept: bool | None = True


def get(name: str, path: str, statuses: Sequence[int], code: str | None) -> Case:
    """A GET of a path."""
    return Case(name, request("GET", path), statuses, code)


def tags_of(name: str, repository: str) -> Case:
    """A GET of the tags of what is no repository's name."""
    return get(name, f"/v2/{repository}/tags/list", [400], "NAME_INVALID")


def head_of(name: str, *lines: str, statuses: Sequence[int] = (400,)) -> Case:
    """A head that the server's parser refuses."""
    raw = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return Case(name, raw, statuses, None, kept=False)


def sized(name: str, *lengths: str, body: bytes = b"01234") -> Case:
    """A POST whose length is announced in these ways."""
    lines = [f"Content-Length: {length}" for length in lengths]
    head = request("POST", f"/v2/{NAME}/blobs/uploads/", None, *lines)
    return Case(name, head + body, REFUSED, None, kept=False)


def coded(name: str, coding: str, statuses: Sequence[int] = (400, 501)) -> Case:
    """A POST whose body has this transfer coding."""
    path = f"/v2/{NAME}/blobs/uploads/?digest={sha256(b'01234')}"
    head = request("POST", path, None, f"Transfer-Encoding: {coding}")
    return Case(name, head + chunked(b"01234"), statuses, None, kept=None)


PATHS = [
    tags_of("1-upper-case", "UPPER"),
    tags_of("2-two-slashes", "a//b"),
    tags_of("2-slash-first", "/a"),
    tags_of("2-slash-last", "a/"),
    tags_of("3-dots", "../../etc/passwd"),
    tags_of("3-dots-escaped", "%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
    tags_of("3-dots-half-escaped", "..%2f..%2fetc/passwd"),
    tags_of("3-dots-inside", "a/../b"),
    tags_of("3-dot", "a/./b"),
    tags_of("3-backslashes", "..%5c..%5cetc"),
    tags_of("5-256-characters", "a" * 256),
    tags_of("5-256-characters-in-components", "a/" * 127 + "ab"),
    tags_of("6-nul", "a%00b"),
    tags_of("7-newline-last", "a%0A"),
    tags_of("7-newline-first", "%0Aa"),
    tags_of("7-return-and-newline", "a%0D%0AX-Evil:%20yes"),
    tags_of("9-dot-first", ".a"),
    tags_of("9-hyphen-first", "-a"),
    tags_of("9-underscore-first", "a/_b"),
    tags_of("9-hyphen-last", "a-/b"),
    tags_of("9-two-dots", "a..b"),
    tags_of("9-three-underscores", "a___b"),
    tags_of("9-dot-underscore", "a._b"),
    tags_of("9-space", "a%20b"),
    tags_of("9-plus", "a+b"),
    tags_of("9-twice-escaped", "a%252Fb"),
    tags_of("9-unicode", "%C3%A9"),
    tags_of("9-fullwidth", "%EF%BD%81"),
    tags_of("9-invalid-utf-8", "%FF%FE"),
    tags_of("9-half-an-escape", "a%2"),
    tags_of("9-no-escape", "a%zz"),
    tags_of("9-semicolon", "a;b"),
    tags_of("9-empty", ""),
    tags_of("11-long", "a/" * 1990 + "a"),
    tags_of("11-backtracking", "a" * 200 + "!"),
    get("14-short-digest", f"/v2/{NAME}/manifests/sha256:short", [400], "DIGEST_INVALID"),
    get("18-63-digits", f"/v2/{NAME}/blobs/sha256:{'a' * 63}", [400], "DIGEST_INVALID"),
    get("19-upper-case-digest", f"/v2/{NAME}/blobs/sha256:{'A' * 64}", [400], "DIGEST_INVALID"),
    get("20-md5", f"/v2/{NAME}/blobs/md5:{'a' * 32}", [400], "DIGEST_INVALID"),
    get("24-escaped-colon", f"/v2/{NAME}/blobs/sha256%3A{HEX}", [404], "BLOB_UNKNOWN"),
    get("30-session-dots", f"/v2/{NAME}/blobs/uploads/..", [404], "BLOB_UPLOAD_UNKNOWN"),
    get("30-session-escaped", f"/v2/{NAME}/blobs/uploads/%2e%2e", [404], "BLOB_UPLOAD_UNKNOWN"),
    get("30-session-slash", f"/v2/{NAME}/blobs/uploads/..%2f..%2fsecret", [404], "UNSUPPORTED"),
    get("30-session-short", f"/v2/{NAME}/blobs/uploads/x", [404], "BLOB_UPLOAD_UNKNOWN"),
    get("30-session-long", f"/v2/{NAME}/blobs/uploads/{'x' * 1024}", [404], "BLOB_UPLOAD_UNKNOWN"),
    get("30-session-nul", f"/v2/{NAME}/blobs/uploads/%00", [404], "BLOB_UPLOAD_UNKNOWN"),
    get("68-a-file-of-the-data", f"/blobs/sha256/aa/{HEX}", [404], "UNSUPPORTED"),
    get("68-the-secret", "/secret", [404], "UNSUPPORTED"),
    get("68-the-index", "/v2/../registry.sqlite3", [404], "UNSUPPORTED"),
    get("68-an-internal-location", f"/x-accel/sha256/aa/{HEX}", [404], "UNSUPPORTED"),
    get("87-negative-n", "/v2/_catalog?n=-1", [400], "UNSUPPORTED"),
    get("87-400-digits-and-more", f"/v2/_catalog?n={'9' * 400}.", [400], "UNSUPPORTED"),
    get("89-referrers-of-a-tag", f"/v2/{NAME}/referrers/v1", [400], "DIGEST_INVALID"),
    Case("100-options", request("OPTIONS", "/v2/"), [405], "UNSUPPORTED"),
    Case("100-options-star", request("OPTIONS", "*"), [404], "UNSUPPORTED"),
    Case("100-trace", request("TRACE", f"/v2/{NAME}/manifests/v1"), [405], "UNSUPPORTED"),
    Case("100-post-v2", request("POST", "/v2/", b"x"), [405], "UNSUPPORTED"),
    Case("100-put-catalog", request("PUT", "/v2/_catalog", b"x"), [405], "UNSUPPORTED"),
    Case("100-connect", request("CONNECT", "evil.test:443"), [404], "UNSUPPORTED", kept=False),
    Case("67-absolute-form", request("GET", "http://evil.test/nothing"), [404], "UNSUPPORTED"),
    Case("67-absolute-form-without-path", request("GET", "http://evil.test"), [404], "UNSUPPORTED"),
]

HEADS = [
    head_of(
        "23-64-kib-in-the-query",
        f"GET /v2/_catalog?last={'a' * 65536} HTTP/1.1",
        "Host: x",
        statuses=(400, 414),
    ),
    head_of(
        "59-5-kib-request-line", f"GET /v2/{'a' * 5120} HTTP/1.1", "Host: x", statuses=(400, 414)
    ),
    head_of(
        "59-9-kib-header", "GET /v2/ HTTP/1.1", "Host: x", f"X-Long: {'x' * 9216}", statuses=(431,)
    ),
    head_of(
        "59-101-headers",
        "GET /v2/ HTTP/1.1",
        "Host: x",
        *(f"X-{n}: y" for n in range(100)),
        statuses=(431,),
    ),
    head_of("58-two-hosts", "GET /v2/ HTTP/1.1", "Host: a", "Host: b"),
    head_of("58-space-before-colon", "GET /v2/ HTTP/1.1", "Host : x"),
    head_of("58-folded-header", "GET /v2/ HTTP/1.1", "Host: x", "X-Folded: a", " b"),
    head_of("58-no-colon", "GET /v2/ HTTP/1.1", "Host: x", "nonsense"),
    head_of("58-empty-name", "GET /v2/ HTTP/1.1", "Host: x", ": x"),
    head_of("58-nul-in-a-header", "GET /v2/ HTTP/1.1", "Host: x", "X-Nul: a\0b"),
    head_of("58-return-in-a-header", "GET /v2/ HTTP/1.1", "Host: x", "X-Return: a\rb"),
    head_of("58-no-version", "GET /v2/", "Host: x"),
    head_of("58-version-2", "GET /v2/ HTTP/2.0", "Host: x", statuses=(400, 505)),
    head_of("58-version-0.9", "GET /v2/ HTTP/0.9", "Host: x", statuses=(400, 505)),
    head_of("58-lower-case-method", "get /v2/ HTTP/1.1", "Host: x"),
    head_of("58-method-with-a-slash", "G/T /v2/ HTTP/1.1", "Host: x"),
    head_of("58-raw-space-in-the-path", "GET /v2/a b HTTP/1.1", "Host: x"),
    head_of("58-raw-byte-in-the-path", "GET /v2/\xe9 HTTP/1.1", "Host: x"),
    head_of("58-path-without-slash", "GET v2/ HTTP/1.1", "Host: x"),
    head_of(
        "60-other-expectation", "GET /v2/ HTTP/1.1", "Host: x", "Expect: 200-maybe", statuses=(417,)
    ),
    head_of("66-script-name", "GET /v2/ HTTP/1.1", "Host: x", "SCRIPT_NAME: /v2"),
    head_of("66-path-info", "GET /v2/ HTTP/1.1", "Host: x", "PATH_INFO: /healthz"),
    head_of("66-underscores", "GET /v2/ HTTP/1.1", "Host: x", "X_Forwarded_For: 192.0.2.1"),
    Case("58-no-host", b"GET /v2/ HTTP/1.1\r\n\r\n", [400], "UNSUPPORTED"),
    Case("58-bare-line-feeds", b"GET /v2/ HTTP/1.1\nHost: x\n\n", REFUSED, None, kept=False),
    Case(
        "58-bare-line-feed-in-a-header",
        b"GET /v2/ HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
        REFUSED,
        None,
        kept=False,
    ),
    Case(
        "58-tls", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", REFUSED, None, kept=False
    ),
]

LENGTHS = [
    sized("50-two-lengths", "5", "5"),
    sized("50-two-other-lengths", "5", "6"),
    sized("50-plus", "+5"),
    sized("50-minus", "-5"),
    sized("50-list", "5, 5"),
    sized("50-hexadecimal", "0x5"),
    sized("50-superscript", "\xb3"),
    sized("50-underscore", "5_0"),
    sized("50-fraction", "5.0"),
    sized("50-no-length", ""),
    sized("50-5000-digits", "9" * 5000),
    sized("49-length-and-chunked", "5\r\nTransfer-Encoding: chunked", body=chunked(b"01234")),
    sized("49-chunked-and-length", "5\r\nTransfer-Encoding:chunked", body=b""),
    coded("51-gzip-chunked", "gzip, chunked", [501]),
    coded("51-identity-chunked", "identity, chunked", [501]),
    coded("51-deflate-chunked", "deflate, chunked", [501]),
    coded("52-no-break-space", "\xa0chunked"),
    coded("52-vertical-tab", "\x0bchunked"),
    coded("52-chunked-twice", "chunked, chunked"),
    coded("52-chunked-in-two-headers", "chunked\r\nTransfer-Encoding: chunked"),
    coded("52-identity", "identity"),
    coded("52-gzip", "gzip"),
    coded("52-nonsense", "xchunked"),
    coded("52-chunked-with-parameter", "chunked;x=y"),
    coded("52-empty", ""),
    Case(
        "58-chunked-in-http-1.0",
        b"POST /v2/wire/app/blobs/uploads/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunked(),
        REFUSED,
        None,
        kept=False,
    ),
]

BODIES = [
    Case(
        "62-large-body-of-a-refused-patch",
        request(
            "PATCH", f"/v2/{NAME}/blobs/uploads/x?_state=y", b"GET /v2/ HTTP/1.1\r\n\r\n" * 50_000
        ),
        [404],
        "BLOB_UPLOAD_INVALID",
        kept=None,
    ),
    Case(
        "62-large-body-of-a-refused-put",
        request("PUT", f"/v2/{NAME}/manifests/.x", b"x" * (1 << 20), MANIFEST_HEADER),
        [400],
        "MANIFEST_INVALID",
        kept=None,
    ),
    Case(
        "62-body-of-a-get",
        request("GET", f"/v2/{NAME}/manifests/unknown", b"GET /healthz HTTP/1.1\r\n\r\n"),
        [404],
        "MANIFEST_UNKNOWN",
        kept=None,
    ),
    Case(
        "62-chunked-body-of-a-delete",
        request("DELETE", f"/v2/{NAME}/manifests/unknown", None, "Transfer-Encoding: chunked")
        + chunked(b"GET /healthz HTTP/1.1\r\n\r\n"),
        [404],
        "MANIFEST_UNKNOWN",
        kept=None,
    ),
    Case(
        "69-large-manifest",
        request("PUT", f"/v2/{NAME}/manifests/v2", b" " * ((4 << 20) + 1), MANIFEST_HEADER),
        [413],
        "SIZE_INVALID",
        kept=None,
    ),
    Case(
        "70-deep-manifest",
        request("PUT", f"/v2/{NAME}/manifests/v2", b"[" * 100_000, MANIFEST_HEADER),
        [400],
        "MANIFEST_INVALID",
    ),
    Case(
        "77-line-break-in-the-type",
        request("PUT", f"/v2/{NAME}/manifests/v2", b"{}", f"{MANIFEST_HEADER}\r\n\tx"),
        [400],
        None,
        kept=False,
    ),
    Case(
        "77-two-types",
        request("PUT", f"/v2/{NAME}/manifests/v2", b"{}", MANIFEST_HEADER, MANIFEST_HEADER),
        [400],
        None,
        kept=False,
    ),
]

CASES = [*PATHS, *HEADS, *LENGTHS, *BODIES]


@pytest.fixture(scope="module")
def pushed(registry: RunningServer) -> Pushed:
    """An image at ``NAME``, tagged ``v1``."""
    return push_image(registry.http, NAME, "v1")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_bad_request_gets_its_answer(registry: RunningServer, pushed: Pushed, case: Case) -> None:
    """The status and error that the table says, then a next request or a closed connection."""
    with Wire(registry.host) as wire:
        reply = wire.send(case.request).reply(case.request.split(b" ", 1)[0].decode("latin-1"))
        assert reply is not None
        kept = wire.still_serves()

    assert reply.status in case.statuses
    assert case.code is None or reply.code == case.code
    assert b"Traceback" not in reply.body
    assert case.kept in {None, kept}
    assert registry.http.get(f"/v2/{NAME}/manifests/v1").body == pushed.body
    assert registry.http.get(f"/v2/{NAME}/tags/list").json()["tags"] == ["v1"]


def test_the_names_of_the_cases_differ() -> None:
    """Each case can be run by its name."""
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.usefixtures("pushed")
@pytest.mark.parametrize("spelling", ["wire%2Fapp", "wire%2fapp", "%77ire/app", "wire/%61pp"])
def test_an_escaped_name_is_the_name(registry: RunningServer, spelling: str) -> None:
    """4: a slash or letter of a name may be escaped, and the answer is the same."""
    plain = registry.http.get(f"/v2/{NAME}/tags/list")

    assert registry.http.get(f"/v2/{spelling}/tags/list").body == plain.body


@pytest.mark.parametrize(
    "host",
    ["evil/path", "user@evil", "evil:port", "evil:1:2", "[::1", "a b", "", "%65vil", "-\xe9"],
)
def test_a_host_that_is_none_is_in_no_location(registry: RunningServer, host: str) -> None:
    """67: with a ``Host`` that is no host, locations are relative, or the request is refused."""
    head = f"POST /v2/{NAME}/blobs/uploads/ HTTP/1.1\r\nHost: {host}\r\n\r\n"
    with Wire(registry.host) as wire:
        reply = wire.exchange(head.encode("latin-1"))

    assert reply.status in {202, 400}
    assert all(location.startswith("/v2/") for location in reply.values("Location"))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    "options",
    ["close", "TE, close", "close, TE", "x,Close", "TE\r\nConnection: close", "keep-alive, close"],
)
def test_a_last_request_ends_its_connection(
    registry: RunningServer, options: str, version: str
) -> None:
    """``close`` among a request's connection options, in any of its headers, is heeded."""
    head = f"GET /v2/ HTTP/{version}\r\nHost: x\r\nConnection: {options}\r\n\r\n"
    with Wire(registry.host) as wire:
        reply = wire.exchange(head.encode())
        assert not wire.still_serves()

    assert (reply.status, reply.value("Connection")) == (200, "close")


def test_a_client_cannot_send_what_a_proxy_answers(registry: RunningServer, pushed: Pushed) -> None:
    """68: ``X-Accel-Redirect`` in a request does nothing."""
    answer = registry.http.get(f"/v2/{NAME}/manifests/v1", X_Accel_Redirect="/secret")

    assert answer.body == pushed.body


def test_pipelined_requests_are_answered_in_order(registry: RunningServer, pushed: Pushed) -> None:
    """Requests sent at once, a body between them, get their answers one after another."""
    uploads = f"/v2/{NAME}/blobs/uploads/?digest={sha256(b'0123456789')}"
    requests = [
        ("GET", request("GET", "/v2/")),
        ("POST", request("POST", uploads, b"0123456789")),
        ("HEAD", request("HEAD", f"/v2/{NAME}/manifests/v1")),
        (
            "POST",
            request("POST", uploads, None, "Transfer-Encoding: chunked") + chunked(b"0123456789"),
        ),
        ("GET", request("GET", f"/v2/{NAME}/manifests/v1")),
    ]
    with Wire(registry.host) as wire:
        wire.send(b"".join(raw for _, raw in requests))
        replies = [wire.reply(method) for method, _ in requests]

    assert [reply.status if reply else None for reply in replies] == [200, 201, 200, 201, 200]
    assert replies[-1] is not None
    assert replies[-1].body == pushed.body
