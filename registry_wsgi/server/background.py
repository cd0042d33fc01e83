"""A thread for housekeeping in each worker process, started after the fork."""

import logging
import os
import threading
from collections.abc import Callable
from typing import Final

from registry_wsgi.errors import RegistryError, StorageFault

LOG: Final = logging.getLogger(__name__)


class Background:
    """Calls ``tick`` every ``interval`` seconds, in every process that starts it."""

    def __init__(self, tick: Callable[[], None], interval: float = 60.0) -> None:
        self._tick = tick
        self._interval = interval
        self._pid = 0

    def start(self) -> None:
        """Start the thread unless this process has it."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            threading.Thread(target=self._run, name="housekeeping", daemon=True).start()

    def _run(self) -> None:
        never = threading.Event()
        while True:
            try:
                self._tick()
            except (StorageFault, RegistryError) as error:
                LOG.warning("housekeeping: %s", error)
            never.wait(self._interval)
