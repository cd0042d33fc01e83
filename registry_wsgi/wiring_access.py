"""Composition of sign-in: the back ends and the rules that the settings name."""

import importlib
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path

from registry_wsgi.auth.base import Access, Authenticator
from registry_wsgi.auth.bearer import BearerTokens
from registry_wsgi.auth.challenge import Challenge
from registry_wsgi.auth.guard import Guard
from registry_wsgi.auth.machines import MachineTokens
from registry_wsgi.auth.open import OpenAccess
from registry_wsgi.auth.passwords import PasswordChecker, Turns
from registry_wsgi.auth.proxy import ProxyBackend
from registry_wsgi.auth.rules import Rules, rules_of
from registry_wsgi.auth.signin import SignIn
from registry_wsgi.auth.throttle import Throttle
from registry_wsgi.auth.users import UsersBackend
from registry_wsgi.config import Config, ConfigError
from registry_wsgi.storage.accounts import Accounts
from registry_wsgi.storage.locks import FileLock
from registry_wsgi.storage.opening import Storage
from registry_wsgi.web.location import Locator
from registry_wsgi.web.peers import Peers

TURN_SECONDS = 5.0
"""How long a thread waits for its turn to check a password."""


def build_access(config: Config, storage: Storage, locator: Locator) -> Access:
    """Who may do what; raises ConfigError for back ends or rules that cannot be."""
    auth, accounts, clock = config.auth, storage.index.accounts, storage.clock
    if not auth.backends:
        if config.access:
            raise ConfigError(
                "auth.backends is empty, so everybody may do everything whatever [[access]] says: "
                "set auth.backends, or take the rules out"
            )
        return OpenAccess()
    turns = Turns(max(1, config.server.threads // 2), password_turn(storage))
    proxy = ProxyBackend(auth.proxy_header, Peers(auth.proxy_peers).trusts, accounts)
    return Guard(
        SignIn(
            build_authenticators(config, accounts, clock.now, turns),
            Throttle(time.monotonic),
            locator.client,
            proxy if "proxy" in auth.backends else None,
            proxy_first=auth.backends[0] == "proxy",
        ),
        build_rules(config),
        BearerTokens(storage.keys, auth.service, clock.age, auth.token_seconds),
        Challenge(locator.trusted_base, auth.service),
        clock.now,
    )


def build_rules(config: Config) -> Rules:
    """The rules of the settings."""
    return rules_of((rule.repositories, rule.users, rule.actions) for rule in config.access)


def build_authenticators(
    config: Config, accounts: Accounts, now: Callable[[], datetime], turns: Turns
) -> Sequence[Authenticator]:
    """What checks names and passwords, machine tokens first; raises ConfigError."""
    found: list[Authenticator] = [MachineTokens(accounts, now)]
    for name in config.auth.backends:
        if name == "users":
            found.append(UsersBackend(accounts, PasswordChecker(turns, time.monotonic)))
        elif name == "htpasswd":
            found.append(load_htpasswd(config.auth.htpasswd_file, accounts, turns))
    return found


def load_htpasswd(path: str, accounts: Accounts, turns: Turns) -> Authenticator:
    """The htpasswd back end, an extra; raises ConfigError for what keeps it from working."""
    try:
        module = importlib.import_module("registry_wsgi.auth.htpasswd")
    except ImportError as error:
        raise ConfigError(
            "auth.backends: htpasswd needs an extra: pip install 'registry_wsgi[htpasswd]'"
        ) from error
    checker = PasswordChecker(turns, time.monotonic, module.verify)
    try:
        backend: Authenticator = module.HtpasswdBackend(Path(path), accounts, checker)
    except (OSError, UnicodeDecodeError, module.HtpasswdError) as error:
        raise ConfigError(f"auth.htpasswd_file = {path!r}: {error}") from error
    return backend


def password_turn(storage: Storage) -> Callable[[], AbstractContextManager[None]]:
    """One password is checked for every two cores at a time, over all processes."""
    if storage.read_only:
        return nullcontext
    count = max(1, (os.cpu_count() or 1) // 2)
    folder = storage.data / "locks"
    locks = [FileLock(folder / f"password-{n}", timeout=TURN_SECONDS) for n in range(count)]

    def turn() -> AbstractContextManager[None]:
        # Which process this is shows after the fork only.
        return locks[os.getpid() % count].held()

    return turn
