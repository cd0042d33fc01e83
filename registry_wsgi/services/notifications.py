"""Telling endpoints what changed: in order, again until they take it, over restarts.

An event is written in the transaction of its change, so none is lost and none is made up. One
process at a time delivers; how far each endpoint was told is kept once it has acknowledged.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final

from registry_wsgi.services.envelopes import FORMATS
from registry_wsgi.storage.base import Clock
from registry_wsgi.storage.outbox import Delivery, Numbered, Outbox

BATCH: Final = 100
"""Events read at once."""

FIRST_WAIT: Final = 1_000
LONGEST_WAIT: Final = 300_000
"""Milliseconds of uptime after the first failure, doubled with each further one up to this."""

SIGNATURE: Final = "X-Registry-Signature"

Post = Callable[[str, bytes, dict[str, str]], str | None]
"""Sends a body to a URL; returns what went wrong, ``None`` once it was acknowledged with 2xx."""


@dataclass(frozen=True, slots=True)
class Notifier:
    """Delivers to ``endpoints``. ``delivering`` yields whether this process may now."""

    outbox: Outbox
    clock: Clock
    post: Post
    delivering: Callable[[], AbstractContextManager[bool]]
    endpoints: Sequence[str]
    style: str
    service: str
    base: str = ""
    key: bytes = b""
    pulls: bool = False

    def tick(self) -> None:
        """Deliver what is due. Raises StorageFault and RegistryError as the index does."""
        with self.delivering() as mine:
            if mine:
                for delivery in self._known():
                    self._deliver(delivery)

    def _known(self) -> list[Delivery]:
        """Where each endpoint stands; a new one hears of what happens from now on."""
        known = {delivery.endpoint: delivery for delivery in self.outbox.deliveries()}
        for endpoint in self.endpoints:
            if endpoint not in known:
                known[endpoint] = Delivery(endpoint, self.outbox.last_event())
                self.outbox.put_delivery(known[endpoint])
        return [known[endpoint] for endpoint in self.endpoints]

    def _deliver(self, delivery: Delivery) -> None:
        """Send one event after the other, until all are or one is not taken."""
        while delivery.next_age <= self.clock.age():
            waiting = self.outbox.events_after(delivery.last_event, BATCH, pulls=self.pulls)
            if not waiting:
                return
            for numbered in waiting:
                problem = self._send(delivery.endpoint, numbered)
                told = Delivery(delivery.endpoint, numbered.number)
                stands = told if problem is None else self._failed(delivery, problem)
                # A post takes its time, in which an operator may have asked for a replay: that is
                # followed at the next tick.
                if not self.outbox.move_delivery(delivery, stands) or problem is not None:
                    return
                delivery = told

    def _failed(self, delivery: Delivery, problem: str) -> Delivery:
        wait = min(FIRST_WAIT << min(delivery.failures, 20), LONGEST_WAIT)
        return replace(
            delivery,
            failures=delivery.failures + 1,
            next_age=self.clock.age() + wait,
            problem=problem[:200],
        )

    def _send(self, endpoint: str, numbered: Numbered) -> str | None:
        kind, document = FORMATS[self.style](numbered, self.service, self.base)
        body = json.dumps(document, separators=(",", ":")).encode("utf-8")
        headers = {"Content-Type": kind}
        if self.key:
            headers[SIGNATURE] = f"sha256={hmac.new(self.key, body, hashlib.sha256).hexdigest()}"
        return self.post(endpoint, body, headers)
