"""Opening a data directory: everything in it made ready, in an order that may be cut short."""

from dataclasses import dataclass
from pathlib import Path

from registry_wsgi.storage import secrets
from registry_wsgi.storage.base import Clock
from registry_wsgi.storage.disk import DiskStore
from registry_wsgi.storage.disk_copies import refuse_unfinished
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.latch import Latch
from registry_wsgi.storage.locks import FileLock
from registry_wsgi.storage.mounts import is_read_only, refuse_network
from registry_wsgi.storage.reserve import Reserve
from registry_wsgi.storage.sqlite import index as sqlite_index
from registry_wsgi.storage.sqlite.connections import connect_read_only
from registry_wsgi.storage.sqlite.database import Database
from registry_wsgi.storage.sqlite.index import SqliteIndex
from registry_wsgi.storage.uptime import UptimeClock


@dataclass(frozen=True, slots=True)
class Storage:
    """The data directory, ready: its index, its blobs, its clock, its keys and its flags.

    ``read_only`` is whether the file system lets nobody write.
    """

    data: Path
    index: SqliteIndex
    store: DiskStore
    clock: Clock
    keys: secrets.Keys
    latch: Latch
    collecting: FileLock
    read_only: bool = False


def open_data(data: Path, ops: FileOps, *, network_filesystem: bool = False) -> Storage:
    """Make the data directory ready and describe it; safe in every process, any number of times.

    ``network_filesystem`` accepts one. Raises StorageFault, whose reason says what an operator
    can do.
    """
    locks = data / "locks"
    lock, collecting = FileLock(locks / "write"), FileLock(locks / "gc")
    latch = Latch(data, ops)
    ops.on_sync_error = latch.set
    reserve = Reserve(data, ops)
    path = data / sqlite_index.NAME
    refuse_unfinished(data)
    if is_read_only(locks / "write"):
        store = DiskStore(data, ops, reserve, locking=False)
        clock = UptimeClock(sqlite_index.saved_age(path))
        database = Database(path, lock, open_connection=connect_read_only)
        keys = secrets.Keys(data / secrets.NAME)
        index = SqliteIndex(database, clock)
        return Storage(data, index, store, clock, keys, latch, collecting, read_only=True)
    ops.make_directory(locks)
    if not network_filesystem:
        refuse_network(data)
    store = DiskStore(data, ops, reserve)
    store.prepare()
    secrets.prepare(data / secrets.NAME, lock, ops)
    saved = sqlite_index.prepare(path, lock, ops, is_new=store.is_empty, make_room=reserve.release)
    clock = UptimeClock(saved)
    database = Database(
        path,
        lock,
        durable=ops.syncing,
        make_room=reserve.release,
        is_full=reserve.is_exhausted,
        on_io_error=latch.set,
    )
    keys = secrets.Keys(data / secrets.NAME)
    return Storage(data, SqliteIndex(database, clock), store, clock, keys, latch, collecting)
