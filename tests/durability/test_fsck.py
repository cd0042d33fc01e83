"""What is damaged is found, told, never served as if it were whole, and healed by a push."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.commands import registry_wsgi as run
from support.images import noise, sha256
from support.opened import opened
from support.operating import command
from support.pushes import artifact, push_blob, push_image, push_manifest, put_manifest
from support.server import RunningServer, throwaway_directory
from support.wire import Wire, request

CONTENT = noise(300_000, "what was acknowledged")
DIGEST = sha256(CONTENT)
BLOB = f"/v2/test/app/blobs/{DIGEST}"
SETTINGS = "[server]\nworkers = 1\n"
SOUND = "sound: 0 problems, 0 notes\n"


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """A registry with an image in it."""
    with throwaway_directory() as folder:
        started = RunningServer(folder / "data", settings=SETTINGS).start()
        push_image(started.http, "test/app", "first", content=CONTENT)
        yield started
        if started.process is not None:
            started.kill()


def file_of(server: RunningServer) -> Path:
    """The file of the blob, made writable."""
    path = server.data / "blobs" / "sha256" / DIGEST[7:9] / DIGEST[7:]
    path.chmod(0o600)
    return path


def check(server: RunningServer) -> str:
    """Run ``fsck --deep``, which has to find no problem; what it printed."""
    return run("fsck", "--deep", data=server.data).out


# --- A blob's file --------------------------------------------------------------------------------


def lose(path: Path) -> None:
    """The file is gone."""
    path.unlink()


def truncate(path: Path) -> None:
    """The file lost its end."""
    os.truncate(path, 100_000)


def empty(path: Path) -> None:
    """The file is there, with nothing in it."""
    os.truncate(path, 0)


def extend(path: Path) -> None:
    """The file has more than there was."""
    os.truncate(path, len(CONTENT) + 1)


def flip(path: Path) -> None:
    """One bit of the file is another."""
    content = bytearray(path.read_bytes())
    content[1234] ^= 1
    path.write_bytes(content)


DAMAGES: dict[Callable[[Path], None], str] = {
    lose: "has no file",
    truncate: "its file has 100000 bytes, not 300000",
    empty: "its file has 0 bytes, not 300000",
    extend: "its file has 300001 bytes, not 300000",
    flip: "its file has other content",
}


@pytest.mark.parametrize("damage", [lose, truncate, empty, extend])
def test_a_blob_without_its_bytes_is_no_200(
    server: RunningServer, damage: Callable[[Path], None]
) -> None:
    """A pull, or a part of it, gets an error, and the log an alarm that names the blob."""
    damage(file_of(server))

    for headers in ({}, {"Range": "bytes=5-9"}):
        answer = server.http.request("GET", BLOB, None, None, headers)
        assert answer.status == 503
        assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"
    assert f"run fsck ({DIGEST})" in server.log


def test_a_file_that_is_cut_while_it_is_sent_is_no_whole_answer(server: RunningServer) -> None:
    """When the end of a file goes away under a pull, the connection is closed before the announced end."""
    content = noise(32 << 20, "long")
    digest = push_blob(server.http, "test/app", content)
    path = server.data / "blobs" / "sha256" / digest[7:9] / digest[7:]
    with Wire(server.host) as wire:
        wire.send(request("GET", f"/v2/test/app/blobs/{digest}"))
        first = wire.socket.recv(1000)
        path.chmod(0o600)
        os.truncate(path, 1 << 20)
        received = len(first)
        while block := wire.socket.recv(1 << 20):
            received += len(block)

    assert first.startswith(b"HTTP/1.1 200")
    assert received < len(content)
    assert f"{path} lost its end while it was sent: run fsck" in server.log


@pytest.mark.parametrize("damage", DAMAGES)
def test_fsck_finds_and_repairs_a_damaged_blob(
    server: RunningServer, damage: Callable[[Path], None]
) -> None:
    """Beside the running registry: found, set aside, unknown from then on, and healed by the next push."""
    damage(file_of(server))
    found = run("fsck", "--deep", expect=1, data=server.data).out

    assert f"PROBLEM: {DIGEST}: {DAMAGES[damage]}" in found
    assert "run fsck --repair, then push an image that has it" in found
    run("fsck", "--deep", "--repair", expect=1, data=server.data)
    server.http.head(BLOB, 404)
    server.http.get(BLOB, 404)
    quarantined = list((server.data / "quarantine").glob("*"))
    assert [path.name for path in quarantined] == (
        [] if damage is lose else [f"sha256-{DIGEST[7:]}"]
    )
    assert "needs the blob" in run("fsck", expect=1, data=server.data).out
    push_image(server.http, "test/app", "first", content=CONTENT)
    assert server.http.get(BLOB).body == CONTENT
    assert check(server) == SOUND


def test_a_flipped_bit_is_only_found_by_reading(server: RunningServer) -> None:
    """Without ``--deep`` fsck looks at sizes alone."""
    flip(file_of(server))

    assert run("fsck", data=server.data).out == SOUND
    run("fsck", "--deep", expect=1, data=server.data)


def test_a_push_alone_repairs_a_blob(server: RunningServer) -> None:
    """A client that does not ask first replaces the bytes, whatever was wrong with them."""
    flip(file_of(server))
    push_blob(server.http, "test/app", CONTENT)

    assert server.http.get(BLOB).body == CONTENT
    check(server)


def test_a_file_that_cannot_be_read_is_a_problem(server: RunningServer) -> None:
    """Fsck goes on after it."""
    path = file_of(server)
    path.unlink()
    path.mkdir()

    assert DIGEST in run("fsck", "--deep", expect=1, data=server.data).out


def test_strays_and_sessions_are_notes(server: RunningServer) -> None:
    """What a push under way may be, and what a killed one leaves, is no problem; ``--repair`` sweeps it."""
    stray = sha256(b"stray")
    (server.data / "blobs" / "sha256" / stray[7:9] / stray[7:]).write_bytes(b"stray")
    (server.data / "uploads" / "stray").write_bytes(b"stray")
    location = server.http.post("/v2/test/app/blobs/uploads/").location
    server.http.patch(location, b"bytes")
    notes = run("fsck", "--deep", data=server.data).out.splitlines()

    assert notes[-1] == "sound: 0 problems, 3 notes"
    assert f"note: {stray}: stray file; the next gc removes it" in notes
    assert any("open session of test/app, 5 bytes synced" in note for note in notes)
    repaired = run("fsck", "--repair", data=server.data).out
    assert repaired.count("[removed]") == 2
    assert run("fsck", data=server.data).out.endswith("0 problems, 1 notes\n")
    server.http.get(location, 204)


def test_why_tells_everything_that_keeps_a_blob(server: RunningServer) -> None:
    """Manifests, and through them tags; an index, a subject; and when it was seen."""
    http = server.http
    image = http.get("/v2/test/app/manifests/first")
    descriptor = {
        "mediaType": image["Content-Type"],
        "digest": sha256(image.body),
        "size": len(image.body),
    }
    push_blob(http, "test/app", b"{}")
    signature = push_manifest(http, "test/app", artifact(subject=descriptor))
    blob = run("why", DIGEST, data=server.data).out
    manifest = run("why", sha256(image.body), data=server.data).out

    assert f"test/app: layer {sha256(image.body)}" in blob
    assert "test/app: seen 0 s of uptime ago" in blob
    assert "test/app: tag first" in manifest
    assert f"test/app: subject {signature.digest}" in manifest
    run("why", sha256(b"unknown"), expect=1, data=server.data)


# --- The index ------------------------------------------------------------------------------------

INDEX = "registry.sqlite3"


def truncate_index(data: Path) -> None:
    """It lost its second half."""
    os.truncate(data / INDEX, (data / INDEX).stat().st_size // 2)


def empty_index(data: Path) -> None:
    """It lost everything."""
    os.truncate(data / INDEX, 0)


def lose_index(data: Path) -> None:
    """It is gone."""
    (data / INDEX).unlink()


def overwrite_index(data: Path) -> None:
    """Something else was written over it."""
    (data / INDEX).write_bytes(noise(100_000, "garbage"))


def make_newer(data: Path) -> None:
    """A newer program wrote it: the version is at offset 60 of the header (SQLite file format, 1.3)."""
    content = bytearray((data / INDEX).read_bytes())
    content[60:64] = (99).to_bytes(4)
    (data / INDEX).write_bytes(content)


REFUSALS: dict[Callable[[Path], None], str] = {
    truncate_index: "restore a backup",
    empty_index: "the index is missing or empty, but there are blobs: restore a backup",
    lose_index: "the index is missing or empty, but there are blobs: restore a backup",
    overwrite_index: "restore a backup",
    make_newer: "the index is of version 99, this program knows",
}


@pytest.mark.parametrize("damage", REFUSALS)
def test_a_damaged_index_is_a_refusal_to_start(
    server: RunningServer, damage: Callable[[Path], None]
) -> None:
    """``serve`` ends with 2 and says what to do; fsck cannot check; nothing is changed or collected."""
    server.stop()
    with opened(server.data):
        pass  # whoever closes it last moves the log into the index
    damage(server.data)
    before = {path: path.read_bytes() for path in server.data.glob("registry.sqlite3*")}
    ended = command(server.data, "serve", "--bind", server.host, expect=2)

    assert REFUSALS[damage] in ended.stderr
    assert "Traceback" not in ended.stderr
    run("fsck", expect=2, data=server.data)
    run("gc", "--grace", "0", expect=2, data=server.data)
    after = {path: path.read_bytes() for path in server.data.glob("registry.sqlite3*")}
    assert after == before
    assert file_of(server).read_bytes() == CONTENT


def test_a_damaged_part_of_the_index_is_served_to_nobody(server: RunningServer) -> None:
    """Pages that only some requests need: those get an error, and fsck says that there is damage."""
    push_image(server.http, "test/app", "second", content=b"another")
    server.stop()
    with opened(server.data):
        pass
    content = bytearray((server.data / INDEX).read_bytes())
    content[4096:] = noise(len(content) - 4096, "garbage")
    (server.data / INDEX).write_bytes(content)
    ended = run("fsck", expect=2, data=server.data)

    assert "restore a backup" in ended.out + ended.err


def test_a_lost_log_is_a_refusal_to_start(server: RunningServer) -> None:
    """After a kill the last changes are in the log: without it the registry does not go back in time."""
    server.kill()
    log = server.data / f"{INDEX}-wal"
    content = log.read_bytes()
    log.unlink()
    ended = command(server.data, "serve", "--bind", server.host, expect=2)

    assert f"{INDEX}-wal is missing, and with it the last changes: put it back" in ended.stderr
    log.write_bytes(content)
    server.start()
    assert server.http.get(BLOB).body == CONTENT
    check(server)


def test_a_log_that_is_cut_short_has_the_commits_before(server: RunningServer) -> None:
    """Garbage at the end of the log is what a power cut leaves: it is ignored, and fsck is content."""
    put_manifest(server.http, "/v2/test/app/manifests/last", artifact_of(server))
    server.kill()
    log = server.data / f"{INDEX}-wal"
    with log.open("ab") as file:
        file.write(noise(5000, "garbage"))
    server.start()

    assert server.http.get("/v2/test/app/tags/list").json()["tags"] == ["first", "last"]
    check(server)


def artifact_of(server: RunningServer) -> bytes:
    """The manifest of the first image."""
    return server.http.get("/v2/test/app/manifests/first").body
