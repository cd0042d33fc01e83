"""Failed sign-ins are slowed, for each account and each address, without locking anybody out.

Every key has a bucket of tries, kept as the one moment at which it will be full again (the
generic cell rate algorithm). The moments are in memory that workers share when they are forked
from the process that made it, so that the limit is one for all of them. A lost update between two
processes costs one count, and is not worth a lock.
"""

import hashlib
import ipaddress
import math
import mmap
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from registry_wsgi.errors import TOO_MANY_REQUESTS, RegistryError, again_in

BURST: Final = 20
"""Failures in a row that are answered as fast as the check goes."""

REFILL: Final = 3.0
"""Seconds after which one more try is taken, once they are used up: twenty a minute."""

KNOWN_SECONDS: Final = 7 * 86400.0
"""How long an account is known to sign in from an address."""

SLOTS: Final = 8192
"""Moments in a row of memory, of 8 bytes each; a key has one in each of two rows."""

IPV6_SITE: Final = 64
"""Bits of an IPv6 address that one customer cannot change."""


class Moments:
    """A moment for each key, 0 at first. Two keys are taken for one about never."""

    def __init__(self) -> None:
        self._memory = memoryview(mmap.mmap(-1, 2 * SLOTS * 8)).cast("d")
        self._key = secrets.token_bytes(16)

    def get(self, key: str) -> float:
        """The moment kept for the key, or a later one."""
        return min(self._memory[slot] for slot in self._slots(key))

    def put(self, key: str, moment: float) -> None:
        """Keep a moment, unless there is a later one."""
        for slot in self._slots(key):
            self._memory[slot] = max(self._memory[slot], moment)

    def _slots(self, key: str) -> Iterator[int]:
        digest = hashlib.blake2b(key.encode("utf-8"), digest_size=8, key=self._key).digest()
        yield int.from_bytes(digest[:4], "big") % SLOTS
        yield int.from_bytes(digest[4:], "big") % SLOTS + SLOTS


class Throttle:
    """Counts failed sign-ins. ``now`` is seconds of a clock that all processes share.

    Where an account has signed in before, it has a bucket of its own: guesses from elsewhere, or
    of others at the same address, do not slow whoever it belongs to.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._full = Moments()
        self._known = Moments()

    def require(self, name: str, address: str) -> None:
        """Raise RegistryError (TOOMANYREQUESTS) while the tries are used up."""
        now = self._now()
        full = max(self._full.get(key) for key in self._keys(name, address))
        wait = full - now - (BURST - 1) * REFILL
        if wait > 0:
            headers = again_in(math.ceil(wait))
            raise RegistryError(TOO_MANY_REQUESTS, "too many failed sign-ins", headers=headers)

    def failed(self, name: str, address: str) -> None:
        """Take a try."""
        now = self._now()
        for key in self._keys(name, address):
            self._full.put(key, max(self._full.get(key), now) + REFILL)

    def succeeded(self, name: str, address: str) -> None:
        """Know that the account signs in from there."""
        self._known.put(_pair(name, address), self._now() + KNOWN_SECONDS)

    def _keys(self, name: str, address: str) -> Sequence[str]:
        pair = _pair(name, address)
        if self._known.get(pair) > self._now():
            return (pair,)
        return (f"account {name}", f"address {_site(address)}")


def _pair(name: str, address: str) -> str:
    return f"pair {name} {_site(address)}"


def _site(address: str) -> str:
    """What stands for whoever is behind an address: whole networks of IPv6 are one customer's."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:  # noqa: PLR2004 - IPv4
        return address
    return str(ipaddress.IPv6Network((int(parsed), IPV6_SITE), strict=False))
