"""Bearer tokens: opaque to clients, signed by itsdangerous, short-lived, never final rights.

A token says who asked and for what; whether that may be done is asked of the rules anew with each
request. No algorithm and no key is chosen by the token.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from itsdangerous import BadData, URLSafeSerializer

from registry_wsgi.auth.base import Principal
from registry_wsgi.names import Name

SCOPES: Final = 50
"""Most scopes that one token is given for."""

SCOPES_LENGTH: Final = 3000
"""Most characters of scopes that one token is given for: it has to fit into a header."""

KNOWN: Final = {
    "repository": frozenset({"pull", "push", "delete"}),
    "registry": frozenset({"catalog"}),
}

Scope = tuple[str, str, frozenset[str]]
"""(type, name, actions), such as ``repository:team/app:pull,push``."""

REMEMBERED: Final = 1024
LIMIT: Final = 8192
"""Longest token that is looked at, in characters: gunicorn takes no longer header."""


def parse_scopes(texts: Iterable[str]) -> list[Scope]:
    """What a client asks for; what is unknown, or too much, is left out and never an error."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    room = SCOPES_LENGTH
    for part in " ".join(texts).split():
        scope = _parse_scope(part)
        if scope is None:
            continue
        kind, name, actions = scope
        if (kind, name) not in found:
            room -= len(part)
            if room < 0 or len(found) == SCOPES:
                break
        found[kind, name] = found.get((kind, name), frozenset()) | actions
    return [(kind, name, actions) for (kind, name), actions in found.items()]


def _parse_scope(text: str) -> Scope | None:
    """``type:name:action,action``, the last colon ending the name; ``None`` for unknown ones."""
    head, _, actions = text.rpartition(":")
    kind, _, name = head.partition(":")
    # Docker's classes, such as repository(plugin), are the type's.
    kind = kind.partition("(")[0]
    known = KNOWN.get(kind)
    if known is None or (name != "catalog" if kind == "registry" else Name.maybe(name) is None):
        return None
    asked = set(actions.split(","))
    return kind, name, known if "*" in asked else known & asked


class BearerTokens:
    """Makes and reads tokens. ``age`` is milliseconds of uptime, ``seconds`` a token's life.

    ``keys`` gives the keys as they are now, the newest last: it signs, and all of them count.
    """

    def __init__(
        self,
        keys: Callable[[], Sequence[bytes]],
        audience: str,
        age: Callable[[], int],
        seconds: int,
    ) -> None:
        self._keys = keys
        self._audience = audience
        self._age = age
        self.seconds = seconds
        self._signer = _Signer(keys(), audience)

    def make(self, principal: Principal, scopes: Iterable[Scope]) -> str:
        """A token that says ``principal`` asked for these."""
        payload = {
            "aud": self._audience,
            "exp": self._age() + self.seconds * 1000,
            "sub": principal.name,
            "kind": principal.kind,
            "cred": principal.fingerprint,
            "scope": [[kind, name, sorted(actions)] for kind, name, actions in scopes],
        }
        return str(self._current().serializer.dumps(payload))

    def read(self, token: str) -> Principal | None:
        """Who a token is of and what for; ``None`` for one that is forged, foreign or over.

        The principal has no rights yet: it is to be found anew, with the same fingerprint.
        """
        if len(token) > LIMIT:
            return None
        verified = self._current().verified(token)
        if verified is None or verified[1] <= self._age():
            return None
        return verified[0]

    def _current(self) -> "_Signer":
        keys = self._keys()
        if keys is not self._signer.keys:
            self._signer = _Signer(keys, self._audience)
        return self._signer


class _Signer:
    """What certain keys sign and have signed."""

    def __init__(self, keys: Sequence[bytes], audience: str) -> None:
        self.keys = keys
        self.serializer = URLSafeSerializer(
            list(keys),
            salt="token-v1",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )
        self._audience = audience
        self.verified = lru_cache(maxsize=REMEMBERED)(self._verify)

    def _verify(self, token: str) -> tuple[Principal, int] | None:
        """The signature is checked once for each token; what can change is not kept here."""
        try:
            payload: Any = self.serializer.loads(token)
        except BadData:
            return None
        if payload["aud"] != self._audience:
            return None
        scope = frozenset(
            (kind, name, action) for kind, name, actions in payload["scope"] for action in actions
        )
        found = Principal(payload["sub"], kind=payload["kind"], fingerprint=payload["cred"])
        return found._replace(scope=scope), payload["exp"]
