"""A thread for housekeeping in each worker process, started after the fork."""

import logging
import threading
from collections.abc import Callable
from typing import Final

from registry_wsgi.errors import RegistryError, StorageFault

LOG: Final = logging.getLogger(__name__)


class Background:
    """Calls ``tick`` every ``interval`` seconds."""

    def __init__(self, name: str, tick: Callable[[], None], interval: float) -> None:
        self._name = name
        self._tick = tick
        self._interval = interval

    def start(self) -> None:
        """Start the thread, after the fork."""
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def _run(self) -> None:
        never = threading.Event()
        while True:
            try:
                self._tick()
            except (StorageFault, RegistryError) as error:
                LOG.warning("%s: %s", self._name, error)
            except Exception:
                # The edge of the thread: whatever nobody foresaw takes one turn, not all that
                # would come.
                LOG.exception("%s", self._name)
            never.wait(self._interval)
