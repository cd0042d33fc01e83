"""One visit to a registry: with which credentials, to which repository, and what was left there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from registry_wsgi.doctor.client import Answer, Client


@dataclass(slots=True)
class Visit:
    """``authorization`` is sent with every request once it is known.

    ``blobs`` are the digests that were pushed to ``repository``, with what they should be.
    """

    client: Client
    repository: str
    user: str = ""
    password: str = ""
    size: int = 32 << 20
    authorization: str = ""
    open_to_all: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)

    def request(
        self,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, signed in; raises CannotCheckError without an answer."""
        return self.client.request(method, target, body, {**self.signed, **(headers or {})})

    @property
    def signed(self) -> dict[str, str]:
        """The header that signs in, if one is needed."""
        return {"Authorization": self.authorization} if self.authorization else {}

    @property
    def uploads(self) -> str:
        """Where uploads begin."""
        return f"/v2/{self.repository}/blobs/uploads/"

    def blob(self, digest: str) -> str:
        """Where a blob is."""
        return f"/v2/{self.repository}/blobs/{digest}"
