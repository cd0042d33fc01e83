"""``fsck``, ``why`` and ``stats``: looking at what is there."""

import argparse
import dataclasses
import json
import sys
from contextlib import nullcontext

from registry_wsgi.cli.common import Command, human
from registry_wsgi.config import Config
from registry_wsgi.errors import BLOB_UNKNOWN, RegistryError, StorageFault
from registry_wsgi.names import Digest
from registry_wsgi.services.fsck import Finding
from registry_wsgi.wiring import build_fsck, open_existing

SOUND, PROBLEMS, UNCHECKED = 0, 1, 2


def _fsck_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--deep", action="store_true", help="read and hash every byte")
    parser.add_argument("--repair", action="store_true", help="do what is safe")
    parser.add_argument("--json", action="store_true", help="print one JSON object a finding")


def _fsck(options: argparse.Namespace, config: Config) -> int:
    problems = notes = 0
    try:
        storage = open_existing(config)
        # Nobody can collect or lock on a read-only file system.
        with nullcontext() if storage.read_only else storage.collecting.held():
            for finding in build_fsck(storage, deep=options.deep, repair=options.repair).run():
                problems += not finding.note
                notes += finding.note
                print(json.dumps(dataclasses.asdict(finding)) if options.json else _line(finding))
    except StorageFault as fault:
        print(f"fsck could not check: {fault}", file=sys.stderr)
        return UNCHECKED
    summary = {"problems": problems, "notes": notes}
    verdict = "sound" if not problems else "NOT sound"
    print(json.dumps(summary) if options.json else f"{verdict}: {problems} problems, {notes} notes")
    return PROBLEMS if problems else SOUND


def _line(finding: Finding) -> str:
    kind = "note" if finding.note else "PROBLEM"
    rest = f" [{finding.repaired}]" if finding.repaired else ""
    advice = f" -> {finding.advice}" if finding.advice and not finding.note else ""
    return f"{kind}: {finding.what}: {finding.message}{rest}{advice}"


def _why_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("digest", metavar="DIGEST", help="of a blob or a manifest")


def _why(options: argparse.Namespace, config: Config) -> int:
    digest = Digest.parse(options.digest)
    storage = open_existing(config)
    keepers = list(storage.index.inspection.keepers(digest))
    age = storage.clock.age()
    for keeper in keepers:
        if keeper.why == "lease":
            ago = (age - int(keeper.by)) // 1000
            print(f"{keeper.repository}: seen {ago} s of uptime ago")
        else:
            print(f"{keeper.repository}: {keeper.why} {keeper.by}")
    row = storage.index.inspection.blob(digest)
    if row is None and not keepers:
        raise RegistryError(BLOB_UNKNOWN, digest)
    if all(keeper.why == "lease" for keeper in keepers):
        print("nothing refers to it: gc removes it once it was not seen for the grace period")
    return 0


def _stats_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _stats(options: argparse.Namespace, config: Config) -> int:
    found = dataclasses.asdict(open_existing(config).index.inspection.statistics())
    if options.json:
        print(json.dumps(found))
        return 0
    for name, count in found.items():
        shown = f"{human(count)} ({count})" if name.endswith("_bytes") else str(count)
        print(f"{name.replace('_', ' '):16} {shown}")
    return 0


FSCK = Command("fsck", "check every row against its file", _fsck_arguments, _fsck)
WHY = Command("why", "say what keeps a blob or manifest", _why_arguments, _why)
STATS = Command("stats", "say how much there is", _stats_arguments, _stats)
