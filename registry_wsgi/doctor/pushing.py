"""Pushing the way clients do: where an upload is sent, what it may be, and how it gets there."""

import hashlib
import http.client
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from registry_wsgi.doctor.client import Answer, answer_of, target_of, with_parameter
from registry_wsgi.doctor.findings import NOTE, CannotCheckError, Finding, judged
from registry_wsgi.doctor.visit import Visit

CHUNK: Final = 64 << 10
FIRST_PART: Final = 2 << 20
"""Bytes of an upload that are sent before the registry is asked whether it has any."""

ARRIVAL_SECONDS: Final = 3.0
"""How long they may take to get there: without buffers it is milliseconds."""

FORGED_HOST: Final = "doctor.invalid"
FORGED: Final = {
    "X-Forwarded-Host": FORGED_HOST,
    "X-Forwarded-Proto": "gopher",
    "Forwarded": f"host={FORGED_HOST};proto=http",
}

LIMIT: Final = "nginx: client_max_body_size 0; in the location of uploads"
CHUNKED: Final = "nginx: proxy_http_version 1.1; (and nothing in front of it that speaks HTTP/1.0)"
BUFFERING: Final = (
    "nginx: proxy_request_buffering off; in the location of uploads, and proxy_http_version 1.1;"
)


def begin(visit: Visit, headers: dict[str, str] | None = None) -> Answer:
    """Open an upload session; raises CannotCheckError when that is refused."""
    answer = visit.request("POST", visit.uploads, b"", headers)
    if answer.status == 202:  # noqa: PLR2004 - Accepted
        return answer
    reasons = {
        401: ("nobody may push here without signing in", "give --user and --password-stdin"),
        403: (f"{visit.user or 'nobody'} may not push to {visit.repository}", "give --repository"),
        405: ("pushes are refused: the registry is read-only, or POST is blocked on the way", ""),
        503: ("the registry cannot take pushes now", "registry-wsgi fsck; its log says why"),
        507: ("the disk is full", "docs/operations.md, A full disk"),
    }
    message, advice = reasons.get(
        answer.status,
        ("uploads do not get through", "nginx: location ~ ^/v2/.+/blobs/uploads(/|$)"),
    )
    raise CannotCheckError("push", f"{message} ({answer.status} {answer.code})", advice)


def location(visit: Visit) -> Iterator[Finding]:
    """Whether clients are told to go on where they are, and not where somebody else says."""
    found = begin(visit)
    faults = _location_faults(visit, found.header("Location"))
    if not found.header("Docker-Upload-Uuid") or not found.header("Range"):
        advice = "nginx: no proxy_hide_header of the registry's headers"
        faults.append(("Docker-Upload-Uuid or Range does not arrive", advice))
    yield from judged("location", "uploads go on where they began", faults)
    forged = begin(visit, FORGED).header("Location")
    faults = []
    if FORGED_HOST in forged or forged.startswith("gopher"):
        advice = (
            "nginx: proxy_set_header X-Forwarded-Host $http_host; proxy_set_header "
            'X-Forwarded-Proto $scheme; proxy_set_header Forwarded "";'
        )
        faults.append(("headers of a client decide where uploads are sent", advice))
    yield from judged("forwarded", "what clients say of the way to here is ignored", faults)
    for target in map(target_of, (found.header("Location"), forged)):
        visit.request("DELETE", target)


def _location_faults(visit: Visit, place: str) -> list[tuple[str, str]]:
    parts = urlsplit(place)
    told = f"Location sends uploads to {parts.scheme}://{parts.netloc}, not to {visit.client.url}"
    external = f'registry-wsgi.toml: [server] external_url = "{visit.client.url}"'
    if parts.scheme and parts.scheme != visit.client.scheme:
        return [(told, f"nginx: proxy_set_header X-Forwarded-Proto $scheme; or {external}")]
    if parts.netloc and parts.netloc != visit.client.host:
        return [(told, f"nginx: proxy_set_header X-Forwarded-Host $http_host; or {external}")]
    return []


def small(visit: Visit) -> Iterator[Finding]:
    """Push a small blob in one PUT."""
    content = os.urandom(1000)
    digest = digest_of(content)
    target = with_parameter(target_of(begin(visit).header("Location")), "digest", digest)
    answer = visit.request("PUT", target, content)
    faults = []
    if answer.status == 201:  # noqa: PLR2004 - Created
        visit.blobs[digest] = content
    else:
        faults.append((f"a small blob is answered {answer.status} {answer.code}", LIMIT))
    yield from judged("push", "a small blob is taken", faults)


def large(visit: Visit) -> Iterator[Finding]:
    """Push a large blob in chunks, slowly at first, and see when it gets to the registry."""
    content = os.urandom(1 << 20) * (visit.size >> 20)
    digest = digest_of(content)
    target = target_of(begin(visit).header("Location"))
    answer, arrived = _stream(visit, target, content)
    size = f"{visit.size >> 20} MiB"
    if answer is None or answer.status != 202:  # noqa: PLR2004 - Accepted
        yield from judged("chunked", "", [_refused(answer, size)])
        visit.request("DELETE", target)
        return
    target = with_parameter(target_of(answer.header("Location")), "digest", digest)
    finished = visit.request("PUT", target)
    faults = []
    if finished.status == 201:  # noqa: PLR2004 - Created
        visit.blobs[digest] = content
    else:
        fault = f"after {size} the upload is answered {finished.status} {finished.code}"
        faults.append((fault, "the log of the registry says why"))
    yield from judged("chunked", f"{size} are taken in chunks", faults)
    faults = [] if arrived else [("uploads are kept back until they are complete", BUFFERING)]
    yield from judged("buffering", "uploads arrive while they are sent", faults)


def _refused(answer: Answer | None, size: str) -> tuple[str, str]:
    """What is wrong when a large upload does not get through, and what to change."""
    if answer is None:
        return f"the connection is cut within an upload of {size}", LIMIT
    fault = f"an upload of {size} in chunks is answered {answer.status} {answer.code}"
    known = {413: LIMIT, 400: CHUNKED, 411: CHUNKED, 501: CHUNKED, 505: CHUNKED}
    return fault, known.get(answer.status, "the error log of nginx, and the log of the registry")


def _stream(visit: Visit, target: str, content: bytes) -> tuple[Answer | None, bool]:
    """The answer to an upload in chunks, and whether its beginning arrived before its end."""
    connection = visit.client.connect()
    try:
        connection.putrequest("PATCH", target)
        for name, value in visit.signed.items():
            connection.putheader(name, value)
        connection.putheader("Transfer-Encoding", "chunked")
        connection.putheader("Content-Type", "application/octet-stream")
        connection.endheaders()
        arrived = False
        with suppress(OSError):  # there may be an answer all the same
            _send(connection, content[:FIRST_PART])
            arrived = _arrives(visit, target)
            _send(connection, content[FIRST_PART:])
            connection.send(b"0\r\n\r\n")
        try:
            return answer_of(connection), arrived
        except CannotCheckError:
            return None, arrived
    finally:
        connection.close()


def _send(connection: http.client.HTTPConnection, content: bytes) -> None:
    view = memoryview(content)
    for offset in range(0, len(content), CHUNK):
        part = view[offset : offset + CHUNK]
        connection.send(b"".join((b"%x\r\n" % len(part), part, b"\r\n")))


def _arrives(visit: Visit, target: str) -> bool:
    """Whether the registry has a part of the upload that is being sent."""
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while time.monotonic() < deadline:
        if visit.request("GET", target).header("Range") not in {"", "0-0"}:
            return True
        time.sleep(0.05)
    return False


def digest_of(content: bytes) -> str:
    """The digest of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def clean_up(visit: Visit) -> Iterator[Finding]:
    """Delete what was pushed; what cannot be deleted is collected in time."""
    faults = []
    for digest in visit.blobs:
        answer = visit.request("DELETE", visit.blob(digest))
        if answer.code in {"UNSUPPORTED", "DENIED", "UNAUTHORIZED"}:
            message = f"blobs may not be deleted ({answer.code}): gc will collect what was pushed"
            yield Finding("delete", NOTE, message)
            return
        if answer.status != 202:  # noqa: PLR2004 - Accepted
            advice = "nginx: no limit_except, and nothing in between that lets only GET and POST by"
            faults.append((f"DELETE is answered {answer.status}", advice))
    yield from judged("delete", "what was pushed is deleted", faults)
