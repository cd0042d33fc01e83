"""``backup`` and ``restore``."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from registry_wsgi.cli.common import Command, human
from registry_wsgi.cli.progress import Bar
from registry_wsgi.config import Config
from registry_wsgi.services.backup import CopyReport, CopyService
from registry_wsgi.storage.backups import KEPT
from registry_wsgi.storage.opening import Storage
from registry_wsgi.wiring import open_existing
from registry_wsgi.wiring_transfer import build_backup, build_restore

WHOLE, LACKING = 0, 1

_ONLY_COPY = "the registry lost it, this copy keeps it -> fsck --repair, then push an image with it"


def _backup_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="DEST", help="a new directory, or an earlier backup")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _backup(options: argparse.Namespace, config: Config) -> int:
    storage = open_existing(config)
    with holding_off_gc(storage):
        report = _run(build_backup(storage, Path(options.target)), "backup")
    storage.index.database.close()
    return _tell(options, report, f"backed up to {options.target}")


def _restore_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="the directory of a backup")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _restore(options: argparse.Namespace, config: Config) -> int:
    report = _run(build_restore(config, Path(options.source)), "restore")
    return _tell(options, report, f"restored to {config.storage.data}")


@contextmanager
def holding_off_gc(storage: Storage) -> Iterator[None]:
    """Let nothing be collected until the end of the block, once a running gc is through."""
    if storage.read_only:  # then nobody can lock, or collect
        yield
        return
    with storage.collecting.trying() as held:
        if held:
            yield
            return
    print("waiting for a gc, or another command of this kind, to end", file=sys.stderr)
    with storage.collecting.held():
        yield


def _run(service: CopyService, label: str) -> CopyReport:
    report = CopyReport()
    with Bar(label) as bar:
        for step in service.run(lambda extent: bar.begin(extent.size)):
            report.add(step)
            bar.advance(step.size)
    return report


def _tell(options: argparse.Namespace, report: CopyReport, what: str) -> int:
    if options.json:
        problems = [{"digest": step.digest, "problem": step.how} for step in report.problems]
        print(json.dumps({"counts": report.counts, "bytes": report.size, "problems": problems}))
    else:
        for step in report.problems:
            how = _ONLY_COPY if step.how == KEPT else f"its file is {step.how} -> run fsck"
            print(f"PROBLEM: {step.digest}: {how}")
        counts = ", ".join(f"{count} {how}" for how, count in sorted(report.counts.items()))
        print(f"{what}: {human(report.size)} in blobs ({counts or 'none'})")
    return LACKING if report.problems else WHOLE


BACKUP = Command(
    "backup",
    "copy the registry while it serves, or bring a copy up to date",
    _backup_arguments,
    _backup,
)
RESTORE = Command("restore", "bring a backup back", _restore_arguments, _restore)
