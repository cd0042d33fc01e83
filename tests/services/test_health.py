"""Readiness: the index can be read, and where the registry writes, data can be written."""

from pathlib import Path

import pytest
from support.storage import refused

from registry_wsgi.errors import UNAVAILABLE, StorageFault
from registry_wsgi.services.health import HealthService
from registry_wsgi.storage.base import Index
from registry_wsgi.storage.disk import DiskStore


def health_of(
    index: Index, store: DiskStore, *, latched: bool = False, writing: bool = True
) -> HealthService:
    """The service of a registry in some state."""
    return HealthService(index, store, lambda: latched, writing)


def test_a_sound_registry_is_ready(index: Index, store: DiskStore) -> None:
    """Nothing is raised, and nothing is left behind."""
    health_of(index, store).check()
    health_of(index, store).require_writable()

    assert list(store.uploads()) == []


def test_a_registry_that_cannot_write_is_not_ready(
    index: Index, store: DiskStore, folder: Path
) -> None:
    """Unless it is read-only and need not."""
    (folder / "uploads").rmdir()
    with pytest.raises(StorageFault):
        health_of(index, store).check()

    health_of(index, store, writing=False).check()


def test_a_registry_whose_sync_failed_takes_no_writes(index: Index, store: DiskStore) -> None:
    """It says so, and when to ask again; a read-only one goes on."""
    latched = health_of(index, store, latched=True)
    with refused(UNAVAILABLE) as caught:
        latched.require_writable()
    with refused(UNAVAILABLE):
        latched.check()

    assert caught.value.headers == (("Retry-After", "60"),)
    health_of(index, store, latched=True, writing=False).check()


def test_a_registry_whose_index_is_gone_is_not_ready(
    index: Index, store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that cannot be read is a fault even where nothing is written."""

    def fails() -> None:
        raise StorageFault("the index cannot be read")

    monkeypatch.setattr(index, "ready", fails)
    with pytest.raises(StorageFault):
        health_of(index, store, writing=False).check()
