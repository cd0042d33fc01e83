"""Composition of sign-in: the back ends and the rules that the settings name."""

import importlib
import time
from pathlib import Path

from registry_wsgi.auth.base import Access, Authenticator
from registry_wsgi.auth.bearer import BearerTokens
from registry_wsgi.auth.guard import Guard
from registry_wsgi.auth.machines import MachineTokens
from registry_wsgi.auth.open import OpenAccess
from registry_wsgi.auth.passwords import PasswordChecker
from registry_wsgi.auth.proxy import ProxyBackend
from registry_wsgi.auth.rules import rules_of
from registry_wsgi.auth.throttle import Throttle
from registry_wsgi.auth.users import UsersBackend
from registry_wsgi.config import Config, ConfigError
from registry_wsgi.storage.accounts import Accounts
from registry_wsgi.storage.base import Clock
from registry_wsgi.web.location import Locator


def build_access(
    config: Config, accounts: Accounts, clock: Clock, keys: list[bytes], locator: Locator
) -> Access:
    """Who may do what; raises ConfigError for a back end that cannot be."""
    auth = config.auth
    if not auth.backends:
        return OpenAccess()
    authenticators: list[Authenticator] = [MachineTokens(accounts, clock.now)]
    for name in auth.backends:
        if name == "users":
            authenticators.append(UsersBackend(accounts, PasswordChecker(now=time.monotonic)))
        elif name == "htpasswd":
            authenticators.append(load_htpasswd(auth.htpasswd_file, accounts))
    peers = Locator("", "auto", auth.proxy_peers)
    proxy = ProxyBackend(auth.proxy_header, peers.trusts, accounts)
    return Guard(
        authenticators,
        rules_of((rule.repositories, rule.users, rule.actions) for rule in config.access),
        BearerTokens(keys, auth.service, clock.age, auth.token_seconds),
        Throttle(time.monotonic),
        locator.trusted_base,
        clock.now,
        auth.service,
        proxy if "proxy" in auth.backends else None,
    )


def load_htpasswd(path: str, accounts: Accounts) -> Authenticator:
    """The htpasswd back end, an extra; raises ConfigError for what keeps it from working."""
    try:
        module = importlib.import_module("registry_wsgi.auth.htpasswd")
    except ImportError as error:
        raise ConfigError(
            "auth.backends: htpasswd needs an extra: pip install 'registry_wsgi[htpasswd]'"
        ) from error
    checker = PasswordChecker(module.verify, now=time.monotonic)
    try:
        backend: Authenticator = module.HtpasswdBackend(Path(path), accounts, checker)
    except (OSError, UnicodeDecodeError, module.HtpasswdError) as error:
        raise ConfigError(f"auth.htpasswd_file = {path!r}: {error}") from error
    return backend
