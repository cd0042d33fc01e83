"""Composition of what copies a registry, or brings content in and out past HTTP."""

import time
from functools import partial
from pathlib import Path
from typing import Final

from registry_wsgi.config import Config
from registry_wsgi.services.adopted_blobs import BlobTaker
from registry_wsgi.services.adopted_manifests import ManifestTaker
from registry_wsgi.services.adopting import AdoptionService, Wishes
from registry_wsgi.services.adoption_check import AdoptionCheck
from registry_wsgi.services.backup import CopyService
from registry_wsgi.services.exporting import ExportService
from registry_wsgi.services.importing import ImportService
from registry_wsgi.services.manifests import ManifestService
from registry_wsgi.services.uploads import UploadService
from registry_wsgi.storage import layout_files
from registry_wsgi.storage.bringing import CLONED, LINKED, Bringer
from registry_wsgi.storage.disk_copies import DiskBackup, DiskRestore
from registry_wsgi.storage.distribution import DiskIntake, DistributionTree, find_root
from registry_wsgi.storage.fsops import FileOps
from registry_wsgi.storage.opening import Storage
from registry_wsgi.storage.sqlite import snapshot
from registry_wsgi.storage.sqlite.adopt import SqliteAdoption
from registry_wsgi.storage.sqlite.transfer import SqliteTransfers

WRITING_SECONDS: Final = 1.0
"""How long a running docker distribution may take to fill a small file that it has made."""


def build_backup(storage: Storage, target: Path) -> CopyService:
    """A backup of a ready data directory. Blobs never change, so links to them are as good."""
    ops = FileOps()

    def take(path: Path) -> None:
        snapshot.take(storage.index.database, path)

    def now() -> str:
        return storage.clock.now().isoformat(timespec="seconds")

    bringer = Bringer(ops, (LINKED, CLONED))
    return CopyService(DiskBackup(storage.data, target.absolute(), ops, bringer, take, now))


def build_restore(config: Config, source: Path) -> CopyService:
    """A restore into the data directory of the settings; the backup stays untouched."""
    ops = FileOps()
    data = Path(config.storage.data).absolute()
    return CopyService(DiskRestore(source.absolute(), data, ops, Bringer(ops, (CLONED,))))


def build_export(storage: Storage, target: Path) -> ExportService:
    """An export to a directory or, by its name, a tar file."""
    layout = layout_files.writer(target.absolute(), FileOps())
    transfers = SqliteTransfers(storage.index.database)
    return ExportService(storage.index, transfers, storage.store, layout)


def build_import(config: Config, storage: Storage, source: Path) -> ImportService:
    """An import of what is at ``source``, by the rules that pushes keep."""
    uploads = UploadService(storage.index, storage.store, storage.clock, config.limits.blob_size)
    manifests = ManifestService(storage.index, storage.clock, config.manifests.sparse_indexes)
    return ImportService(storage.index, uploads, manifests, layout_files.reader(source))


def build_adoption(
    config: Config, storage: Storage, given: Path, wishes: Wishes, *, copying: bool
) -> tuple[AdoptionService, AdoptionCheck]:
    """Moving in from the files at ``given``, and comparing afterwards; raises StorageFault.

    ``copying`` shares no bytes with these files even where that can be.
    """
    ops = FileOps(syncing=config.storage.durability == "full", on_sync_error=storage.latch.set)
    tree = DistributionTree(find_root(given.absolute()))
    bringer = Bringer(ops, () if copying else (CLONED, LINKED))
    index, store = storage.index, storage.store
    intake = DiskIntake(tree, storage.data, store, ops, bringer)
    adoption = SqliteAdoption(index.database, storage.clock)
    pause = partial(time.sleep, WRITING_SECONDS)
    blobs = BlobTaker(tree, intake, index, store, wishes.dry_run)
    manifests = ManifestTaker(tree, index, adoption, blobs, wishes.dry_run)
    service = AdoptionService(tree, index, adoption, storage.clock, blobs, manifests, pause, wishes)
    return service, AdoptionCheck(tree, index, store)
