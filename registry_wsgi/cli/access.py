"""``access``, ``audit`` and ``secret``: what is allowed, what was done, and what signs."""

import argparse
import json
import sys

from registry_wsgi.auth.base import ANONYMOUS, Principal
from registry_wsgi.auth.passwords import Turns
from registry_wsgi.cli.common import Command, CommandError, moment, number, opened
from registry_wsgi.config import Config
from registry_wsgi.names import Name
from registry_wsgi.settings import ACTIONS
from registry_wsgi.storage.inspecting import EventFilter
from registry_wsgi.storage.opening import Storage
from registry_wsgi.wiring import rotate_secret
from registry_wsgi.wiring_access import build_authenticators, build_rules


def _access_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=("check",))
    parser.add_argument("user", help="a name, a token's, or anonymous")
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("repository")


def _access(options: argparse.Namespace, config: Config) -> int:
    repository = Name.parse(options.repository)
    if not config.auth.backends:
        print("allowed: nobody has to sign in (auth.backends is empty)")
        return 0
    with opened(config) as storage:
        principal = _principal(options.user, config, storage)
    rule = build_rules(config).deciding(principal, options.action, repository)
    if rule is None:
        print(f"denied: no rule allows {options.user} to {options.action} in {repository}")
        return 1
    print(f"allowed by {rule}")
    return 0


def _principal(name: str, config: Config, storage: Storage) -> Principal:
    """Who signs in by this name, as far as the registry can know."""
    if name == "anonymous":
        return ANONYMOUS
    accounts = storage.index.accounts
    for authenticator in build_authenticators(config, accounts, storage.clock.now, Turns(1)):
        found = authenticator.find(name)
        if found is not None:
            return found
    if "proxy" not in config.auth.backends:
        print(f"note: nobody can sign in as {name} now", file=sys.stderr)
    return Principal(name, accounts.groups(name), "user")


def _audit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repository", help="only of this one")
    parser.add_argument("--tag", help="only of this one")
    parser.add_argument("--user", help="only by this one")
    parser.add_argument("--action", choices=("push", "move", "delete", "pull"), help="only this")
    parser.add_argument("--since", metavar="TIME", help="RFC 3339, such as 2026-01-31")
    parser.add_argument("--limit", type=number, default=1000, help="the newest N (1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object an event")


def _since(text: str | None) -> str | None:
    """The moment as the index writes moments; raises CommandError for what is none."""
    if text is None:
        return None
    try:
        return moment(text)
    except ValueError as error:
        raise CommandError(f"--since takes a date or a time, not {text!r}") from error


def _audit(options: argparse.Namespace, config: Config) -> int:
    user = "" if options.user == "anonymous" else options.user
    since = _since(options.since)
    chosen = EventFilter(options.repository, options.tag, user, options.action, since)
    with opened(config) as storage:
        events = storage.index.inspection.events(chosen, options.limit)
    for event in events:
        row = {
            "at": event.at,
            "user": event.actor or "anonymous",
            "address": event.address,
            "action": event.action,
            "repository": event.repository,
            "tag": event.tag,
            "digest": event.digest,
            "previous": event.previous,
        }
        print(json.dumps(row) if options.json else "\t".join(str(v or "-") for v in row.values()))
    return 0


def _secret_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=("rotate",))
    parser.add_argument("--keep", type=int, default=1, help="older keys that stay valid (1)")


def _secret(options: argparse.Namespace, config: Config) -> int:
    if options.keep < 0:
        raise CommandError("--keep must be 0 or more")
    with opened(config, writing=True) as storage:
        kept = rotate_secret(storage.data, options.keep)
    print(f"a new key signs from now on; {kept} older stay valid")
    return 0


ACCESS = Command("access", "explain what a user may do", _access_arguments, _access)
AUDIT = Command("audit", "who pushed, moved and deleted what", _audit_arguments, _audit)
SECRET = Command("secret", "rotate the key that signs tokens", _secret_arguments, _secret)
