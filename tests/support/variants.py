"""Servers with other settings, each started when a test first asks for it."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from support.server import RunningServer, throwaway_directory

QUICK = '[storage]\ndurability = "relaxed"\n[server]\nworkers = 1\n'
"""Settings of a server that tests nothing of durability, and starts in a third of a second."""


class Variants:
    """Servers by name, while the ``with`` block lasts; ``settings`` are lines of TOML.

    The lines follow ``[server]``. ``prepare`` is called with the data directory before the start.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        prepare: Callable[[Path], None] = lambda _: None,
        kinds: Mapping[str, type[RunningServer]] | None = None,
    ) -> None:
        self._settings = settings
        self._prepare = prepare
        self._kinds = kinds or {}
        self._started: dict[str, RunningServer] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def __getitem__(self, name: str) -> RunningServer:
        """The server of this name; killed in the end, for its data is of no use by then."""
        if name not in self._started:
            data = self._stack.enter_context(throwaway_directory()) / "data"
            self._prepare(data)
            kind = self._kinds.get(name, RunningServer)
            server = kind(data, settings=QUICK + self._settings[name]).start()
            self._stack.callback(server.kill)
            self._started[name] = server
        return self._started[name]
