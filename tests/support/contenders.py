"""What other processes do while a test watches: each function runs in a child (support.processes)."""

import os
import signal
from pathlib import Path

from support.processes import Pipe
from support.storage import (
    APP,
    FakeClock,
    IndexPlace,
    StorePlace,
    image,
    open_database,
    push_of,
    put_blob,
)

from registry_wsgi.names import Digest
from registry_wsgi.storage import secrets
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.locks import FileLock


def hold_lock(pipe: Pipe, path: Path) -> None:
    """Hold a file lock until told to let go."""
    with FileLock(path).held():
        pipe.send("held")
        pipe.recv()


def wait_for_lock(pipe: Pipe, path: Path) -> None:
    """Wait for a file lock, and tell when it is held."""
    pipe.send("waiting")
    with FileLock(path).held():
        pipe.send("held")


def count_under_lock(pipe: Pipe, lock: Path, counter: Path, times: int) -> None:
    """Add to the number in a file, each time under the lock, reading and writing it apart."""
    held = FileLock(lock)
    pipe.send("ready")
    pipe.recv()
    for _ in range(times):
        with held.held():
            counter.write_text(str(int(counter.read_text()) + 1))


def make_secret(pipe: Pipe, folder: Path) -> None:
    """Make the secret as a starting process does, and tell its keys."""
    pipe.send("ready")
    pipe.recv()
    secrets.prepare(folder / secrets.NAME, FileLock(folder / "lock"), FileOps(syncing=False))


def hold_upload(pipe: Pipe, place: StorePlace, uuid: str) -> None:
    """Write to an upload session and stay its writer until told to end."""
    with place.open().stage(uuid) as staged:
        staged.write(b"from another process")
        pipe.send("held")
        pipe.recv()


def hold_digest(pipe: Pipe, place: StorePlace, digest: Digest) -> None:
    """Hold a digest's lock until told to let go."""
    with place.open().lock(digest):
        pipe.send("held")
        pipe.recv()


def push_images(pipe: Pipe, place: IndexPlace, worker: int, count: int) -> None:
    """Push images, each of a layer and a tag of its own, to the repository all push to."""
    with place.open(FakeClock()) as index:
        pipe.send("ready")
        pipe.recv()
        for number in range(count):
            layer = f"{worker} {number}".encode()
            put_blob(index, content=layer)
            put_blob(index, content=b"{}")
            index.manifests.put(push_of(image(layer), f"w{worker}-{number}", "latest"))


def commit_blob(pipe: Pipe, place: IndexPlace, content: bytes) -> None:
    """Commit a blob, say so, and wait to be killed."""
    with place.open(FakeClock()) as index:
        put_blob(index, content=content)
        pipe.send("committed")
        pipe.recv()


def write_on_both_sides_of_a_fork(pipe: Pipe, place: IndexPlace, count: int) -> None:
    """Use the index, fork, write on both sides at once, and tell how the child of the fork ended."""
    with place.open(FakeClock()) as index:
        digest = put_blob(index, content=b"before the fork")
        assert index.blobs.find(APP, digest)
        child = os.fork()
        for number in range(count):
            digest = put_blob(index, content=f"{'parent' if child else 'child'} {number}".encode())
            assert index.blobs.find(APP, digest)
        if not child:
            os._exit(0)
        pipe.send(_ending_of(child))


def read_in_a_fork(pipe: Pipe, folder: Path) -> None:
    """Read the index, fork, read in the fork; tell how many more files of it that has open then."""
    with open_database(folder) as database:

        def opened() -> int:
            with database.reading() as connection:
                connection.execute("SELECT 1 FROM clock").fetchone()
            files = Path("/proc/self/fd").iterdir()
            return [str(file.resolve()) for file in files].count(str(database.path))

        before = opened()
        child = os.fork()
        if not child:
            os._exit(opened() - before)
        pipe.send(_ending_of(child))


def lock_over_a_fork(pipe: Pipe, path: Path) -> None:
    """Hold a lock that was used before a fork; tell who could take it when."""
    lock = FileLock(path)
    with lock.held():
        pipe.send({"the fork, while it is held": _fork_takes(lock)})
        with FileLock(path).trying() as held:
            pipe.send({"another, after the fork has tried": held})
    pipe.send({"the fork, when it is free": _fork_takes(lock)})


def die_holding_after_a_fork(pipe: Pipe, path: Path) -> None:
    """Fork while holding a lock, tell the fork's pid, and wait to be killed; the fork lives on."""
    with FileLock(path).held():
        child = os.fork()
        if not child:
            signal.pause()
        pipe.send(child)
        signal.pause()


def _fork_takes(lock: FileLock) -> bool:
    """Whether a fork of this process can take the lock now."""
    child = os.fork()
    if not child:
        with lock.trying() as held:
            os._exit(int(held))
    return bool(_ending_of(child))


def _ending_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
