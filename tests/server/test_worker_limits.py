"""What gunicorn promises of a worker, of the one that answers by itself: settings, hooks, logs."""

import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.accounts import add_user, basic, opened_data
from support.images import sha256
from support.pushes import EMPTY, artifact, push_blob, push_manifest
from support.server import RunningServer, throwaway_directory
from support.verbs import Answer
from support.wire import Wire, request

from registry_wsgi.server.worker import is_plain_get

FAST = "registry_wsgi.server.worker.FastWorker"
REPOSITORY = "limits/app"
GET = request("GET", f"/v2/{REPOSITORY}/manifests/v1")
PRIMING = 3


@dataclasses.dataclass(eq=False)
class Gunicorn(RunningServer):
    """gunicorn's own command with this worker, and with settings of gunicorn's in ``flags``."""

    def command(self) -> list[str]:
        """The command line."""
        command = [sys.executable, "-m", "gunicorn", "--bind", self.host, "--worker-class", FAST]
        command += ["--workers", "1", "--threads", "2", "--keep-alive", "75"]
        return [*command, "--no-control-socket", *self.flags, "registry_wsgi:create_app()"]


def gunicorn(folder: Path, *flags: str) -> Gunicorn:
    """A server that is started by ``with``."""
    data = {"REGISTRY_WSGI_STORAGE_DATA": str(folder / "data")}
    return Gunicorn(folder / "data", flags, data)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that goes with the test."""
    with throwaway_directory() as path:
        yield path


def fill(server: RunningServer) -> None:
    """Push an artifact."""
    push_blob(server.http, REPOSITORY, EMPTY)
    push_manifest(server.http, REPOSITORY, artifact(), "v1")


def test_every_request_is_in_the_access_log(folder: Path) -> None:
    """Gunicorn's access log has one line for each answer, with status, size and user agent."""
    with gunicorn(folder, "--access-logfile", "-") as server:
        fill(server)
        known = request("GET", f"/v2/{REPOSITORY}/manifests/v1?a=b", None, "User-Agent: tester")
        with Wire(server.host) as wire:
            replies = [wire.exchange(known) for _ in range(10)]
        size = len(replies[0].body)
        line = rf'"GET /v2/{REPOSITORY}/manifests/v1\?a=b HTTP/1.1" 200 {size} "-" "tester"'
        found = re.findall(line, server.log)

    assert len(found) == 10


def test_no_proxy_is_believed_that_is_not_set(folder: Path) -> None:
    """Gunicorn takes the word of a proxy on this machine for the scheme; the registry does not."""
    with gunicorn(folder) as server:
        answer = server.http.post(f"/v2/{REPOSITORY}/blobs/uploads/", X_Forwarded_Ssl="on")

    assert answer.location.startswith(f"http://{server.host}/")


def test_a_worker_ends_after_its_number_of_requests(folder: Path) -> None:
    """max_requests counts the poller's answers; the last one says close, none is lost."""
    with gunicorn(folder, "--max-requests", "20") as server:
        fill(server)
        closes = []
        for _ in range(4):
            with Wire(server.host) as wire:
                replies = [wire.exchange(GET)]
                while replies[-1].value("Connection") == "keep-alive" and len(replies) < 100:
                    replies.append(wire.exchange(GET))
            closes.append(len(replies))
        boots = server.log.count("Booting worker")

    assert max(closes) <= 20
    assert boots > 1


HOOKS = """
def pre_request(worker, req):
    worker.log.info("HOOK %s", req.path)
"""


def test_hooks_on_requests_see_all_of_them(folder: Path) -> None:
    """With a hook of the operator's every request is the pool's, and the log says so."""
    settings = folder / "hooks.py"
    settings.write_text(HOOKS)
    with gunicorn(folder, "--config", str(settings)) as server:
        fill(server)
        with Wire(server.host) as wire:
            for _ in range(10):
                wire.exchange(GET)
        seen = server.log.count(f"HOOK /v2/{REPOSITORY}/manifests/v1")
        told = "Small requests are answered by the pool: hooks are set: pre_request" in server.log

    assert seen == 10 + 1  # the push of the manifest
    assert told


def test_a_silent_connection_is_closed_and_a_busy_one_is_not(folder: Path) -> None:
    """Keepalive counts from a connection's last answer, whoever gave it."""
    with gunicorn(folder, "--keep-alive", "2") as server:
        fill(server)
        with Wire(server.host) as silent, Wire(server.host) as busy:
            for _ in range(PRIMING):
                silent.exchange(GET)
                busy.exchange(GET)
            silent.socket.settimeout(0.3)
            closed = None
            for _ in range(40):
                assert busy.exchange(GET).status == 200
                try:
                    closed = silent.socket.recv(1)
                except TimeoutError:
                    continue
                break

            assert closed == b""
            assert busy.exchange(GET).status == 200


SIGN_IN = """
[auth]
backends = ["users"]

[[access]]
repositories = "limits/**"
users = ["anna"]
actions = ["pull", "push"]
"""


def test_answers_never_cross_callers(folder: Path) -> None:
    """On one connection: a token's answers, and refusals without it or with a broken one."""
    with opened_data(folder / "data") as storage:
        add_user(storage.index.accounts, "anna")
    server = RunningServer(folder / "data", settings=SIGN_IN)
    with server:
        signed_in = server.http
        signed_in.headers.update(basic("anna"))
        push_blob(signed_in, REPOSITORY, EMPTY)
        pushed = push_manifest(signed_in, REPOSITORY, artifact(), "v1")
        answer: Answer = signed_in.get(f"/token?scope=repository:{REPOSITORY}:pull")
        token = str(answer.json()["token"])
        path = f"/v2/{REPOSITORY}/manifests/v1"
        callers = [
            request("GET", path, None, f"Authorization: Bearer {token}"),
            request("GET", path),
            request("GET", path, None, f"Authorization: Bearer {token[:-3]}abc"),
            request("GET", path, None, f"Authorization: {basic('anna')['Authorization']}"),
            request("GET", path, None, f"Authorization: {basic('anna', 'wrong')['Authorization']}"),
        ]
        with Wire(server.host) as wire:
            rounds = [[wire.exchange(data) for data in callers] for _ in range(PRIMING + 2)]

    assert [[reply.status for reply in replies] for replies in rounds] == (
        [[200, 401, 401, 200, 401]] * len(rounds)
    )
    assert {sha256(replies[0].body) for replies in rounds} == {pushed.digest}


HOST = ("HOST", "a")
LEARNED = {
    "nothing special": ([HOST, ("ACCEPT", "a"), ("ACCEPT", "b")], True),
    "a token": ([HOST, ("AUTHORIZATION", "Bearer x")], True),
    "kept alive": ([HOST, ("CONNECTION", "Keep-Alive")], True),
    "a password, which takes long to check": ([HOST, ("AUTHORIZATION", "Basic x")], False),
    "two tokens": ([HOST, *[("AUTHORIZATION", "Bearer x")] * 2], False),
    "the last request": ([HOST, ("CONNECTION", "close")], False),
    "a body": ([HOST, ("CONTENT-LENGTH", "0")], False),
    "a body in chunks": ([HOST, ("TRANSFER-ENCODING", "chunked")], False),
    "an expectation": ([HOST, ("EXPECT", "100-continue")], False),
    "another protocol": ([HOST, ("UPGRADE", "h2c")], False),
    "no host": ([], False),
}


@pytest.mark.parametrize(("headers", "learned"), LEARNED.values(), ids=LEARNED)
def test_headers_are_learned_where_the_answer_depends_on_nothing_else(
    headers: list[tuple[str, str]], learned: bool
) -> None:
    """What says more than a GET does is gunicorn's to deal with, each time."""
    asked = SimpleNamespace(method="GET", version=(1, 1), must_close=False, headers=headers)
    older = SimpleNamespace(**{**vars(asked), "version": (1, 0)})
    written = SimpleNamespace(**{**vars(asked), "method": "PUT"})

    assert is_plain_get(asked) == learned
    assert not is_plain_get(older)
    assert not is_plain_get(written)
