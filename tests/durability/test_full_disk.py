"""A disk without room: pushes are refused, everything else goes on, and all is well with room."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.images import noise, sha256
from support.mounts import filled, free, tmpfs
from support.operating import check, gc
from support.pushes import (
    open_upload,
    push_blob,
    push_image,
    put_manifest,
)
from support.server import RunningServer, throwaway_directory
from support.verbs import Answer

MIB = 1 << 20
SIZE = "16m"
CONTENT = b"what was acknowledged"
APP = "/v2/test/app"


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """A registry on a file system of its own, with an image in it."""
    with throwaway_directory() as folder, tmpfs(folder / "disk", SIZE) as disk:
        started = RunningServer(disk / "data", settings="[server]\nworkers = 1\n").start()
        push_image(started.http, "test/app", "first", content=CONTENT)
        yield started
        started.kill()


def refused(answer: Answer) -> None:
    """The test fails unless the answer is the error for a full disk."""
    assert answer.status in {503, 507}, answer
    assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"


def still_pulls(server: RunningServer) -> None:
    """The test fails unless the first image can be pulled and listed."""
    http = server.http
    http.head(f"{APP}/manifests/first")
    http.head(f"{APP}/blobs/{sha256(CONTENT)}")

    assert http.get(f"{APP}/blobs/{sha256(CONTENT)}").body == CONTENT
    assert http.get(f"{APP}/manifests/first").status == 200
    assert "first" in http.get(f"{APP}/tags/list").json()["tags"]


def push_some(server: RunningServer) -> Answer:
    """Push a blob of a mebibyte, whatever is answered."""
    content = noise(MIB, "some")
    return server.http.post(f"{APP}/blobs/uploads/?digest={sha256(content)}", content, None)


def push_until_full(server: RunningServer) -> list[str]:
    """Push blobs of a mebibyte until one is refused; those that were not."""
    pushed: list[str] = []
    while True:
        content = noise(MIB, f"blob {len(pushed)}")
        path = f"{APP}/blobs/uploads/?digest={sha256(content)}"
        answer = server.http.post(path, content, None)
        if answer.status != 201:
            refused(answer)
            return pushed
        pushed.append(sha256(content))


def staged(server: RunningServer) -> list[Path]:
    """Bytes of sessions."""
    return list((server.data / "uploads").iterdir())


def test_a_disk_filled_by_pushes_is_emptied_by_gc(server: RunningServer) -> None:
    """What fitted is there, what did not was given back, and after gc there is room, without a restart."""
    pushed = push_until_full(server)

    assert len(pushed) > 10
    assert staged(server) == []
    still_pulls(server)
    for digest in pushed:
        assert sha256(server.http.get(f"{APP}/blobs/{digest}").body) == digest
    before = free(server.data)
    report = gc(server.data, "--grace", "0")
    assert report["counts"]["blob"] == len(pushed)
    assert report["freed"] == len(pushed) * MIB
    assert free(server.data) > before + (len(pushed) - 1) * MIB
    push_image(server.http, "test/app", "again", content=noise(MIB, "again"))
    still_pulls(server)
    check(server.data)


@pytest.mark.parametrize("length", ["announced", "in chunks"])
def test_an_upload_that_does_not_fit_gives_its_bytes_back(
    server: RunningServer, length: str
) -> None:
    """A chunk that is too long ends its session: it is gone, and so are its bytes."""
    location = open_upload(server.http, "test/app")
    first = server.http.patch(location, noise(2 * MIB, "begin")).location
    rest = [noise(MIB, f"rest {n}") for n in range(15)]
    answer = server.http.patch(first, b"".join(rest) if length == "announced" else rest, None)

    refused(answer)
    assert free(server.data) > 10 * MIB
    still_pulls(server)
    if staged(server):  # it was refused before a byte was written: the session goes on
        assert length == "announced"
        server.http.patch(server.http.get(first, 204).location, b"end")
    else:
        server.http.get(first, 404)
    push_blob(server.http, "test/app", noise(2 * MIB, "another"))
    check(server.data)


def test_a_disk_filled_by_others_is_survived(server: RunningServer) -> None:
    """Without any room: uploads get 507, pulls and deletes work, gc works, and later everything."""
    tags = [f"t{number}" for number in range(120)]
    for tag in tags:
        push_tag(server, tag)
    location = open_upload(server.http, "test/app")
    with filled(server.data.parent):
        refused(push_some(server))
        refused(server.http.patch(location, noise(MIB, "no room"), None))
        for tag in tags:
            server.http.delete(f"{APP}/manifests/{tag}")
            still_pulls(server)
        refused(push_some(server))
        gc(server.data, "--grace", "0")
        still_pulls(server)
        check(server.data)

    assert server.http.get(f"{APP}/tags/list").json()["tags"] == ["first"]
    push_image(server.http, "test/app", "again", content=noise(MIB, "again"))
    check(server.data)


def push_tag(server: RunningServer, tag: str) -> None:
    """Put one more tag on the first image."""
    body = server.http.get(f"{APP}/manifests/first").body
    put_manifest(server.http, f"{APP}/manifests/{tag}", body)


def end(server: RunningServer, how: str) -> None:
    """End a registry in order, or at once."""
    if how == "stopped":
        server.stop()
    else:
        server.kill()


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_registry_starts_on_a_full_disk(server: RunningServer, how: str) -> None:
    """A start needs no room that is not there: pulls, deletes and gc work."""
    push_image(server.http, "test/app", "second", content=noise(MIB, "second"))
    end(server, how)
    with filled(server.data.parent):
        server.start()
        still_pulls(server)
        refused(push_some(server))
        digest = server.http.get(f"{APP}/manifests/second")["Docker-Content-Digest"]
        server.http.delete(f"{APP}/manifests/{digest}")
        report = gc(server.data, "--grace", "0")

        assert report["freed"] >= MIB
        check(server.data)
    push_image(server.http, "test/app", "again", content=noise(MIB, "again"))
    check(server.data)


def test_a_dry_run_tells_what_df_then_shows(server: RunningServer) -> None:
    """The bytes that gc would give back are what the file system has more of afterwards."""
    for number in range(5):
        push_blob(server.http, "test/app", noise(300_000 + 1234 * number, f"blob {number}"))
    location = open_upload(server.http, "test/app")
    server.http.patch(location, noise(500_001, "session"))
    server.stop()  # its index takes no more room than it has
    planned = gc(server.data, "--grace", "0", "--dry-run")
    before = free(server.data), index_size(server.data)
    report = gc(server.data, "--grace", "0")
    after = free(server.data), index_size(server.data)

    assert planned == report
    assert report["counts"] == {"link": 5, "blob": 5}
    assert after[0] - before[0] == planned["freed"] + before[1] - after[1]
    server.start()


def index_size(data: Path) -> int:
    """Bytes of disk that the index and its log take."""
    return sum(file.stat().st_blocks * 512 for file in data.glob("registry.sqlite3*"))
