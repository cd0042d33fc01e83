"""The ``users`` back end: accounts in the index."""

from functools import cached_property

from registry_wsgi.auth.base import Principal
from registry_wsgi.auth.passwords import PasswordChecker, fingerprint, make_hash
from registry_wsgi.storage.accounts import Account, Accounts


class UsersBackend:
    """``Authenticator`` over ``registry-wsgi user``."""

    def __init__(self, accounts: Accounts, checker: PasswordChecker) -> None:
        self._accounts = accounts
        self._checker = checker

    @cached_property
    def _nobody(self) -> str:
        """A hash that costs as much to check as a real one, so that unknown names do too."""
        return make_hash("")

    def check(self, name: str, password: str) -> Principal | None:
        """The user whose password this is."""
        account = self._accounts.account(name)
        stored = account.password_hash if account else self._nobody
        right = self._checker.check(name, password, stored)
        return self._principal(account) if right and account else None

    def find(self, name: str) -> Principal | None:
        """The user as the index has it now."""
        account = self._accounts.account(name)
        return self._principal(account) if account else None

    def _principal(self, account: Account) -> Principal:
        groups = self._accounts.groups(account.name)
        return Principal(account.name, groups, "user", fingerprint(account.password_hash))
