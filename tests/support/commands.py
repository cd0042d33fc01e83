"""The command line, run in the test's own process: fast, and its output at hand."""

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry_wsgi.cli.main import main


@dataclass(frozen=True)
class Ended:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON object that it printed."""
        return json.loads(self.out)


def registry_wsgi(*words: str | Path, data: Path, expect: int | None = 0) -> Ended:
    """Run a command on a data directory; any status but ``expect`` fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([*map(str, words), "--data", str(data)])
    ended = Ended(status, out.getvalue(), err.getvalue())
    assert expect in {None, status}, f"{words}: {status}\n{ended.out}{ended.err}"
    return ended
