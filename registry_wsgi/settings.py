"""The settings: one table of rows, the source of defaults, validation, help and documentation."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Final, get_type_hints
from urllib.parse import urlsplit

ENVIRONMENT_PREFIX: Final = "REGISTRY_WSGI_"

BACKENDS: Final = ("users", "htpasswd", "proxy")

ACTIONS: Final = ("pull", "push", "overwrite", "delete", "admin")


Check = Callable[[Any], str | None]
"""Says what is wrong with a value of the right type, ``None`` when nothing is."""


def _one_of(*allowed: str) -> Check:
    return lambda value: None if value in allowed else f"must be one of {', '.join(allowed)}"


# What is beyond these would overflow a clock, a poll(2) or a column of the index.
_LONG: Final = 100 * 366 * 86400
"""Seconds of the longest time that something is kept or waits to be due: a hundred years."""

_WEEK: Final = 7 * 86400
"""Seconds of the longest wait for a peer."""


def _between(least: int, most: int) -> Check:
    def check(value: int) -> str | None:
        if value < least:
            return f"must be {least} or more"
        return None if value <= most else f"must be {most} or less"

    return check


def _not_empty(value: str) -> str | None:
    return None if value else "must not be empty"


def _bind(value: str) -> str | None:
    if value.startswith("unix:") and len(value) > len("unix:"):
        return None
    host, _, port = value.rpartition(":")
    named = re.fullmatch(r"\[[^\[\]]+\]|[^:\[\]]+", host)
    if named and port.isascii() and port.isdigit() and int(port) <= 65535:  # noqa: PLR2004 - ports end there
        return None
    return "must be HOST:PORT, [ADDRESS]:PORT or unix:PATH"


def _url(value: str) -> str | None:
    if not value or re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+/?", value):
        return None
    return "must be http://HOST or https://HOST, without a path"


def _networks(value: tuple[str, ...]) -> str | None:
    for entry in value:
        try:
            ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return f"{entry!r} is not an IP address or network"
    return None


def _backends(value: tuple[str, ...]) -> str | None:
    for entry in value:
        if entry not in BACKENDS:
            return f"{entry!r} is none of {', '.join(BACKENDS)}"
    return "names a back end twice" if len(set(value)) != len(value) else None


def _is_postable(url: str) -> bool:
    if not re.fullmatch(r"https?://[A-Za-z0-9._:%\[\]-]+(/[!\"$-~]*)?", url):
        return False
    try:
        parts = urlsplit(url)
        # As socket does it: that refuses labels which no name server could be asked for.
        host = (parts.hostname or "").encode("idna")
        return bool(host) and parts.port != 0
    except ValueError:
        return False


def _endpoints(value: tuple[str, ...]) -> str | None:
    for entry in value:
        if not _is_postable(entry):
            return f"{entry!r} is not http://HOST/PATH or https://HOST/PATH without credentials"
    return "names an endpoint twice" if len(set(value)) != len(value) else None


def _service(value: str) -> str | None:
    return None if re.fullmatch(r"[A-Za-z0-9._:/-]{1,255}", value) else "must be a plain word"


def _location(value: str) -> str | None:
    if not value or re.fullmatch(r"/(?!v2/)(?:[A-Za-z0-9_-]+/)+", value):
        return None
    return "must be a path with a slash at both ends, not below /v2/"


def _header(value: str) -> str | None:
    return None if re.fullmatch(r"[A-Za-z0-9-]{1,100}", value) else "must be a header's name"


def _row(default: Any, help_text: str, check: Check | None = None) -> Any:
    return field(default=default, metadata={"help": help_text, "check": check})


@dataclass(frozen=True, slots=True)
class Server:
    """``[server]``: where it listens and how it sees its clients."""

    bind: str = _row("127.0.0.1:8000", "HOST:PORT or unix:PATH to listen on", _bind)
    workers: int = _row(0, "worker processes; 0 is one a core", _between(0, 1000))
    threads: int = _row(8, "threads in each worker: requests served at once", _between(1, 500))
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
    x_accel_prefix: str = _row(
        "",
        "/_blobs/: the internal location from which nginx sends blobs by itself; none if empty",
        _location,
    )
    read_only: bool = _row(False, "pulls go on, writes answer 405")
    certfile: str = _row("", "PEM certificate chain: serve TLS without a proxy")
    keyfile: str = _row("", "PEM private key of certfile")
    body_timeout: int = _row(
        60, "seconds an upload may be silent before its connection is given up", _between(1, _WEEK)
    )
    graceful_timeout: int = _row(
        300, "seconds that a stop or a reload leaves to the requests in flight", _between(1, _WEEK)
    )
    fast: bool = _row(
        True, "false: no way around gunicorn's own reading and writing, where it is a known release"
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
        86400,
        "seconds of uptime after which a silent upload session is removed",
        _between(1, _LONG),
    )
    network_filesystem: bool = _row(
        False, "accept a data directory on NFS and the like, where locks and syncs may mean nothing"
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """``[limits]``: what one request may ask for."""

    blob_size: int = _row(
        0, "largest blob in bytes, answered 413 above; 0 is no limit", _between(0, 1 << 62)
    )
    page_size: int = _row(
        1000, "most tags, repositories or referrers in one answer", _between(1, 1_000_000)
    )


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
        _between(0, _LONG),
    )
    every: int = _row(
        0,
        "seconds of uptime between runs made by the server itself; 0 is never",
        _between(0, _LONG),
    )
    untagged: bool = _row(False, "collect manifests without a tag that nothing refers to as well")
    keep_subjects: bool = _row(
        True, "of these, keep what a referrer (a signature, an SBOM) names as its subject"
    )


@dataclass(frozen=True, slots=True)
class Auth:
    """``[auth]``: how callers are recognised."""

    backends: tuple[str, ...] = _row(
        (), "sign-in back ends, asked in order: users, htpasswd, proxy; none is open", _backends
    )
    open_to_network: bool = _row(
        False, "serve on other addresses than loopback although nobody has to sign in"
    )
    service: str = _row("registry_wsgi", "this registry's name in challenges and tokens", _service)
    token_seconds: int = _row(300, "seconds that a bearer token is good for", _between(60, _LONG))
    htpasswd_file: str = _row("", "the file of the htpasswd back end: bcrypt lines (htpasswd -B)")
    proxy_header: str = _row("X-Remote-User", "the header of the proxy back end", _header)
    proxy_peers: tuple[str, ...] = _row(
        (), "addresses or networks it is believed from; a unix socket's peer always", _networks
    )


@dataclass(frozen=True, slots=True)
class Log:
    """``[log]``: one line a request, on standard error."""

    requests: bool = _row(True, "write a line for each answered request")
    format: str = _row("text", "text or json", _one_of("text", "json"))


@dataclass(frozen=True, slots=True)
class Metrics:
    """``[metrics]``: Prometheus, with the metrics extra."""

    enabled: str = _row(
        "auto",
        "serve /metrics: auto (with the metrics extra), on, off",
        _one_of("auto", "on", "off"),
    )
    peers: tuple[str, ...] = _row(
        (), "addresses or networks that may read it besides loopback and trusted_proxies", _networks
    )


@dataclass(frozen=True, slots=True)
class Notifications:
    """``[notifications]``: webhooks for what changes."""

    endpoints: tuple[str, ...] = _row((), "URLs that each event is posted to, in order", _endpoints)
    format: str = _row(
        "distribution",
        "distribution (its events envelope) or cloudevents",
        _one_of("distribution", "cloudevents"),
    )
    secret_file: str = _row("", "file with the key of the HMAC-SHA256 that signs each post")
    pulls: bool = _row(False, "notify of pulls, too: every manifest GET is written down then")
    timeout: int = _row(10, "seconds an endpoint may take", _between(1, _WEEK))


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
    log: Log = Log()
    metrics: Metrics = Metrics()
    notifications: Notifications = Notifications()
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
