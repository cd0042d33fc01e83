"""Composition: the only place that names concrete classes. Read it top to bottom.

Nothing is opened when this is imported. ``prepare`` makes the data directory ready, once, before
workers start; ``build`` makes the objects, whose files and connections are opened on first use,
after every fork.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from registry_wsgi.config import Config, from_environment
from registry_wsgi.errors import StorageFault
from registry_wsgi.observing import together
from registry_wsgi.server.background import Background
from registry_wsgi.server.bodies import BODY_ERRORS, BodyReader
from registry_wsgi.server.entry import Entry
from registry_wsgi.server.polling import may_wait
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
from registry_wsgi.storage.disk_copies import refuse_backup
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.locks import FileLock
from registry_wsgi.storage.opening import Storage, open_data
from registry_wsgi.storage.sharing import share_blobs
from registry_wsgi.storage.sqlite.index import NAME as INDEX_NAME
from registry_wsgi.watching.sharing import begin, place
from registry_wsgi.web.accelerator import Accelerator
from registry_wsgi.web.app import App
from registry_wsgi.web.bodies import StreamBody
from registry_wsgi.web.context import Context
from registry_wsgi.web.location import Locator
from registry_wsgi.web.peers import Peers
from registry_wsgi.web.request import Environ, RequestBody
from registry_wsgi.web.state import StateSigner
from registry_wsgi.wiring_access import build_access
from registry_wsgi.wiring_watching import (
    build_metrics,
    build_notifier,
    build_request_log,
)


def open_storage(config: Config) -> Storage:
    """Make the data directory ready and describe it; raises StorageFault."""
    settings = config.storage
    ops = FileOps(syncing=settings.durability == "full")
    storage = open_data(
        Path(settings.data).absolute(), ops, network_filesystem=settings.network_filesystem
    )
    if config.server.x_accel_prefix and not storage.read_only:
        share_blobs(storage.data)
    return storage


def open_existing(config: Config) -> Storage:
    """The data directory, ready; raises StorageFault where there is none, and makes none.

    A backup is none.
    """
    if not exists(config):
        reason = "there is no registry here: name its --data DIR"
        raise StorageFault(reason, str(Path(config.storage.data).absolute()))
    return open_or_make(config)


def exists(config: Config) -> bool:
    """Whether the data directory has been made."""
    data = Path(config.storage.data)
    return any((data / name).exists() for name in (INDEX_NAME, "blobs"))


def open_or_make(config: Config) -> Storage:
    """The data directory, made where there is none; raises StorageFault for a backup."""
    refuse_backup(Path(config.storage.data).absolute())
    return open_storage(config)


def rotate_secret(data: Path, keep: int) -> int:
    """Add a new signing key and keep the ``keep`` newest; returns how many older stay valid."""
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


def _writes(config: Config, storage: Storage) -> bool:
    """Whether anything may be written, by the settings and by the file system."""
    return not (config.server.read_only or storage.read_only)


def build_housekeeper(config: Config, storage: Storage) -> Housekeeper:
    """What the server does by itself."""

    def allowed() -> bool:
        return _writes(config, storage) and not storage.latch.is_set()

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
    begin(place(storage.data))
    if not storage.latch.is_set():
        return []
    found = [finding for finding in build_fsck(storage, deep=True).run() if not finding.note]
    if not found:
        UploadService(storage.index, storage.store, storage.clock).end_all()
        storage.latch.clear()
    storage.index.database.close()
    return found


def build_accelerator(config: Config, store: DiskStore, locator: Locator) -> Accelerator | None:
    """What lets nginx send blobs, if the settings want it."""
    prefix = config.server.x_accel_prefix
    return Accelerator(prefix, locator.trusts, store.place) if prefix else None


def build_app(
    config: Config,
    storage: Storage,
    read_body: Callable[[Environ], RequestBody],
    metrics: Any | None = None,
) -> App:
    """The WSGI application over a ready data directory."""
    index, store, clock = storage.index, storage.store, storage.clock
    writing = _writes(config, storage)

    def leasing() -> bool:
        return writing and not storage.latch.is_set()

    locator = Locator(
        config.server.external_url,
        config.server.location,
        config.server.trusted_proxies,
        config.server.bind,
    )
    context = Context(
        blobs=BlobService(index, store, clock, leasing=leasing),
        uploads=UploadService(index, store, clock, config.limits.blob_size),
        manifests=ManifestService(
            index, clock, config.manifests.sparse_indexes, leasing, config.notifications.pulls
        ),
        listings=ListingService(index),
        health=HealthService(index, store, storage.latch.is_set, writing),
        access=build_access(config, storage, locator),
        locator=locator,
        state=StateSigner(storage.keys),
        metrics=metrics.render if metrics else None,
        metrics_peers=Peers((*config.server.trusted_proxies, *config.metrics.peers)),
        accelerator=build_accelerator(config, store, locator),
        page_size=config.limits.page_size,
        deleting=config.delete.enabled,
        read_only=not writing,
    )
    observers = build_request_log(config) + ([metrics] if metrics else [])
    return App(context, read_body, together(observers))


def create_app(config: Config | None = None) -> Entry:
    """The application for any WSGI server; without ``config``, settings from the environment.

    ``REGISTRY_WSGI_CONFIG`` names the settings file then. Raises ConfigError and StorageFault.
    """
    config = config or from_environment(os.environ)
    storage = open_storage(config)
    background = [Background("housekeeping", build_housekeeper(config, storage).tick, 60.0)]
    notifier = build_notifier(config, storage.data, storage.index.outbox, storage.clock)
    if notifier is not None:
        background.append(Background("notifications", notifier.tick, 1.0))
    index = storage.index
    metrics = build_metrics(
        config, storage.data, index.inspection, storage.store, storage.latch.is_set, index.outbox
    )
    if metrics is not None:
        background.append(Background("metrics", metrics.publish, 1.0))
    storage.index.database.may_wait = may_wait
    read_body = BodyReader(
        partial(StreamBody, errors=BODY_ERRORS),
        config.server.threads,
        config.server.body_timeout,
        fast=config.server.fast,
    )
    app = build_app(config, storage, read_body, metrics)
    return Entry(app, background, app.is_quick, read_body.lanes)
