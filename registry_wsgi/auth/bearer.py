"""Bearer tokens: opaque to clients, signed by itsdangerous, short-lived, never final rights.

A token says who asked and for what; whether that may be done is asked of the rules anew with each
request. No algorithm and no key is chosen by the token.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from itsdangerous import BadData, URLSafeSerializer

from registry_wsgi.auth.base import Principal
from registry_wsgi.names import Name

SCOPES: Final = 50
"""Most scopes that one token is given for."""

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
    """What a client asks for; unknown types and actions are left out, never an error."""
    found: list[Scope] = []
    for text in texts:
        for part in text.split(" "):
            head, _, actions = part.rpartition(":")
            kind, _, name = head.partition(":")
            # Docker's classes, such as repository(plugin), are the type's.
            known = KNOWN.get(kind.partition("(")[0])
            if known is None or (kind.startswith("repository") and Name.maybe(name) is None):
                continue
            asked = set(actions.split(","))
            wanted = known if "*" in asked else known & asked
            found.append((kind.partition("(")[0], name, frozenset(wanted)))
    return found[:SCOPES]


class BearerTokens:
    """Makes and reads tokens with ``keys``, the newest last. ``age`` is milliseconds of uptime."""

    def __init__(
        self, keys: Sequence[bytes], audience: str, age: Callable[[], int], seconds: int
    ) -> None:
        self._serializer = URLSafeSerializer(
            list(keys),
            salt="token-v1",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )
        self._audience = audience
        self._age = age
        self.seconds = seconds
        self._verified = lru_cache(maxsize=REMEMBERED)(self._verify)

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
        return str(self._serializer.dumps(payload))

    def read(self, token: str) -> Principal | None:
        """Who a token is of and what for; ``None`` for one that is forged, foreign or over.

        The principal has no rights yet: it is to be found anew, with the same fingerprint.
        """
        if len(token) > LIMIT:
            return None
        verified = self._verified(token)
        if verified is None or verified[1] <= self._age():
            return None
        return verified[0]

    def _verify(self, token: str) -> tuple[Principal, int] | None:
        """The signature is checked once for each token; what can change is not kept here."""
        try:
            payload: Any = self._serializer.loads(token)
        except BadData:
            return None
        if payload["aud"] != self._audience:
            return None
        scope = frozenset(
            (kind, name, action) for kind, name, actions in payload["scope"] for action in actions
        )
        found = Principal(payload["sub"], kind=payload["kind"], fingerprint=payload["cred"])
        return replace(found, scope=scope), payload["exp"]
