"""JSON that every reader reads alike, or an error.

Parsers differ on repeated names, on numbers out of range, on ``NaN``, on half a surrogate pair and
on how deep they go. What a registry keeps is read by many of them, so it takes only documents that
leave no choice.
"""

import json
import math
import re
from array import array
from itertools import accumulate
from typing import Any, Final, NoReturn

DEPTH_LIMIT: Final = 64
"""How many arrays and objects may be open at once."""

NUMBER_LIMIT: Final = 100
"""Longest number, in characters: a double written out in full has fewer."""

_ECHO_LIMIT: Final = 100

# Keeps brackets alone, an opening one as 1 and a closing one as -1 (255, read as a signed byte).
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"[{]}"))

_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def loads(body: bytes) -> Any:
    """The value that ``body`` holds; raises ValueError, with the reason, for any doubt.

    Takes time in proportion to the length of ``body``, whatever is in it.
    """
    # > The encoding MUST be UTF-8        (OCI image spec, considerations, "JSON")
    text = body.decode("utf-8")
    _check_depth(body)
    value = json.loads(
        text,
        object_pairs_hook=_object,
        parse_int=_integer,
        parse_float=_real,
        parse_constant=_constant,
    )
    if _SURROGATE_ESCAPE.search(text):
        _check_surrogates(value)
    return value


def _check_depth(body: bytes) -> None:
    """Measure the nesting before a parser recurses into it."""
    if body.count(b"[") + body.count(b"{") <= DEPTH_LIMIT:
        return
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    outside_strings = b"".join(unescaped.split(b'"')[::2])
    steps = array("b", outside_strings.translate(_STEPS, _NO_BRACKET))
    if max(accumulate(steps), default=0) > DEPTH_LIMIT:
        raise ValueError(f"nested deeper than {DEPTH_LIMIT} levels")


def _check_surrogates(value: Any) -> None:
    # The parser joins a pair into one character; what is left of D800 to DFFF stands alone.
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("half a surrogate pair in a string") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # > Objects MUST NOT contain duplicate names        (OCI image spec, considerations, "JSON")
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the name {name[:_ECHO_LIMIT]!a} comes twice in an object")
            seen.add(name)
    return members


def _integer(digits: str) -> int:
    _check_length(digits)
    return int(digits)


def _real(digits: str) -> float:
    # > Numbers SHOULD be limited to IEEE 754 double precision        (as above)
    _check_length(digits)
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits} is out of range")
    return number


def _check_length(digits: str) -> None:
    if len(digits) > NUMBER_LIMIT:
        raise ValueError(f"a number of {len(digits)} characters")


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
