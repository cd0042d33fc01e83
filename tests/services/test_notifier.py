"""How far an endpoint was told is kept, and whoever else moves that is heeded."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.storage import APP, FakeClock, image, open_database, push_of, put_image

from registry_wsgi.names import Digest
from registry_wsgi.services.measures import MeasureService
from registry_wsgi.services.notifications import FIRST_WAIT, Notifier
from registry_wsgi.storage.adopting import ADOPTER
from registry_wsgi.storage.base import NOBODY
from registry_wsgi.storage.disk import DiskStore
from registry_wsgi.storage.outbox import Delivery
from registry_wsgi.storage.sqlite.index import SqliteIndex

URL = "http://ci.example/hook"


@dataclass
class Endpoint:
    """Notes which post it is told; what it does meanwhile, and answers, a test says."""

    told: list[bytes] = field(default_factory=list)
    answer: str | None = None
    meanwhile: Callable[[], None] = lambda: None

    def post(self, _url: str, body: bytes, _headers: dict[str, str]) -> str | None:
        """Note the body, and answer."""
        self.told.append(body)
        self.meanwhile()
        return self.answer


@pytest.fixture
def endpoint() -> Endpoint:
    """An endpoint that acknowledges."""
    return Endpoint()


@pytest.fixture
def index(folder: Path, clock: FakeClock) -> Iterator[SqliteIndex]:
    """An index whose outbox is at hand."""
    with open_database(folder) as database:
        yield SqliteIndex(database, clock)


def waiting(
    index: SqliteIndex, store: DiskStore, endpoints: Sequence[str], *, pulls: bool = False
) -> float:
    """What monitoring is told of these endpoints."""
    service = MeasureService(
        index.inspection, store, lambda: False, index.outbox, endpoints, pulls=pulls
    )
    return service.read()["registry_notifications_waiting"]


@pytest.fixture
def notifier(index: SqliteIndex, clock: FakeClock, endpoint: Endpoint) -> Notifier:
    """Tells the endpoint, which has three pushes to hear of."""
    outbox = index.outbox
    made = Notifier(
        outbox, clock, endpoint.post, lambda: nullcontext(True), [URL], "distribution", "registry"
    )
    made.tick()
    for tag in ("1", "2", "3"):
        put_image(index, tag, annotations={"tag": tag})
    assert [delivery.last_event for delivery in outbox.deliveries()] == [0]
    return made


def test_a_replay_during_a_post_is_not_lost(
    notifier: Notifier, index: SqliteIndex, endpoint: Endpoint
) -> None:
    """What an operator sets while an event is on its way stays, and is followed at the next turn."""
    notifier.tick()
    put_image(index, "4", annotations={"tag": "4"})
    endpoint.meanwhile = lambda: index.outbox.put_delivery(Delivery(URL, 1))
    notifier.tick()
    after_the_replay = index.outbox.deliveries()
    endpoint.meanwhile = lambda: None
    again = endpoint.told[1:]
    endpoint.told.clear()
    notifier.tick()

    assert after_the_replay == [Delivery(URL, 1)]
    assert endpoint.told == again
    assert index.outbox.deliveries() == [Delivery(URL, 4)]


def test_a_replay_during_a_post_that_fails_is_not_lost(
    notifier: Notifier, index: SqliteIndex, endpoint: Endpoint
) -> None:
    """A failure is no reason to go back to where the endpoint stood, or to wait."""
    endpoint.answer = "answered 503"
    endpoint.meanwhile = lambda: index.outbox.put_delivery(Delivery(URL, 2))
    notifier.tick()

    assert index.outbox.deliveries() == [Delivery(URL, 2)]


def test_a_replay_from_where_an_endpoint_stands_ends_its_wait(
    notifier: Notifier, index: SqliteIndex, endpoint: Endpoint, clock: FakeClock
) -> None:
    """The position is the same then, but not the wait, which a failure on its way does not renew."""
    endpoint.answer = "answered 503"
    notifier.tick()
    clock.milliseconds += FIRST_WAIT
    endpoint.meanwhile = lambda: index.outbox.put_delivery(Delivery(URL, 0))
    notifier.tick()

    assert index.outbox.deliveries() == [Delivery(URL, 0)]


def test_what_waits_is_what_an_endpoint_of_the_settings_has_to_hear(
    notifier: Notifier, index: SqliteIndex, store: DiskStore
) -> None:
    """Nobody waits for an endpoint that was taken out, or for an event that is never sent."""
    other = "http://other.example/"
    index.outbox.put_delivery(Delivery(other, 2))
    at_first = [waiting(index, store, chosen) for chosen in ([URL, other], [other], [])]
    notifier.tick()
    index.manifests.note_pull(APP, None, Digest.of(b"pulled"), NOBODY)
    body = image(b"content", annotations={"from": "elsewhere"})
    index.manifests.put(push_of(body, "old", actor=ADOPTER))

    assert at_first == [3, 1, 0]
    assert waiting(index, store, [URL]) == 0
    assert waiting(index, store, [URL], pulls=True) == 1
    assert waiting(index, store, [URL, "http://new.example/"], pulls=True) == 1
