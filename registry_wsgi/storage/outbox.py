"""The contract between notifications and the index: what happened, and who was told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from registry_wsgi.storage.inspecting import Event


@dataclass(frozen=True, slots=True)
class Numbered:
    """An event with its number; numbers only grow."""

    number: int
    event: Event


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far an endpoint was told: up to the event ``last_event``.

    After ``failures`` in a row, the last of which is ``problem``, it is not tried again before
    ``next_age``.
    """

    endpoint: str
    last_event: int
    failures: int = 0
    next_age: int = 0
    problem: str = ""


class Outbox(Protocol):
    """Events, and how far each endpoint was told. Every write is durable on return."""

    def last_event(self) -> int:
        """The newest event's number, 0 for none."""
        ...

    def events_after(self, number: int, limit: int, *, pulls: bool) -> list[Numbered]:
        """The oldest events after ``number``, pulls only where asked for."""
        ...

    def waiting(self, endpoints: Sequence[str], *, pulls: bool) -> int:
        """How many events the one furthest behind of these endpoints has still to hear of."""
        ...

    def deliveries(self) -> list[Delivery]:
        """Where every known endpoint stands."""
        ...

    def put_delivery(self, delivery: Delivery) -> None:
        """Keep where an endpoint stands, wherever it stood."""
        ...

    def move_delivery(self, before: Delivery, after: Delivery) -> bool:
        """Keep ``after`` if its endpoint still stands at ``before``; whether it did."""
        ...
