"""Who is at the other end of a connection, and whose word about the client behind it counts."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, Final

FORWARDED_FOR: Final = "HTTP_X_FORWARDED_FOR"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Peers:
    """The peers that are trusted proxies; the peer of a unix socket, without address, is one."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(entry, strict=False) for entry in networks]

    def trusts(self, environ: Mapping[str, Any]) -> bool:
        """Whether the request comes from a trusted proxy."""
        address = environ.get("REMOTE_ADDR", "")
        return not address or self._is_trusted(parse_address(address))

    def client(self, environ: Mapping[str, Any]) -> str:
        """The client's address as trusted proxies tell it, empty for a unix socket's peer.

        Each proxy appends whom it talks to, so the last one that is no trusted proxy is the
        client; what is before that, the client may have made up.
        """
        address: str = environ.get("REMOTE_ADDR", "")
        chain = environ.get(FORWARDED_FOR)
        if chain is None or not self.trusts(environ):
            return address
        for entry in reversed(chain.split(",")):
            found = parse_address(without_port(entry.strip()))
            if found is None:
                break
            address = str(found)
            if not self._is_trusted(found):
                break
        return address

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def parse_address(text: str) -> Address | None:
    """The address, ``None`` for what is none; IPv4 over an IPv6 socket is IPv4."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def is_loopback(address: str) -> bool:
    """Whether the address is this machine, seen from itself."""
    found = parse_address(address)
    return found is not None and found.is_loopback


def without_port(text: str) -> str:
    """Some proxies append the port: ``192.0.2.1:4711``, ``[2001:db8::1]:4711``."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
