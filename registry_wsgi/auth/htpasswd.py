"""The ``htpasswd`` back end: a file of bcrypt lines, as docker distribution uses it."""

import logging
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import bcrypt

from registry_wsgi.auth.base import Principal
from registry_wsgi.auth.passwords import PasswordChecker, fingerprint
from registry_wsgi.names import USER
from registry_wsgi.storage.accounts import Accounts

LOG: Final = logging.getLogger(__name__)

_LINE: Final = re.compile(r"([^:\s]{1,255}):(\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53})")

POSSIBLE_COST: Final = 4
LOWEST_COST: Final = 10
HIGHEST_COST: Final = 14
"""Costs: what bcrypt knows at least, what is not weak, and what still lets a check end."""

PASSWORD_BYTES: Final = 72
"""bcrypt looks at no more; longer passwords are refused rather than cut."""


class HtpasswdError(Exception):
    """A file that is none; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Table:
    """The file as it was read: names and hashes, and a hash of nobody's at the highest cost."""

    hashes: dict[str, str]
    nobody: str


def parse(text: str) -> Table:
    """The lines of a file; raises HtpasswdError for one that is no bcrypt line."""
    hashes: dict[str, str] = {}
    highest = LOWEST_COST
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise HtpasswdError(f"line {number} is not NAME:BCRYPT-HASH (htpasswd -B)")
        cost = int(match[3])
        if not POSSIBLE_COST <= cost <= HIGHEST_COST:
            raise HtpasswdError(f"line {number} has cost {cost}: use htpasswd -B -C 10")
        if cost < LOWEST_COST:
            LOG.warning("htpasswd line %d has cost %d: weak, use htpasswd -B -C 10", number, cost)
        if not USER.fullmatch(match[1]):
            LOG.warning("htpasswd line %d has a name that nobody can sign in with", number)
        hashes[match[1]] = match[2]
        highest = max(highest, cost)
    # Of no password: a hash of one that could be guessed would be remembered as right.
    return Table(hashes, f"$2b${highest:02}${'.' * 53}")


def verify(stored: str, password: str) -> bool:
    """Whether the bcrypt hash is of this password."""
    raw = password.encode("utf-8", "surrogatepass")
    if len(raw) > PASSWORD_BYTES or b"\0" in raw:
        bcrypt.checkpw(b"", stored.encode("ascii"))  # takes as long as any other mismatch
        return False
    return bcrypt.checkpw(raw, stored.encode("ascii"))


class HtpasswdBackend:
    """``Authenticator`` over a file that is read again when it changes.

    A broken new file is reported, once, and the last good one stays in force.
    """

    kind = "user"

    def __init__(self, path: Path, accounts: Accounts, checker: PasswordChecker) -> None:
        self._path = path
        self._accounts = accounts
        self._checker = checker
        self._lock = threading.Lock()
        self._mark = self._signature()
        self._table = parse(path.read_text("utf-8"))

    def recall(self, name: str, password: str) -> Principal | None:
        """The user who was let in with this password a moment ago."""
        stored = self._current().hashes.get(name)
        if stored is None or not self._checker.recall(name, password, stored):
            return None
        return self._principal(name, stored)

    def check(self, name: str, password: str) -> Principal | None:
        """The user whose password this is."""
        table = self._current()
        stored = table.hashes.get(name)
        right = self._checker.check(name, password, stored or table.nobody)
        return self._principal(name, stored) if right and stored else None

    def find(self, name: str) -> Principal | None:
        """The user as the file has it now."""
        stored = self._current().hashes.get(name)
        return self._principal(name, stored) if stored else None

    def _principal(self, name: str, stored: str) -> Principal:
        return Principal(name, self._accounts.groups(name), "user", fingerprint(stored))

    def _signature(self) -> tuple[int, int, int] | None:
        """What changes with the file, ``None`` while there is none."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _current(self) -> Table:
        with self._lock:
            # Before it is read: what changes meanwhile is read next time.
            mark = self._signature()
            if mark != self._mark:
                self._mark = mark
                try:
                    self._table = parse(self._path.read_text("utf-8"))
                except (OSError, UnicodeDecodeError, HtpasswdError) as error:
                    LOG.error("%s: %s: the users read last stay in force", self._path, error)  # noqa: TRY400 - no trace is needed
            return self._table
