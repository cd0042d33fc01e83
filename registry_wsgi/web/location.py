"""Where a client is told to go next: absolute or relative, and by whose word."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from registry_wsgi.web.peers import FORWARDED_FOR, Peers, is_loopback

FORWARDED_VARIABLES: Final = (
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_FORWARDED",
)

_PROXIED: Final = (*FORWARDED_VARIABLES, FORWARDED_FOR, "HTTP_X_REAL_IP", "HTTP_VIA")
"""What shows that a request came through a proxy, whatever that says of the URL."""

_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_LOOPBACK_HOST: Final = re.compile(
    r"(?:localhost|127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|\[::1\])(?::[0-9]{1,5})?"
)
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_SCHEMES: Final = frozenset({"http", "https"})


class Locator:
    """Makes URLs of this registry, from the settings and, where they allow it, the request."""

    def __init__(
        self, external_url: str, mode: str, trusted_proxies: Iterable[str], bind: str = ""
    ) -> None:
        self._external = external_url.rstrip("/")
        self._mode = mode
        self._bind = bind
        peers = Peers(trusted_proxies)
        self.trusts = peers.trusts
        self.client = peers.client

    def url(self, environ: Mapping[str, Any], path: str) -> str:
        """``path`` as a client should follow it."""
        return self.base(environ) + path

    def base(self, environ: Mapping[str, Any]) -> str:
        """``https://host`` of the registry as this client knows it, empty to stay relative."""
        if self._mode == "relative":
            return ""
        if self._external:
            return self._external
        if any(variable in environ for variable in FORWARDED_VARIABLES):
            if self.trusts(environ):
                return self._forwarded(environ)
            if self._mode == "auto":
                return ""
        return _joined(environ["wsgi.url_scheme"], _host(environ))

    def trusted_base(self, environ: Mapping[str, Any]) -> str:
        """The same for where credentials are sent: never by an untrusted word, else empty.

        Without ``external_url`` and proxy that is only a loopback client's name for this machine.
        """
        if self._external:
            return self._external
        if any(variable in environ for variable in FORWARDED_VARIABLES) and self.trusts(environ):
            return self._forwarded(environ)
        if any(variable in environ for variable in _PROXIED):
            return ""
        host = _host(environ)
        own = host == self._bind or _LOOPBACK_HOST.fullmatch(host) is not None
        if own and self._bind and is_loopback(environ.get("REMOTE_ADDR", "")):
            return _joined(environ["wsgi.url_scheme"], host)
        return ""

    @staticmethod
    def _forwarded(environ: Mapping[str, Any]) -> str:
        """What a trusted proxy says: Forwarded, if it is there, else the X-Forwarded headers."""
        element = environ.get("HTTP_FORWARDED")
        if element is not None:
            pairs = (part.partition("=") for part in element.split(",")[0].split(";"))
            given = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
            scheme, host = given.get("proto"), given.get("host")
        else:
            scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").split(",")[0].strip()
            host = environ.get("HTTP_X_FORWARDED_HOST", "").split(",")[0].strip()
        return _joined((scheme or environ["wsgi.url_scheme"]).lower(), host or _host(environ))


def _host(environ: Mapping[str, Any]) -> str:
    """What the client calls this host."""
    # > When an origin server receives a request with an absolute-form of request-target, the
    # > origin server MUST ignore the received Host header field (if any) and instead use the host
    # > information of the request-target.                           (RFC 9112, 3.2.2)
    absolute = _ABSOLUTE.match(environ.get("RAW_URI", ""))
    return absolute[1] if absolute else str(environ.get("HTTP_HOST", ""))


def _joined(scheme: str, host: str) -> str:
    """The two as the start of a URL; empty, which is relative, if either is no such thing."""
    return f"{scheme}://{host}" if scheme in _SCHEMES and _HOST.fullmatch(host) else ""
