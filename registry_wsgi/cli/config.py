"""``config``: what the settings are, where each came from, and whether the registry would start."""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Iterator
from typing import Any, Final

from registry_wsgi.cli.common import Command
from registry_wsgi.config import ROWS, AccessRule, Config
from registry_wsgi.server.exposure import refuse_open_network
from registry_wsgi.server.serve import check_certificate
from registry_wsgi.settings import SECTIONS
from registry_wsgi.wiring import create_app

DEFAULT: Final = "default"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "verb",
        choices=("show", "check", "defaults"),
        help="show what is set and by what; check that serve would start; list all with defaults",
    )
    parser.add_argument("--json", action="store_true", help="show as JSON")


def _run(options: argparse.Namespace, config: Config) -> int:
    if options.verb == "check":
        check(config)
        print("these settings will do")
    elif options.verb == "defaults":
        print("\n".join(defaults()))
    elif options.json:
        print(json.dumps(described(config)))
    else:
        print("\n".join(shown(config)))
    return 0


def check(config: Config) -> None:
    """Raise ConfigError, or what else would keep ``serve`` from starting.

    Everything is made as ``serve`` makes it, but over an empty data directory that is thrown away:
    the real one is neither opened nor created.
    """
    refuse_open_network(config)
    check_certificate(config)
    with tempfile.TemporaryDirectory() as folder:
        storage = dataclasses.replace(
            config.storage, data=f"{folder}/data", durability="relaxed", network_filesystem=True
        )
        create_app(dataclasses.replace(config, storage=storage))


def shown(config: Config) -> Iterator[str]:
    """The settings as a file has them, each line with where its value came from."""
    for section in SECTIONS:
        yield f"[{section}]"
        for name, row in ROWS.items():
            if row.section == section:
                line = f"{row.key} = {_text(_value(config, name))}"
                yield f"{line:<44}  # {config.origins.get(name, DEFAULT)}"
        yield ""
    for rule in config.access:
        yield from ("[[access]]", *_rule(rule), "")


def described(config: Config) -> dict[str, Any]:
    """The same for programs."""
    rows = [
        {
            "name": name,
            "value": _value(config, name),
            "origin": config.origins.get(name, DEFAULT),
            "default": row.default,
        }
        for name, row in ROWS.items()
    ]
    return {"settings": rows, "access": [dataclasses.asdict(rule) for rule in config.access]}


def defaults() -> Iterator[str]:
    """A settings file with every setting, explained and commented out."""
    yield "# Every setting, with its default. What is to be another goes in without its #."
    for section in SECTIONS:
        yield from ("", f"[{section}]")
        for row in ROWS.values():
            if row.section == section:
                yield from ("", f"# {row.help}", f"#{row.key} = {_text(row.default)}")
    rule = AccessRule("team/**", ("ci", "@developers"), ("pull", "push"))
    yield from ("", "# Who may do what, as often as there are rules; none by default.")
    yield from ("#[[access]]", *(f"#{line}" for line in _rule(rule)))


def _rule(rule: AccessRule) -> Iterator[str]:
    for field in dataclasses.fields(rule):
        yield f"{field.name} = {_text(getattr(rule, field.name))}"


def _value(config: Config, name: str) -> Any:
    """A setting's value. None is a secret: those are in files that settings name."""
    section, _, key = name.partition(".")
    value = getattr(getattr(config, section), key)
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    """A value as TOML has it, which is how JSON has these."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


COMMAND = Command("config", "show and check the settings", _arguments, _run)
