"""``access``, ``audit`` and ``secret``: what is allowed, what was done, and what signs."""

import argparse
import json

from registry_wsgi.auth.base import ANONYMOUS, Principal
from registry_wsgi.auth.machines import MachineTokens
from registry_wsgi.auth.rules import rules_of
from registry_wsgi.cli.common import Command, CommandError
from registry_wsgi.config import Config
from registry_wsgi.names import Name
from registry_wsgi.settings import ACTIONS
from registry_wsgi.storage.inspecting import EventFilter
from registry_wsgi.wiring import open_storage, rotate_secret


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
    storage = open_storage(config)
    accounts = storage.index.accounts
    principal = MachineTokens(accounts, storage.clock.now).find(options.user)
    if options.user == "anonymous":
        principal = ANONYMOUS
    if principal is None:
        principal = Principal(options.user, accounts.groups(options.user), "user")
    rules = rules_of((rule.repositories, rule.users, rule.actions) for rule in config.access)
    rule = rules.deciding(principal, options.action, repository)
    if rule is None:
        print(f"denied: no rule allows {options.user} to {options.action} in {repository}")
        return 1
    print(f"allowed by {rule}")
    return 0


def _audit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repository", help="only of this one")
    parser.add_argument("--tag", help="only of this one")
    parser.add_argument("--user", help="only by this one")
    parser.add_argument("--action", choices=("push", "move", "delete"), help="only this")
    parser.add_argument("--since", metavar="TIME", help="RFC 3339, such as 2026-01-31")
    parser.add_argument("--limit", type=int, default=1000, help="the newest N (1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object an event")


def _audit(options: argparse.Namespace, config: Config) -> int:
    chosen = EventFilter(
        options.repository, options.tag, options.user, options.action, options.since
    )
    for event in open_storage(config).index.inspection.events(chosen, options.limit):
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
    kept = rotate_secret(config, options.keep)
    print(f"a new key signs once the registry was reloaded (HUP); {kept} older stay valid")
    return 0


ACCESS = Command("access", "explain what a user may do", _access_arguments, _access)
AUDIT = Command("audit", "who pushed, moved and deleted what", _audit_arguments, _audit)
SECRET = Command("secret", "rotate the key that signs tokens", _secret_arguments, _secret)
