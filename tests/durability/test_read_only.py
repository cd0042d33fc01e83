"""A file system that nobody can write to: pulls go on, writes are refused, nothing crashes."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.images import noise, sha256
from support.mounts import break_ext4, ext4, remount, tmpfs
from support.operating import check, command
from support.pushes import push_artifact, push_image, put_manifest
from support.server import RunningServer, throwaway_directory
from support.tracing import children_of
from support.verbs import Answer
from support.waiting import wait_until

CONTENT = noise(100_000, "what was acknowledged")
BLOB = f"/v2/test/app/blobs/{sha256(CONTENT)}"
MANIFESTS = "/v2/test/app/manifests"
SETTINGS = "[server]\nworkers = 1\n"


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """A registry on a file system of its own, with an image in it."""
    with throwaway_directory() as folder, tmpfs(folder / "data", "32m") as data:
        started = RunningServer(data, settings=SETTINGS).start()
        push_image(started.http, "test/app", "first", content=CONTENT)
        yield started
        if started.process is not None:
            started.kill()


def pulls_work(server: RunningServer) -> None:
    """The test fails unless everything that a client reads is served."""
    http = server.http
    digest = http.head(f"{MANIFESTS}/first")["Docker-Content-Digest"]

    assert http.get(BLOB).body == CONTENT
    assert http.get(BLOB, 206, Range="bytes=5-9").body == CONTENT[5:10]
    assert http.head(BLOB)["Content-Length"] == str(len(CONTENT))
    assert sha256(http.get(f"{MANIFESTS}/first").body) == digest
    assert http.get("/v2/test/app/tags/list").json()["tags"] == ["first"]
    assert http.get("/v2/_catalog").json()["repositories"] == ["test/app"]
    assert http.get(f"/v2/test/app/referrers/{digest}").json()["manifests"] == []


def writes_of(server: RunningServer) -> list[Answer]:
    """The answers to everything that a client writes."""
    http = server.http
    manifest = http.get(f"{MANIFESTS}/first").body
    return [
        http.post("/v2/test/app/blobs/uploads/", None, None),
        http.post(f"/v2/test/app/blobs/uploads/?digest={sha256(b'x')}", b"x", None),
        http.post(f"/v2/test/other/blobs/uploads/?mount={sha256(CONTENT)}", None, None),
        put_manifest(http, f"{MANIFESTS}/second", manifest, None),
        http.delete(f"{MANIFESTS}/first", None),
        http.delete(BLOB, None),
    ]


def end(server: RunningServer, how: str) -> None:
    """End a registry in order, or at once."""
    if how == "stopped":
        server.stop()
    else:
        server.kill()


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_registry_starts_on_a_read_only_file_system(server: RunningServer, how: str) -> None:
    """Pulls get 200 and writes 405; fsck works, gc is refused; mounted writable it is as before."""
    end(server, how)
    remount(server.data, "ro")
    server.start()
    pulls_work(server)

    assert {answer.status for answer in writes_of(server)} == {405}
    assert {answer.json()["errors"][0]["code"] for answer in writes_of(server)} == {"UNSUPPORTED"}
    server.http.get("/readyz")
    assert "sound" in check(server.data)
    assert "read-only" in command(server.data, "gc", expect=1).stderr
    pulls_work(server)
    server.kill()
    remount(server.data, "rw")
    server.start()
    push_artifact(server.http, "test/app", "second")
    check(server.data)


READING = {
    "users": ("user", "list"),
    "groups": ("group", "list"),
    "tokens": ("token", "list"),
    "the audit trail": ("audit",),
    "what there is": ("stats",),
    "events": ("events", "list"),
    "what gc would remove": ("gc", "--dry-run"),
    "an export": ("export", "test/app", "{folder}/export"),
    "a backup": ("backup", "{folder}/backup"),
}


def test_what_only_reads_works_on_a_read_only_file_system(
    server: RunningServer, tmp_path: Path
) -> None:
    """A disk that has turned read-only is when one wants a backup; what it has is told as ever."""
    command(server.data, "group", "add", "developers", "anna")
    before = command(server.data, "group", "list").stdout
    server.stop()
    remount(server.data, "ro")
    ended = {
        what: command(server.data, name, *(word.format(folder=tmp_path) for word in words))
        for what, (name, *words) in READING.items()
    }
    command(tmp_path / "restored", "restore", str(tmp_path / "backup"))

    assert ended["groups"].stdout == before != ""
    assert "test/app" in ended["the audit trail"].stdout
    assert {what: one.stderr for what, one in ended.items() if one.stderr} == {}
    check(tmp_path / "restored")


def test_an_index_without_its_logs_index_is_not_read(server: RunningServer) -> None:
    """On a read-only file system a log that SQLite cannot read is no reason to serve what is older."""
    server.kill()
    (server.data / "registry.sqlite3-shm").unlink()
    remount(server.data, "ro")
    ended = command(server.data, "serve", "--bind", server.host, expect=2)

    assert "mount it writable and start once" in ended.stderr


def test_an_older_index_is_not_read(server: RunningServer) -> None:
    """On a read-only file system an index that has to be migrated first is refused."""
    server.stop()
    connection = sqlite3.connect(server.data / "registry.sqlite3")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    remount(server.data, "ro")
    ended = command(server.data, "serve", "--bind", server.host, expect=2)

    assert "version 1" in ended.stderr
    assert "mount it writable and start once" in ended.stderr


def test_a_file_system_that_turns_read_only_is_survived(tmp_path: Path) -> None:
    """After an error of the disk the kernel takes no write: pulls go on, also after a new start."""
    with ext4(tmp_path / "data", tmp_path / "image", 64) as data:
        server = RunningServer(data, settings=SETTINGS).start()
        push_image(server.http, "test/app", "first", content=CONTENT)
        break_ext4(data)
        wait_for_pulls(server)
        workers = children_of(server)
        for _ in range(5):
            assert {answer.status for answer in writes_of(server)} <= {405, 503, 507}
            pulls_work(server)

        assert children_of(server) == workers
        server.kill()
        server.start()
        pulls_work(server)
        assert {answer.status for answer in writes_of(server)} == {405}
        server.kill()


def wait_for_pulls(server: RunningServer) -> None:
    """Return when pulls are answered.

    The kernel ends a process (SIGBUS) that notes in the mapped index of the log what it reads;
    the next one reads without.
    """

    def serves() -> bool:
        with contextlib.suppress(OSError):
            pulls_work(server)
            return True
        return False

    wait_until(serves, "pulls are answered")
