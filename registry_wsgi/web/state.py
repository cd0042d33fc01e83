"""``_state``: what the registry told a client about its upload session, signed.

It is the JSON object that docker distribution signs, here by itsdangerous. It proves that the
client was given this session at this offset; it is never sufficient alone.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from registry_wsgi.errors import UPLOAD_STATE_INVALID, RegistryError
from registry_wsgi.names import Name
from registry_wsgi.services.uploads import Progress


class StateSigner:
    """Signs with the newest of ``keys``, the last, and accepts all of them as they are now."""

    def __init__(self, keys: Callable[[], Sequence[bytes]]) -> None:
        self._keys = keys
        self._made = _serializer(keys())

    def _current(self) -> URLSafeSerializer:
        keys = self._keys()
        if keys is not self._made[0]:
            self._made = _serializer(keys)
        return self._made[1]

    def sign(self, progress: Progress) -> str:
        """The ``_state`` of a session, safe in a URL."""
        upload = progress.upload
        state = {
            "Name": upload.repository,
            "UUID": upload.uuid,
            "Offset": progress.offset,
            "StartedAt": upload.started_at,
        }
        signed = self._current().dumps(state)
        return signed if isinstance(signed, str) else signed.decode("ascii")

    def offset(self, text: str | None, repository: Name, uuid: str) -> int:
        """The offset that the client was told; raises RegistryError for any other ``_state``."""
        if text is None:
            raise RegistryError(UPLOAD_STATE_INVALID, "_state is missing")
        try:
            state: Any = self._current().loads(text)
        except BadData:
            raise RegistryError(
                UPLOAD_STATE_INVALID, "_state is not one of this registry"
            ) from None
        if state["Name"] != repository or state["UUID"] != uuid:
            raise RegistryError(UPLOAD_STATE_INVALID, "_state is of another upload")
        offset: int = state["Offset"]
        return offset


def _serializer(keys: Sequence[bytes]) -> tuple[Sequence[bytes], URLSafeSerializer]:
    """The keys, and what signs with them."""
    return keys, URLSafeSerializer(
        list(keys),
        salt="upload-state",
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )
