"""``export`` and ``import``: OCI image layouts."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from registry_wsgi.cli.backup import holding_off_gc
from registry_wsgi.cli.common import Command, CommandError, human, moment, refuse_latched
from registry_wsgi.cli.progress import Bar
from registry_wsgi.config import Config
from registry_wsgi.names import Digest, Name, Pattern, Tag
from registry_wsgi.services.exporting import EVER, Exported, ExportService
from registry_wsgi.services.importing import PROBLEM, Imported
from registry_wsgi.wiring import open_existing, open_or_make
from registry_wsgi.wiring_transfer import build_export, build_import

COMPLETE, INCOMPLETE = 0, 1

_LACKED = "the repository lacks it"


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="NAME[:TAG|@DIGEST]",
        help="a repository, a pattern of some ('team/**', '**'), a tag or a manifest",
    )
    parser.add_argument("target", metavar="DEST", help="a new directory, or a new file *.tar")
    parser.add_argument(
        "--since", metavar="TIME", help="only what was pushed since; RFC 3339, such as 2026-01-31"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _export(options: argparse.Namespace, config: Config) -> int:
    storage = open_existing(config)
    with storage.index.database.lock.held():
        # Writers take their times under this lock: what is there later without having been there
        # at this moment has a later time, however long its commit took.
        until = storage.clock.now().isoformat(timespec="milliseconds")
    service = build_export(storage, Path(options.target))
    counts = {"manifest": 0, "blob": 0}
    size = 0
    lacking = []
    with holding_off_gc(storage), Bar("export") as bar:
        for done in _chosen(options, service, bar):
            if done.lacking is not None:
                lacking.append(f"{done.lacking}@{done.digest}")
                continue
            counts[done.kind] += 1
            size += done.size
            bar.advance(done.size)
    storage.index.database.close()
    status = INCOMPLETE if lacking else COMPLETE
    if options.json:
        problems = [{"what": what, "problem": _LACKED} for what in lacking]
        told = {"counts": counts, "bytes": size, "next_since": until, "problems": problems}
        print(json.dumps(told))
        return status
    for what in lacking:
        print(f"PROBLEM: blob {what}: {_LACKED}")
    print(
        f"exported {counts['manifest']} manifests and {counts['blob']} blobs "
        f"({human(size)}) to {options.target}"
    )
    print(f"what comes later: export --since {until}")
    return status


def _chosen(options: argparse.Namespace, service: ExportService, bar: Bar) -> Iterator[Exported]:
    """What the operator asked for; raises CommandError, RegistryError."""
    name, at, digest = options.source.partition("@")
    name, colon, tag = name.partition(":")
    if not at and not colon:
        pattern = Pattern.maybe(name)
        if pattern is None:
            raise CommandError(f"{name!r} is neither a repository nor a pattern")
        return service.everything(pattern, _since(options.since), bar.begin)
    if options.since is not None:
        raise CommandError("--since is for repositories, not for a tag or a manifest")
    reference = Digest.parse(digest) if at else Tag.parse(tag)
    return service.reference(Name.parse(name), reference, bar.begin)


def _since(text: str | None) -> str:
    """The moment that was asked for, or the beginning; raises CommandError."""
    if text is None:
        return EVER
    try:
        return moment(text)
    except ValueError:
        raise CommandError(f"--since {text}: not a time such as 2026-01-31T12:00:00Z") from None


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="a directory, or a tar file")
    parser.add_argument(
        "target",
        metavar="NAME[:TAG]",
        nargs="?",
        help="where to; without it, where the layout says",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _import(options: argparse.Namespace, config: Config) -> int:
    name, colon, tag = (options.target or "").partition(":")
    repository = Name.parse(name) if name else None
    chosen = Tag.parse(tag) if colon else None
    storage = open_or_make(config)
    refuse_latched(storage)
    service = build_import(config, storage, Path(options.source))
    counts: dict[str, int] = {}
    problems = []
    with holding_off_gc(storage), Bar("import") as bar:
        for done in service.run(repository, chosen, bar.begin):
            bar.advance(done.size)
            kind = f"{done.kind}s {done.how}"
            counts[kind] = counts.get(kind, 0) + 1
            if done.how == PROBLEM:
                problems.append(done)
    storage.index.database.close()
    _tell(options, counts, problems)
    return INCOMPLETE if problems else COMPLETE


def _tell(options: argparse.Namespace, counts: dict[str, int], problems: list[Imported]) -> None:
    if options.json:
        listed = [{"what": one.what, "problem": one.message} for one in problems]
        print(json.dumps({"counts": counts, "problems": listed}))
        return
    for one in problems:
        print(f"PROBLEM: {one.kind} {one.what}: {one.message}")
    shown = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    print(f"imported {options.source}: {shown or 'nothing'}")


EXPORT = Command("export", "write images as an OCI image layout", _export_arguments, _export)
IMPORT = Command("import", "bring an OCI image layout in", _import_arguments, _import)
