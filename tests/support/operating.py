"""The command line in a process of its own, as an operator runs it beside a registry."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.programs import run
from support.server import CHECKOUT


def command(
    data: Path, name: str, *arguments: str, expect: int | None = 0
) -> subprocess.CompletedProcess[str]:
    """Run a command on a data directory; any exit code but ``expect`` fails the test."""
    words: list[str | Path] = [
        sys.executable,
        "-m",
        "registry_wsgi",
        name,
        "--data",
        data,
        *arguments,
    ]
    return run(words, expect=expect, environment={"PYTHONPATH": str(CHECKOUT)})


def gc(data: Path, *arguments: str) -> dict[str, Any]:
    """Run gc; its report."""
    report: dict[str, Any] = json.loads(command(data, "gc", "--json", *arguments).stdout)
    return report


def check(data: Path) -> str:
    """Run ``fsck --deep``, which has to find no problem; what it printed."""
    return command(data, "fsck", "--deep").stdout
