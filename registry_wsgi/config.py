"""Where settings come from: later ones win.

Their default, the TOML file, the environment (``REGISTRY_WSGI_<SECTION>_<KEY>``), a command-line
flag. What each may be is in ``settings``.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from registry_wsgi.names import RESERVED_USERS, USER, Pattern
from registry_wsgi.settings import (
    ACTIONS,
    ENVIRONMENT_PREFIX,
    ROWS,
    SECTIONS,
    AccessRule,
    Config,
    Row,
)

__all__ = ["ROWS", "AccessRule", "Config", "ConfigError", "from_environment", "load"]

FILE_VARIABLE: Final = "REGISTRY_WSGI_CONFIG"
"""The environment variable that names the settings file."""


class ConfigError(Exception):
    """A setting that cannot be; the message names it, where it came from and what would do."""


LONG_NUMBER: Final = 256
"""Bits of a whole number up to which it is shown in an error."""

_WORDS: Final = {"true": True, "yes": True, "on": True, "1": True}
_WORDS_OFF: Final = {"false": False, "no": False, "off": False, "0": False}


def _from_text(row: Row, text: str, origin: str) -> Any:
    """The value that ``text`` (of the environment or a flag) stands for."""
    if row.type is bool:
        known = {**_WORDS, **_WORDS_OFF}
        if text.lower() not in known:
            raise ConfigError(f"{origin}: {row.name} must be true or false, not {text!r}")
        return known[text.lower()]
    if row.type is int:
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise ConfigError(f"{origin}: {row.name} must be a whole number, not {text!r}")
        return int(text)
    if row.type is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def _is_of(kind: type, value: Any) -> bool:
    if kind is tuple:
        return isinstance(value, tuple) and all(isinstance(part, str) for part in value)
    return type(value) is kind


def _checked(row: Row, value: Any, origin: str) -> Any:
    """``value`` as its row has it; raises ConfigError."""
    if row.type is tuple and isinstance(value, list):
        value = tuple(value)
    if not _is_of(row.type, value):
        kind = {tuple: "a list of strings", bool: "true or false", int: "a whole number"}
        raise ConfigError(f"{origin}: {row.name} must be {kind.get(row.type, 'a string')}")
    problem = row.check(value) if row.check else None
    if problem:
        # Of a number in hexadecimals Python reads more digits than it writes.
        is_long = isinstance(value, int) and value.bit_length() > LONG_NUMBER
        shown = "a number too long to show" if is_long else repr(value)
        raise ConfigError(f"{origin}: {row.name} = {shown}: {problem}")
    return value


def _unknown(what: str, word: str, known: Iterable[str], origin: str) -> ConfigError:
    near = difflib.get_close_matches(word, list(known), 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"{origin}: there is no {what} {word!r}{hint}")


def _from_file(path: Path) -> tuple[dict[str, Any], tuple[AccessRule, ...]]:
    origin = str(path)
    document: dict[str, Any]
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{origin}: cannot be read: {error.strerror}") from error
    # Not TOML, not UTF-8, or more digits or brackets than Python reads.
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{origin}: not TOML: {error}") from error
    rules: Any = document.pop("access", [])
    values: dict[str, Any] = {}
    for section, table in document.items():
        if section not in SECTIONS:
            raise _unknown("section", section, SECTIONS, origin)
        if not isinstance(table, dict):
            raise ConfigError(f"{origin}: {section} is a section: [{section}]")
        for key, value in table.items():
            row = ROWS.get(f"{section}.{key}")
            if row is None:
                raise _unknown("setting", f"{section}.{key}", ROWS, origin)
            values[row.name] = _checked(row, value, origin)
    if not isinstance(rules, list):
        raise ConfigError(f"{origin}: access rules are tables: [[access]]")
    return values, tuple(_access_rule(rule, origin) for rule in rules)


def _access_rule(rule: Any, origin: str) -> AccessRule:
    expected = {"repositories", "users", "actions"}
    if not isinstance(rule, dict) or set(rule) != expected:
        raise ConfigError(f"{origin}: an [[access]] rule has exactly {', '.join(sorted(expected))}")
    pattern, users, actions = rule["repositories"], rule["users"], rule["actions"]
    if not isinstance(pattern, str) or Pattern.maybe(pattern) is None:
        raise ConfigError(f"{origin}: [[access]] repositories must be one pattern, a string")
    for name, value in (("users", users), ("actions", actions)):
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise ConfigError(f"{origin}: [[access]] {name} must be a list of strings")
        if not value:
            raise ConfigError(f"{origin}: [[access]] {name} is empty: the rule would do nothing")
    for user in users:
        if user not in RESERVED_USERS and not USER.fullmatch(user.removeprefix("@")):
            raise ConfigError(
                f"{origin}: [[access]] {user!r} is no user, no @group, and none of "
                f"{', '.join(sorted(RESERVED_USERS))}"
            )
    for action in actions:
        if action not in ACTIONS:
            raise _unknown("action", action, ACTIONS, f"{origin}: [[access]]")
    return AccessRule(pattern, tuple(users), tuple(actions))


def from_environment(
    environment: Mapping[str, str],
    path: str | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Config:
    """The settings for a process with this environment; raises ConfigError as ``load`` does.

    ``REGISTRY_WSGI_CONFIG`` names the settings file, unless ``path`` does.
    """
    rest = dict(environment)
    named = rest.pop(FILE_VARIABLE, None)
    path = path or named
    return load(Path(path) if path else None, rest, flags)


def load(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Config:
    """Read the settings; ``flags`` maps ``section.key`` to a value or text.

    Raises ConfigError for an unreadable file, an unknown setting (naming the nearest right one)
    and a value that cannot be.
    """
    values, rules = _from_file(path) if path else ({}, ())
    origins = dict.fromkeys(values, str(path))
    variables = {row.variable: row for row in ROWS.values()}
    for variable, text in (environment or {}).items():
        if variable.startswith(ENVIRONMENT_PREFIX):
            if variable not in variables:
                raise _unknown("setting", variable, variables, "environment")
            row = variables[variable]
            values[row.name] = _checked(row, _from_text(row, text, variable), variable)
            origins[row.name] = variable
    for name, value in (flags or {}).items():
        row = ROWS[name]
        given = _from_text(row, value, "command line") if isinstance(value, str) else value
        values[name] = _checked(row, given, "command line")
        origins[name] = "command line"
    sections = {
        section: kind(
            **{k.partition(".")[2]: v for k, v in values.items() if k.startswith(f"{section}.")}
        )
        for section, kind in SECTIONS.items()
    }
    config = Config(**sections, access=rules, origins=origins)
    if bool(config.server.certfile) != bool(config.server.keyfile):
        given = "server.certfile" if config.server.certfile else "server.keyfile"
        raise ConfigError(f"{origins[given]}: server.certfile and server.keyfile go together")
    return config
