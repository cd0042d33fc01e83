"""What is told of each request once it is answered: the vocabulary of logs and metrics."""

from collections.abc import Callable
from typing import NamedTuple


class Record(NamedTuple):
    """One answered request, without anything secret: no query, no credentials.

    A tuple, as what is made in each request is: a frozen dataclass takes four times as long.
    ``route`` is the row's rule, empty where nothing matched; ``sent`` and ``received`` are bytes
    of bodies; ``seconds`` is from the first line of the application to the last byte sent.
    """

    method: str
    path: str
    route: str
    action: str
    repository: str
    status: int
    sent: int
    received: int
    seconds: float
    user: str
    address: str
    agent: str
    request_id: str


Observer = Callable[[Record], None]


def nobody(record: Record) -> None:
    """Watch nothing."""


def together(observers: list[Observer]) -> Observer:
    """All of them, one after the other."""
    if not observers:
        return nobody
    if len(observers) == 1:
        return observers[0]

    def tell(record: Record) -> None:
        for observer in observers:
            observer(record)

    return tell
