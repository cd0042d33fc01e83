"""The contract between sign-in and the index: accounts, groups and machine tokens."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Account(NamedTuple):
    """A user of the ``users`` back end. ``password_hash`` is werkzeug.security's.

    ``groups`` is what ``Accounts.groups`` says, and is not written with the account.
    """

    name: str
    password_hash: str
    created_at: str
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MachineToken:
    """A machine's credential: what it may do is part of it.

    ``secret_hash`` is SHA-256 of the secret; ``expires_at`` and ``last_used_at`` are RFC 3339.
    """

    name: str
    secret_hash: bytes
    repositories: tuple[str, ...]
    actions: tuple[str, ...]
    created_at: str
    expires_at: str | None = None
    last_used_at: str | None = None


class Accounts(Protocol):
    """Who is known. Every write is durable on return."""

    def account(self, name: str) -> Account | None:
        """The account of this name."""
        ...

    def accounts(self) -> list[Account]:
        """All accounts, by name."""
        ...

    def put_account(self, account: Account, *, new: bool) -> bool:
        """Add an account, or change its password; ``False`` if it exists, or does not."""
        ...

    def remove_account(self, name: str) -> bool:
        """Remove an account and its memberships; ``False`` if there is none."""
        ...

    def groups(self, name: str) -> frozenset[str]:
        """The groups a name is in, whatever back end knows it."""
        ...

    def memberships(self) -> list[tuple[str, str]]:
        """All (group, name) pairs, in order."""
        ...

    def join(self, group: str, name: str) -> None:
        """Put a name into a group."""
        ...

    def leave(self, group: str, name: str) -> bool:
        """Take a name out of a group; ``False`` if it was not in it."""
        ...

    def token(self, name: str) -> MachineToken | None:
        """The machine token of this name."""
        ...

    def tokens(self) -> list[MachineToken]:
        """All machine tokens, by name."""
        ...

    def add_token(self, token: MachineToken) -> bool:
        """Keep a new token; ``False`` if the name is taken."""
        ...

    def remove_token(self, name: str) -> bool:
        """Revoke a token; ``False`` if there is none."""
        ...

    def token_used(self, name: str, at: str) -> None:
        """Note when a token was last used; a power cut may undo it."""
        ...
