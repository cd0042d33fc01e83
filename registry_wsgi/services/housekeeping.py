"""What the server does by itself, in one process at a time: keep the age, and collect if asked."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from registry_wsgi.services.gc import CollectorService, Report
from registry_wsgi.storage.base import Clock

LOG: Final = logging.getLogger(__name__)


class AgeKeeper(Protocol):
    """Where the accumulated uptime is kept over reboots."""

    def keep_age(self) -> None:
        """Save the age, unless another process did within the last few minutes."""
        ...


@dataclass(frozen=True, slots=True)
class Housekeeper:
    """``every`` is milliseconds of uptime between runs of gc, 0 for none.

    ``collecting`` yields whether this process may collect now; ``allowed`` is false while writes
    are refused.
    """

    ages: AgeKeeper
    collector: CollectorService
    clock: Clock
    collecting: Callable[[], AbstractContextManager[bool]]
    allowed: Callable[[], bool]
    every: int = 0

    def tick(self) -> None:
        """Do what is due. Raises StorageFault and RegistryError as the index does."""
        if not self.allowed():
            return
        self.ages.keep_age()
        if self.every and self._due():
            with self.collecting() as mine:
                # Another process may have run while this one waited to be asked.
                if mine and self._due():
                    self._collect()

    def _due(self) -> bool:
        return self.clock.age() - self.collector.collection.last_run() >= self.every

    def _collect(self) -> None:
        report = Report()
        for removal in self.collector.run():
            report.add(removal)
        LOG.info("gc removed %s, freed %d bytes", report.counts or "nothing", report.freed)
