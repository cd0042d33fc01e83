"""Whatever is asked, the answer is no failure of the registry's, and has the form of an answer."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.anything import BLOB, NAME, REQUESTS, SPANS, Environ, environ_of
from support.images import MANIFEST, descriptor, encode, sha256
from support.pushes import EMPTY, UNKNOWN_DIGEST, artifact, image, index
from support.server import throwaway_directory
from werkzeug.test import Client

from registry_wsgi import config, create_app
from registry_wsgi.errors import ROWS, UPLOAD_CUT_SHORT

EXAMPLES = 1500
CODES = {row.code for row in ROWS.values()}
NEVER_OF_A_CLIENT = frozenset({500, 502, 503, 504, 507})


class Answered:
    """An application's answer to one environ, with what PEP 3333 asks of it checked."""

    def __init__(self, app: Any, environ: Environ) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        result = app(environ, self._start)
        self.body = b"".join(result)
        if hasattr(result, "close"):
            result.close()

    def _start(self, status: str, headers: list[tuple[str, str]], _: object = None) -> None:
        self.status = int(status[:3])
        self.headers = headers

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for found, value in self.headers if found.lower() == name.lower()]


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    """The application, in this process, with something of every kind in it."""
    with throwaway_directory() as folder:
        flags = {"storage.data": str(folder / "data"), "storage.durability": "relaxed"}
        application = create_app(config.load(flags=flags))
        fill(application)
        yield application


def fill(app: Any) -> None:
    """Push a blob, an image, an index and a referrer."""
    client = Client(app)
    uploads = f"/v2/{NAME}/blobs/uploads/?digest="
    manifests = f"/v2/{NAME}/manifests/"
    subject = descriptor(MANIFEST, encode(image(EMPTY, BLOB)))
    answers = [client.post(uploads + sha256(blob), data=blob) for blob in (EMPTY, BLOB)]
    answers += [
        client.put(manifests + tag, data=encode(document), content_type=document["mediaType"])
        for tag, document in (
            ("v1", image(EMPTY, BLOB)),
            ("multi", index(subject)),
            ("sbom", artifact(subject=subject)),
        )
    ]
    assert [answer.status_code for answer in answers] == [201] * 5


def check_headers(answer: Answered) -> None:
    """Any server may send these headers as they are, and each is there once."""
    names = [name.lower() for name, _ in answer.headers if name != "OCI-Tag"]
    assert len(names) == len(set(names))
    for _, value in answer.headers:
        value.encode("latin-1")
        assert all(character >= " " or character == "\t" for character in value)


def check_body(answer: Answered, method: str) -> None:
    """The body is as long as announced; that of an error is JSON of the one form."""
    if method == "HEAD" or answer.status in {204, 304}:
        assert answer.body == b""
        return
    assert answer.values("Content-Length") == [str(len(answer.body))]
    if answer.status >= 400:
        document = json.loads(answer.body)
        assert answer.values("Content-Type") == ["application/json; charset=utf-8"]
        assert {error["code"] for error in document["errors"]} <= CODES
        assert answer.body.endswith(b"}\n")


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow],
)
@given(environ=REQUESTS)
def test_any_request_gets_an_answer(app: Any, environ: Environ) -> None:
    """No status above 499 but 501, an error is JSON, and every header can be sent."""
    answer = Answered(app, environ)

    assert answer.status not in NEVER_OF_A_CLIENT, answer.body
    check_headers(answer)
    check_body(answer, environ["REQUEST_METHOD"])


CHUNKS = st.lists(
    st.tuples(
        st.sampled_from(["PATCH", "PATCH", "PUT", "DELETE", "GET"]),
        st.binary(max_size=30),
        st.none() | SPANS,
        st.sampled_from(["length", "chunked", "short"]),
        st.booleans(),
    ),
    max_size=6,
)


@settings(
    max_examples=EXAMPLES // 4,
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow],
)
@given(steps=CHUNKS)
def test_any_upload_tells_where_it_is(app: Any, steps: list[Any]) -> None:
    """Whatever is sent to a session, what it then tells it has is a blob of what was taken."""
    start = Answered(app, environ_of("POST", f"/v2/{NAME}/blobs/uploads/", "", {}, b"", "length"))
    path, _, state = start.values("Location")[0].partition("?")
    path = path[path.index("/v2/") :]
    older, taken = state, b""
    for method, body, span, framing, stale in steps:
        query = f"{older if stale else state}&digest={UNKNOWN_DIGEST}x"
        headers = {} if span is None else {"Content-Range": span}
        answer = Answered(app, environ_of(method, path, query, headers, body, framing))
        assert answer.status < 500, answer.body
        if method == "DELETE" and answer.status == 204:
            return
        if answer.status == 202 or UPLOAD_CUT_SHORT.message.encode() in answer.body:
            taken += body
        told = Answered(app, environ_of("GET", path, "", {}, b"", "length"))
        assert told.values("Range") == [f"0-{max(len(taken) - 1, 0)}"]
        older, state = state, told.values("Location")[0].partition("?")[2]
    last = f"{state}&digest={sha256(taken)}"
    ended = Answered(app, environ_of("PUT", path, last, {}, b"", "length"))
    found = Answered(
        app, environ_of("GET", f"/v2/{NAME}/blobs/{sha256(taken)}", "", {}, b"", "length")
    )

    assert (ended.status, found.status, found.body) == (201, 200, taken)


def test_the_registry_is_consistent_after_all_that(app: Any) -> None:
    """What the listings name is there, and each content has its digest."""
    client = Client(app)
    for name in client.get("/v2/_catalog").get_json()["repositories"]:
        for tag in client.get(f"/v2/{name}/tags/list").get_json()["tags"]:
            manifest = client.get(f"/v2/{name}/manifests/{tag}")
            assert manifest.headers["Docker-Content-Digest"] == sha256(manifest.data)
            document = json.loads(manifest.data)
            for part in [*(document.get("layers") or []), *filter(None, [document.get("config")])]:
                blob = client.get(f"/v2/{name}/blobs/{part['digest']}")
                assert (blob.status_code, len(blob.data)) == (200, part["size"])
    for part in (EMPTY, BLOB):
        client.post(f"/v2/{NAME}/blobs/uploads/?digest={sha256(part)}", data=part)
    answer = client.put(
        f"/v2/{NAME}/manifests/v1", data=encode(image(EMPTY, BLOB)), content_type=MANIFEST
    )

    assert answer.status_code == 201
