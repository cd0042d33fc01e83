"""Pure decisions about a request's conditional, range and paging headers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from registry_wsgi.errors import (
    CONTENT_DIFFERS,
    PARAMETER_INVALID,
    RANGE_NOT_SATISFIABLE,
    UPLOAD_RANGE_INVALID,
    RegistryError,
)
from registry_wsgi.names import Digest
from registry_wsgi.services.uploads import Chunk

_RANGE: Final = re.compile(r"bytes=(?:([0-9]{1,99})-([0-9]{0,99})|-([0-9]{1,99}))", re.IGNORECASE)
_CHUNK: Final = re.compile(r"(?i:bytes )?([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]{1,19}|\*))?")
_COUNT: Final = re.compile(r"[0-9]{1,18}")
_ENTITY_TAG: Final = re.compile(r'(W/)?(?:"([^"]*)"|([^\s",]+))')


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a file: ``length`` bytes from ``first``."""

    first: int
    length: int


def entity_tags(header: str) -> tuple[str, ...]:
    """The tags of an If-None-Match list, weak ones too, ``*`` as itself, quotes taken off.

    Clients of docker distribution send the digest bare: that counts as quoted.
    """
    return tuple(quoted or bare for _, quoted, bare in _ENTITY_TAG.findall(header))


def strong_tags(header: str) -> tuple[str, ...]:
    """The same of an If-Match list, without its weak tags."""
    # > An origin server MUST use the strong comparison function when comparing entity tags for
    # > If-Match                                                       (RFC 9110, 13.1.1)
    return tuple(quoted or bare for weak, quoted, bare in _ENTITY_TAG.findall(header) if not weak)


def is_held(environ: Mapping[str, Any], digest: Digest) -> bool:
    """Whether who reads has this content already: answer 304 (RFC 9110, 13.1.2).

    Raises RegistryError (412) where If-Match asks for other content.
    """
    # > When recipient is the origin server and If-Match is present, evaluate the If-Match
    # > precondition: [...] if false, respond 412 (Precondition Failed) [...]
    # > When If-None-Match is present, evaluate the If-None-Match precondition: [...] if false for
    # > GET/HEAD, respond 304 (Not Modified)                       (RFC 9110, 13.2.2)
    require_match(environ, digest)
    unwanted = environ.get("HTTP_IF_NONE_MATCH")
    return unwanted is not None and not {digest, "*"}.isdisjoint(entity_tags(unwanted))


def require_match(environ: Mapping[str, Any], digest: Digest) -> None:
    """Raise RegistryError (412) where If-Match asks for other content (RFC 9110, 13.1.1)."""
    wanted = environ.get("HTTP_IF_MATCH")
    if wanted is not None and {digest, "*"}.isdisjoint(strong_tags(wanted)):
        raise RegistryError(CONTENT_DIFFERS, {"digest": digest})


def range_of(header: str | None, if_range: str | None, digest: Digest, size: int) -> Span | None:
    """The one range that a GET asks for, ``None`` for all of it (RFC 9110, 14.2).

    Several ranges, another unit and what is no range are ignored. Raises RegistryError (416) for a
    range outside the ``size`` bytes, or whose last byte is before its first.
    """
    if header is None or (if_range is not None and if_range != f'"{digest}"'):
        return None
    match = _RANGE.fullmatch(header.strip())
    if match is None:
        return None
    first_text, last_text, suffix_text = match.groups()
    if suffix_text is not None:
        length = min(int(suffix_text), size)
        first, last = size - length, size - 1
    else:
        first = int(first_text)
        last = min(int(last_text), size - 1) if last_text else size - 1
    if first > last:
        headers = (("Content-Range", f"bytes */{size}"),)
        raise RegistryError(RANGE_NOT_SATISFIABLE, {"size": size}, headers=headers)
    return Span(first, last - first + 1)


def chunk_of(header: str | None) -> Chunk | None:
    """What a chunk's Content-Range says; raises RegistryError (400) for anything malformed."""
    # > It MUST match the following regular expression:
    # > ^[0-9]+-[0-9]+$
    # The form of RFC 9110, "bytes 0-9/10", is understood as well.
    if header is None:
        return None
    match = _CHUNK.fullmatch(header.strip())
    if match is None or int(match[1]) > int(match[2]):
        raise RegistryError(UPLOAD_RANGE_INVALID, header[:100])
    return Chunk(int(match[1]), int(match[2]))


def page_size(text: str | None, most: int) -> int:
    """How many items ``n`` asks for, ``most`` at most; raises RegistryError (400, UNSUPPORTED)."""
    if text is None:
        return most
    # Capped before anything is sized by it.
    if not _COUNT.fullmatch(text):
        if text.isascii() and text.isdigit():
            return most
        raise RegistryError(PARAMETER_INVALID, f"n must be a whole number, not {text[:40]!r}")
    return min(int(text), most)
