"""The vocabulary of the API: repository names, tags, digests and references.

Each is parsed once, where a request or a command line enters, and from then on only these types
travel. They are strings, so that they go into messages, JSON and SQL as they are.
"""

import hashlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, Final, Self

from registry_wsgi.errors import (
    DIGEST_MALFORMED,
    NAME_INVALID,
    TAG_INVALID,
    ErrorRow,
    RegistryError,
)

NAME_LIMIT: Final = 255
"""Longest repository name, in characters (OCI distribution spec, "Pulling manifests")."""

_ECHO_LIMIT: Final = 300
"""How much of a malformed value an error repeats, in characters."""

# > <name> MUST match the following regular expression:
# > [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
# > <tag-or-digest> as a tag MUST be at most 128 characters in length and MUST match
# > [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_PATTERN: Final = re.compile(r"[a-z0-9._*-]+(?:/[a-z0-9._*-]+)*")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")

USER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
"""A user name, of any back end: without commas, which join repeated headers, and colons."""

RESERVED_USERS: Final = frozenset({"anonymous", "authenticated"})
"""What stands for many in a rule, and is nobody's name."""

_ALGORITHM_BY_SIZE: Final = {32: "sha256", 64: "sha512"}
ALGORITHMS: Final[dict[str, Callable[..., "hashlib._Hash"]]] = {
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
}
"""The digest algorithms this registry knows (OCI image spec, "Registered Algorithms")."""


class _Parsed(str):
    """A string that is only made by ``parse``, which raises ``RegistryError`` for others."""

    __slots__ = ()

    _row: ClassVar[ErrorRow]
    _form: ClassVar[re.Pattern[str]]

    @classmethod
    def _matches(cls, text: str) -> bool:
        """Whether ``text`` is of this kind's form; a name is the longest of all kinds."""
        return len(text) <= NAME_LIMIT and cls._form.fullmatch(text) is not None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check ``text``; raises RegistryError with this type's row."""
        if not cls._matches(text):
            raise RegistryError(cls._row, text[:_ECHO_LIMIT])
        return cls(text)

    @classmethod
    def maybe(cls, text: str) -> Self | None:
        """Check ``text``, ``None`` when it is malformed."""
        return cls(text) if cls._matches(text) else None


class Name(_Parsed):
    """A repository name, such as ``team/app``: at most 255 characters."""

    __slots__ = ()
    _row = NAME_INVALID
    _form = _NAME


class Tag(_Parsed):
    """A tag: 1 to 128 characters."""

    __slots__ = ()
    _row = TAG_INVALID
    _form = _TAG


class Digest(_Parsed):
    """A digest, ``algorithm:hex`` in lower case; sha256 and sha512 are known."""

    __slots__ = ()
    _row = DIGEST_MALFORMED
    _form = _DIGEST

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Self:
        """The digest of ``content``."""
        return cls(f"{algorithm}:{ALGORITHMS[algorithm](content).hexdigest()}")

    @classmethod
    def unpack(cls, raw: bytes) -> Self:
        """The digest whose hash is ``raw``, as the index keeps it: its length is the algorithm."""
        return cls(f"{_ALGORITHM_BY_SIZE[len(raw)]}:{raw.hex()}")

    @property
    def algorithm(self) -> str:
        """``sha256`` or ``sha512``."""
        return self[:6]

    @property
    def hex(self) -> str:
        """The hash, 64 or 128 lower-case hexadecimal digits: safe as a file name."""
        return self[7:]

    def pack(self) -> bytes:
        """The hash alone, 32 or 64 bytes."""
        return bytes.fromhex(self[7:])


class Pattern(str):
    """Which repositories a rule is about: ``*`` within one component, ``**`` across components.

    ``team/**`` is everything below ``team``, ``**`` is everything.
    """

    __slots__ = ()

    @classmethod
    def maybe(cls, text: str) -> Self | None:
        """Check ``text``, ``None`` when no repository could ever match it."""
        possible = len(text) <= NAME_LIMIT and _PATTERN.fullmatch(text)
        return cls(text) if possible else None

    def matches(self, name: str) -> bool:
        """Whether a repository of this name is meant."""
        return _compiled(self).fullmatch(name) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    wild = {"**": ".*", "*": "[^/]*"}
    return re.compile("".join(wild.get(part, re.escape(part)) for part in parts))


Reference = Tag | Digest


def parse_reference(text: str) -> Reference | None:
    """A tag or a digest; ``None`` for what can be neither and hence names no manifest.

    Raises RegistryError (DIGEST_INVALID) for what has a colon, as a tag cannot, but is no digest.
    """
    # > The <tag-or-digest> MUST NOT be in any other format.
    return Digest.parse(text) if ":" in text else Tag.maybe(text)


def new_hash(algorithm: str) -> Any:
    """A running hash of a known algorithm; raises RegistryError (DIGEST_INVALID) for others."""
    if algorithm not in ALGORITHMS:
        raise RegistryError(DIGEST_MALFORMED, algorithm[:_ECHO_LIMIT])
    return ALGORITHMS[algorithm]()


def digest_of(running: Any) -> Digest:
    """The digest that a running hash stands at."""
    return Digest(f"{running.name}:{running.hexdigest()}")
