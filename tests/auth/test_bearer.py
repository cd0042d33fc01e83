"""Bearer tokens: only what this registry signed, for now, for itself, counts."""

import base64
import hashlib
import json
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from itsdangerous import URLSafeSerializer, URLSafeTimedSerializer

from registry_wsgi.auth.base import ANONYMOUS, Principal
from registry_wsgi.auth.bearer import (
    LIMIT,
    SCOPES,
    SCOPES_LENGTH,
    BearerTokens,
    Scope,
    parse_scopes,
)

OLD, KEY, NEW = b"old key " * 4, b"the key " * 4, b"new key " * 4
AUDIENCE = "registry.test"
ANNA = Principal("anna", frozenset({"developers"}), "user", "fingerprint")
SCOPE: list[Scope] = [("repository", "team/app", frozenset({"pull", "push"}))]


@dataclass
class Signer:
    """Keys and a clock that a test changes."""

    keys: Sequence[bytes] = (KEY,)
    age: int = 1_000_000
    audience: str = AUDIENCE
    tokens: BearerTokens = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = BearerTokens(lambda: self.keys, self.audience, lambda: self.age, 300)

    def make(self) -> str:
        """A token of anna's."""
        return self.tokens.make(ANNA, SCOPE)

    def reads(self, token: str) -> bool:
        """Whether the token counts."""
        return self.tokens.read(token) is not None


@pytest.fixture
def signer() -> Signer:
    """One with one key."""
    return Signer()


PLAIN = {"key_derivation": "hmac", "digest_method": hashlib.sha256}


def serializer(
    key: bytes = KEY, salt: str = "token-v1", signer_kwargs: dict[str, Any] | None = None
) -> URLSafeSerializer:
    """What signs as the registry does, but for what is given."""
    options = PLAIN if signer_kwargs is None else signer_kwargs
    return URLSafeSerializer([key], salt=salt, signer_kwargs=options)


def payload_of(token: str) -> dict[str, object]:
    """What a token says."""
    payload: dict[str, object] = serializer().loads(token)
    return payload


def test_a_token_says_who_asked_for_what(signer: Signer) -> None:
    """Reading it gives the name, kind and fingerprint and the scope, and none of the groups."""
    found = signer.tokens.read(signer.make())

    assert found == Principal(
        "anna",
        frozenset(),
        "user",
        "fingerprint",
        None,
        frozenset({("repository", "team/app", "pull"), ("repository", "team/app", "push")}),
    )


def test_a_token_carries_no_rights(signer: Signer) -> None:
    """Neither groups nor grants nor rules are in it, and its form is the documented one."""
    assert payload_of(signer.make()) == {
        "aud": AUDIENCE,
        "exp": 1_300_000,
        "sub": "anna",
        "kind": "user",
        "cred": "fingerprint",
        "scope": [["repository", "team/app", ["pull", "push"]]],
    }


def test_an_anonymous_token_may_be_of_nothing(signer: Signer) -> None:
    """It has a scope, an empty one: that is not the same as none."""
    found = signer.tokens.read(signer.tokens.make(ANONYMOUS, []))

    assert found == Principal(scope=frozenset())


@pytest.mark.parametrize(
    ("milliseconds", "counts"),
    [(0, True), (299_999, True), (300_000, False), (86_400_000, False)],
)
def test_a_token_ends(signer: Signer, milliseconds: int, counts: bool) -> None:
    """After its seconds of uptime it is over, also where it was read before."""
    token = signer.make()
    before = signer.reads(token)
    signer.age += milliseconds

    assert before
    assert signer.reads(token) is counts


def test_every_changed_letter_is_noticed(signer: Signer) -> None:
    """Whichever letter of a token is another one, it does not count."""
    token = signer.make()
    letters = string.ascii_letters + string.digits + "-_."
    for place, letter in enumerate(token):
        for other in letters.replace(letter, ""):
            forged = token[:place] + other + token[place + 1 :]
            # The last letter of base64 has bits that mean nothing: those alone may differ.
            same = place == len(token) - 1 and decoded(forged) == decoded(token)

            assert same or not signer.reads(forged), f"{other} at {place}"


def decoded(token: str) -> bytes:
    """The signature of a token, as far as it is one."""
    return base64.urlsafe_b64decode(token.rpartition(".")[2] + "==")


FORGERIES: dict[str, Callable[[Signer], str]] = {
    "nothing": lambda _: "",
    "a word": lambda _: "token",
    "dots": lambda _: "..",
    "no signature": lambda signer: signer.make().rpartition(".")[0],
    "an empty signature": lambda signer: signer.make().rpartition(".")[0] + ".",
    "another payload under a signature": lambda signer: ".".join(
        [
            base64.urlsafe_b64encode(
                json.dumps({**payload_of(signer.make()), "sub": "root"}).encode()
            ).decode(),
            signer.make().rpartition(".")[2],
        ]
    ),
    "another key": lambda _: Signer((NEW,)).make(),
    "an empty key": lambda signer: serializer(b"").dumps(payload_of(signer.make())),
    "another audience": lambda _: Signer(audience="registry.example").make(),
    "another salt": lambda signer: serializer(salt="upload-state").dumps(payload_of(signer.make())),
    "itsdangerous's own salt": lambda signer: serializer(salt="itsdangerous").dumps(
        payload_of(signer.make())
    ),
    "SHA-1": lambda signer: serializer(
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha1}
    ).dumps(payload_of(signer.make())),
    "no key derivation": lambda signer: serializer(
        signer_kwargs={"key_derivation": "none", "digest_method": hashlib.sha256}
    ).dumps(payload_of(signer.make())),
    "itsdangerous's own derivation": lambda signer: serializer(signer_kwargs={}).dumps(
        payload_of(signer.make())
    ),
    "a timestamp": lambda signer: str(
        URLSafeTimedSerializer([KEY], salt="token-v1").dumps(payload_of(signer.make()))
    ),
    "a JSON web token": lambda _: (
        "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJyb290IiwiYXVkIjoicmVnaXN0cnkudGVzdCJ9."
    ),
    "100 KiB": lambda signer: signer.make() + "A" * (100 << 10),
    "100 KiB, signed": lambda signer: signer.tokens.make(
        ANNA, [("repository", f"team/{n:0200}", frozenset({"pull"})) for n in range(2000)]
    ).ljust(100 << 10, "A"),
    "other letters": lambda signer: signer.make().replace(".", "\u2024"),
    "a NUL": lambda signer: signer.make() + "\0",
    "a blank": lambda signer: f" {signer.make()}",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_nothing_else_counts(signer: Signer, forgery: str) -> None:
    """What is not exactly as this registry signs it is no token, tried once or again."""
    token = FORGERIES[forgery](signer)

    assert not signer.reads(token)
    assert not signer.reads(token)


def test_a_token_longer_than_a_header_is_not_looked_at(signer: Signer) -> None:
    """Even a well-signed one: no header could have brought it."""
    scope: list[Scope] = [("repository", f"{n}/{hash(n):x}", frozenset()) for n in range(3000)]
    token = signer.tokens.make(ANNA, scope)

    assert len(token) > LIMIT
    assert not signer.reads(token)


# --- Keys -----------------------------------------------------------------------------------------


def test_the_newest_key_signs(signer: Signer) -> None:
    """Of several keys the last one is used."""
    signer.keys = (OLD, KEY)

    assert Signer((KEY,)).reads(signer.make())
    assert not Signer((OLD,)).reads(signer.make())


@pytest.mark.parametrize(
    ("keys", "counts"),
    [
        pytest.param((KEY, NEW), True, id="still listed"),
        pytest.param((OLD, KEY, NEW), True, id="among others"),
        pytest.param((NEW, KEY), True, id="put last"),
        pytest.param((NEW,), False, id="removed"),
        pytest.param((OLD, NEW), False, id="removed among others"),
    ],
)
def test_a_token_counts_while_its_key_is_listed(
    signer: Signer, keys: Sequence[bytes], counts: bool
) -> None:
    """A rotation takes effect with the next use, on tokens that were read before, too."""
    token = signer.make()
    before = signer.reads(token)
    signer.keys = keys

    assert before
    assert signer.reads(token) is counts
    assert signer.reads(signer.make())


# --- Scopes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param([""], {}, id="an empty one"),
        pytest.param(["repository:team/app:pull"], {"team/app": "pull"}, id="one"),
        pytest.param(
            ["repository:team/app:pull,push"], {"team/app": "pull push"}, id="two actions"
        ),
        pytest.param(["repository:team/app:*"], {"team/app": "delete pull push"}, id="all actions"),
        pytest.param(
            ["repository:a:pull repository:b:push"], {"a": "pull", "b": "push"}, id="in one, spaced"
        ),
        pytest.param(
            ["repository:a:pull", "repository:b:push"], {"a": "pull", "b": "push"}, id="two"
        ),
        pytest.param(["repository:a:pull", "repository:a:push"], {"a": "pull push"}, id="twice"),
        pytest.param(["repository(plugin):a:pull"], {"a": "pull"}, id="docker's class"),
        pytest.param(["registry:catalog:*"], {"catalog": "catalog"}, id="the catalog"),
        pytest.param(["registry:other:*"], {}, id="no catalog"),
        pytest.param(["repository:a:pull,admin,fly"], {"a": "pull"}, id="unknown actions"),
        pytest.param(["repository:a:overwrite"], {"a": ""}, id="an action that docker has not"),
        pytest.param(["repository:a:"], {"a": ""}, id="no action"),
        pytest.param(["plugin:a:pull", "x:y:z"], {}, id="unknown types"),
        pytest.param(["repositoryx:a:pull"], {}, id="a longer type"),
        pytest.param(["repository:a"], {}, id="no actions"),
        pytest.param(["repository", ":", "::", "a:b:c:d"], {}, id="scraps"),
        pytest.param(["repository:UPPER:pull"], {}, id="no name"),
        pytest.param(["repository:../../etc:pull"], {}, id="dots"),
        pytest.param(["repository:host:5000/a:pull"], {}, id="a host in the name"),
        pytest.param(["repository::pull"], {}, id="an empty name"),
        pytest.param(["repository:a\n:pull"], {}, id="a line end"),
        pytest.param(
            ["repository:a:pull\tregistry:catalog:*"],
            {"a": "pull", "catalog": "catalog"},
            id="a tab",
        ),
    ],
)
def test_scopes_are_understood(texts: list[str], expected: dict[str, str]) -> None:
    """As docker's specification writes them; what is unknown is left out and never an error."""
    assert {name: " ".join(sorted(actions)) for _, name, actions in parse_scopes(texts)} == expected


def test_a_token_is_for_fifty_scopes_at_most() -> None:
    """The first ones asked for; the rest is not granted, and no error."""
    found = parse_scopes([f"repository:r{n}:pull" for n in range(1000)])

    assert [name for _, name, _ in found] == [f"r{n}" for n in range(SCOPES)]


def test_a_token_of_the_most_scopes_fits_a_header(signer: Signer) -> None:
    """Whatever the names, a client can send what it got."""
    names = [hashlib.sha512(b"%d" % n).hexdigest() + "/" + "x" * 126 for n in range(SCOPES)]
    found = parse_scopes([f"repository:{name}:pull,push" for name in names])
    token = signer.tokens.make(Principal("n" * 128, kind="user", fingerprint="f" * 16), found)

    assert 5 < len(found) < SCOPES
    assert sum(len(name) for _, name, _ in found) <= SCOPES_LENGTH
    assert len(f"Authorization: Bearer {token}") < 8190
    assert signer.reads(token)
