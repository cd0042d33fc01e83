"""The ``users`` back end: accounts in the index."""

import secrets
from functools import cached_property

from registry_wsgi.auth.base import Principal
from registry_wsgi.auth.passwords import PasswordChecker, fingerprint, make_hash
from registry_wsgi.storage.accounts import Account, Accounts


class UsersBackend:
    """``Authenticator`` over ``registry-wsgi user``."""

    kind = "user"

    def __init__(self, accounts: Accounts, checker: PasswordChecker) -> None:
        self._accounts = accounts
        self._checker = checker

    @cached_property
    def _nobody(self) -> str:
        """A hash that costs as much to check as a real one, so that unknown names do too.

        Its password is nobody's: one that could be guessed would be remembered as right.
        """
        return make_hash(secrets.token_hex())

    def recall(self, name: str, password: str) -> Principal | None:
        """The user who was let in with this password a moment ago."""
        account = self._accounts.account(name)
        if account is None or not self._checker.recall(name, password, account.password_hash):
            return None
        return _principal(account)

    def check(self, name: str, password: str) -> Principal | None:
        """The user whose password this is."""
        account, nobody = self._accounts.account(name), self._nobody
        stored = account.password_hash if account else nobody
        right = self._checker.check(name, password, stored)
        return _principal(account) if right and account else None

    def find(self, name: str) -> Principal | None:
        """The user as the index has it now."""
        account = self._accounts.account(name)
        return _principal(account) if account else None


def _principal(account: Account) -> Principal:
    return Principal(account.name, account.groups, "user", fingerprint(account.password_hash))
