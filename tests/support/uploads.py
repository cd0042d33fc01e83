"""Uploads as services see them: bodies announced or not, whole or cut short, and what is left."""

import dataclasses
from collections.abc import Callable, Iterator

import pytest
from support.storage import APP, CONTENT

from registry_wsgi.errors import BodyCut
from registry_wsgi.names import Digest
from registry_wsgi.services.uploads import Body, Chunk, UploadService

DIGEST = Digest.of(CONTENT)


@dataclasses.dataclass
class Sent:
    """A body as it comes in: in blocks, with its length announced or not, whole or cut short."""

    content: bytes
    announced: bool = True
    missing: int = 0
    block: int = 1 << 20

    @property
    def length(self) -> int | None:
        """Bytes announced."""
        return len(self.content) + self.missing if self.announced else None

    def blocks(self) -> Iterator[memoryview]:
        """The bytes, each block valid until the next."""
        for start in range(0, len(self.content), self.block):
            buffer = bytearray(self.content[start : start + self.block])
            yield memoryview(buffer)
            buffer[:] = bytes(len(buffer))
        if self.missing:
            raise BodyCut("the client went away")


@dataclasses.dataclass
class Unread:
    """A body that must not be looked at."""

    length: int | None

    def blocks(self) -> Iterator[memoryview]:
        """Fail the test."""
        raise AssertionError


NOTHING = Sent(b"")

Form = Callable[[bytes], Body]
FORMS: dict[str, Form] = {
    "with a length": Sent,
    "chunked": lambda content: Sent(content, announced=False),
    "in small blocks": lambda content: Sent(content, block=3),
}
"""The forms in which a client may send the same bytes."""


closing_or_not = pytest.mark.parametrize("closing", [False, True], ids=["append", "finish"])


def send(
    uploads: UploadService,
    session: str,
    offset: int,
    body: Body,
    chunk: Chunk | None = None,
    *,
    closing: bool,
) -> None:
    """Send a chunk, alone or with the end of its session."""
    if closing:
        uploads.finish(APP, session, offset, DIGEST, body, chunk)
    else:
        uploads.append(APP, session, offset, body, chunk)


def is_gone(uploads: UploadService, session: str) -> bool:
    """Whether neither the index nor the store knows the session any more."""
    known = uploads.index.uploads.find(APP, session)
    return known is None and uploads.store.staged(session) is None


def left_behind(uploads: UploadService) -> list[str]:
    """Files that are staged for whatever session."""
    return list(uploads.store.uploads())
