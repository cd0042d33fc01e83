"""Chunks of an upload session: in order, as long as they say, and not too large."""

import dataclasses

import pytest
from support.storage import APP, CONTENT, refused
from support.uploads import (
    DIGEST,
    FORMS,
    NOTHING,
    Form,
    Sent,
    Unread,
    closing_or_not,
    left_behind,
    send,
)

from registry_wsgi.errors import BLOB_TOO_LARGE, SIZE_INVALID, UPLOAD_CUT_SHORT, UPLOAD_OUT_OF_ORDER
from registry_wsgi.names import Digest
from registry_wsgi.services.uploads import Body, Chunk, OutOfOrder, UploadService

# --- Out of order ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "chunk"),
    [
        pytest.param(0, None, id="an offset before"),
        pytest.param(9, None, id="an offset after"),
        pytest.param(3, Chunk(0, 3), id="a chunk before"),
        pytest.param(3, Chunk(5, 8), id="a chunk after"),
        pytest.param(0, Chunk(3, 6), id="the right chunk at a wrong offset"),
    ],
)
@closing_or_not
def test_a_chunk_out_of_order_is_refused(
    uploads: UploadService, session: str, offset: int, chunk: Chunk | None, closing: bool
) -> None:
    """The error tells where the session stands, and it stays there."""
    uploads.append(APP, session, 0, Sent(b"con"))
    with pytest.raises(OutOfOrder) as caught:
        send(uploads, session, offset, Sent(b"tent"), chunk, closing=closing)

    assert caught.value.row is UPLOAD_OUT_OF_ORDER
    assert caught.value.progress.offset == 3
    assert uploads.status(APP, session).offset == 3


@pytest.mark.parametrize("form", ["with a length", "chunked"])
def test_a_chunk_in_order_is_taken(uploads: UploadService, session: str, form: str) -> None:
    """A Content-Range that begins where the session ends, and is as long as the body, is right."""
    uploads.append(APP, session, 0, FORMS[form](b"con"), Chunk(0, 2))
    uploads.finish(APP, session, 3, DIGEST, FORMS[form](b"tent"), Chunk(3, 6))

    assert uploads.index.blobs.find(APP, DIGEST)


@pytest.mark.parametrize("last", [4, 5, 7, 2**63], ids=["shorter", "short", "longer", "huge"])
@closing_or_not
def test_a_chunk_of_another_length_is_refused(
    uploads: UploadService, session: str, sent: Form, last: int, closing: bool
) -> None:
    """A Content-Range that is not of the body's length changes nothing."""
    uploads.append(APP, session, 0, Sent(b"con"))
    with refused(SIZE_INVALID):
        send(uploads, session, 3, sent(b"tent"), Chunk(3, last), closing=closing)
    refused_at = uploads.status(APP, session).offset
    uploads.finish(APP, session, 3, DIGEST, Sent(b"tent"))

    assert refused_at == 3
    assert uploads.index.blobs.find(APP, DIGEST)


# --- Cut short ------------------------------------------------------------------------------------

CUTS: dict[str, Body] = {
    "with a length": Sent(b"tent", missing=5),
    "chunked": Sent(b"tent", announced=False, missing=1),
    "in small blocks": Sent(b"tent", missing=1, block=1),
}


@pytest.mark.parametrize("body", CUTS.values(), ids=CUTS)
@closing_or_not
def test_a_body_that_is_cut_short_is_kept_as_far_as_it_came(
    uploads: UploadService, session: str, body: Body, closing: bool
) -> None:
    """The client is told that it was short, and may go on from what arrived."""
    uploads.append(APP, session, 0, Sent(b"con"))
    with refused(UPLOAD_CUT_SHORT):
        send(uploads, session, 3, body, closing=closing)
    progress = uploads.status(APP, session)
    uploads.finish(APP, session, 7, DIGEST, NOTHING)

    assert progress.offset == 7
    assert progress.upload.stored == 7
    assert uploads.index.blobs.find(APP, DIGEST)


def test_a_first_chunk_that_is_cut_short_is_hashed_as_far_as_it_came(
    uploads: UploadService, session: str
) -> None:
    """What is known of the digest is of exactly the bytes that are kept."""
    with refused(UPLOAD_CUT_SHORT):
        uploads.append(APP, session, 0, Sent(b"con", missing=4))
    progress = uploads.status(APP, session)

    assert progress.offset == 3
    assert progress.upload.prefix == Digest.of(b"con")


def test_a_short_body_in_one_request_leaves_nothing(uploads: UploadService) -> None:
    """There is no session to go on from."""
    with refused(UPLOAD_CUT_SHORT):
        uploads.push(APP, DIGEST, Sent(b"con", missing=4))

    assert left_behind(uploads) == []


# --- Sizes ----------------------------------------------------------------------------------------


@pytest.fixture
def limited(uploads: UploadService) -> UploadService:
    """Uploads of at most 7 bytes."""
    return dataclasses.replace(uploads, size_limit=len(CONTENT))


def test_a_blob_of_the_limit_fits(limited: UploadService, sent: Form) -> None:
    """The limit is the largest size that is taken."""
    limited.push(APP, DIGEST, sent(CONTENT))
    session = limited.start(APP).upload.uuid
    limited.append(APP, session, 0, sent(b"con"))
    limited.finish(APP, session, 3, DIGEST, sent(b"tent"))

    assert limited.index.blobs.find(APP, DIGEST)


def test_a_blob_above_the_limit_is_refused(limited: UploadService, sent: Form) -> None:
    """In one request, in one chunk or in several, by what is announced or by what comes."""
    digest = Digest.of(CONTENT + b"!")
    with refused(BLOB_TOO_LARGE) as caught:
        limited.push(APP, digest, sent(CONTENT + b"!"))
    first, second = (limited.start(APP).upload.uuid for _ in range(2))
    with refused(BLOB_TOO_LARGE):
        limited.append(APP, first, 0, sent(CONTENT + b"!"))
    limited.append(APP, second, 0, sent(b"con"))
    with refused(BLOB_TOO_LARGE):
        limited.finish(APP, second, 3, digest, sent(b"tent!"))

    assert caught.value.detail == {"limit": 7}
    assert limited.index.blobs.find(APP, digest) is None
    assert list(limited.store.blobs()) == []


def test_of_what_is_refused_nothing_is_kept(limited: UploadService, sent: Form) -> None:
    """A session goes on from before the chunk that was too large."""
    session = limited.start(APP).upload.uuid
    limited.append(APP, session, 0, sent(b"con"))
    with refused(BLOB_TOO_LARGE):
        limited.append(APP, session, 3, sent(b"tent!"))
    offset = limited.status(APP, session).offset
    limited.finish(APP, session, 3, DIGEST, sent(b"tent"))

    assert offset == 3
    assert limited.index.blobs.find(APP, DIGEST)


def test_a_body_that_is_announced_too_large_is_not_read(limited: UploadService) -> None:
    """The client need not send what will be refused."""
    session = limited.start(APP).upload.uuid
    with refused(BLOB_TOO_LARGE):
        limited.append(APP, session, 0, Unread(8))
    with refused(BLOB_TOO_LARGE):
        limited.push(APP, DIGEST, Unread(8))

    assert limited.status(APP, session).offset == 0


def test_without_a_limit_any_size_fits(uploads: UploadService) -> None:
    """Zero is no limit, not no blob."""
    uploads.push(APP, DIGEST, Sent(CONTENT))

    assert uploads.index.blobs.find(APP, DIGEST)
