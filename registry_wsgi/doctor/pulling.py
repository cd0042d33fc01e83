"""Pulling the way clients do, and what can be had that should not be."""

from collections.abc import Iterator
from typing import Final

from registry_wsgi.doctor.arriving import anonymous
from registry_wsgi.doctor.client import Answer, is_loopback
from registry_wsgi.doctor.findings import OK, PROBLEM, Finding, judged
from registry_wsgi.doctor.visit import Visit

INTERNAL: Final = "/_blobs/"
"""The internal location of contrib/nginx.conf."""

ACCEL: Final = (
    "nginx: location /_blobs/ { internal; alias <data>/blobs/; } as in contrib/nginx.conf, nginx's "
    "user in the registry's group (adduser www-data registry-wsgi; systemctl restart nginx); or "
    'registry-wsgi.toml: [server] x_accel_prefix = ""'
)
HEADERS: Final = (
    "nginx, in location /_blobs/: add_header Etag $upstream_http_etag; add_header "
    "Docker-Content-Digest $upstream_http_docker_content_digest;"
)
RANGE: Final = "nginx, in location /_blobs/: max_ranges 1; elsewhere: no proxy_set_header Range"
AS_CLIENTS_DO: Final = {"Accept-Encoding": "gzip"}
"""What Go's HTTP client adds to each request, and with it most clients of a registry."""

GZIP: Final = "nginx: gzip off;"


def whole(visit: Visit) -> Iterator[Finding]:
    """Fetch every blob that was pushed, as a whole."""
    faults: list[tuple[str, str]] = []
    for digest, content in visit.blobs.items():
        asked = visit.request("HEAD", visit.blob(digest), None, AS_CLIENTS_DO)
        got = visit.request("GET", visit.blob(digest), None, AS_CLIENTS_DO)
        for fault in [*_head_faults(asked, digest, content), *_get_faults(got, digest, content)]:
            if fault not in faults:
                faults.append(fault)
    yield from judged("pull", "blobs arrive as they were pushed", faults)


def _head_faults(answer: Answer, digest: str, content: bytes) -> Iterator[tuple[str, str]]:
    if answer.status != 200:  # noqa: PLR2004 - OK
        yield f"HEAD of a blob is answered {answer.status}", "nginx: no limit_except"
        return
    if answer.header("Content-Length") != str(len(content)):
        yield "HEAD of a blob does not tell its length", GZIP
    if answer.header("Docker-Content-Digest") != digest:
        hidden = "nginx: no proxy_hide_header Docker-Content-Digest"
        yield "HEAD of a blob does not tell its digest", hidden


def _get_faults(answer: Answer, digest: str, content: bytes) -> Iterator[tuple[str, str]]:
    if answer.header("X-Accel-Redirect"):
        yield "nothing on the way fetches blobs for the registry (X-Accel-Redirect arrives)", ACCEL
    elif answer.status != 200:  # noqa: PLR2004 - OK
        yield f"GET of a blob is answered {answer.status} {answer.code}", ACCEL
    elif answer.header("Content-Encoding"):
        yield f"blobs arrive encoded: {answer.header('Content-Encoding')}", GZIP
    elif answer.body != content:
        yield "a blob arrives with other bytes than it was pushed with", ACCEL
    elif answer.header("Docker-Content-Digest") != digest or not answer.header("Etag"):
        yield "GET of a blob does not tell its digest, in two headers", HEADERS


def ranges(visit: Visit) -> Iterator[Finding]:
    """Fetch parts of the last blob, as a client does that goes on with a broken pull."""
    if not visit.blobs:
        return
    digest, content = list(visit.blobs.items())[-1]
    half = len(content) // 2
    part = f"bytes={half}-{half + 99}"
    faults: list[tuple[str, str]] = []
    for headers in ({"Range": part}, {"Range": part, "If-Range": f'"{digest}"'}):
        got = visit.request("GET", visit.blob(digest), None, headers)
        wanted = f"bytes {half}-{half + 99}/{len(content)}"
        right = got.status == 206 and got.header("Content-Range") == wanted  # noqa: PLR2004 - Partial Content
        if not right or got.body != content[half : half + 100]:
            name = " and ".join(headers)
            advice = HEADERS if "If-Range" in headers and not faults else RANGE
            faults.append((f"{name} is answered {got.status} with {len(got.body)} bytes", advice))
    yield from judged("range", "parts of a blob arrive", faults)


def exposed(visit: Visit) -> Iterator[Finding]:
    """Whether anything can be had past the registry's rules."""
    faults = []
    for digest in list(visit.blobs)[:1]:
        place = f"{INTERNAL}{digest[:6]}/{digest[7:9]}/{digest[7:]}"
        if visit.client.request("GET", place).status == 200:  # noqa: PLR2004 - OK
            advice = "nginx, in location /_blobs/: internal;"
            faults.append((f"everybody gets every blob by its place, {INTERNAL}...", advice))
    if _believes_everybody(visit):
        advice = 'nginx: proxy_set_header X-Remote-User "";'
        faults.append(("a client that sends X-Remote-User is whoever it says", advice))
    yield from judged("exposed", "nothing can be had past the registry's rules", faults)


def _believes_everybody(visit: Visit) -> bool:
    """Whether a header of the client signs it in; only to be seen where one has to sign in."""
    if visit.open_to_all:
        return False
    forged = {"X-Remote-User": visit.user or "doctor"}
    return anonymous(visit.client, forged) == 200  # noqa: PLR2004 - OK


def metrics(visit: Visit) -> Iterator[Finding]:
    """Whether strangers may read the metrics, which have names of repositories in them."""
    answer = visit.client.request("GET", "/metrics")
    if answer.status == 200 and not is_loopback(visit.client.host):  # noqa: PLR2004 - OK
        yield Finding(
            "metrics",
            PROBLEM,
            "/metrics can be read from here",
            "nginx: proxy_set_header X-Forwarded-For $remote_addr; registry-wsgi.toml: "
            "[metrics] peers, if this is no machine that should",
        )
    else:
        yield Finding("metrics", OK, "/metrics are not for everybody")
