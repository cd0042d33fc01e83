"""contrib/nginx.conf in front of the registry: what comes through it, and what does not."""

import io
import socket
from collections.abc import Iterator, Mapping

import pytest
from support.images import MIB, noise, sha256
from support.proxied import Proxied, proxied
from support.pushes import image, open_upload, push_blob, put_manifest, with_digest
from support.server import RunningServer
from support.storage import memory_directory
from support.verbs import Answer, Verbs
from support.waiting import wait_for_offset
from support.wire import Reply, chunk, chunked, request
from werkzeug.test import Client

from registry_wsgi.config import load
from registry_wsgi.wiring import create_app

BLOB = noise(200_000, "a blob behind nginx")
DIGEST = sha256(BLOB)
TAG = f'"{DIGEST}"'
OWN = {"date", "server", "connection"}
"""Headers that each server has of its own."""

CONDITIONS: dict[str, dict[str, str]] = {
    "all of it": {},
    "a range": {"Range": "bytes=1000-1999"},
    "its first byte": {"Range": "bytes=0-0"},
    "a range to the end": {"Range": "bytes=199000-"},
    "its last bytes": {"Range": "bytes=-77"},
    "more than there is": {"Range": "bytes=199000-999999"},
    "a range behind the end": {"Range": "bytes=200000-"},
    "a range that ends before it starts": {"Range": "bytes=9-5"},
    "no range": {"Range": "bytes=here-there"},
    "another unit": {"Range": "layers=0-1"},
    "one range in a list": {"Range": "bytes=,5-9"},
    "one range of two": {"Range": "bytes=5-9,200000-"},
    "two ranges": {"Range": "bytes=0-1,5-6"},
    "a range if it is this content": {"Range": "bytes=5-9", "If-Range": TAG},
    "a range if it is other content": {"Range": "bytes=5-9", "If-Range": '"other"'},
    "a range if it is of a date": {
        "Range": "bytes=5-9",
        "If-Range": "Fri, 01 Jan 2100 00:00:00 GMT",
    },
    "what the client has": {"If-None-Match": TAG},
    "what the client has not": {"If-None-Match": '"other"'},
    "something newer than a date": {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"},
    "something older than a date": {"If-Unmodified-Since": "Fri, 01 Jan 1999 00:00:00 GMT"},
    "what it should be": {"If-Match": TAG},
    "what it should not be": {"If-Match": '"other"'},
    "a range of what it should be": {"If-Match": TAG, "Range": "bytes=5-9"},
    "with an id": {"X-Request-Id": "an-id"},
}


def seen(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """What the registry decides of an answer, in an order that is the same for all servers."""
    headers = [(name.lower(), value) for name, value in answer.headers.items()]
    return answer.status, sorted(h for h in headers if h[0] not in OWN), answer.body


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", CONDITIONS.values(), ids=CONDITIONS)
def test_a_blob_is_answered_as_without_nginx(
    behind_nginx: Proxied, registry: RunningServer, headers: Mapping[str, str], method: str
) -> None:
    """Status, headers and bytes are the same through nginx and from the registry alone."""
    answers = []
    for http in (behind_nginx.http, registry.http):
        push_blob(http, "nginx/same", BLOB)
        answers.append(http.request(method, f"/v2/nginx/same/blobs/{DIGEST}", None, None, headers))

    assert seen(answers[0]) == seen(answers[1])


PATHS = {
    "a registry": ("GET", "/v2/"),
    "a manifest": ("GET", "/v2/nginx/same/manifests/a"),
    "an unknown blob": ("GET", f"/v2/nginx/same/blobs/sha256:{'0' * 64}"),
    "a path that leads nowhere": ("GET", "/nowhere"),
    "a malformed name": ("GET", "/v2/UPPER/tags/list"),
    "an encoded slash": ("GET", "/v2/nginx%2Fsame/tags/list"),
    "two slashes": ("GET", "//v2/"),
    "dots": ("GET", "/v2/../v2/"),
    "a method that is not there": ("PUT", "/v2/_catalog"),
}


@pytest.mark.parametrize(("method", "path"), PATHS.values(), ids=PATHS)
def test_an_answer_comes_through_unchanged(
    behind_nginx: Proxied, registry: RunningServer, method: str, path: str
) -> None:
    """Manifests and errors have the same status, headers and body through nginx as without."""
    answers = []
    for http in (behind_nginx.http, registry.http):
        push_blob(http, "nginx/same", b"{}")
        put_manifest(http, "/v2/nginx/same/manifests/a", image(b"{}"))
        answers.append(http.request(method, path, None, None, {}))

    assert seen(answers[0]) == seen(answers[1])


def test_nginx_sends_the_bytes_of_a_blob(behind_nginx: Proxied, repository: str) -> None:
    """What the registry itself answers nginx with has the blob's place and no byte of it."""
    digest = push_blob(behind_nginx.http, repository, BLOB)
    connection = behind_nginx.registry.connect()
    connection.request("GET", f"/v2/{repository}/blobs/{digest}")
    answer = connection.getresponse()
    place = answer.headers["X-Accel-Redirect"]
    length = answer.headers["Content-Length"]
    connection.close()

    assert place == f"/_blobs/sha256/{digest[7:9]}/{digest[7:]}"
    assert length == "0"


PEERS = {
    "a client": ("192.0.2.1", "", False),
    "a trusted proxy": ("192.0.2.1", "192.0.2.0/24", True),
    "the socket": ("", "", True),
}


@pytest.mark.parametrize(("peer", "proxies", "told"), PEERS.values(), ids=PEERS)
def test_where_blobs_are_is_told_to_trusted_peers_alone(
    peer: str, proxies: str, told: bool
) -> None:
    """A client that reaches the registry without nginx gets the blob and no X-Accel-Redirect."""
    with memory_directory() as folder:
        flags = {"storage.data": str(folder / "data"), "server.x_accel_prefix": "/_blobs/"}
        client = Client(create_app(load(flags={**flags, "server.trusted_proxies": proxies})))
        path = f"/v2/a/blobs/uploads/?digest={DIGEST}"
        client.post(path, input_stream=io.BytesIO(BLOB), content_length=len(BLOB))
        answer = client.get(f"/v2/a/blobs/{DIGEST}", environ_overrides={"REMOTE_ADDR": peer})

    assert ("X-Accel-Redirect" in answer.headers) is told
    assert answer.data == (b"" if told else BLOB)


INTERNAL = [
    "/_blobs/sha256/{shard}/{hex}",
    "/_blobs//sha256/{shard}/{hex}",
    "/%5fblobs/sha256/{shard}/{hex}",
    "/v2/../_blobs/sha256/{shard}/{hex}",
    "/_blobs/../registry.sqlite3",
    "/_blobs/..%2fregistry.sqlite3",
    "/_blobs/%2e%2e/secret",
    "/_blobs../secret",
]


@pytest.mark.parametrize("path", INTERNAL)
def test_nobody_is_served_by_the_internal_location(
    behind_nginx: Proxied, repository: str, path: str
) -> None:
    """Neither a blob nor any other file can be asked for by its place."""
    digest = push_blob(behind_nginx.http, repository, BLOB)
    target = path.format(shard=digest[7:9], hex=digest[7:])
    with behind_nginx.wire() as wire:
        reply = wire.exchange(request("GET", target, None, "Connection: close"))

    assert reply.status in {400, 404}
    assert BLOB[:100] not in reply.body


def test_an_x_accel_header_of_a_client_does_nothing(behind_nginx: Proxied, repository: str) -> None:
    """X-Accel headers in a request change neither what is answered nor how."""
    digest = push_blob(behind_nginx.http, repository, BLOB)
    place = f"/_blobs/sha256/{digest[7:9]}/{digest[7:]}"
    sent = {"X-Accel-Redirect": place, "X-Accel-Limit-Rate": "1", "X-Accel-Expires": "100"}
    answers = [
        behind_nginx.http.request("GET", "/v2/", None, 200, headers) for headers in ({}, sent)
    ]

    assert seen(answers[0]) == seen(answers[1])


@pytest.fixture(scope="module")
def nameless() -> Iterator[Proxied]:
    """A registry that has only nginx's word for how clients reach it."""
    with proxied(environment={"REGISTRY_WSGI_SERVER_EXTERNAL_URL": ""}) as running:
        yield running


FORGED = {
    "none": [],
    "X-Forwarded-Host": ["X-Forwarded-Host: evil.example"],
    "X-Forwarded-Proto": ["X-Forwarded-Proto: http"],
    "Forwarded": ["Forwarded: host=evil.example;proto=http"],
    "two of a kind": ["X-Forwarded-Host: evil.example", "X-Forwarded-Host: registry.test"],
    "with an underscore": ["X_Forwarded_Host: evil.example", "Forwarded_: x"],
    "a prefix": ["X-Forwarded-Prefix: /evil", "X-Script-Name: /evil", "SCRIPT_NAME: /evil"],
    "other names of the scheme": ["X-Forwarded-Protocol: http", "X-Forwarded-Ssl: off"],
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_what_a_client_says_of_the_way_to_here_does_nothing(
    nameless: Proxied, repository: str, forged: list[str]
) -> None:
    """Location is made of nginx's scheme and the Host header, whatever a client forwards."""
    with nameless.wire() as wire:
        reply = wire.exchange(request("POST", f"/v2/{repository}/blobs/uploads/", b"", *forged))

    assert reply.status == 202
    assert reply.value("Location").startswith(
        f"https://registry.test/v2/{repository}/blobs/uploads/"
    )


def test_a_client_cannot_give_itself_an_address(behind_nginx: Proxied, repository: str) -> None:
    """The audit log has the address that nginx saw, not one that the client claims."""
    push_blob(behind_nginx.http, repository, b"{}")
    headers = {"X_Forwarded_For": "192.0.2.1", "X_Real_IP": "192.0.2.2"}
    put_manifest(behind_nginx.http, f"/v2/{repository}/manifests/a", image(b"{}"), 201, **headers)
    log = [line for line in behind_nginx.registry.log.splitlines() if repository in line]

    assert log
    assert not [line for line in log if "192.0.2." in line]
    assert all(" 127.0.0.1 " in line for line in log)


FRAMINGS = {"in chunks": "Transfer-Encoding: chunked", "of a length": f"Content-Length: {4 * MIB}"}


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_an_upload_reaches_the_registry_while_it_is_sent(
    behind_nginx: Proxied, repository: str, framing: str
) -> None:
    """Half of an upload is at the registry before the client has sent the other half."""
    data = noise(4 * MIB, repository)
    halves = data[: 2 * MIB], data[2 * MIB :]
    is_chunked = "chunked" in framing
    location = open_upload(behind_nginx.http, repository)
    with behind_nginx.wire() as wire:
        wire.send(request("PATCH", location.partition(behind_nginx.host)[2], None, framing))
        wire.send(chunk(halves[0]) if is_chunked else halves[0])
        wait_for_offset(behind_nginx.http, location, MIB)
        wire.send(chunked(halves[1]) if is_chunked else halves[1])
        reply = wire.reply("PATCH")
    assert reply is not None
    finished = behind_nginx.http.put(with_digest(reply.value("Location"), sha256(data)))

    assert reply.status == 202
    assert finished["Docker-Content-Digest"] == sha256(data)


@pytest.mark.parametrize("in_chunks", [False, True], ids=["of a length", "in chunks"])
def test_an_upload_may_be_larger_than_any_other_body(
    behind_nginx: Proxied, repository: str, in_chunks: bool
) -> None:
    """A blob of 40 MiB is taken in one request, at both ways of uploading."""
    data = noise(40 * MIB, "a large upload")
    digest = sha256(data)
    body = [data[i : i + MIB] for i in range(0, len(data), MIB)] if in_chunks else data
    patched = behind_nginx.http.patch(open_upload(behind_nginx.http, repository), body)
    behind_nginx.http.put(with_digest(patched.location, digest))
    target = f"/v2/{repository}/blobs/uploads/?digest={digest}"
    behind_nginx.http.post(target, body, expect=201)
    # Without its slash, the same: nothing is redirected that a client would not send again.
    behind_nginx.http.post(target.replace("/?", "?"), body, expect=201)

    assert behind_nginx.http.get(f"/v2/{repository}/blobs/{digest}").body == data


@pytest.mark.parametrize("size", [5 * MIB, 17 * MIB], ids=["by the registry", "by nginx"])
def test_a_manifest_that_is_too_large_is_refused_in_the_registrys_form(
    behind_nginx: Proxied, repository: str, size: int
) -> None:
    """413 is JSON with a code, whether the registry or nginx answers it."""
    path = f"/v2/{repository}/manifests/a"
    answer = behind_nginx.http.put(path, b" " * size, expect=413, Content_Type="application/json")

    assert answer.json()["errors"][0]["code"] == "SIZE_INVALID"


def test_a_refused_upload_is_answered_while_it_is_sent(
    behind_nginx: Proxied, repository: str
) -> None:
    """A client that sends 8 MiB to a session that is not there gets the registry's 404."""
    path = f"/v2/{repository}/blobs/uploads/00000000-0000-4000-8000-000000000000"
    answer = behind_nginx.http.patch(path, noise(8 * MIB, "refused"), expect=404)

    assert answer.json()["errors"][0]["code"].startswith("BLOB_UPLOAD_")


@pytest.mark.parametrize(
    ("size", "status"), [(8_000, 200), (9_000, 431), (100_000, 431), (600_000, 400)]
)
def test_headers_that_are_too_long_are_refused(
    behind_nginx: Proxied, size: int, status: int
) -> None:
    """Up to half a MiB by the registry, and by nginx beyond; then the next one is served."""
    assert behind_nginx.http.get("/v2/", None, X_Filler="x" * size).status == status
    assert behind_nginx.http.get("/v2/").status == 200


def test_plain_http_leads_to_https(behind_nginx: Proxied) -> None:
    """What is asked without TLS is redirected, with its method, to the same path."""
    http = Verbs(f"127.0.0.1:{behind_nginx.nginx.plain_port}")
    answer = http.post("/v2/a/blobs/uploads/?mount=b", expect=308)

    assert answer.location == "https://127.0.0.1/v2/a/blobs/uploads/?mount=b"


def test_what_is_in_a_query_is_not_logged(behind_nginx: Proxied, repository: str) -> None:
    """The log of nginx has the path of a request and nothing of its query."""
    path = f"/v2/{repository}/tags/list"
    behind_nginx.http.get(f"{path}?n=1&last=secret-word", expect=404)

    assert f'"GET {path}" 404' in behind_nginx.nginx.access_log
    assert "secret-word" not in behind_nginx.nginx.access_log


def test_connections_are_kept(behind_nginx: Proxied) -> None:
    """A client's connection serves many requests, uploads and refused ones among them."""
    wanted = [request("GET", "/v2/"), request("POST", "/v2/a/blobs/uploads/", b"")]
    wanted += [request("GET", "/nowhere"), request("GET", "/v2/_catalog")]
    with behind_nginx.wire() as wire:
        replies: list[Reply] = [wire.exchange(one) for one in wanted * 5]

    assert [reply.status for reply in replies] == [200, 202, 404, 200] * 5


def test_whoever_asks_for_many_tokens_has_to_wait(behind_nginx: Proxied) -> None:
    """Of 100 requests for a token at once, some are answered 429 in the registry's form."""
    host, _, port = behind_nginx.host.rpartition(":")
    plain = socket.create_connection((host, int(port)), source_address=("127.0.0.2", 0))
    context = behind_nginx.certificates.context
    with context.wrap_socket(plain, server_hostname=host) as connection:
        connection.sendall(request("GET", "/token") * 99)
        connection.sendall(request("GET", "/token", None, "Connection: close"))
        answers = b"".join(iter(lambda: connection.recv(1 << 16), b""))

    assert answers.count(b"HTTP/1.1 429") >= 20
    assert b'"code":"TOOMANYREQUESTS"' in answers
    assert b"Retry-After: 5" in answers
    assert answers.count(b"HTTP/1.1 200") + answers.count(b"HTTP/1.1 404") >= 50
