"""The clock that nobody can set: accumulated uptime.

A jump of the wall clock must not make an upload expire or a blob collectable, and a machine that
is switched off every night must still get old. So ages are counted in time that the machine was
up: CLOCK_BOOTTIME within one boot, continued from the age saved last in the boots before.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

SAVE_EVERY: Final = 300_000
"""Milliseconds after which the age is saved again: at most this much is lost by a reboot."""


@dataclass(frozen=True, slots=True)
class SavedAge:
    """The age as it was saved: ``age`` at ``boottime`` of boot ``boot_id``, in milliseconds.

    ``boot_age`` is the age at which that boot was first seen.
    """

    boot_id: str
    boottime: int
    age: int
    boot_age: int


def read_boot_id() -> str:
    """The kernel's id of this boot."""
    return _BOOT_ID.read_text("ascii").strip()


def boottime() -> int:
    """Milliseconds since this boot, suspended time included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def continued(saved: SavedAge | None, boot_id: str, now: int) -> SavedAge:
    """The saved age as of ``now``: within the same boot time went on, across boots it stood."""
    if saved is None:
        return SavedAge(boot_id, now, 0, 0)
    if saved.boot_id != boot_id:
        return SavedAge(boot_id, now, saved.age, saved.age)
    passed = max(0, now - saved.boottime)
    return SavedAge(boot_id, now, saved.age + passed, saved.boot_age)


class UptimeClock:
    """The registry's clock, from an age saved in this very boot."""

    def __init__(self, saved: SavedAge) -> None:
        self._saved = saved

    def age(self) -> int:
        """Milliseconds of accumulated uptime."""
        return self._saved.age + boottime() - self._saved.boottime

    def boot_id(self) -> str:
        """The kernel's id of this boot."""
        return self._saved.boot_id

    def now(self) -> datetime:
        """The wall clock, for people."""
        return datetime.now(UTC)
