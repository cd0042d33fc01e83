"""Composition of who watches: the request log, the metrics, the notifications."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from registry_wsgi.config import Config, ConfigError
from registry_wsgi.observing import Observer
from registry_wsgi.services.measures import MeasureService
from registry_wsgi.services.notifications import Notifier
from registry_wsgi.storage.base import Clock
from registry_wsgi.storage.inspecting import Inspection
from registry_wsgi.storage.locks import FileLock
from registry_wsgi.storage.outbox import Outbox
from registry_wsgi.storage.store import BlobStore
from registry_wsgi.watching.posting import post
from registry_wsgi.watching.requestlog import RequestLog
from registry_wsgi.watching.sharing import place, share


def build_request_log(config: Config) -> list[Observer]:
    """The request log, if it is asked for."""
    return [RequestLog(sys.stderr, config.log.format)] if config.log.requests else []


def build_metrics(
    config: Config,
    data: Path,
    inspection: Inspection,
    store: BlobStore,
    latched: Callable[[], bool],
    outbox: Outbox,
) -> Any | None:
    """The metrics, ``None`` without the extra; raises ConfigError when they are insisted on."""
    if config.metrics.enabled == "off":
        return None
    if importlib.util.find_spec("prometheus_client") is None:
        if config.metrics.enabled == "auto":
            return None
        raise ConfigError(
            "metrics.enabled: on needs an extra: pip install 'registry_wsgi[metrics]'"
        )
    directory = place(data)
    share(directory)
    module = importlib.import_module("registry_wsgi.watching.metrics")
    told = config.notifications
    measures = MeasureService(inspection, store, latched, outbox, told.endpoints, told.pulls)
    return module.Metrics(directory, measures)


def build_notifier(config: Config, data: Path, outbox: Outbox, clock: Clock) -> Notifier | None:
    """The notifications, if there is anybody to tell; raises ConfigError without their key."""
    wanted = config.notifications
    if not wanted.endpoints:
        return None
    try:
        key = Path(wanted.secret_file).read_bytes().strip() if wanted.secret_file else b""
    except OSError as error:
        raise ConfigError(f"notifications.secret_file: {error}") from error
    if wanted.secret_file and not key:
        raise ConfigError(f"notifications.secret_file: {wanted.secret_file} is empty")
    return Notifier(
        outbox,
        clock,
        partial(post, timeout=float(wanted.timeout)),
        FileLock(data / "locks" / "notify").trying,
        wanted.endpoints,
        wanted.format,
        config.auth.service,
        config.server.external_url.rstrip("/"),
        key,
        wanted.pulls,
    )
