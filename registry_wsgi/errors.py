"""Every error the registry answers, as rows.

A row carries the code that clients switch on, the HTTP status and the message; raising names
the row, so that a misspelt one fails at import and not in production. Several rows may share a
code: the code says what went wrong to a client, the row says where.
"""

import errno
from dataclasses import dataclass, field
from typing import Final

_SQLITE_FULL: Final = 13
"""SQLite's result code for a full disk (https://sqlite.org/rescode.html)."""


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One kind of error: what a client is told, and with which status."""

    code: str
    status: int
    message: str
    source: str


class RegistryError(Exception):
    """A request that gets an error answer.

    ``detail`` is any JSON value that helps whoever reads the answer. ``headers`` go out with
    it. ``more`` are further (row, detail) pairs in the same answer, the status is the first's.
    """

    def __init__(
        self,
        row: ErrorRow,
        detail: object = None,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        more: tuple[tuple[ErrorRow, object], ...] = (),
    ) -> None:
        super().__init__(row.code, detail)
        self.row = row
        self.detail = detail
        self.headers = headers
        self.more = more


def again_in(seconds: int) -> tuple[tuple[str, str], ...]:
    """``headers`` that say when to try again (RFC 9110, 10.2.3)."""
    return (("Retry-After", str(seconds)),)


@dataclass(slots=True)
class StorageFault(Exception):  # noqa: N818 - a fault is not the caller's error
    """The disk or the index could not do what was asked.

    Its text is for the operator, never for the client: what, where, and what the system said.
    """

    reason: str
    path: str = ""
    cause: BaseException | None = field(default=None, repr=False)

    def __str__(self) -> str:
        where = f" ({self.path})" if self.path else ""
        said = getattr(self.cause, "strerror", None) or str(self.cause or "")
        return f"{self.reason}{where}: {said}" if said else f"{self.reason}{where}"

    @property
    def full(self) -> bool:
        """Whether it is only that there is no space left, on the disk or in a quota."""
        if isinstance(self.cause, OSError):
            return self.cause.errno in {errno.ENOSPC, errno.EDQUOT}
        return getattr(self.cause, "sqlite_errorcode", None) == _SQLITE_FULL


class BodyCut(Exception):  # noqa: N818 - what happened to the request, not a fault of ours
    """A request's body ended before its announced end, or its framing is broken."""


class WouldWait(BaseException):
    """A thread that must not wait was asked to: another one has to do all of it.

    No error, and raised before anything was done, so it passes every handler of errors.
    """


# > The `code` field MUST be one of the following:        (OCI distribution spec, code-1..14)
# The rows below with a 5xx status are outside that table, which binds 4xx answers only.
BLOB_UNKNOWN: Final = ErrorRow("BLOB_UNKNOWN", 404, "blob unknown to registry", "code-1")
UPLOAD_STATE_INVALID: Final = ErrorRow(
    "BLOB_UPLOAD_INVALID", 404, "blob upload invalid", "code-2: _state missing, altered or foreign"
)
UPLOAD_OUT_OF_ORDER: Final = ErrorRow(
    "BLOB_UPLOAD_INVALID", 416, "chunk does not start where the upload ends", "code-2, end-5"
)
UPLOAD_BUSY: Final = ErrorRow(
    "BLOB_UPLOAD_INVALID", 409, "another request is writing to this upload", "code-2"
)
UPLOAD_CUT_SHORT: Final = ErrorRow(
    "BLOB_UPLOAD_INVALID", 400, "the body ended before its announced length", "code-2"
)
UPLOAD_RANGE_INVALID: Final = ErrorRow(
    "BLOB_UPLOAD_INVALID", 400, "Content-Range is not of the form START-END", "code-2, end-5"
)
UPLOAD_UNKNOWN: Final = ErrorRow(
    "BLOB_UPLOAD_UNKNOWN", 404, "blob upload unknown to registry", "code-3"
)
DIGEST_INVALID: Final = ErrorRow(
    "DIGEST_INVALID", 400, "provided digest did not match uploaded content", "code-4"
)
DIGEST_MALFORMED: Final = ErrorRow(
    "DIGEST_INVALID", 400, "not a digest, or of an unsupported algorithm", "code-4"
)
MANIFEST_BLOB_UNKNOWN: Final = ErrorRow(
    "MANIFEST_BLOB_UNKNOWN",
    400,
    "manifest references a manifest or blob unknown to registry",
    "code-5",
)
MANIFEST_INVALID: Final = ErrorRow("MANIFEST_INVALID", 400, "manifest invalid", "code-6")
TAG_INVALID: Final = ErrorRow(
    "MANIFEST_INVALID", 400, "a tag is 1 to 128 of A-Z a-z 0-9 . _ -, not starting . or -", "code-6"
)
PRECONDITION_FAILED: Final = ErrorRow(
    "MANIFEST_INVALID", 412, "the tag is not in the state the request asked for", "RFC 9110 13.1"
)
CONTENT_DIFFERS: Final = ErrorRow(
    "DIGEST_INVALID", 412, "the content is not what If-Match asks for", "RFC 9110 13.1.1"
)
MANIFEST_UNKNOWN: Final = ErrorRow(
    "MANIFEST_UNKNOWN", 404, "manifest unknown to registry", "code-7"
)
NAME_INVALID: Final = ErrorRow("NAME_INVALID", 400, "invalid repository name", "code-8")
NAME_UNKNOWN: Final = ErrorRow(
    "NAME_UNKNOWN", 404, "repository name not known to registry", "code-9"
)
SIZE_INVALID: Final = ErrorRow(
    "SIZE_INVALID", 400, "provided length did not match content length", "code-10"
)
LENGTH_MALFORMED: Final = ErrorRow(
    "SIZE_INVALID", 400, "Content-Length is not a length", "code-10, RFC 9110 8.6"
)
MANIFEST_TOO_LARGE: Final = ErrorRow(
    "SIZE_INVALID", 413, "manifest larger than this registry accepts", "code-10, end-7"
)
BLOB_TOO_LARGE: Final = ErrorRow(
    "SIZE_INVALID", 413, "blob larger than this registry accepts", "code-10"
)
RANGE_NOT_SATISFIABLE: Final = ErrorRow(
    "SIZE_INVALID", 416, "the requested range is outside the blob", "code-10, RFC 9110 14.4"
)
UNAUTHORIZED: Final = ErrorRow("UNAUTHORIZED", 401, "authentication required", "code-11")
DENIED: Final = ErrorRow("DENIED", 403, "requested access to the resource is denied", "code-12")
UNSUPPORTED: Final = ErrorRow("UNSUPPORTED", 405, "the operation is unsupported", "code-13")
BLOB_REFERENCED: Final = ErrorRow(
    "UNSUPPORTED", 405, "the blob is needed by a manifest of this repository", "code-13, end-10"
)
PARAMETER_INVALID: Final = ErrorRow(
    "UNSUPPORTED", 400, "a query parameter is malformed, repeated or out of range", "code-13"
)
HOST_MISSING: Final = ErrorRow(
    "UNSUPPORTED", 400, "a request of HTTP/1.1 needs a Host header", "RFC 9112 3.2"
)
ROUTE_UNKNOWN: Final = ErrorRow("UNSUPPORTED", 404, "there is nothing at this path", "code-13")
CODING_UNSUPPORTED: Final = ErrorRow(
    "UNSUPPORTED", 501, "transfer codings other than chunked are unsupported", "RFC 9112 6.1"
)
TOO_MANY_REQUESTS: Final = ErrorRow("TOOMANYREQUESTS", 429, "too many requests", "code-14")
INTERNAL: Final = ErrorRow("UNKNOWN", 500, "the registry failed; its log tells why", "")
UNAVAILABLE: Final = ErrorRow(
    "UNAVAILABLE", 503, "the registry cannot take this now; try again", "RFC 9110 15.6.4"
)
STORAGE_FULL: Final = ErrorRow("UNAVAILABLE", 507, "no space left for this upload", "RFC 4918 11.5")

ROWS: Final = {name: value for name, value in globals().items() if isinstance(value, ErrorRow)}
