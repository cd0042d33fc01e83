"""The command line: which commands there are, and what all of them share."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import Final

from registry_wsgi.cli import (
    access,
    accounts,
    adopt,
    backup,
    config,
    delete,
    doctor,
    events,
    gc,
    inspect,
    serve,
    transfer,
)
from registry_wsgi.cli.common import Command, CommandError
from registry_wsgi.config import Config, ConfigError, from_environment
from registry_wsgi.errors import RegistryError, StorageFault
from registry_wsgi.version import VERSION

COMMANDS: tuple[Command, ...] = (
    serve.COMMAND,
    gc.COMMAND,
    inspect.FSCK,
    inspect.WHY,
    delete.COMMAND,
    accounts.USER_COMMAND,
    accounts.GROUP_COMMAND,
    accounts.TOKEN_COMMAND,
    access.ACCESS,
    access.AUDIT,
    access.SECRET,
    events.COMMAND,
    inspect.STATS,
    backup.BACKUP,
    backup.RESTORE,
    transfer.EXPORT,
    transfer.IMPORT,
    adopt.COMMAND,
    config.COMMAND,
    doctor.COMMAND,
)

INTERRUPTED: Final = 128 + signal.SIGINT
"""The status of what was ended by Ctrl-C, as shells have it."""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="registry-wsgi",
        description="A container registry for small teams. Without a command: serve.",
    )
    top.add_argument("--version", action="version", version=f"registry-wsgi {VERSION}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS:
        sub = commands.add_parser(command.name, help=command.help, description=command.help)
        sub.add_argument("--data", metavar="DIR", help="the data directory (./registry-data)")
        sub.add_argument("--config", metavar="FILE", help="the settings file (TOML)")
        command.arguments(sub)
        sub.set_defaults(run=command.run, flags=command.flags)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or (words[0].startswith("-") and words[0] not in {"-h", "--help", "--version"}):
        words.insert(0, serve.COMMAND.name)
    options = parser().parse_args(words)
    flags = {} if options.data is None else {"storage.data": options.data}
    flags |= options.flags(options)
    options.read = partial(from_environment, os.environ, options.config, flags)
    try:
        settings: Config = options.read()
        status: int = options.run(options, settings)
    except (ConfigError, StorageFault, OSError) as error:
        print(f"registry-wsgi: {error}", file=sys.stderr)
        return 2
    except CommandError as error:
        print(f"registry-wsgi: {error}", file=sys.stderr)
        return 1
    except RegistryError as error:
        print(f"registry-wsgi: {error.row.message}: {error.detail}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return status
