"""Composition: the only place that names concrete classes. Read it top to bottom.

Nothing is opened when this is imported. ``prepare`` makes the data directory ready, once, before
workers start; ``build`` makes the objects, whose files and connections are opened on first use,
after every fork.
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from registry_wsgi.auth.base import OpenAccess
from registry_wsgi.config import Config, load
from registry_wsgi.server.bodies import BODY_ERRORS
from registry_wsgi.server.quiet import WsgiApp, without_server_header
from registry_wsgi.services.blobs import BlobService
from registry_wsgi.services.health import HealthService
from registry_wsgi.services.listings import ListingService
from registry_wsgi.services.manifests import ManifestService
from registry_wsgi.services.uploads import UploadService
from registry_wsgi.storage import secrets
from registry_wsgi.storage.disk import DiskStore
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.locks import FileLock
from registry_wsgi.storage.sqlite import index as sqlite_index
from registry_wsgi.storage.sqlite.database import Database
from registry_wsgi.storage.sqlite.index import SqliteIndex
from registry_wsgi.storage.uptime import UptimeClock
from registry_wsgi.web.app import App
from registry_wsgi.web.bodies import StreamBody
from registry_wsgi.web.context import Context
from registry_wsgi.web.location import Locator
from registry_wsgi.web.state import StateSigner


@dataclass(frozen=True, slots=True)
class Storage:
    """The data directory, ready: its index, its blobs, its clock and its keys."""

    data: Path
    index: SqliteIndex
    store: DiskStore
    clock: UptimeClock
    keys: list[bytes]


def open_storage(config: Config) -> Storage:
    """Make the data directory ready and describe it; safe in every process, any number of times.

    Raises StorageFault, whose reason says what an operator can do.
    """
    data = Path(config.storage.data).absolute()
    ops = FileOps(syncing=config.storage.durability == "full")
    ops.make_directory(data / "locks")
    lock = FileLock(data / "locks" / "write")
    store = DiskStore(data, ops)
    store.prepare()
    secrets.prepare(data / secrets.NAME, lock, ops)
    clock = UptimeClock(sqlite_index.prepare(data / sqlite_index.NAME, lock, ops))
    database = Database(data / sqlite_index.NAME, lock, durable=ops.syncing)
    keys = secrets.read(data / secrets.NAME)
    return Storage(data, SqliteIndex(database, clock), store, clock, keys)


def build_app(config: Config, storage: Storage) -> App:
    """The WSGI application over a ready data directory."""
    index, store, clock = storage.index, storage.store, storage.clock
    writing = not config.server.read_only
    context = Context(
        blobs=BlobService(index, store, clock, leasing=writing),
        uploads=UploadService(index, store, clock, config.limits.blob_size),
        manifests=ManifestService(index, config.manifests.sparse_indexes, leasing=writing),
        listings=ListingService(index),
        health=HealthService(index, store, writing),
        access=OpenAccess(),
        locator=Locator(
            config.server.external_url, config.server.location, config.server.trusted_proxies
        ),
        state=StateSigner(storage.keys),
        page_size=config.limits.page_size,
        deleting=config.delete.enabled,
        read_only=config.server.read_only,
    )
    return App(context, partial(StreamBody, errors=BODY_ERRORS))


def create_app(config: Config | None = None) -> WsgiApp:
    """The application for any WSGI server; without ``config``, settings from the environment.

    ``REGISTRY_WSGI_CONFIG`` names the settings file then. Raises ConfigError and StorageFault.
    """
    if config is None:
        environment = dict(os.environ)
        path = environment.pop("REGISTRY_WSGI_CONFIG", None)
        config = load(Path(path) if path else None, environment)
    return without_server_header(build_app(config, open_storage(config)))
