"""Reloads, stops and deaths of what serves: what is in flight is answered, or goes on later."""

import http.client
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.images import MIB, noise, sha256
from support.proxied import GunicornServer, Proxied, ServeServer, proxied
from support.pushes import open_upload, push_blob, with_digest
from support.tls import TlsWire
from support.verbs import request_target
from support.waiting import offset_of, wait_for_offset, wait_until
from support.wire import Reply, chunk, request

from registry_wsgi.storage.latch import NAME

KINDS = {"gunicorn": GunicornServer, "serve": ServeServer}
UNKNOWN = f"/v2/a/manifests/sha256:{'0' * 64}"
UNDELETABLE = "\n[delete]\nenabled = false\n"


@pytest.fixture(params=KINDS)
def either(request: pytest.FixtureRequest) -> Iterator[Proxied]:
    """A registry behind nginx, started either way."""
    with proxied(kind=KINDS[request.param]) as behind_nginx:
        yield behind_nginx


@pytest.fixture
def running() -> Iterator[Proxied]:
    """A registry behind nginx, started by gunicorn's command."""
    with proxied() as behind_nginx:
        yield behind_nginx


class SlowUpload:
    """An upload of 3 MiB, whose first MiB is at the registry when this is made."""

    def __init__(self, running: Proxied, repository: str) -> None:
        self._running = running
        self.data = noise(3 * MIB, repository)
        self.location = open_upload(running.http, repository)
        self.wire: TlsWire = running.wire()
        target = request_target(self.location)
        self.wire.send(request("PATCH", target, None, "Transfer-Encoding: chunked"))
        self.wire.send(chunk(self.data[:MIB]))
        wait_for_offset(running.http, self.location, MIB)

    def finish_patch(self) -> Reply:
        """Send the rest; the answer."""
        self.wire.send(chunk(self.data[MIB:]) + b"0\r\n\r\n")
        reply = self.wire.reply("PATCH")
        self.wire.close()
        assert reply is not None, "closed without an answer"
        return reply

    def close_session(self, location: str) -> str:
        """Close the session with an empty PUT; the digest that was stored."""
        answer = self._running.http.put(with_digest(location, sha256(self.data)))
        return answer["Docker-Content-Digest"]


def change_settings(running: Proxied, more: str) -> None:
    """Add lines to the settings file, and tell the server of it."""
    settings = running.registry.settings_file
    settings.write_text(settings.read_text() + more)
    hang_up(running)


def hang_up(running: Proxied) -> None:
    """What ``systemctl reload`` sends."""
    assert running.registry.process is not None
    os.kill(running.registry.process.pid, signal.SIGHUP)


def refuses_to_delete(running: Proxied) -> bool:
    """Whether deleting is turned off, as far as one request can tell."""
    return running.http.request("DELETE", UNKNOWN, None, None, {}).status == 405


def test_a_reload_lets_an_upload_finish(either: Proxied, repository: str) -> None:
    """An upload that began before a reload is answered by the process that has it."""
    upload = SlowUpload(either, repository)
    change_settings(either, UNDELETABLE)
    wait_until(lambda: refuses_to_delete(either), "the new settings count")
    reply = upload.finish_patch()

    assert reply.status == 202
    assert upload.close_session(reply.value("Location")) == sha256(upload.data)


def test_a_stop_lets_an_upload_finish(either: Proxied, repository: str) -> None:
    """An upload that began before a stop is answered first; the session outlives the server."""
    upload = SlowUpload(either, repository)
    process = either.registry.process
    assert process is not None
    process.terminate()
    wait_until(lambda: not either.registry.socket.exists(), "nobody new is let in")
    reply = upload.finish_patch()
    code = process.wait()
    either.registry.process = None
    either.registry.start()

    assert (reply.status, code) == (202, 0)
    assert upload.close_session(reply.value("Location")) == sha256(upload.data)


def test_a_mistake_in_the_settings_is_not_reloaded(either: Proxied) -> None:
    """A reload with settings that cannot be changes nothing and logs why; a later one counts."""
    settings = either.registry.settings_file.read_text()
    change_settings(either, "\n[delete]\nenable = false\n")
    wait_until(lambda: "not reloaded" in either.registry.log, "it is in the log")
    either.http.delete(UNKNOWN, expect=404)
    either.registry.settings_file.write_text(settings)
    change_settings(either, UNDELETABLE)
    wait_until(lambda: refuses_to_delete(either), "the new settings count")

    assert "did you mean 'delete.enabled'?" in either.registry.log


def test_reloads_lose_no_request(running: Proxied, repository: str) -> None:
    """Of pushes and pulls without a pause, none fails while the server is reloaded twice."""
    done = threading.Event()
    failures: list[str] = []
    served = 0

    def work(name: str) -> None:
        nonlocal served
        try:
            while not done.is_set():
                digest = push_blob(running.http, f"{repository}/{name}", os.urandom(100))
                running.http.get(f"/v2/{repository}/{name}/blobs/{digest}")
                served += 1
        except (AssertionError, OSError, http.client.HTTPException) as error:
            failures.append(str(error))

    workers = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for worker in workers:
        worker.start()
    for _ in range(2):
        before = running.registry.log.count("Booting worker")
        hang_up(running)
        wait_until(
            lambda seen=before: running.registry.log.count("Booting worker") >= seen + 2,  # type: ignore[misc] # a default binds the loop's value
            "new workers are there",
        )
    done.set()
    for worker in workers:
        worker.join()

    assert failures == []
    assert served


def test_an_upload_goes_on_after_nginx_was_killed(running: Proxied, repository: str) -> None:
    """What arrived before nginx died is kept, and the session goes on from there."""
    upload = SlowUpload(running, repository)
    running.nginx.kill()
    upload.wire.close()
    running.nginx.start()
    wait_until(lambda: not is_busy(running, upload.location), "the registry saw the end")
    status = running.http.get(upload.location, expect=204)
    arrived = offset_of(status)
    patched = running.http.patch(status.location, upload.data[arrived:])

    assert arrived >= MIB
    assert upload.close_session(patched.location) == sha256(upload.data)


def is_busy(running: Proxied, location: str) -> bool:
    """Whether another request still writes to a session."""
    fresh = running.http.get(location, expect=204).location
    return running.http.request("PATCH", fresh, b"", None, {}).status == 409


def test_an_upload_goes_on_after_a_worker_was_killed(running: Proxied, repository: str) -> None:
    """The client of a killed worker gets an error at once, and its session goes on later."""
    upload = SlowUpload(running, repository)
    running.registry.kill()
    running.registry.start()
    reply = upload.finish_patch()
    status = running.http.get(upload.location, expect=204)
    patched = running.http.patch(status.location, upload.data[offset_of(status) :])

    assert reply.status == 503
    assert reply.code == "UNAVAILABLE"
    assert offset_of(status) >= MIB
    assert upload.close_session(patched.location) == sha256(upload.data)


def test_a_registry_that_is_down_is_told_in_its_form(running: Proxied) -> None:
    """Without the registry nginx answers 503 with a JSON error and Retry-After, until it is back."""
    running.registry.stop()
    answer = running.http.get("/v2/a/tags/list", expect=503)
    running.registry.start()

    assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"
    assert answer["Retry-After"] == "5"
    running.http.get("/v2/")


def test_a_start_after_a_disk_error_lets_pushes_in_again(either: Proxied, repository: str) -> None:
    """After a failed sync writes are refused, over a reload too, until a start finds all sound."""
    push_blob(either.http, repository, b"a blob")
    (either.registry.data / NAME).touch()
    hang_up(either)
    wait_until(lambda: either.registry.log.count("Booting worker") >= 4, "new workers are there")
    refused = either.http.post(f"/v2/{repository}/blobs/uploads/", expect=503)
    either.registry.stop()
    either.registry.start()

    assert refused.json()["errors"][0]["code"] == "UNAVAILABLE"
    assert push_blob(either.http, repository, b"another blob")


def test_nobody_but_its_group_may_connect(either: Proxied) -> None:
    """A peer of the socket is trusted: so the socket is for its user and group alone."""
    mode = either.registry.socket.stat().st_mode

    assert oct(mode & 0o777) == "0o660"


def reaches(data: Path, path: Path) -> bool:
    """Whether somebody of the data directory's group can open a file of it for reading."""
    ways = [parent for parent in path.parents if parent.is_relative_to(data)]
    return bool(path.stat().st_mode & 0o040) and all(way.stat().st_mode & 0o010 for way in ways)


def test_what_nginx_may_read_is_blobs_alone(running: Proxied, repository: str) -> None:
    """Of all files in the data directory its group can open blobs, and nobody else any."""
    push_blob(running.http, repository, b"a blob")
    open_upload(running.http, repository)
    data = running.registry.data
    files = [path for path in data.rglob("*") if path.is_file()]
    reached = [path for path in files if reaches(data, path)]

    assert {"registry.sqlite3", "secret"} < {path.name for path in files}
    assert {path.relative_to(data).parts[0] for path in reached} == {"blobs"}
    assert not data.stat().st_mode & 0o007
