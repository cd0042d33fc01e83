"""``user``, ``group`` and ``token``: who may sign in."""

import argparse
import getpass
import json
import re
import sys
from datetime import UTC, datetime, timedelta

from registry_wsgi.auth.machines import hash_of, new_secret
from registry_wsgi.auth.passwords import PASSWORD_LIMIT, make_hash
from registry_wsgi.cli.common import Command, CommandError, opened
from registry_wsgi.config import Config
from registry_wsgi.names import RESERVED_USERS, USER, Pattern
from registry_wsgi.settings import ACTIONS
from registry_wsgi.storage.accounts import Account, Accounts, MachineToken

_EXPIRY = re.compile(r"([1-9][0-9]{0,4})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _name(text: str | None, what: str = "user") -> str:
    """A name that somebody may have; raises CommandError for others."""
    if text is None:
        raise CommandError(f"the name of the {what} is missing")
    if not USER.fullmatch(text) or text in RESERVED_USERS:
        reserved = " or ".join(sorted(RESERVED_USERS))
        raise CommandError(
            f"{text!r} is no {what} name: letters, digits and . _ @ + - only, and not {reserved}"
        )
    return text


def _password(options: argparse.Namespace) -> str:
    """From standard input, or a prompt on a terminal; never from the command line."""
    try:
        if options.password_stdin:
            password = sys.stdin.readline().rstrip("\r\n")
        else:
            password = getpass.getpass("Password: ")
            if getpass.getpass("Again: ") != password:
                raise CommandError("the two passwords differ")
        password.encode()
    except EOFError:
        raise CommandError("no password came: send one with --password-stdin") from None
    except UnicodeError:
        raise CommandError("the password is not UTF-8") from None
    if not 1 <= len(password) <= PASSWORD_LIMIT or "\0" in password:
        raise CommandError(f"a password has 1 to {PASSWORD_LIMIT} characters")
    return password


def _user_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=("add", "passwd", "remove", "list"))
    parser.add_argument("name", nargs="?", help="of the user")
    parser.add_argument("--password-stdin", action="store_true", help="read it from standard input")
    parser.add_argument("--group", action="append", default=[], help="add to this group, too")
    parser.add_argument("--json", action="store_true", help="list as JSON")


def _user(options: argparse.Namespace, config: Config) -> int:
    if options.verb == "list":
        with opened(config) as storage:
            _list_users(storage.index.accounts, as_json=options.json)
        return 0
    name, groups = _name(options.name), [_group_name(group) for group in options.group]
    # To take a right away is tried whatever is wrong with the disk.
    adding = options.verb == "add"
    with opened(config, making=adding, writing=options.verb == "passwd") as storage:
        accounts = storage.index.accounts
        if options.verb != "remove":
            _put_user(options, accounts, name, new=adding)
        elif not accounts.remove_account(name):
            raise CommandError(f"there is no user {name!r}")
        for group in groups:
            accounts.join(group, name)
    return 0


def _put_user(options: argparse.Namespace, accounts: Accounts, name: str, *, new: bool) -> None:
    """Add a user, or change the password of one; what is refused is refused before the prompt."""
    if new and accounts.token(name):
        raise CommandError(f"there is a token {name!r}: in the audit trail they would look alike")
    if new == bool(accounts.account(name)):
        raise CommandError(f"there is {'a' if new else 'no'} user {name!r}{' already' * new}")
    account = Account(name, make_hash(_password(options)), _now())
    if not accounts.put_account(account, new=new):
        raise CommandError(f"user {name!r} was changed by somebody else meanwhile")


def _list_users(accounts: Accounts, *, as_json: bool) -> None:
    for account in accounts.accounts():
        groups = sorted(account.groups)
        if as_json:
            row = {"name": account.name, "groups": groups, "created_at": account.created_at}
            print(json.dumps(row))
        else:
            print(f"{account.name}\t{','.join(groups) or '-'}\t{account.created_at}")


def _group_name(text: str | None) -> str:
    return _name(text and text.removeprefix("@"), "group")


def _group_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=("add", "remove", "list"))
    parser.add_argument("group", nargs="?", help="its name")
    parser.add_argument("names", nargs="*", metavar="USER", help="of any back end")
    parser.add_argument("--json", action="store_true", help="list as JSON")


def _group(options: argparse.Namespace, config: Config) -> int:
    if options.verb == "list":
        with opened(config) as storage:
            for group, name in storage.index.accounts.memberships():
                row = {"group": group, "user": name}
                print(json.dumps(row) if options.json else f"{group}\t{name}")
        return 0
    group, names = _group_name(options.group), [_name(name) for name in options.names]
    if not names:
        raise CommandError(f"whom? registry-wsgi group {options.verb} {group} USER...")
    with opened(config, making=options.verb == "add") as storage:
        for name in names:
            if options.verb == "add":
                storage.index.accounts.join(group, name)
            elif not storage.index.accounts.leave(group, name):
                raise CommandError(f"{name!r} is not in {group!r}")
    return 0


def _token_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=("create", "list", "revoke"))
    parser.add_argument("name", nargs="?", help="of the token; the user name of docker login")
    parser.add_argument("--repositories", default="**", help="patterns, such as 'team/*,base/**'")
    parser.add_argument("--actions", default="pull", help=f"of {','.join(ACTIONS)} (pull)")
    parser.add_argument("--expires", metavar="90d", help="after so many d, h or m (never)")
    parser.add_argument("--json", action="store_true", help="list as JSON")


def _token(options: argparse.Namespace, config: Config) -> int:
    if options.verb == "list":
        with opened(config) as storage:
            for token in storage.index.accounts.tokens():
                print(_token_line(token, as_json=options.json))
        return 0
    name = _name(options.name, "token")
    if options.verb == "revoke":
        with opened(config) as storage:
            if not storage.index.accounts.remove_token(name):
                raise CommandError(f"there is no token {name!r}")
        print(f"revoked {name}; it is refused from the next request on", file=sys.stderr)
        return 0
    secret = new_secret()
    token = _new_token(options, name, secret)
    with opened(config, making=True) as storage:
        if storage.index.accounts.account(name):
            raise CommandError(
                f"there is a user {name!r}: in the audit trail they would look alike"
            )
        if not storage.index.accounts.add_token(token):
            raise CommandError(
                f"there is a token {name!r} already: revoke it, or name this otherwise"
            )
    print(f"token {name}, shown this once; docker login -u {name}", file=sys.stderr)
    print(secret)
    return 0


def _new_token(options: argparse.Namespace, name: str, secret: str) -> MachineToken:
    patterns = tuple(part.strip() for part in options.repositories.split(","))
    actions = tuple(part.strip() for part in options.actions.split(","))
    for pattern in patterns:
        if Pattern.maybe(pattern) is None:
            raise CommandError(f"{pattern!r} is no pattern of repositories")
    for action in actions:
        if action not in ACTIONS:
            raise CommandError(f"{action!r} is none of {', '.join(ACTIONS)}")
    return MachineToken(name, hash_of(secret), patterns, actions, _now(), _expiry(options.expires))


def _expiry(text: str | None) -> str | None:
    if text is None:
        return None
    match = _EXPIRY.fullmatch(text)
    if match is None:
        raise CommandError(f"--expires takes 90d, 12h or 30m, not {text!r}")
    life = timedelta(**{_UNITS[match[2]]: int(match[1])})
    return (datetime.now(UTC) + life).isoformat(timespec="seconds")


def _token_line(token: MachineToken, *, as_json: bool) -> str:
    row = {
        "name": token.name,
        "repositories": ",".join(token.repositories),
        "actions": ",".join(token.actions),
        "created_at": token.created_at,
        "expires_at": token.expires_at or "never",
        "last_used_at": token.last_used_at or "never",
    }
    return json.dumps(row) if as_json else "\t".join(row.values())


USER_COMMAND = Command("user", "accounts of the users back end", _user_arguments, _user)
GROUP_COMMAND = Command("group", "who is in which group", _group_arguments, _group)
TOKEN_COMMAND = Command("token", "credentials for machines", _token_arguments, _token)
