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

_RANGE: Final = re.compile(r"([0-9]{1,99})-([0-9]{0,99})|-([0-9]{1,99})")
# > #element => [ element ] *( OWS "," OWS [ element ] )                    (RFC 9110, 5.6.1.2)
_RANGES: Final = re.compile(
    rf"(?i:bytes)=((?:[ \t]*,)*+[ \t]*(?:{_RANGE.pattern})"
    rf"(?:[ \t]*,[ \t]*(?:{_RANGE.pattern})?)*+)"
)
RANGES_LIMIT: Final = 2048
"""How many ranges are answered with these alone; clients ask for 1,024 at most."""

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


def ranges_of(
    header: str | None, if_range: str | None, digest: Digest, size: int
) -> tuple[Span, ...]:
    """The ranges that a GET asks for, none for all of it (RFC 9110, 14.2).

    Another unit and what is no list of ranges are ignored, as are ranges that come to more than the
    whole or are very many. Raises RegistryError (416) where all are outside the ``size`` bytes, and
    for a single one whose last byte is before its first.
    """
    if header is None or (if_range is not None and if_range != f'"{digest}"'):
        return ()
    match = _RANGES.fullmatch(header.strip()) if header.count(",") < RANGES_LIMIT else None
    if match is None:
        return ()
    spans = [_span(one[1], one[2], one[3], size) for one in _RANGE.finditer(match[1])]
    found = tuple(span for span in spans if span is not None and span.length > 0)
    if len(spans) > 1 and None in spans:
        return ()
    if not found:
        headers = (("Content-Range", f"bytes */{size}"),)
        raise RegistryError(RANGE_NOT_SATISFIABLE, {"size": size}, headers=headers)
    # > A server that supports range requests MAY ignore or reject a Range header field that
    # > contains an invalid ranges-specifier [...], a ranges-specifier with more than two
    # > overlapping ranges, or a set of many small ranges that are not listed in ascending order
    if len(found) > 1 and sum(span.length for span in found) > size:
        return ()
    return found


def _span(first: str | None, last: str | None, suffix: str | None, size: int) -> Span | None:
    """What of ``size`` bytes is in a range; ``None`` where its last is before its first."""
    if suffix is not None:
        length = min(int(suffix), size)
        return Span(size - length, length)
    start = int(first or 0)
    if not last:
        return Span(start, size - start)
    return Span(start, min(int(last), size - 1) - start + 1) if start <= int(last) else None


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
