"""Composition: the only place that names concrete classes. Read it top to bottom.

Nothing is opened when this is imported. ``prepare`` makes the data directory ready, once, before
workers start; ``build`` makes the objects, whose files and connections are opened on first use,
after every fork.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from registry_wsgi.config import Config, load
from registry_wsgi.observing import together
from registry_wsgi.server.background import Background
from registry_wsgi.server.bodies import BODY_ERRORS, BodyReader
from registry_wsgi.server.entry import Entry
from registry_wsgi.services.blobs import BlobService
from registry_wsgi.services.fsck import Finding, FsckService
from registry_wsgi.services.gc import CollectorService, no_pause
from registry_wsgi.services.health import HealthService
from registry_wsgi.services.housekeeping import Housekeeper
from registry_wsgi.services.listings import ListingService
from registry_wsgi.services.manifests import ManifestService
from registry_wsgi.services.uploads import UploadService
from registry_wsgi.storage import secrets
from registry_wsgi.storage.disk import DiskStore
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.latch import Latch
from registry_wsgi.storage.locks import FileLock
from registry_wsgi.storage.mounts import refuse_network
from registry_wsgi.storage.reserve import Reserve
from registry_wsgi.storage.sqlite import index as sqlite_index
from registry_wsgi.storage.sqlite.database import Database
from registry_wsgi.storage.sqlite.index import SqliteIndex
from registry_wsgi.storage.uptime import UptimeClock
from registry_wsgi.watching.sharing import forget
from registry_wsgi.web.app import App
from registry_wsgi.web.bodies import StreamBody
from registry_wsgi.web.context import Context
from registry_wsgi.web.location import Locator
from registry_wsgi.web.state import StateSigner
from registry_wsgi.wiring_access import build_access
from registry_wsgi.wiring_watching import (
    METRICS_DIRECTORY,
    build_metrics,
    build_notifier,
    build_request_log,
)


@dataclass(frozen=True, slots=True)
class Storage:
    """The data directory, ready: its index, its blobs, its clock, its keys and its flags."""

    data: Path
    index: SqliteIndex
    store: DiskStore
    clock: UptimeClock
    keys: list[bytes]
    latch: Latch
    collecting: FileLock


def open_storage(config: Config) -> Storage:
    """Make the data directory ready and describe it; safe in every process, any number of times.

    Raises StorageFault, whose reason says what an operator can do.
    """
    data = Path(config.storage.data).absolute()
    ops = FileOps(syncing=config.storage.durability == "full")
    latch = Latch(data, ops)
    ops.on_sync_error = latch.set
    ops.make_directory(data / "locks")
    if not config.storage.network_filesystem:
        refuse_network(data)
    lock = FileLock(data / "locks" / "write")
    reserve = Reserve(data, ops)
    store = DiskStore(data, ops, reserve)
    store.prepare()
    secrets.prepare(data / secrets.NAME, lock, ops)
    clock = UptimeClock(sqlite_index.prepare(data / sqlite_index.NAME, lock, ops))
    database = Database(
        data / sqlite_index.NAME,
        lock,
        durable=ops.syncing,
        make_room=reserve.release,
        on_io_error=latch.set,
    )
    keys = secrets.read(data / secrets.NAME)
    collecting = FileLock(data / "locks" / "gc")
    return Storage(data, SqliteIndex(database, clock), store, clock, keys, latch, collecting)


def rotate_secret(config: Config, keep: int) -> int:
    """Add a new signing key and keep the ``keep`` newest; returns how many older stay valid."""
    data = open_storage(config).data
    lock = FileLock(data / "locks" / "write")
    return secrets.rotate(data / secrets.NAME, lock, FileOps(), keep)


def build_collector(
    config: Config, storage: Storage, pause: Callable[[str], None] = no_pause
) -> CollectorService:
    """The collector over a ready data directory."""
    return CollectorService(
        storage.index.collection,
        storage.store,
        storage.clock,
        config.gc.grace * 1000,
        config.storage.upload_expiry * 1000,
        config.gc.untagged,
        config.gc.keep_subjects,
        pause,
    )


def build_fsck(storage: Storage, *, deep: bool = False, repair: bool = False) -> FsckService:
    """The checks over a ready data directory."""
    return FsckService(
        storage.index.inspection, storage.index.collection, storage.store, deep, repair
    )


def build_housekeeper(config: Config, storage: Storage) -> Housekeeper:
    """What the server does by itself."""

    def allowed() -> bool:
        return not config.server.read_only and not storage.latch.is_set()

    return Housekeeper(
        storage.index,
        build_collector(config, storage),
        storage.clock,
        storage.collecting.trying,
        allowed,
        config.gc.every * 1000,
    )


def start(config: Config) -> list[Finding]:
    """An operator's start, before any worker: after a disk error fsck decides on writes.

    Returns the problems that keep writes refused. Raises StorageFault.
    """
    storage = open_storage(config)
    forget(storage.data / METRICS_DIRECTORY)
    if not storage.latch.is_set():
        return []
    found = [finding for finding in build_fsck(storage, deep=True).run() if not finding.note]
    if not found:
        storage.latch.clear()
    storage.index.database.close()
    return found


def build_app(config: Config, storage: Storage) -> App:
    """The WSGI application over a ready data directory."""
    index, store, clock = storage.index, storage.store, storage.clock
    writing = not config.server.read_only

    def leasing() -> bool:
        return writing and not storage.latch.is_set()

    locator = Locator(
        config.server.external_url,
        config.server.location,
        config.server.trusted_proxies,
        config.server.bind,
    )
    metrics = build_metrics(config, storage.data, index.inspection, store, storage.latch.is_set)
    context = Context(
        blobs=BlobService(index, store, clock, leasing=leasing),
        uploads=UploadService(index, store, clock, config.limits.blob_size),
        manifests=ManifestService(
            index, config.manifests.sparse_indexes, leasing, config.notifications.pulls
        ),
        listings=ListingService(index),
        health=HealthService(index, store, storage.latch.is_set, writing),
        access=build_access(config, index.accounts, clock, storage.keys, locator),
        locator=locator,
        state=StateSigner(storage.keys),
        metrics=metrics.render if metrics else None,
        metrics_peers=Locator("", "auto", (*config.server.trusted_proxies, *config.metrics.peers)),
        page_size=config.limits.page_size,
        deleting=config.delete.enabled,
        read_only=config.server.read_only,
    )
    read_body = BodyReader(
        partial(StreamBody, errors=BODY_ERRORS),
        config.server.threads,
        config.server.body_timeout,
        fast=config.server.fast,
    )
    observers = build_request_log(config) + ([metrics] if metrics else [])
    return App(context, read_body, together(observers))


def create_app(config: Config | None = None) -> Entry:
    """The application for any WSGI server; without ``config``, settings from the environment.

    ``REGISTRY_WSGI_CONFIG`` names the settings file then. Raises ConfigError and StorageFault.
    """
    if config is None:
        environment = dict(os.environ)
        path = environment.pop("REGISTRY_WSGI_CONFIG", None)
        config = load(Path(path) if path else None, environment)
    storage = open_storage(config)
    background = [Background("housekeeping", build_housekeeper(config, storage).tick, 60.0)]
    notifier = build_notifier(config, storage.data, storage.index.outbox, storage.clock)
    if notifier is not None:
        background.append(Background("notifications", notifier.tick, 1.0))
    return Entry(build_app(config, storage), background)
