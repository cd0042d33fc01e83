"""The one form of every error, and what holds for every answer."""

import json
import logging
from typing import Any, cast

import pytest
from support.images import MANIFEST, sha256
from support.pushes import UNKNOWN_DIGEST, Pushed, push_blob, push_image
from support.server import RunningServer
from support.variants import Variants
from support.verbs import Answer, Verbs
from support.wire import Wire, request

from registry_wsgi.errors import ROWS
from registry_wsgi.web.app import App
from registry_wsgi.web.context import Context
from registry_wsgi.web.request import Environ, RequestBody

NAME = "test/errors"
SESSION = f"/v2/{NAME}/blobs/uploads/00000000-0000-0000-0000-000000000000"
ALWAYS = {"content-length", "docker-distribution-api-version", "x-content-type-options"}
MESSAGES = {(row.code, row.message) for row in ROWS.values()}


@pytest.fixture(scope="module")
def pushed(http: Verbs) -> Pushed:
    """An image tagged ``v1`` in ``NAME``."""
    return push_image(http, NAME, "v1")


def check_form(answer: Answer) -> None:
    """An error's body and headers are as every error's are."""
    document = answer.json()
    assert answer["Content-Type"] == "application/json; charset=utf-8"
    assert answer["Docker-Distribution-API-Version"] == "registry/2.0"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert list(document) == ["errors"]
    assert document["errors"]
    for error in document["errors"]:
        assert list(error) == ["code", "message", "detail"]
        assert (error["code"], error["message"]) in MESSAGES
    compact = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    assert answer.body == compact.encode() + b"\n"


ERRORS = [
    ("GET", "/", 404, "UNSUPPORTED"),
    ("GET", "/v1/", 404, "UNSUPPORTED"),
    ("GET", "/v2/nothing", 404, "UNSUPPORTED"),
    ("GET", "/v2/a/b/c", 404, "UNSUPPORTED"),
    ("GET", f"/v2/{NAME}/tags/list/", 404, "UNSUPPORTED"),
    ("GET", "/v2//", 404, "UNSUPPORTED"),
    ("GET", "/V2/", 404, "UNSUPPORTED"),
    ("GET", "/%E2%98%83", 404, "UNSUPPORTED"),
    ("GET", "/metrics/x", 404, "UNSUPPORTED"),
    ("GET", "/v2/UPPER/tags/list", 400, "NAME_INVALID"),
    ("GET", "/v2/unknown/tags/list", 404, "NAME_UNKNOWN"),
    ("GET", f"/v2/{NAME}/tags/list?n=x", 400, "UNSUPPORTED"),
    ("GET", f"/v2/{NAME}/manifests/nothing", 404, "MANIFEST_UNKNOWN"),
    ("PUT", f"/v2/{NAME}/manifests/v1", 400, "MANIFEST_INVALID"),
    ("PUT", f"/v2/{NAME}/manifests/x:y", 400, "DIGEST_INVALID"),
    ("DELETE", f"/v2/{NAME}/manifests/nothing", 404, "MANIFEST_UNKNOWN"),
    ("GET", f"/v2/{NAME}/blobs/{UNKNOWN_DIGEST}", 404, "BLOB_UNKNOWN"),
    ("GET", f"/v2/{NAME}/blobs/x", 400, "DIGEST_INVALID"),
    ("POST", f"/v2/{NAME}/blobs/uploads/?digest=x", 400, "DIGEST_INVALID"),
    ("GET", SESSION, 404, "BLOB_UPLOAD_UNKNOWN"),
    ("PATCH", SESSION, 404, "BLOB_UPLOAD_INVALID"),
    ("PUT", SESSION, 404, "BLOB_UPLOAD_INVALID"),
    ("DELETE", SESSION, 404, "BLOB_UPLOAD_INVALID"),
    ("GET", f"/v2/{NAME}/referrers/x", 400, "DIGEST_INVALID"),
    ("POST", "/v2/", 405, "UNSUPPORTED"),
    ("POST", "/healthz", 405, "UNSUPPORTED"),
]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"), ERRORS, ids=[f"{e[0]} {e[1]}" for e in ERRORS]
)
@pytest.mark.usefixtures("pushed")
def test_every_error_has_the_one_form(
    http: Verbs, method: str, path: str, status: int, code: str
) -> None:
    """Compact JSON and a newline, with code, message and detail, wherever the error is from."""
    answer = http.request(method, path, None, status, {})

    check_form(answer)
    assert answer.json()["errors"][0]["code"] == code


BLOB_PATH = f"/v2/{NAME}/blobs/{UNKNOWN_DIGEST}"
NOT_ALLOWED = [
    ("/v2/", "GET, HEAD"),
    ("/v2/_catalog", "GET, HEAD"),
    (f"/v2/{NAME}/tags/list", "GET, HEAD"),
    (f"/v2/{NAME}/referrers/{UNKNOWN_DIGEST}", "GET, HEAD"),
    (f"/v2/{NAME}/manifests/v1", "DELETE, GET, HEAD, PUT"),
    (BLOB_PATH, "DELETE, GET, HEAD"),
    (f"/v2/{NAME}/blobs/uploads/", "POST"),
    (SESSION, "DELETE, GET, HEAD, PATCH, PUT"),
    ("/healthz", "GET, HEAD"),
    ("/readyz", "GET, HEAD"),
]


@pytest.mark.parametrize(
    "method", ["OPTIONS", "TRACE", "POST", "PUT", "PATCH", "DELETE", "GET", "PROPFIND"]
)
@pytest.mark.parametrize(("path", "allowed"), NOT_ALLOWED, ids=[case[0] for case in NOT_ALLOWED])
def test_a_method_that_a_path_does_not_have_is_refused(
    http: Verbs, path: str, allowed: str, method: str
) -> None:
    """405 UNSUPPORTED with the path's methods in ``Allow``; the path's own methods get no 405."""
    answer = http.request(method, path, None, None, {})

    assert (answer.status == 405) == (method not in allowed.split(", "))
    if answer.status == 405:
        check_form(answer)
        assert answer["Allow"] == allowed


READABLE = [
    "/v2/",
    "/v2",
    "/v2/_catalog",
    "/v2/_catalog?n=1",
    "/v2/_catalog?n=x",
    f"/v2/{NAME}/tags/list",
    f"/v2/{NAME}/tags/list?n=0",
    "/v2/unknown/tags/list",
    f"/v2/{NAME}/manifests/v1",
    f"/v2/{NAME}/manifests/unknown",
    f"/v2/{NAME}/manifests/sha256:x",
    f"/v2/{NAME}/blobs/{sha256(b'content')}",
    BLOB_PATH,
    f"/v2/{NAME}/referrers/{UNKNOWN_DIGEST}",
    f"/v2/{NAME}/referrers/{UNKNOWN_DIGEST}?artifactType=a/b",
    f"/v2/{NAME}/blobs/uploads/",
    SESSION,
    "/v2/UPPER/tags/list",
    "/nothing",
    "/healthz",
    "/readyz",
]


@pytest.mark.parametrize("path", READABLE)
@pytest.mark.usefixtures("pushed")
def test_a_head_has_the_headers_of_its_get(http: Verbs, path: str) -> None:
    """Same status, same headers in the same order, and no body."""
    get, head = http.get(path, None), http.head(path, None)
    dated = [
        [item for item in answer.headers.items() if item[0] != "Date"] for answer in (get, head)
    ]

    assert head.status == get.status
    assert head.body == b""
    if get.status == 405:  # Allow leaves out what was just refused, and the detail names it
        assert [name for name, _ in dated[0]] == [name for name, _ in dated[1]]
    else:
        assert dated[0] == dated[1]


@pytest.mark.parametrize("path", READABLE)
def test_an_answer_says_what_it_is_of(http: Verbs, path: str) -> None:
    """The API's version and ``nosniff`` are everywhere, once, and ``Server`` is nowhere."""
    names = [name.lower() for name in http.get(path, None).headers]

    assert set(names) >= ALWAYS
    assert len(names) == len(set(names))
    assert "server" not in names


@pytest.mark.parametrize("sent", ["abc-123", "  spaced  out ", "\xe9\xff", "x" * 4000])
@pytest.mark.parametrize("path", ["/v2/", f"/v2/{NAME}/manifests/nothing", "/nothing", "/v2"])
def test_a_request_id_is_echoed(http: Verbs, path: str, sent: str) -> None:
    """What came as ``X-Request-Id`` goes back, on success and error."""
    assert http.get(path, None, X_Request_Id=sent)["X-Request-Id"] == sent.strip()


@pytest.mark.parametrize("path", READABLE)
def test_no_request_id_is_made_up(http: Verbs, path: str) -> None:
    """Without ``X-Request-Id`` in the request there is none in the answer."""
    assert http.get(path, None).headers["X-Request-Id"] is None


def test_a_missing_slash_after_v2_is_redirected(http: Verbs) -> None:
    """``/v2`` gets 301 to ``/v2/``."""
    assert http.get("/v2", 301).location == "/v2/"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    ["/v2/a%0D%0AX:y/blobs/uploads", "/v2%0D%0AX:y", "//evil/v2", "//v2", "///v2", "//v2/"],
)
def test_a_path_cannot_write_headers(registry: RunningServer, method: str, path: str) -> None:
    """A line break or a host in a path is in no header, and two slashes are no one."""
    with Wire(registry.host) as wire:
        reply = wire.exchange(request(method, path))

    assert reply.status in {400, 404}
    assert {"x", "location"}.isdisjoint(reply.names)
    assert reply.code in {"NAME_INVALID", "DIGEST_INVALID", "UNSUPPORTED"}


def test_a_blob_whose_file_is_gone_is_no_empty_answer() -> None:
    """503 UNAVAILABLE, when to come again, and no word to the client of where the files are."""
    with Variants({"broken": ""}) as servers:
        server = servers["broken"]
        digest = push_blob(server.http, NAME, b"lost")
        (file,) = server.data.glob(f"blobs/sha256/*/{digest[7:]}")
        file.unlink()
        answer = server.http.get(f"/v2/{NAME}/blobs/{digest}", 503)
        log = server.log

    check_form(answer)
    assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"
    assert int(answer["Retry-After"]) > 0
    assert str(server.data).encode() not in answer.body
    assert digest in log


class Started:
    """What an application told its server."""

    status: str
    headers: list[tuple[str, str]]

    def __call__(self, status: str, headers: list[tuple[str, str]]) -> None:
        """WSGI's start_response."""
        self.status, self.headers = status, headers


@pytest.fixture
def broken() -> App:
    """An application that fails in a way nobody thought of."""

    def fail(environ: Environ) -> RequestBody:
        raise LookupError(environ["REQUEST_METHOD"])

    return App(cast("Context", None), fail)


def test_an_unexpected_failure_has_the_form_too(
    broken: App, caplog: pytest.LogCaptureFixture
) -> None:
    """500 UNKNOWN without a word of what happened, which is in the log."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "PUT",
        "PATH_INFO": f"/v2/{NAME}/manifests/v1",
        "CONTENT_TYPE": MANIFEST,
        "HTTP_X_REQUEST_ID": "abc",
    }
    started = Started()
    with caplog.at_level(logging.ERROR):
        body = b"".join(broken(environ, started))
    headers = dict(started.headers)

    assert started.status == "500 Internal Server Error"
    assert json.loads(body)["errors"][0]["code"] == "UNKNOWN"
    assert b"LookupError" not in body
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["X-Request-Id"] == "abc"
    assert "LookupError" in caplog.text
