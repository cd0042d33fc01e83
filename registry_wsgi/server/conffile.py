"""The registry under a gunicorn that was started by its own command: ``contrib/gunicorn.conf.py``.

gunicorn runs that file at its start and at each reload; what has to be remembered in between is
here.
"""

import logging
import os
from typing import Any, Final

from registry_wsgi.config import Config, from_environment
from registry_wsgi.server.exposure import refuse_open_network
from registry_wsgi.server.serve import REFUSED, gunicorn_settings
from registry_wsgi.wiring import start

LOG: Final = logging.getLogger(__name__)


class ConfFile:
    """What the file sets: values, and hooks for the start and for a reload."""

    def __init__(self) -> None:
        self._config: Config | None = None

    def settings(self) -> dict[str, Any]:
        """The values; raises ConfigError at the start, and keeps the old ones at a reload."""
        try:
            config = from_environment(os.environ)
            refuse_open_network(config)
        except REFUSED as error:
            if self._config is None:
                raise
            LOG.error("not reloaded: %s", error)  # noqa: TRY400 - the message says what is wrong
        else:
            self._config = config
        return gunicorn_settings(self._config or config)

    def on_starting(self, arbiter: Any) -> None:
        """Before any worker: what ``serve`` does at its start."""
        for problem in start(from_environment(os.environ)):
            LOG.error("writes stay refused: %s %s", problem.what, problem.message)
        # gunicorn has made the application already, over what may have been put right just now.
        arbiter.app.callable = arbiter.app.load()

    def on_reload(self, arbiter: Any) -> None:
        """Before new workers: settings, keys and accounts as they are now, or all as before."""
        try:
            arbiter.app.callable = arbiter.app.load()
        except REFUSED as error:
            LOG.error("not reloaded: %s", error)  # noqa: TRY400 - as above


CONF_FILE: Final = ConfFile()
