"""The contract of ``UploadIndex``: where upload sessions stand."""

import dataclasses
from typing import Any

import pytest
from support.storage import APP, OTHER, FakeClock, put_blob, upload_of

from registry_wsgi.names import Digest, Name
from registry_wsgi.storage.base import Actor, Index

PREFIX = Digest.of(b"what came so far")


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({}, id="fresh"),
        pytest.param({"stored": 16, "prefix": PREFIX}, id="under way"),
        pytest.param({"stored": 2**62, "prefix": None}, id="large, of unknown digest"),
        pytest.param({"algorithm": "sha512", "prefix": Digest.of(b"", "sha512")}, id="sha512"),
    ],
)
def test_an_open_session_is_found_as_it_was_recorded(index: Index, members: dict[str, Any]) -> None:
    """Everything that was recorded of a session comes back."""
    upload = upload_of(**members)
    index.uploads.open(upload)

    assert index.uploads.find(APP, "upload-1") == upload


def test_a_session_is_of_one_repository(index: Index) -> None:
    """It is found in no other, whether that is there or not."""
    index.uploads.open(upload_of())
    put_blob(index, OTHER)

    assert index.uploads.find(OTHER, "upload-1") is None
    assert index.uploads.find(Name("no/where"), "upload-1") is None


def test_a_session_makes_no_repository(index: Index) -> None:
    """Who opens a session and leaves has left nothing to be listed."""
    index.uploads.open(upload_of())

    assert index.listings.tags(APP, "", 10) is None


@pytest.mark.parametrize("uuid", ["upload-2", "", "..", "UPLOAD-1"])
def test_a_session_that_nobody_opened_is_not_found(index: Index, uuid: str) -> None:
    """Only the very same identifier finds a session."""
    index.uploads.open(upload_of())

    assert index.uploads.find(APP, uuid) is None


@pytest.mark.parametrize("prefix", [PREFIX, None], ids=["known digest", "unknown digest"])
def test_a_session_moves_on(index: Index, clock: FakeClock, prefix: Digest | None) -> None:
    """It is where it was moved to, in this boot, and otherwise as it was."""
    upload = upload_of(boot_id="boot before")
    index.uploads.open(upload)

    assert index.uploads.advance(upload, 16, prefix)
    assert index.uploads.find(APP, "upload-1") == dataclasses.replace(
        upload, stored=16, prefix=prefix, boot_id=clock.boot
    )


def test_a_session_does_not_move_from_where_it_is_not(index: Index) -> None:
    """Of two that read the same state only the first moves the session."""
    upload = upload_of()
    index.uploads.open(upload)
    index.uploads.advance(upload, 16, PREFIX)
    moved = index.uploads.find(APP, "upload-1")

    assert not index.uploads.advance(upload, 9, None)
    assert index.uploads.find(APP, "upload-1") == moved


def test_a_session_moves_step_by_step(index: Index) -> None:
    """Who goes on from where it is moves it again."""
    upload = upload_of()
    index.uploads.open(upload)
    for stored in (10, 20, 30):
        assert index.uploads.advance(upload, stored, None)
        found = index.uploads.find(APP, "upload-1")
        assert found
        upload = found

    assert upload.stored == 30


def test_a_session_that_is_gone_does_not_move(index: Index) -> None:
    """Neither one that never was, nor one that was dropped or became a blob."""
    never, dropped, done = upload_of("never"), upload_of("dropped"), upload_of("done")
    index.uploads.open(dropped)
    index.uploads.open(done)
    index.uploads.drop("dropped")
    put_blob(index, upload="done")

    assert [index.uploads.advance(one, 1, None) for one in (never, dropped, done)] == [False] * 3


def test_a_dropped_session_is_gone(index: Index) -> None:
    """It is dropped once, and others stay."""
    index.uploads.open(upload_of("upload-1"))
    index.uploads.open(upload_of("upload-2"))

    assert index.uploads.drop("upload-1")
    assert index.uploads.find(APP, "upload-1") is None
    assert not index.uploads.drop("upload-1")
    assert index.uploads.find(APP, "upload-2")


def test_a_finished_session_tells_what_it_became(index: Index) -> None:
    """In its own repository, for its own identifier."""
    index.uploads.open(upload_of())
    digest = put_blob(index, upload="upload-1")
    put_blob(index, OTHER)

    assert index.uploads.finished(APP, "upload-1") == digest
    assert index.uploads.finished(OTHER, "upload-1") is None
    assert index.uploads.finished(APP, "upload-2") is None


def test_an_unfinished_session_became_nothing(index: Index) -> None:
    """Neither an open session nor a dropped one is finished."""
    index.uploads.open(upload_of("open"))
    index.uploads.open(upload_of("dropped"))
    index.uploads.drop("dropped")

    assert index.uploads.finished(APP, "open") is None
    assert index.uploads.finished(APP, "dropped") is None


def test_a_session_is_finished_while_its_blob_is_there(index: Index) -> None:
    """When the blob is unlinked, or its repository deleted, nobody is told that it is there."""
    index.uploads.open(upload_of())
    digest = put_blob(index, upload="upload-1")
    index.blobs.unlink(APP, digest)
    unlinked = index.uploads.finished(APP, "upload-1")
    put_blob(index, upload="upload-2")
    index.manifests.delete_repository(APP, Actor())

    assert unlinked is None
    assert index.uploads.finished(APP, "upload-2") is None
