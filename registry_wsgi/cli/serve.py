"""``serve``."""

import argparse
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from werkzeug.serving import WSGIRequestHandler, run_simple

from registry_wsgi.cli.common import Command
from registry_wsgi.config import Config
from registry_wsgi.server import serve
from registry_wsgi.server.exposure import refuse_open_network
from registry_wsgi.version import VERSION
from registry_wsgi.wiring import create_app, start

_SETTINGS: Final = {
    "bind": "server.bind",
    "workers": "server.workers",
    "threads": "server.threads",
    "certfile": "server.certfile",
    "keyfile": "server.keyfile",
}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bind", metavar="HOST:PORT", help="or unix:PATH (127.0.0.1:8000)")
    parser.add_argument("--workers", metavar="N", help="processes (one a core)")
    parser.add_argument("--threads", metavar="N", help="threads in each process")
    parser.add_argument("--certfile", metavar="FILE", help="serve TLS with this certificate chain")
    parser.add_argument("--keyfile", metavar="FILE", help="the certificate's private key")
    parser.add_argument(
        "--dev", action="store_true", help="Werkzeug's server, which reloads changed code"
    )


def _flags(options: argparse.Namespace) -> Mapping[str, Any]:
    given = vars(options)
    return {name: given[flag] for flag, name in _SETTINGS.items() if given[flag] is not None}


def _run(options: argparse.Namespace, config: Config) -> int:
    refuse_open_network(config)
    serve.check_certificate(config)
    for problem in start(config):
        print(f"writes stay refused after a disk error: {problem.what} {problem.message}")
    app = create_app(config)
    print(_greeting(config), flush=True)
    if options.dev:
        host, port = dev_address(config.server.bind)
        files = (config.server.certfile, config.server.keyfile)
        tls = files if config.server.certfile else None
        run_simple(
            host,
            port,
            app,
            use_reloader=True,
            threaded=True,
            ssl_context=tls,
            request_handler=DevelopmentHandler,
        )
    else:
        serve.run(app, config, options.read)
    return 0


class DevelopmentHandler(WSGIRequestHandler):
    """Werkzeug's, which would log each request's query, and with it the state of uploads."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: the registry logs its requests itself."""


def dev_address(bind: str) -> tuple[str, int]:
    """``server.bind`` as Werkzeug's server has it."""
    if bind.startswith("unix:"):
        return f"unix://{bind.removeprefix('unix:')}", 0
    host, _, port = bind.rpartition(":")
    return host.strip("[]"), int(port)


def _greeting(config: Config) -> str:
    data = Path(config.storage.data).absolute()
    lines = [
        f"registry_wsgi {VERSION} listens on {config.server.bind}, its data is in {data}",
        f"(SQLite {sqlite3.sqlite_version})",
    ]
    if not config.server.bind.startswith("unix:"):
        lines += [
            "Try it:",
            f"  docker tag IMAGE {config.server.bind}/IMAGE",
            f"  docker push {config.server.bind}/IMAGE",
        ]
    return "\n".join(lines)


COMMAND = Command("serve", "serve the registry (what no command does)", _arguments, _run, _flags)
