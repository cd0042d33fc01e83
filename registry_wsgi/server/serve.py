"""``serve``: gunicorn inside this process."""

import multiprocessing
from typing import Any

from gunicorn.app.base import BaseApplication

from registry_wsgi.config import Config
from registry_wsgi.server.entry import Entry


def gunicorn_settings(config: Config) -> dict[str, Any]:
    """What gunicorn is told; the reasons are in ``contrib/gunicorn.conf.py``."""
    server = config.server
    settings: dict[str, Any] = {
        "bind": server.bind,
        "workers": server.workers or multiprocessing.cpu_count(),
        "threads": server.threads,
        "worker_class": "gthread",
        "preload_app": True,
        "timeout": 120,
        "graceful_timeout": 60,
        "keepalive": 75,
        "max_requests": 0,
        "worker_tmp_dir": "/dev/shm",  # noqa: S108 - gunicorn's heartbeat files, not ours
        "control_socket_disable": True,
        # The application alone judges forwarded headers, by the peer's address.
        "forwarded_allow_ips": "",
        "secure_scheme_headers": {},
        "forwarder_headers": "",
        "header_map": "refuse",
    }
    if server.certfile:
        settings |= {"certfile": server.certfile, "keyfile": server.keyfile}
    return settings


class Serve(BaseApplication):  # type: ignore[misc] # gunicorn has no types
    """The registry under gunicorn, without a settings file of gunicorn's."""

    def __init__(self, app: Entry, config: Config) -> None:
        self._app = app
        self._settings = gunicorn_settings(config)
        super().__init__()

    def load_config(self) -> None:
        """Hand over the settings."""
        self.cfg.set("post_worker_init", self._post_worker_init)
        for name, value in self._settings.items():
            self.cfg.set(name, value)

    def load(self) -> Entry:
        """The application, made before the workers fork."""
        return self._app

    def _post_worker_init(self, worker: Any) -> None:  # noqa: ARG002 - gunicorn's hook
        self._app.start()


def run(app: Entry, config: Config) -> None:
    """Serve until told to stop."""
    Serve(app, config).run()
