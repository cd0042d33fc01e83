"""Webhooks: everything that changes is told, in order, once an endpoint takes it."""

import contextlib
import hashlib
import hmac
import http.server
import json
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.programs import run
from support.pushes import push_image
from support.server import RunningServer, ServerFactory, free_port

from registry_wsgi.cli.main import main
from registry_wsgi.names import Digest
from registry_wsgi.services.envelopes import cloudevents, distribution
from registry_wsgi.storage.inspecting import Event
from registry_wsgi.storage.outbox import Numbered
from registry_wsgi.watching.posting import post

KEY = b"a key of the webhook"
SECONDS = 20
DIGEST = Digest.of(b"manifest")
MOVE = Numbered(
    7,
    Event(
        "2026-01-31T12:00:00.000+00:00",
        "move",
        "team/app",
        "latest",
        DIGEST,
        Digest.of(b"before"),
        "alice",
        "192.0.2.7",
        "application/vnd.oci.image.manifest.v1+json",
        529,
        "call-17",
    ),
)


class Receiver:
    """An endpoint that notes what it is told, and can be told to refuse it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.status = 200

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Be up for as long as the block lasts."""
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """Note the body, and answer."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.heard.put((dict(self.headers.items()), body))
                self.send_response(receiver.status)
                self.send_header("Location", receiver.url)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        with http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()

    def next_event(self) -> dict[str, Any]:
        """The next event in distribution's envelope."""
        _, body = self.heard.get(timeout=SECONDS)
        (event,) = json.loads(body)["events"]
        found: dict[str, Any] = event
        return found


@pytest.fixture
def receiver() -> Receiver:
    """An endpoint that is not up yet."""
    return Receiver(free_port())


@pytest.fixture
def notifying(fresh_registry: ServerFactory, receiver: Receiver, tmp_path: Path) -> RunningServer:
    """A registry that tells the receiver."""
    (tmp_path / "key").write_bytes(KEY + b"\n")
    settings = f'[notifications]\nendpoints = ["{receiver.url}"]\nsecret_file = "{tmp_path}/key"\n'
    return fresh_registry(settings=settings)


def wait_until_known(server: RunningServer) -> None:
    """Return when the registry has begun to count what the endpoint has to hear."""
    command = [*server.command()[:3], "events", "status", "--data", str(server.data)]
    for _ in range(SECONDS * 10):
        if "told up to" in run(command).stdout:
            return
        threading.Event().wait(0.1)
    pytest.fail("the endpoint was not noted")


def test_pushes_moves_and_deletes_are_told_in_order(
    notifying: RunningServer, receiver: Receiver
) -> None:
    """A push, a tag move and a delete arrive as they happened, signed and described."""
    wait_until_known(notifying)
    with receiver.listening():
        first = push_image(notifying.http, "team/app", "1", content=b"one")
        second = push_image(notifying.http, "team/app", "1", content=b"two")
        notifying.http.delete("/v2/team/app/manifests/1", expect=202)
        headers, body = receiver.heard.get(timeout=SECONDS)
        events = [json.loads(body)["events"][0], receiver.next_event(), receiver.next_event()]

    signature = hmac.new(KEY, body, hashlib.sha256).hexdigest()
    assert headers["X-Registry-Signature"] == f"sha256={signature}"
    assert headers["Content-Type"] == "application/vnd.docker.distribution.events.v2+json"
    assert [event["action"] for event in events] == ["push", "push", "delete"]
    digests = [event["target"]["digest"] for event in events]
    assert digests == [first.digest, second.digest, second.digest]
    assert events[0]["target"]["size"] == len(first.body)
    assert events[0]["target"]["mediaType"] == first.media_type
    assert events[0]["target"]["tag"] == "1"


def test_what_was_missed_arrives_when_the_endpoint_is_back(
    notifying: RunningServer, receiver: Receiver
) -> None:
    """An endpoint that is down, then refuses, hears everything later, and each event once."""
    wait_until_known(notifying)
    pushed = [push_image(notifying.http, "team/app", str(n), content=b"%d" % n) for n in range(3)]
    notifying.stop()
    notifying.start()
    receiver.status = 503
    with receiver.listening():
        refused = receiver.next_event()
        receiver.status = 200
        told = [receiver.next_event() for _ in range(3)]
        push_image(notifying.http, "team/app", "last", content=b"last")
        last = receiver.next_event()

    assert refused["id"] == told[0]["id"]
    assert [event["target"]["digest"] for event in told] == [one.digest for one in pushed]
    assert last["target"]["tag"] == "last"
    assert receiver.heard.empty()


def test_an_operator_has_events_sent_again(
    notifying: RunningServer, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """A replay sends what was acknowledged long ago once more, with the same id."""
    wait_until_known(notifying)
    with receiver.listening():
        push_image(notifying.http, "team/app", "1")
        before = receiver.next_event()
        data = ["--data", str(notifying.data)]
        assert main(["events", "replay", "--endpoint", receiver.url, *data]) == 0
        again = receiver.next_event()
        assert main(["events", "list", "--json", *data]) == 0

    listed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert again == before
    assert (listed["action"], listed["tag"]) == ("push", "1")


def test_pulls_are_told_only_where_that_is_asked_for(
    fresh_registry: ServerFactory, receiver: Receiver
) -> None:
    """With pulls on, a GET of a manifest is an event; its HEAD is none."""
    settings = f'[notifications]\nendpoints = ["{receiver.url}"]\npulls = true\n'
    with receiver.listening():
        server = fresh_registry(settings=settings)
        wait_until_known(server)
        pushed = push_image(server.http, "team/app", "1")
        server.http.head("/v2/team/app/manifests/1")
        server.http.get("/v2/team/app/manifests/1")
        actions = [receiver.next_event() for _ in range(2)]

    assert [event["action"] for event in actions] == ["push", "pull"]
    assert actions[1]["target"]["digest"] == pushed.digest


def test_a_redirect_is_no_acknowledgement(receiver: Receiver) -> None:
    """A signed body goes nowhere else than to the endpoint that is set."""
    receiver.status = 307
    with receiver.listening():
        problem = post(receiver.url, b"{}", {}, timeout=5.0)

    assert problem == "answered 307"
    assert receiver.heard.qsize() == 1


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://ci..example/hook", id="no host's name"),
        pytest.param("http://ci.example/\u03c9", id="no path"),
        pytest.param("ci.example", id="no URL"),
    ],
)
def test_a_post_that_cannot_be_made_has_failed(url: str) -> None:
    """What cannot even be tried is told as every failure, so that the other endpoints hear on."""
    assert post(url, b"{}", {}, timeout=5.0)


def test_a_number_that_the_system_does_not_take_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An OverflowError of the socket is that endpoint's as well."""

    def overflow(*_: object, **__: object) -> None:
        raise OverflowError("timestamp too large")

    monkeypatch.setattr(socket, "create_connection", overflow)

    assert post("http://127.0.0.1:1/", b"{}", {}, timeout=5.0) == "timestamp too large"


def test_distribution_knows_a_move_as_a_push() -> None:
    """The envelope is docker distribution's, which has no word for moves."""
    kind, document = distribution(MOVE, "registry", "https://registry.example")
    (event,) = json.loads(json.dumps(document))["events"]

    assert kind == "application/vnd.docker.distribution.events.v2+json"
    assert event["action"] == "push"
    assert event["actor"] == {"name": "alice"}
    assert event["request"] == {"id": "call-17", "addr": "192.0.2.7"}
    assert event["target"]["url"] == (f"https://registry.example/v2/team/app/manifests/{DIGEST}")


def test_cloudevents_name_the_move_and_what_was_there_before() -> None:
    """The other form says it all."""
    kind, document = cloudevents(MOVE, "registry", "")
    event = json.loads(json.dumps(document))

    assert kind.startswith("application/cloudevents+json")
    assert event["specversion"] == "1.0"
    assert event["type"] == "registry.move"
    assert event["subject"] == "team/app:latest"
    assert event["data"]["previous"] == Digest.of(b"before")
