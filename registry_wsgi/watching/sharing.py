"""Where worker processes count together; apart, since it must come before prometheus_client."""

import os
import shutil
from pathlib import Path
from typing import Final

DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client looks at it once, when it is imported."""


def forget(directory: Path) -> None:
    """Count from nothing: an operator's start, before any worker."""
    shutil.rmtree(directory, ignore_errors=True)


def share(directory: Path) -> None:
    """Have this process and those it forks count into files in ``directory``."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ[DIRECTORY_VARIABLE] = str(directory)
