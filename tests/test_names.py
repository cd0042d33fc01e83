"""Names, tags and digests are parsed once, and what is malformed is told with its row."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_wsgi import names
from registry_wsgi.errors import (
    DIGEST_MALFORMED,
    NAME_INVALID,
    TAG_INVALID,
    ErrorRow,
    RegistryError,
)
from registry_wsgi.names import Digest, Name, Pattern, Tag, digest_of, new_hash, parse_reference

SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8
Parsed = type[Name] | type[Tag] | type[Digest]

RIGHT: dict[Parsed, dict[str, str]] = {
    Name: {
        "one letter": "a",
        "one digit": "0",
        "components": "library/alpine/3/edge",
        "a dot": "a.b",
        "an underscore": "a_b",
        "two underscores": "a__b",
        "hyphens": "a---b",
        "separators one after another": "a.b_c-d/e__f",
        "the longest": "a" * 255,
        "words of the API": "v2/blobs/uploads/manifests/tags/list",
    },
    Tag: {
        "a word": "latest",
        "a version": "v1.2.3-rc.1_x",
        "capital letters": "ABC",
        "an underscore": "_",
        "a digit": "0",
        "the longest": "a" * 128,
        "a referrers tag": f"sha256-{'a' * 64}",
        "dots at the end": "a..",
    },
    Digest: {"sha256": SHA256, "sha512": SHA512},
}

WRONG: dict[Parsed, tuple[ErrorRow, dict[str, str]]] = {
    Name: (
        NAME_INVALID,
        {
            "nothing": "",
            "a capital letter": "Library",
            "a slash at the start": "/a",
            "a slash at the end": "a/",
            "two slashes": "a//b",
            "a dot at the start": ".a",
            "a dot at the end": "a.",
            "two dots": "a..b",
            "a parent directory": "../../etc/passwd",
            "three underscores": "a___b",
            "a hyphen at the start": "-a",
            "a hyphen at the end": "a-",
            "a hyphen at a component's start": "a/-b",
            "different separators": "a.-b",
            "a space": "a b",
            "a line end": "a\n",
            "a null character": "a\0b",
            "a colon": "host:5000/a",
            "an at sign": "a@b",
            "a letter that is not ASCII": "é",
            "a digit that is not ASCII": "a\N{ARABIC-INDIC DIGIT ONE}",
            "a percent sign": "a%2Fb",
            "one more than the longest": "a" * 256,
        },
    ),
    Tag: (
        TAG_INVALID,
        {
            "nothing": "",
            "a dot at the start": ".a",
            "a hyphen at the start": "-a",
            "a space": "a b",
            "a slash": "a/b",
            "an at sign": "a@b",
            "a colon": "a:b",
            "an exclamation mark": "bad!",
            "a line end": "latest\n",
            "a letter that is not ASCII": "é",
            "one more than the longest": "a" * 129,
        },
    ),
    Digest: (
        DIGEST_MALFORMED,
        {
            "nothing": "",
            "no hash": "sha256:",
            "no algorithm": ":abc",
            "63 digits": SHA256[:-1],
            "65 digits": SHA256 + "0",
            "the hash of the other": f"sha512:{SHA256[7:]}",
            "capital digits": SHA256.upper().replace("SHA", "sha"),
            "a capital algorithm": SHA256.replace("sha", "SHA"),
            "another algorithm": "md5:" + "0" * 32,
            "no hexadecimal": "sha256:" + "g" * 64,
            "digits that are not ASCII": "sha256:" + "\N{ARABIC-INDIC DIGIT ONE}" * 64,
            "a line end": SHA256 + "\n",
            "a space": " " + SHA256,
            "percent-encoded": SHA256.replace(":", "%3A"),
        },
    ),
}


def rows(of: dict[Parsed, dict[str, str]]) -> list[object]:
    """The table's cells with readable ids."""
    return [
        pytest.param(kind, text, id=f"{kind.__name__}: {why}")
        for kind, cells in of.items()
        for why, text in cells.items()
    ]


@pytest.mark.parametrize(("kind", "text"), rows(RIGHT))
def test_a_well_formed_text_is_parsed_into_itself(kind: Parsed, text: str) -> None:
    """What is parsed is of its type and reads as it was written."""
    assert kind.parse(text) == text
    assert type(kind.parse(text)) is kind
    assert kind.maybe(text) == text


@pytest.mark.parametrize(
    ("kind", "text"), rows({kind: cells for kind, (_, cells) in WRONG.items()})
)
def test_a_malformed_text_is_refused_with_the_row_of_its_kind(kind: Parsed, text: str) -> None:
    """Malformed text is no value, and parsing it tells which kind of value it should have been."""
    with pytest.raises(RegistryError) as caught:
        kind.parse(text)

    assert caught.value.row is WRONG[kind][0]
    assert caught.value.detail == text
    assert kind.maybe(text) is None


def test_an_error_repeats_no_more_than_300_characters() -> None:
    """Somebody who sends 64 KiB as a digest does not get them all back."""
    with pytest.raises(RegistryError) as caught:
        Digest.parse("sha256:" + "f" * 65536)

    assert len(str(caught.value.detail)) == 300


def test_a_long_name_is_refused_without_looking_at_it() -> None:
    """A name that could make the expression backtrack is refused by its length alone."""
    assert Name.maybe("a" + "-" * (1 << 20)) is None


@given(st.text(alphabet="ab0._-/A:\n", max_size=40))
def test_a_name_is_what_the_specification_says(text: str) -> None:
    """The expression here and the one in the specification accept the same names."""
    component = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
    expected = re.fullmatch(rf"{component}(\/{component})*", text) is not None

    assert (Name.maybe(text) is not None) == expected


# --- Digests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algorithm", "digits", "size"), [("sha256", 64, 32), ("sha512", 128, 64)])
def test_a_digest_has_an_algorithm_and_a_hash(algorithm: str, digits: int, size: int) -> None:
    """A digest is computed, taken apart, packed for the index and unpacked again."""
    digest = Digest.of(b"content", algorithm)

    assert digest == f"{algorithm}:{hashlib.new(algorithm, b'content').hexdigest()}"
    assert Digest.parse(digest) == digest
    assert digest.algorithm == algorithm
    assert len(digest.hex) == digits
    assert len(digest.pack()) == size
    assert Digest.unpack(digest.pack()) == digest


def test_a_digest_is_of_sha256_unless_said_otherwise() -> None:
    """sha256 is what every client knows."""
    assert Digest.of(b"").algorithm == "sha256"


@pytest.mark.parametrize("algorithm", names.ALGORITHMS)
def test_a_running_hash_comes_to_the_same_digest(algorithm: str) -> None:
    """Hashing piece by piece gives the digest of the whole."""
    running = new_hash(algorithm)
    running.update(b"con")
    running.update(b"tent")

    assert digest_of(running) == Digest.of(b"content", algorithm)


@pytest.mark.parametrize("algorithm", ["md5", "", "SHA256", "sha384", "x" * 1000])
def test_an_unknown_algorithm_is_refused(algorithm: str) -> None:
    """Only registered algorithms that the registry knows can be hashed with."""
    with pytest.raises(RegistryError) as caught:
        new_hash(algorithm)

    assert caught.value.row is DIGEST_MALFORMED
    assert len(str(caught.value.detail)) <= 300


# --- References -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "kind"), [("latest", Tag), (SHA256, Digest), (SHA512, Digest)])
def test_a_reference_is_a_tag_or_a_digest(text: str, kind: Parsed) -> None:
    """A colon tells a digest from a tag."""
    assert type(parse_reference(text)) is kind
    assert parse_reference(text) == text


@pytest.mark.parametrize("text", ["", ".x", "-x", "a b", "a@b", "a" * 129, "é"])
def test_what_can_be_neither_names_no_manifest(text: str) -> None:
    """A reference in any other format is of nothing that exists."""
    assert parse_reference(text) is None


@pytest.mark.parametrize("text", ["sha256:short", "a:b", ":", "sha256:" + "F" * 64])
def test_a_reference_with_a_colon_is_never_a_tag(text: str) -> None:
    """What looks like a digest and is none is an error, so that no tag is looked up for it."""
    with pytest.raises(RegistryError) as caught:
        parse_reference(text)

    assert caught.value.row is DIGEST_MALFORMED


# --- Patterns -------------------------------------------------------------------------------------

MATCHES = {
    "a name": ("team/app", {"team/app"}),
    "everything": ("**", {"team", "team/app", "team/app/x", "teams/app", "team-a/app", "other"}),
    "one component": ("*", {"team", "other"}),
    "below a component": ("team/**", {"team/app", "team/app/x"}),
    "one below a component": ("team/*", {"team/app"}),
    "the end": ("**/app", {"team/app", "teams/app", "team-a/app"}),
    "a beginning": ("team*/app", {"team/app", "teams/app", "team-a/app"}),
    "in between": ("team/**/x", {"team/app/x"}),
    "a dot is a dot": ("tea./app", set()),
}
NAMES = {"team", "team/app", "team/app/x", "teams/app", "team-a/app", "other"}


@pytest.mark.parametrize(("pattern", "expected"), MATCHES.values(), ids=MATCHES)
def test_a_pattern_matches_whole_names(pattern: str, expected: set[str]) -> None:
    """One star stays within a component, two go across them; everything else is itself."""
    assert {name for name in NAMES if Pattern(pattern).matches(Name(name))} == expected


@pytest.mark.parametrize("text", ["a", "*", "**", "team/**", "team/*/x", "a*b/c-*", "**/latest"])
def test_a_pattern_is_made_of_a_name_and_stars(text: str) -> None:
    """What some repository could match is a pattern."""
    assert Pattern.maybe(text) == text


@pytest.mark.parametrize("text", ["", "Team/**", "a b", "a:*", "@a", "[ab]", "a?", "a\n", "é"])
def test_what_no_repository_could_match_is_no_pattern(text: str) -> None:
    """A pattern that would silently match nothing is refused."""
    assert Pattern.maybe(text) is None
