"""gc in one process, a registry in others: over HTTP, on the command line, and killed."""

import json
import threading
from collections.abc import Iterator

import pytest
from support.collectors import collect_stopping_at
from support.images import noise, sha256
from support.operating import check, command, gc
from support.processes import child
from support.pushes import open_upload, push_blob, push_image
from support.server import RunningServer, ServerFactory, throwaway_directory
from support.verbs import Verbs
from support.waiting import wait_until

STEPS = ("uploads", "manifests", "links", "doomed", "locked", "removed", "destroyed")
LAYER = noise(50_000, "gc in processes")
APP = "/v2/test/app"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A registry of two processes."""
    with throwaway_directory() as folder:
        started = RunningServer(folder / "data", settings="[server]\nworkers = 2\n").start()
        yield started
        started.kill()


def is_there(http: Verbs, tag: str) -> bool:
    """Whether an image can be pulled, all of it."""
    manifest = http.get(f"{APP}/manifests/{tag}", None)
    blob = http.get(f"{APP}/blobs/{sha256(LAYER)}", None)
    return manifest.status == blob.status == 200 and blob.body == LAYER


@pytest.mark.parametrize("step", STEPS)
def test_an_image_that_is_pushed_while_gc_runs_is_whole(server: RunningServer, step: str) -> None:
    """A push over HTTP of what gc is removing in another process is answered, and all of it is there."""
    push_blob(server.http, "test/app", LAYER)
    with child(collect_stopping_at, server.data, step) as collector:
        assert collector.hear() == step
        pushing = threading.Thread(
            target=push_image, args=(server.http, "test/app", step), kwargs={"content": LAYER}
        )
        pushing.start()
        if step not in {"locked", "removed"}:  # there the push may have to wait for gc
            pushing.join()
        collector.say()
        collector.hear()
        collector.finish()
    pushing.join()

    assert is_there(server.http, step)
    check(server.data)
    server.http.delete(f"{APP}/manifests/{sha256(server.http.get(f'{APP}/manifests/{step}').body)}")


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_gc_process_is_finished_by_the_next(server: RunningServer, step: str) -> None:
    """SIGKILL at any step: no lock stays, nothing is served that is not there, the next run converges."""
    push_blob(server.http, "test/app", LAYER)
    with child(collect_stopping_at, server.data, step) as collector:
        assert collector.hear() == step
        collector.kill()
    answer = server.http.get(f"{APP}/blobs/{sha256(LAYER)}", None)
    check(server.data)
    gc(server.data, "--grace", "0")

    assert answer.status == 404 or answer.body == LAYER
    server.http.get(f"{APP}/blobs/{sha256(LAYER)}", 404)
    assert check(server.data) == "sound: 0 problems, 0 notes\n"
    push_image(server.http, "test/app", "again", content=LAYER)
    assert is_there(server.http, "again")
    server.http.delete(f"{APP}/manifests/{sha256(server.http.get(f'{APP}/manifests/again').body)}")


def test_a_second_gc_steps_aside(server: RunningServer) -> None:
    """While one gc runs another has nothing to do, and says so with success."""
    push_blob(server.http, "test/app", LAYER)
    with child(collect_stopping_at, server.data, "links") as collector:
        collector.hear()
        ended = command(server.data, "gc", "--grace", "0")
        as_json = command(server.data, "gc", "--grace", "0", "--json")
        collector.say()

        assert collector.hear() > 0
        collector.finish()
    assert ended.stdout == as_json.stderr == "another gc is running: nothing to do\n"
    assert json.loads(as_json.stdout) == {"counts": {}, "freed": 0, "removals": []}


def test_gc_waits_for_nobody_and_nobody_for_gc(server: RunningServer) -> None:
    """While gc stands still between two steps, pushes, pulls and deletes are answered."""
    push_blob(server.http, "test/app", LAYER)
    with child(collect_stopping_at, server.data, "doomed") as collector:
        collector.hear()
        push_image(server.http, "test/other", "latest", content=b"another")
        server.http.get("/v2/test/other/manifests/latest")
        server.http.delete("/v2/test/other/manifests/latest")
        server.http.get(f"{APP}/blobs/{sha256(LAYER)}", 404)
        server.http.head(f"{APP}/blobs/{sha256(LAYER)}", 404)
        mount = f"{APP}/blobs/uploads/?mount={sha256(LAYER)}"
        server.http.post(mount, expect=202)
        collector.say()
        collector.hear()
        collector.finish()


def test_a_session_that_is_written_to_is_not_expired(fresh_registry: ServerFactory) -> None:
    """Gc leaves a session alone for as long as somebody sends to it, however old it is."""
    server = fresh_registry(settings="[server]\nworkers = 1\n[storage]\nupload_expiry = 1\n")
    location = open_upload(server.http, "test/app")
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield LAYER
        begun.set()
        go_on.wait()
        yield LAYER

    sending = threading.Thread(target=server.http.patch, args=(location, slowly()))
    sending.start()
    begun.wait()
    expired = wait_until_expired(server)
    go_on.set()
    sending.join()
    offset = server.http.get(location, 204)["Range"]

    assert expired > 0
    assert offset == f"0-{2 * len(LAYER) - 1}"


def wait_until_expired(server: RunningServer) -> int:
    """Open sessions and collect until gc has found one that is silent for a second."""
    open_upload(server.http, "test/app")
    expired: list[int] = []

    def has_expired() -> bool:
        report = gc(server.data, "--config", str(server.data.with_name("data.toml")))
        expired.append(report["counts"].get("upload", 0))
        return expired[-1] > 0

    wait_until(has_expired, "a session that expires")
    return expired[-1]
