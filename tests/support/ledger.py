"""What a registry has acknowledged, kept by its clients, and whether all of it is still there."""

import threading
from dataclasses import dataclass, field

from support.images import sha256
from support.opened import Opened

from registry_wsgi.names import Digest, Name, parse_reference
from registry_wsgi.oci import parse_manifest

Key = tuple[str, str, str]
"""``blob`` or ``manifest``, a repository, and a digest or tag."""


def _empty() -> dict[Key, frozenset[bytes | None]]:
    return {}


@dataclass
class Ledger:
    """What may be found under each name: more than one thing only while a request is under way.

    ``None`` is for nothing. Each name is changed by one thread at a time.
    """

    acknowledged: int = 0
    surprises: list[str] = field(default_factory=list)
    _allowed: dict[Key, frozenset[bytes | None]] = field(default_factory=_empty)
    _of_this_round: set[Key] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, key: Key, content: bytes | None) -> None:
        """A request is sent that changes what is there."""
        with self._lock:
            before = self._allowed.get(key, frozenset({None}))
            self._allowed[key] = before | {content}

    def acknowledge(self, key: Key, content: bytes | None) -> None:
        """The answer was read: nothing else may be there from now on."""
        with self._lock:
            self._allowed[key] = frozenset({content})
            self._of_this_round.add(key)
            self.acknowledged += 1

    def surprise(self, what: str) -> None:
        """Something was answered that should not have been."""
        with self._lock:
            self.surprises.append(what)

    def begin_round(self) -> None:
        """Blobs that were acknowledged before, and that no manifest needs, may be collected now."""
        with self._lock:
            for kind, *rest in self._allowed.keys() - self._of_this_round:
                if kind == "blob":
                    del self._allowed[kind, rest[0], rest[1]]
            self._of_this_round.clear()

    def read_back(self, found: Opened) -> int:
        """Read everything and compare; how much it was. What is wrong becomes a surprise."""
        for (kind, repository, reference), allowed in self._allowed.items():
            content = _find(found, kind, Name(repository), reference)
            if content not in allowed:
                expected = [None if may is None else sha256(may) for may in allowed]
                self.surprise(f"{kind} {repository} {reference}: not one of {expected}")
            elif kind == "manifest" and content is not None:
                self._read_needs(found, Name(repository), content)
        return len(self._allowed)

    def _read_needs(self, found: Opened, repository: Name, manifest: bytes) -> None:
        for descriptor in parse_manifest(manifest, None).blobs:
            digest = descriptor.digest
            content = found.read(repository, digest)
            if content is None or Digest.of(content) != digest:
                self.surprise(f"{repository}@{sha256(manifest)} needs {digest}, which is not there")


def _find(found: Opened, kind: str, repository: Name, reference: str) -> bytes | None:
    parsed = parse_reference(reference)
    assert parsed is not None
    if kind == "manifest":
        return found.manifest(repository, parsed)
    assert isinstance(parsed, Digest)
    return found.read(repository, parsed)
