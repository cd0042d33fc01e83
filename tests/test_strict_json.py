"""JSON is taken when every reader reads it alike, and refused otherwise."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_wsgi import strict_json

REFUSED = {
    "nothing": (b"", "Expecting value"),
    "white space": (b" \n", "Expecting value"),
    "a cut object": (b'{"a": 1', "Expecting ',' delimiter"),
    "two values": (b"{} {}", "Extra data"),
    "a trailing comma": (b'{"a": 1,}', "property name"),
    "a comment": (b"{} // {}", "Extra data"),
    "single quotes": (b"{'a': 1}", "property name"),
    "a control character": (b'"a\x01"', "Invalid control character"),
    "a wrong escape": (rb'"\x41"', "escape"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "BOM"),
    "UTF-16": ("{}".encode("utf-16"), "can't decode"),
    "UTF-16 without a mark": ("{}".encode("utf-16-le"), "Expecting"),
    "latin-1": ('"é"'.encode("latin-1"), "can't decode"),
    "an overlong form": (b'"\xc0\xaf"', "can't decode"),
    "a surrogate in UTF-8": (b'"\xed\xa0\x80"', "can't decode"),
    "a high surrogate alone": (rb'"\ud83d"', "surrogate"),
    "a low surrogate alone": (rb'"\uDE00"', "surrogate"),
    "a pair the wrong way round": (rb'"\ude00\ud83d"', "surrogate"),
    "half a pair as a name": (rb'{"\ud83d": 1}', "surrogate"),
    "half a pair beside a whole one": (rb'["\ud83d\ude00", "\ud83d"]', "surrogate"),
    "a name twice": (b'{"a": 1, "a": 1}', "'a' comes twice"),
    "a name twice, further down": (b'[{"b": {"c": 1, "a": 2, "d": 3, "a": 4}}]', "'a' comes twice"),
    "a name twice, once escaped": (rb'{"a": 1, "\u0061": 1}', "'a' comes twice"),
    "NaN": (b"[NaN]", "NaN is not"),
    "Infinity": (b"[Infinity]", "Infinity is not"),
    "minus Infinity": (b"[-Infinity]", "-Infinity is not"),
    "a number out of range": (b"[1e999]", "1e999 is out of range"),
    "a negative one": (b"[-1e999]", "-1e999 is out of range"),
    "an integer of 101 digits": (b"1" * 101, "101 characters"),
    "an integer of 5000 digits": (b"[" + b"9" * 5000 + b"]", "5000 characters"),
    "a fraction of 5000 digits": (b"[0." + b"1" * 4998 + b"]", "5000 characters"),
    "a leading zero": (b"[01]", "Expecting ',' delimiter"),
    "65 arrays": (b"[" * 65 + b"]" * 65, "deeper than 64"),
    "65 objects": (b'{"a":' * 65 + b"1" + b"}" * 65, "deeper than 64"),
    "65 of both": (b'[{"a":' * 33 + b"1" + b"}]" * 33, "deeper than 64"),
    "65 arrays after strings": (rb'["\\", "\"", "]]]", ' + b"[" * 64 + b"]" * 65, "deeper than 64"),
    "100000 arrays": (b"[" * 100_000 + b"]" * 100_000, "deeper than 64"),
    "100000 open objects": (b'{"a":' * 100_000, "deeper than 64"),
}


@pytest.mark.parametrize(("body", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_doubtful_document_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    """What readers may take differently raises ValueError, which says why."""
    with pytest.raises(ValueError) as caught:
        strict_json.loads(body)

    assert reason in str(caught.value)


TAKEN = {
    "an empty object": (b"{}", {}),
    "white space around": (b" \r\n\t{} ", {}),
    "one name in two objects": (b'[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
    "names that differ in case": (b'{"a": 1, "A": 2}', {"a": 1, "A": 2}),
    "a surrogate pair": (rb'"\ud83d\ude00"', "\U0001f600"),
    "what looks like a surrogate behind a backslash": (rb'"\\ud83d"', r"\ud83d"),
    "characters beyond ASCII": ('"é\U0001f600"'.encode(), "é\U0001f600"),
    "an escaped NUL": (rb'"\u0000"', "\0"),
    "2^63": (b"9223372036854775808", 2**63),
    "an integer of 100 digits": (b"1" * 100, int("1" * 100)),
    "the largest double": (b"1.7976931348623157e308", 1.7976931348623157e308),
    "a number that rounds to zero": (b"1e-999", 0.0),
    "a hundred brackets in a string": (b'"' + b"[{" * 50 + b'"', "[{" * 50),
    "brackets after an escaped quote": (rb'"\"' + b"[" * 100 + b'"', '"' + "[" * 100),
    "a string that ends in a backslash": (rb'["\\", "' + b"[" * 100 + b'"]', ["\\", "[" * 100]),
    "two hundred arrays side by side": (b"[" + b"[]," * 199 + b"[]]", [[]] * 200),
}


@pytest.mark.parametrize(("body", "value"), TAKEN.values(), ids=TAKEN.keys())
def test_a_document_with_one_reading_is_taken(body: bytes, value: object) -> None:
    """What has one reading gives its value."""
    assert strict_json.loads(body) == value


def test_sixty_four_levels_are_taken() -> None:
    """A document as deep as the limit is taken."""
    value = strict_json.loads(b'[{"a":' * 32 + b"1" + b"}]" * 32)

    assert value[0]["a"][0].keys() == {"a"}


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**90), 10**90)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(JSON_VALUES, st.booleans())
def test_whatever_is_written_as_json_is_read_back(value: object, escaped: bool) -> None:
    """A value written by a JSON encoder, with or without escapes, is read as that value."""
    assert strict_json.loads(json.dumps(value, ensure_ascii=escaped).encode()) == value


@settings(deadline=None)
@given(st.binary() | st.text(alphabet='[]{}",:\\ud8cU0123456789.eE-+ntfINa').map(str.encode))
def test_any_bytes_give_a_value_or_a_value_error(body: bytes) -> None:
    """No bytes raise anything but ValueError, and no value holds what JSON lacks."""
    try:
        value = strict_json.loads(body)
    except ValueError:
        return

    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    assert not isinstance(value, float) or math.isfinite(value)
