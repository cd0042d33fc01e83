"""Which thread must not wait: the one that every connection of a worker hangs on."""

import threading
from typing import Final


class _Poller(threading.local):
    """Per thread, whether it is answering from the poller right now."""

    answering = False


_poller: Final = _Poller()


class Answering:
    """``with ANSWERING:`` a request is being answered by the thread that polls."""

    def __enter__(self) -> None:
        _poller.answering = True

    def __exit__(self, *error: object) -> None:
        _poller.answering = False


ANSWERING: Final = Answering()


def may_wait() -> bool:
    """Whether this thread may wait for others, for the writer's turn say."""
    return not _poller.answering
