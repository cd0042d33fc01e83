"""``serve``: gunicorn inside this process, and what gunicorn is told, whoever starts it."""

import logging
import multiprocessing
import ssl
import sys
from collections.abc import Callable
from typing import Any, Final

from gunicorn.app.base import BaseApplication

from registry_wsgi.config import Config, ConfigError
from registry_wsgi.errors import StorageFault
from registry_wsgi.server import heads
from registry_wsgi.server.entry import Entry
from registry_wsgi.server.known import KNOWN_RELEASE, is_known
from registry_wsgi.server.master import Master
from registry_wsgi.wiring import create_app

LOG: Final = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 120
"""After how long a process is killed whose own thread hangs; requests may take any time."""

KEEP_ALIVE_SECONDS: Final = 75
"""How long an idle connection is kept: longer than nginx keeps one that it may send on."""

FAST_WORKER: Final = "registry_wsgi.server.worker.FastWorker"

SOCKET_UMASK: Final = 0o117
"""A unix socket's peer is trusted, so nobody but its user and group may connect."""

REFUSED: Final = (ConfigError, StorageFault)
"""Why a reload changes nothing: what is served goes on as it was."""


def gunicorn_settings(config: Config) -> dict[str, Any]:
    """What gunicorn is told, by ``serve`` and by ``contrib/gunicorn.conf.py``."""
    server = config.server
    fast = server.fast and is_known()
    if server.fast and not fast:
        LOG.warning("server.fast is off: it was written for gunicorn %d", KNOWN_RELEASE)
    settings: dict[str, Any] = {
        "bind": server.bind,
        "umask": SOCKET_UMASK,
        "workers": server.workers or multiprocessing.cpu_count(),
        "threads": server.threads,
        # Threads: a process of the sync worker beats its heart between requests only, and would
        # be killed in the midst of a long upload.
        "worker_class": FAST_WORKER if fast else "gthread",
        "preload_app": True,
        "timeout": HEARTBEAT_SECONDS,
        # A worker that stops or is replaced ends its requests first. Uploads that take longer
        # are cut, and resume.
        "graceful_timeout": server.graceful_timeout,
        "keepalive": KEEP_ALIVE_SECONDS,
        # To replace a worker after so many requests would cut its uploads.
        "max_requests": 0,
        # On a disk a busy one could delay the heartbeat until the worker is taken for dead.
        "worker_tmp_dir": "/dev/shm",  # noqa: S108 - gunicorn's heartbeat files, not ours
        "control_socket_disable": True,
        # HTTP/2 would take bodies into memory as a whole.
        "http_protocols": "h1",
        # The application alone judges forwarded headers, by the peer's address.
        "forwarded_allow_ips": "",
        "secure_scheme_headers": {},
        "forwarder_headers": "",
        # X_Forwarded_Host is not X-Forwarded-Host.
        "header_map": "refuse",
    }
    if fast and not server.certfile:
        # The worker judges which fields may be that long, once it has seen that the head is no
        # longer: of TLS it cannot, and gunicorn would read a hundred such fields.
        settings["limit_request_field_size"] = heads.MOST
    if server.certfile:
        settings |= {"certfile": server.certfile, "keyfile": server.keyfile}
    return settings


def check_certificate(config: Config) -> None:
    """Raise ConfigError for a certificate that TLS cannot be served with."""
    server = config.server
    if not server.certfile:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(server.certfile, server.keyfile)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"server.certfile and server.keyfile: {error}") from error


class Serve(BaseApplication):  # type: ignore[misc] # gunicorn has no types
    """The registry under gunicorn, without a settings file of gunicorn's.

    ``read`` gives the settings anew, for a reload.
    """

    def __init__(self, app: Entry, config: Config, read: Callable[[], Config]) -> None:
        self._config = config
        self._read = read
        super().__init__()
        self.callable = app

    def load_config(self) -> None:
        """Hand over the settings."""
        self.cfg.set("post_worker_init", post_worker_init)
        for name, value in gunicorn_settings(self._config).items():
            self.cfg.set(name, value)

    def run(self) -> None:
        """Serve until told to stop; a mistake that gunicorn finds is told, with exit status 1."""
        try:
            Master(self).run()
        except RuntimeError as error:
            sys.exit(f"registry-wsgi: {error}")

    def reload(self) -> None:
        """On HUP: settings, keys and accounts as they are now, or all as before if one is wrong."""
        try:
            config = self._read()
            check_certificate(config)
            self.callable = create_app(config)
            self._config = config
        except REFUSED as error:
            LOG.error("not reloaded: %s", error)  # noqa: TRY400 - the message says what is wrong
        super().reload()


def post_worker_init(worker: Any) -> None:
    """Start what runs beside requests (gunicorn's hook)."""
    worker.wsgi.start()


def run(app: Entry, config: Config, read: Callable[[], Config]) -> None:
    """Serve until told to stop."""
    Serve(app, config, read).run()
