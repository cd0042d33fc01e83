"""The settings: one table of rows, the source of defaults, validation, help and documentation.

A setting comes from, later ones winning: its default, the TOML file, the environment
(``REGISTRY_WSGI_<SECTION>_<KEY>``), a command-line flag.
"""

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, get_type_hints

ENVIRONMENT_PREFIX: Final = "REGISTRY_WSGI_"

ACTIONS: Final = ("pull", "push", "overwrite", "delete", "admin")


class ConfigError(Exception):
    """A setting that cannot be; the message names it, where it came from and what would do."""


Check = Callable[[Any], str | None]
"""Says what is wrong with a value of the right type, ``None`` when nothing is."""


def _one_of(*allowed: str) -> Check:
    return lambda value: None if value in allowed else f"must be one of {', '.join(allowed)}"


def _at_least(least: int) -> Check:
    return lambda value: None if value >= least else f"must be {least} or more"


def _not_empty(value: str) -> str | None:
    return None if value else "must not be empty"


def _bind(value: str) -> str | None:
    if value.startswith("unix:") and len(value) > len("unix:"):
        return None
    host, _, port = value.rpartition(":")
    if host and port.isascii() and port.isdigit() and int(port) <= 65535:  # noqa: PLR2004 - ports end there
        return None
    return "must be HOST:PORT or unix:PATH"


def _url(value: str) -> str | None:
    if not value or re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+", value):
        return None
    return "must be http://HOST or https://HOST, without a path"


def _networks(value: tuple[str, ...]) -> str | None:
    for entry in value:
        try:
            ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return f"{entry!r} is not an IP address or network"
    return None


def _row(default: Any, help_text: str, check: Check | None = None) -> Any:
    return field(default=default, metadata={"help": help_text, "check": check})


@dataclass(frozen=True, slots=True)
class Server:
    """``[server]``: where it listens and how it sees its clients."""

    bind: str = _row("127.0.0.1:8000", "HOST:PORT or unix:PATH to listen on", _bind)
    workers: int = _row(0, "worker processes; 0 is one a core", _at_least(0))
    threads: int = _row(8, "threads in each worker: requests served at once", _at_least(1))
    external_url: str = _row(
        "", "https://registry.example: how clients reach it; decides Location and the realm", _url
    )
    trusted_proxies: tuple[str, ...] = _row(
        (),
        "addresses or networks whose forwarded headers count; a unix socket's always do",
        _networks,
    )
    location: str = _row(
        "auto",
        "form of Location: auto (absolute unless an untrusted peer forwards), relative, absolute",
        _one_of("auto", "relative", "absolute"),
    )
    read_only: bool = _row(False, "pulls go on, writes answer 405")
    certfile: str = _row("", "PEM certificate chain: serve TLS without a proxy")
    keyfile: str = _row("", "PEM private key of certfile")
    body_timeout: int = _row(
        60, "seconds an upload may be silent before its connection is given up", _at_least(1)
    )


@dataclass(frozen=True, slots=True)
class Storage:
    """``[storage]``: where the data is and how carefully it is kept."""

    data: str = _row("registry-data", "the data directory; created on first use", _not_empty)
    durability: str = _row(
        "full",
        "full, or relaxed: nothing is synced to disk, so a power cut may lose acknowledged pushes",
        _one_of("full", "relaxed"),
    )
    upload_expiry: int = _row(
        86400, "seconds of uptime after which a silent upload session is removed", _at_least(1)
    )
    network_filesystem: bool = _row(
        False, "accept a data directory on NFS and the like, where locks and syncs may mean nothing"
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """``[limits]``: what one request may ask for."""

    blob_size: int = _row(
        0, "largest blob in bytes, answered 413 above; 0 is no limit", _at_least(0)
    )
    page_size: int = _row(1000, "most tags, repositories or referrers in one answer", _at_least(1))


@dataclass(frozen=True, slots=True)
class Delete:
    """``[delete]``: whether anything may be deleted over HTTP."""

    enabled: bool = _row(True, "false: every DELETE of a tag, manifest or blob answers 405")


@dataclass(frozen=True, slots=True)
class Manifests:
    """``[manifests]``: what a manifest must bring along."""

    sparse_indexes: bool = _row(
        False, "accept an index whose children are not all in the repository"
    )


@dataclass(frozen=True, slots=True)
class Gc:
    """``[gc]``: what is collected, and when."""

    grace: int = _row(
        86400,
        "seconds of uptime that something unreferenced is kept after it was last seen",
        _at_least(0),
    )
    every: int = _row(
        0, "seconds of uptime between runs made by the server itself; 0 is never", _at_least(0)
    )
    untagged: bool = _row(False, "collect manifests without a tag that nothing refers to as well")
    keep_subjects: bool = _row(
        True, "of these, keep what a referrer (a signature, an SBOM) names as its subject"
    )


@dataclass(frozen=True, slots=True)
class Auth:
    """``[auth]``: how callers are recognised."""

    backends: tuple[str, ...] = _row(
        (), "sign-in back ends, tried in order; none is open to everybody"
    )


@dataclass(frozen=True, slots=True)
class AccessRule:
    """One ``[[access]]``: these users may do these actions in these repositories."""

    repositories: str
    users: tuple[str, ...]
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, checked. ``origins`` says where each that is no default came from."""

    server: Server = Server()
    storage: Storage = Storage()
    limits: Limits = Limits()
    delete: Delete = Delete()
    manifests: Manifests = Manifests()
    gc: Gc = Gc()
    auth: Auth = Auth()
    access: tuple[AccessRule, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One setting as the help and the documentation show it."""

    section: str
    key: str
    type: type
    default: Any
    help: str
    check: Check | None

    @property
    def name(self) -> str:
        """``section.key``."""
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"{ENVIRONMENT_PREFIX}{self.section}_{self.key}".upper()


SECTIONS: Final[dict[str, type]] = {
    name: kind for name, kind in get_type_hints(Config).items() if name not in {"access", "origins"}
}


def _rows() -> Iterable[Row]:
    for section, kind in SECTIONS.items():
        hints = get_type_hints(kind)
        row: Field[Any]
        for row in fields(kind):
            of = hints[row.name]
            yield Row(
                section,
                row.name,
                of if isinstance(of, type) else tuple,
                row.default,
                row.metadata["help"],
                row.metadata["check"],
            )


ROWS: Final[dict[str, Row]] = {row.name: row for row in _rows()}

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
        raise ConfigError(f"{origin}: {row.name} = {value!r}: {problem}")
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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
    if not isinstance(pattern, str) or not pattern:
        raise ConfigError(f"{origin}: [[access]] repositories must be one pattern, a string")
    for name, value in (("users", users), ("actions", actions)):
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise ConfigError(f"{origin}: [[access]] {name} must be a list of strings")
    for action in actions:
        if action not in ACTIONS:
            raise _unknown("action", action, ACTIONS, f"{origin}: [[access]]")
    return AccessRule(pattern, tuple(users), tuple(actions))


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
