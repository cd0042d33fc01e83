"""gunicorn's master process, which is heard by workers that were just being made."""

import signal
import time
from typing import Final

from gunicorn.arbiter import Arbiter

AGAIN_SECONDS: Final = 1.0
"""How long after a word to stop it is said again."""


class Master(Arbiter):  # type: ignore[misc] # gunicorn has no types
    """Tells workers to stop until they are gone.

    gunicorn tells them once. A worker that was forked a moment ago does not listen yet, and would
    then keep a graceful stop waiting for all of ``graceful_timeout``.
    """

    _stopping: signal.Signals | None = None
    _told = 0.0

    def stop(self, graceful: bool = True) -> None:
        """Stop the workers, at the next good moment or at once."""
        self._stopping = signal.SIGTERM if graceful else signal.SIGQUIT
        self._told = time.monotonic()
        super().stop(graceful)

    def reap_workers(self) -> None:
        """Bury who is gone, as gunicorn does again and again, and tell the others once more."""
        super().reap_workers()
        now = time.monotonic()
        if self._stopping is not None and now - self._told >= AGAIN_SECONDS:
            self._told = now
            self.kill_workers(self._stopping)
