"""Ages are accumulated uptime: they go on within a boot, stand while the machine is off, never jump."""

import time

import pytest

from registry_wsgi.storage.uptime import SavedAge, UptimeClock, boottime, continued, read_boot_id

HOUR = 3_600_000

SAVED = SavedAge(boot_id="monday", boottime=2 * HOUR, age=100 * HOUR, boot_age=98 * HOUR)
"""Two hours after Monday's boot, a hundred hours of uptime in all."""

CONTINUED = {
    "first start": (None, "monday", 5 * HOUR, SavedAge("monday", 5 * HOUR, 0, 0)),
    "at once": (SAVED, "monday", 2 * HOUR, SAVED),
    "later in the same boot": (
        SAVED,
        "monday",
        3 * HOUR,
        SavedAge("monday", 3 * HOUR, 101 * HOUR, 98 * HOUR),
    ),
    "a boot later, up for a shorter time": (
        SAVED,
        "tuesday",
        HOUR,
        SavedAge("tuesday", HOUR, 100 * HOUR, 100 * HOUR),
    ),
    "a boot later, up for a longer time": (
        SAVED,
        "tuesday",
        50 * HOUR,
        SavedAge("tuesday", 50 * HOUR, 100 * HOUR, 100 * HOUR),
    ),
    "boot time set back in the same boot": (
        SAVED,
        "monday",
        HOUR,
        SavedAge("monday", HOUR, 100 * HOUR, 98 * HOUR),
    ),
}


@pytest.mark.parametrize(("saved", "boot_id", "now", "expected"), CONTINUED.values(), ids=CONTINUED)
def test_an_age_goes_on_from_where_it_was_saved(
    saved: SavedAge | None, boot_id: str, now: int, expected: SavedAge
) -> None:
    """Within a boot its time is added; what passed outside of it, seen or unseen, is not."""
    assert continued(saved, boot_id, now) == expected


def test_nightly_reboots_do_not_keep_things_young() -> None:
    """A machine that is up for ten hours a day is ten days' uptime old after 24 days."""
    saved = continued(None, "day 0", 0)
    for day in range(24):
        saved = continued(saved, f"day {day}", 0)
        saved = continued(saved, f"day {day}", 10 * HOUR)

    assert saved.age == 240 * HOUR
    assert saved.boot_age == 230 * HOUR


def test_a_clock_counts_from_the_saved_age() -> None:
    """The age is what was saved and what passed since, in milliseconds."""
    before = boottime()
    clock = UptimeClock(SavedAge(read_boot_id(), before - 5 * HOUR, 100 * HOUR, 0))
    age = clock.age()
    passed = boottime() - before

    assert 105 * HOUR <= age <= 105 * HOUR + passed


def test_a_clock_does_not_follow_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall clock that is set years ahead makes nothing older."""
    clock = UptimeClock(SavedAge(read_boot_id(), boottime(), 0, 0))
    later = time.time() + 10 * 365 * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    monkeypatch.setattr(time, "time_ns", lambda: int(later * 1e9))

    assert clock.age() < HOUR


def test_a_clock_never_goes_back() -> None:
    """Each age is the same as the one before, or greater."""
    clock = UptimeClock(SavedAge(read_boot_id(), boottime(), 0, 0))
    ages = [clock.age() for _ in range(1000)]

    assert ages == sorted(ages)


def test_a_clock_tells_the_boot_and_the_moment() -> None:
    """The boot is the kernel's id of it, and the moment, for people, is in UTC."""
    clock = UptimeClock(SavedAge("monday", 0, 0, 0))

    assert clock.boot_id() == "monday"
    assert str(clock.now().tzinfo) == "UTC"


def test_the_kernel_has_one_id_for_a_boot() -> None:
    """The id is a UUID, the same whenever it is read."""
    assert read_boot_id() == read_boot_id()
    assert len(read_boot_id()) == 36
