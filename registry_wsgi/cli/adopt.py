"""``import-distribution``: moving in from docker distribution's files."""

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from registry_wsgi.cli.backup import holding_off_gc
from registry_wsgi.cli.common import Command, human, refuse_latched
from registry_wsgi.cli.progress import Bar
from registry_wsgi.cli.transfer import COMPLETE, INCOMPLETE
from registry_wsgi.config import Config
from registry_wsgi.services.adopting import Wishes
from registry_wsgi.services.foreign import Finding, Taken
from registry_wsgi.wiring import exists, open_or_make
from registry_wsgi.wiring_transfer import build_adoption


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "root", metavar="ROOT", help="its rootdirectory, or .../docker/registry/v2 below it"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be taken; hash no blob"
    )
    parser.add_argument(
        "--verify", action="store_true", help="compare afterwards: every tag, manifest and blob"
    )
    parser.add_argument(
        "--prune-tags", action="store_true", help="remove tags that were brought and deleted there"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="move tags that were changed here, too"
    )
    parser.add_argument(
        "--copy", action="store_true", help="share no bytes with the old files where it could"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


@dataclass(slots=True)
class _Report:
    """What came of it. A finding of the comparison that the import made before is not repeated."""

    counts: dict[str, int] = field(default_factory=dict)
    size: int = 0
    findings: list[Finding] = field(default_factory=list)

    def gather(self, outcomes: Iterable[Taken | Finding], bar: Bar, *, aloud: bool) -> None:
        """Count everything, and print findings as they come if ``aloud``."""
        for outcome in outcomes:
            if isinstance(outcome, Finding):
                self._find(outcome, bar, aloud=aloud)
            else:
                key = f"{outcome.kind}s {outcome.how}"
                self.counts[key] = self.counts.get(key, 0) + 1
                self.size += outcome.size
                bar.advance(outcome.size)

    def _find(self, finding: Finding, bar: Bar, *, aloud: bool) -> None:
        if any(one.where == finding.where and one.lost for one in self.findings):
            return
        self.findings.append(finding)
        if aloud:
            bar.clear()
            kind = "PROBLEM" if finding.lost else "note"
            print(f"{kind}: {finding.where}: {finding.kind}: {finding.message}", flush=True)

    @property
    def lost(self) -> int:
        """How many things are there and not here."""
        return sum(finding.lost for finding in self.findings)

    def shown(self) -> str:
        """The counts as one line."""
        counts = (f"{count} {what}" for what, count in sorted(self.counts.items()))
        return f"{', '.join(counts) or 'nothing'} ({human(self.size)})"


def _run(options: argparse.Namespace, config: Config) -> int:
    if options.dry_run and not exists(config):
        with TemporaryDirectory() as empty:
            storage = replace(config.storage, data=empty, network_filesystem=True)
            return _adopt(options, replace(config, storage=storage))
    return _adopt(options, config)


def _adopt(options: argparse.Namespace, config: Config) -> int:
    storage = open_or_make(config)
    if not options.dry_run:
        refuse_latched(storage)
    wishes = Wishes(options.dry_run, options.overwrite, options.prune_tags)
    service, check = build_adoption(
        config, storage, Path(options.root), wishes, copying=options.copy
    )
    report, verified = _Report(), _Report()
    with holding_off_gc(storage):
        with Bar("import") as bar:
            bar.begin(service.extent())
            report.gather(service.run(), bar, aloud=not options.json)
        if options.verify and not options.dry_run:
            verified.findings = list(report.findings)
            with Bar("verify") as bar:
                bar.begin(report.size)
                verified.gather(check.run(), bar, aloud=not options.json)
    storage.index.database.close()
    _tell(options, report, verified)
    return INCOMPLETE if max(report.lost, verified.lost) else COMPLETE


def _tell(options: argparse.Namespace, report: _Report, verified: _Report) -> None:
    lost = max(report.lost, verified.lost)
    if options.json:
        findings = [asdict(one) for one in verified.findings or report.findings]
        found = {"counts": report.counts, "bytes": report.size, "verified": verified.counts}
        print(json.dumps({**found, "lost": lost, "findings": findings}))
        return
    print(f"{'would take' if options.dry_run else 'took'} {report.shown()}")
    if verified.counts:
        print(f"verified {verified.shown()}")
    print("all that is there is here" if not lost else f"{lost} things there are not here")


COMMAND = Command(
    "import-distribution",
    "move in from docker distribution's files, or catch up with them",
    _arguments,
    _run,
)
