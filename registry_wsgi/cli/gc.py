"""``gc``: give back what nothing needs, while the registry serves."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from registry_wsgi.cli.common import Command, human, opened
from registry_wsgi.config import Config
from registry_wsgi.errors import UNAVAILABLE, RegistryError
from registry_wsgi.services.gc import Removal, Report
from registry_wsgi.storage.opening import Storage
from registry_wsgi.wiring import build_collector


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--grace", metavar="SECONDS", help="keep what was seen since (86400)")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be removed and why; change nothing"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _flags(options: argparse.Namespace) -> Mapping[str, Any]:
    return {} if options.grace is None else {"gc.grace": options.grace}


def _run(options: argparse.Namespace, config: Config) -> int:
    writing = not options.dry_run
    if writing and config.server.read_only:
        raise RegistryError(UNAVAILABLE, "the registry is read-only")
    with opened(config, writing=writing) as storage:
        _collect(options, config, storage)
    return 0


def _collect(options: argparse.Namespace, config: Config, storage: Storage) -> None:
    collector = build_collector(config, storage)
    if options.dry_run:
        _print(options, collector.plan(), "would remove", "would free")
        return
    with storage.collecting.trying() as held:
        if not held:
            told = sys.stderr if options.json else sys.stdout
            print("another gc is running: nothing to do", file=told)
            if options.json:
                _print(options, (), "removed", "freed")
            return
        _print(options, collector.run(), "removed", "freed")


def _print(options: argparse.Namespace, removals: Iterable[Removal], verb: str, freed: str) -> None:
    report = Report()
    details = []
    for removal in removals:
        report.add(removal)
        details.append(removal)
        if options.dry_run and not options.json:
            print(f"{verb} {removal.kind} {removal.what}: {removal.why}")
    if options.json:
        listed = [
            {"kind": item.kind, "what": item.what, "why": item.why, "freed": item.freed}
            for item in details
        ]
        print(json.dumps({"counts": report.counts, "freed": report.freed, "removals": listed}))
        return
    counts = ", ".join(f"{count} {kind}s" for kind, count in sorted(report.counts.items()))
    print(f"{verb} {counts or 'nothing'}; {freed} {human(report.freed)} ({report.freed} bytes)")


COMMAND = Command(
    "gc", "remove what nothing needs, while the registry serves", _arguments, _run, _flags
)
