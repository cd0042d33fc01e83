"""Commands with a standard input, on data in memory."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.commands import Ended, registry_wsgi
from support.storage import memory_directory


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the data directory is, made by the first command that puts something there."""
    monkeypatch.setenv("REGISTRY_WSGI_STORAGE_DURABILITY", "relaxed")
    with memory_directory() as folder:
        yield folder / "data"


@pytest.fixture
def command(data: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Runs a command on that directory, with ``stdin`` as its standard input."""

    def go(*words: str, stdin: str = "", expect: int | None = 0) -> Ended:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        return registry_wsgi(*words, data=data, expect=expect)

    return go


@pytest.fixture
def listed(command: Callable[..., Ended]) -> Callable[[str], list[dict[str, Any]]]:
    """Runs ``list --json`` of a command; the objects that it prints, one a line."""

    def go(what: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in command(what, "list", "--json").out.splitlines()]

    return go
