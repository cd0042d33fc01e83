"""Ages are uptime that adds up: no clock that somebody sets, and no reboot, makes gc early or stuck."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.images import noise
from support.opened import Opened
from support.plays import LAYER
from support.storage import APP, FakeClock

from registry_wsgi.names import Digest
from registry_wsgi.services.gc import BOOT_GRACE, CollectorService
from registry_wsgi.storage import uptime
from registry_wsgi.storage.base import Clock
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.opening import Storage, open_data
from registry_wsgi.storage.sqlite import index as sqlite_index
from registry_wsgi.storage.uptime import SAVE_EVERY

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
GRACE = DAY


@dataclass
class Machine:
    """A machine that is switched on and off, with a registry whose data is kept."""

    data: Path
    boots: int = 0
    since_boot: int = 0
    up: int = 0
    """Milliseconds that it was up in all."""

    def boot(self) -> None:
        """Switch it on: another boot id, and a clock that begins at nothing."""
        self.boots += 1
        self.since_boot = 0

    def run(self, milliseconds: int) -> None:
        """Let it be up."""
        self.since_boot += milliseconds
        self.up += milliseconds

    def open(self) -> Opened:
        """Start the registry."""
        storage = open_data(self.data, FileOps(syncing=False))
        return Opened(storage, storage.clock)

    def work(self, milliseconds: int) -> list[str]:
        """Start the registry, keep it up for so long with housekeeping; what gc removed."""
        found = self.open()
        removed: list[str] = []
        for _ in range(milliseconds // (5 * MINUTE)):
            self.run(5 * MINUTE)
            found.storage.index.keep_age()
            removed += [one.what for one in found.collect(grace=GRACE) if one.kind == "blob"]
        found.storage.index.database.close()
        return removed


@pytest.fixture
def machine(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    small: None,  # noqa: ARG001 - the data directory is to be a small one
) -> Machine:
    """A machine that is off."""
    machine = Machine(folder / "data")
    for module in (uptime, sqlite_index):
        monkeypatch.setattr(module, "boottime", lambda: 1000 + machine.since_boot)
    monkeypatch.setattr(sqlite_index, "read_boot_id", lambda: f"boot {machine.boots}")
    return machine


def push(machine: Machine) -> Digest:
    """Push what nothing refers to."""
    found = machine.open()
    digest = found.push(APP, LAYER)
    found.storage.index.database.close()
    return digest


@pytest.mark.parametrize(
    "hours", [2, 8, 23], ids=["two hours a day", "office hours", "nightly reboots"]
)
def test_a_machine_that_is_switched_off_collects_in_its_time(machine: Machine, hours: int) -> None:
    """A blob goes when it was up for the grace period since: not a day early, and it does go."""
    machine.boot()
    digest = push(machine)
    days = 0
    while not machine.work(hours * HOUR):
        machine.boot()
        days += 1
        assert days < 30, "gc is stuck"
    lost = machine.boots * (SAVE_EVERY + 5 * MINUTE)

    assert machine.up >= GRACE
    assert machine.up <= GRACE + lost + hours * HOUR
    assert machine.open().read(APP, digest) is None


def test_nothing_is_collected_in_the_first_hour_of_a_boot(machine: Machine) -> None:
    """A power cut may have undone the last leases: a client whose push it interrupted gets an hour."""
    machine.boot()
    push(machine)
    machine.work(GRACE - 10 * MINUTE)
    machine.boot()

    assert machine.work(BOOT_GRACE - 5 * MINUTE) == []
    assert machine.work(BOOT_GRACE) == [Digest.of(LAYER)]


def test_a_machine_that_never_stays_up_collects_nothing(machine: Machine) -> None:
    """While no boot lasts for an hour leases are not over, but one longer boot is enough."""
    machine.boot()
    push(machine)
    for _ in range(60):
        assert machine.work(50 * MINUTE) == []
        machine.boot()

    assert machine.work(2 * HOUR) == [Digest.of(LAYER)]


def test_a_power_cut_loses_minutes_of_age_and_adds_none(machine: Machine) -> None:
    """After each boot the age is at most what the machine was up for, and little less."""
    machine.boot()
    for _ in range(20):
        machine.work(2 * HOUR)
        machine.run(4 * MINUTE)  # and then the power goes
        machine.boot()
        age = machine.open().clock.age()

        assert age <= machine.up
        assert age >= machine.up - machine.boots * (SAVE_EVERY + 5 * MINUTE)


def test_two_processes_count_the_same_age(machine: Machine) -> None:
    """A process that starts later goes on from what the first saved."""
    machine.boot()
    first = machine.open()
    machine.run(HOUR)
    second = machine.open()
    machine.run(MINUTE)

    assert first.clock.age() == second.clock.age()


def test_a_clock_that_goes_back_within_a_boot_takes_no_age_away(machine: Machine) -> None:
    """A virtual machine that is put back to a snapshot does not make what is old young."""
    machine.boot()
    machine.work(10 * HOUR)
    before = machine.open().clock.age()
    machine.since_boot = HOUR

    assert machine.open().clock.age() == before


@dataclass
class SetClock(FakeClock):
    """A clock whose wall time is set to and fro by somebody."""

    seed: int = 0

    def now(self) -> datetime:
        """Any time at all, another one for each call."""
        years = random.Random(self.seed).randrange(-50, 50)  # noqa: S311 - any moment
        self.seed += 1
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=365 * years)


def life_of(data: Path, clock: Clock, turn: FakeClock) -> list[tuple[str, str]]:
    """A day of pushes, uploads and collections; everything that was removed, and when."""
    storage = open_data(data, FileOps(syncing=False))
    found = Opened(with_clock(storage, clock), clock)
    removed: list[tuple[str, str]] = []
    for number in range(30):
        turn.milliseconds += 2 * HOUR
        found.push(APP, noise(100, str(number % 20)))
        found.uploads.start(APP)
        collector: CollectorService = found.collector(grace=GRACE, upload_expiry=DAY // 2)
        removed += [(f"{number}", one.kind) for one in collector.run()]
    found.storage.index.database.close()
    return removed


def with_clock(storage: Storage, clock: Clock) -> Storage:
    """The storage with another clock."""
    index = sqlite_index.SqliteIndex(storage.index.database, clock)
    return Storage(
        storage.data,
        index,
        storage.store,
        clock,
        storage.keys,
        storage.latch,
        storage.collecting,
    )


def test_the_wall_clock_decides_nothing(folder: Path) -> None:
    """With a clock that jumps by decades the same things are collected and expire at the same time."""
    steady, jumping = FakeClock(), SetClock()
    expected = life_of(folder / "steady", steady, steady)

    assert life_of(folder / "jumping", jumping, jumping) == expected
    assert {kind for _, kind in expected} == {"upload", "link", "blob"}
