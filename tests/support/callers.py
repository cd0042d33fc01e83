"""A registry with accounts, tokens and rules, and every kind of caller of it."""

import contextlib
import http.client
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from support.accounts import (
    add_token,
    add_user,
    basic,
    bearer,
    cheap_account,
    fetch_token,
    opened_data,
)
from support.images import noise
from support.pushes import open_upload, push_artifact, push_blob
from support.server import RunningServer, throwaway_directory
from support.variants import QUICK
from support.verbs import Answer, Verbs

from registry_wsgi.auth.base import Principal
from registry_wsgi.auth.bearer import BearerTokens, Scope
from registry_wsgi.auth.passwords import fingerprint
from registry_wsgi.storage import secrets

REPOSITORY = "team/app"
MISSING = "team/none"
SERVICE = "registry_wsgi"
DAY = timedelta(days=1)

FRONT = "registry.example"
"""The name that the proxy in front of the registry is known by."""

RULES = """\
trusted_proxies = ["127.0.0.1"]
[auth]
backends = ["users"]
[[access]]
repositories = "team/**"
users = ["puller", "pusher", "deleter", "changed", "removed", "{narrowed}"]
actions = ["pull"]
[[access]]
repositories = "team/**"
users = ["pusher", "changed", "removed", "{narrowed}"]
actions = ["push", "overwrite"]
[[access]]
repositories = "team/**"
users = ["deleter"]
actions = ["delete"]
[[access]]
repositories = "**"
users = ["admin"]
actions = ["admin"]
"""

serial = itertools.count()


@dataclass(frozen=True)
class Ask:
    """One request and the status it gets from whoever may make it."""

    path: str
    status: int
    body: bytes = b""
    content_type: str = "application/octet-stream"


NOTHING = Ask("", 0)


class Content:
    """What there is in ``REPOSITORY``, and new things in it to be changed; made by ``http``."""

    def __init__(self, http: Verbs, repository: str = REPOSITORY) -> None:
        self.http = http
        self.repository = repository
        self.blob = push_blob(http, REPOSITORY, b"a blob")
        self.manifest = push_artifact(http, REPOSITORY, "v1").digest

    def new_blob(self) -> str:
        """The digest of a blob that nothing needs."""
        return push_blob(self.http, REPOSITORY, noise(100, f"matrix {next(serial)}"))

    def new_tag(self) -> str:
        """A tag on a manifest of its own."""
        tag = f"t{next(serial)}"
        push_artifact(self.http, REPOSITORY, tag, annotations={"of": tag})
        return tag

    def new_session(self) -> str:
        """An upload session's place, with its ``_state``."""
        return open_upload(self.http, REPOSITORY)


BEARERS = {
    # caller of CALLERS: whose, and for what
    "anonymous bearer": (None, [f"repository:{REPOSITORY}:pull,push"]),
    "push bearer": ("pusher", [f"repository:{REPOSITORY}:pull,push"]),
    "pull bearer": ("pusher", [f"repository:{REPOSITORY}:pull"]),
    "admin's pull bearer": ("admin", [f"repository:{REPOSITORY}:pull"]),
    "admin's whole bearer": (
        "admin",
        [f"repository:{REPOSITORY}:*", f"repository:{MISSING}:*", "registry:catalog:*"],
    ),
    "admin's catalog bearer": ("admin", ["registry:catalog:*"]),
    "bearer of another repository": ("pusher", ["repository:team/other:pull,push"]),
    "removed user's bearer": ("removed", [f"repository:{REPOSITORY}:pull,push"]),
    "bearer of before a new password": ("changed", [f"repository:{REPOSITORY}:pull,push"]),
    "narrowed rule's bearer": ("narrowed", [f"repository:{REPOSITORY}:pull,push"]),
}


Headers = list[str]
"""Values of Authorization, each sent in a header of its own."""

SAME = 4
"""How many accounts and tokens there are of a kind that is refused: one would be slowed."""


@dataclass(frozen=True)
class Stage:
    """The server, what is in it, and what each caller sends, one of these at a time."""

    server: RunningServer
    content: Content
    callers: dict[str, list[Headers]]

    def ask(self, caller: str, method: str, path: str, ask: Ask = NOTHING) -> Answer:
        """A caller's request, through a trusted proxy from an address of its own; its answer."""
        number = next(serial)
        sent = self.callers[caller]
        connection = http.client.HTTPConnection(self.server.host, timeout=60)
        with contextlib.closing(connection):
            connection.putrequest(method, path)
            connection.putheader("X-Forwarded-For", f"10.{number >> 8 & 255}.{number & 255}.1")
            connection.putheader("X-Forwarded-Proto", "https")
            connection.putheader("X-Forwarded-Host", FRONT)
            for text in sent[number % len(sent)]:
                connection.putheader("Authorization", text)
            connection.putheader("Content-Type", ask.content_type)
            if ask.body or method in {"POST", "PUT", "PATCH"}:
                connection.putheader("Content-Length", str(len(ask.body)))
            connection.endheaders(ask.body)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())


def value(*of: dict[str, str]) -> list[Headers]:
    """One caller's header, or those of several that are the same."""
    return [[headers["Authorization"]] for headers in of]


USERS = ("puller", "pusher", "deleter", "admin", "stranger", "changed", "removed", "narrowed")


def populate(data: Path) -> dict[str, list[Headers]]:
    """Make the accounts and tokens; what those send that need no server for it."""
    same = range(SAME)
    with opened_data(data) as storage:
        accounts = storage.index.accounts
        for name in (*USERS, *(f"admin{n}" for n in same)):
            add_user(accounts, name)
        secret = add_token(accounts, "ci", "team/*", "pull,push", life=DAY)
        other = add_token(accounts, "other", "other/*,team/other", "admin")
        revoked = [add_token(accounts, f"revoked{n}", "team/*", "pull,push") for n in same]
        expired = [add_token(accounts, f"expired{n}", "**", "admin", life=-DAY) for n in same]
        for n in same:
            add_token(accounts, f"other{n}", "**", "admin")
    (puller,), (admin,) = (value(basic(name))[0] for name in ("puller", "admin"))
    return {
        "anonymous": [[]],
        "wrong password": value(*(basic(f"admin{n}", "wrong") for n in same)),
        "unknown user": value(*(basic(f"root{n}") for n in same)),
        "another scheme": [["Negotiate YWRtaW46Y29ycmVjdCBob3JzZQ=="]],
        "two headers": [[puller, admin]],
        "two headers, the other way": [[admin, puller]],
        "pull-only": [[puller]],
        "push": value(basic("pusher")),
        "delete": value(basic("deleter")),
        "admin": [[admin]],
        "stranger": value(basic("stranger")),
        "narrowed": value(basic("narrowed")),
        "token": value(basic("ci", secret)),
        "token of another repository": value(basic("other", other)),
        "revoked token": value(*(basic(f"revoked{n}", revoked[n]) for n in same)),
        "expired token": value(*(basic(f"expired{n}", expired[n]) for n in same)),
        "token by another name": value(*(basic(f"other{n}", secret) for n in same)),
        "no bearer": [["Bearer"]],
    }


def fetch_bearers(
    server: RunningServer, callers: dict[str, list[Headers]]
) -> dict[str, list[Headers]]:
    """What the token endpoint gives, while everybody has their rights still."""
    found = {}
    for caller, (whose, scopes) in BEARERS.items():
        sent = basic(whose) if whose else {}
        found[caller] = value(bearer(fetch_token(server.http, *scopes, **sent)))
    scope = f"repository:{REPOSITORY}:pull,push"
    for caller in ("token", "revoked token"):
        ((sent_by_it,), *_) = callers[caller]
        token = fetch_token(server.http, scope, Authorization=sent_by_it)
        found[f"{caller}'s bearer"] = value(bearer(token))
    return found


def make_bearers(data: Path) -> dict[str, list[Headers]]:
    """What the token endpoint would not give, signed with the registry's own key."""
    keys = secrets.Keys(data / secrets.NAME)
    everything: list[Scope] = [
        ("repository", REPOSITORY, frozenset({"pull", "push", "delete"})),
    ]
    with opened_data(data) as storage:
        expired, clock = storage.index.accounts.token("expired0"), storage.clock
        hashes = {one.name: one.password_hash for one in storage.index.accounts.accounts()}
    assert expired is not None
    puller = Principal("puller", kind="user", fingerprint=fingerprint(hashes["puller"]))
    admin = Principal("admin", kind="user", fingerprint=fingerprint(hashes["admin"]))
    machine = Principal("expired0", kind="token", fingerprint=expired.secret_hash.hex()[:16])
    now = BearerTokens(keys, SERVICE, clock.age, 300)
    past = BearerTokens(keys, SERVICE, lambda: clock.age() - 300_001, 300)
    other = BearerTokens(lambda: [b"k" * 32], SERVICE, clock.age, 300)
    return {
        "bearer that claims more": value(bearer(now.make(puller, everything))),
        "expired token's bearer": value(bearer(now.make(machine, everything))),
        "expired bearer": value(bearer(past.make(admin, everything))),
        "forged bearer": value(bearer(other.make(admin, everything))),
    }


def take_away(data: Path) -> None:
    """Remove a user, revoke a token, change a password."""
    with opened_data(data) as storage:
        accounts = storage.index.accounts
        assert accounts.remove_account("removed")
        for number in range(SAME):
            assert accounts.remove_token(f"revoked{number}")
        assert accounts.put_account(cheap_account("changed", "new"), new=False)


@contextlib.contextmanager
def staged() -> Iterator[Stage]:
    """Everybody has what they ask with; then accounts, tokens and rules are taken away."""
    with throwaway_directory() as folder:
        data = folder / "data"
        callers = populate(data)
        server = RunningServer(data, settings=QUICK + RULES.format(narrowed="narrowed"))
        with server:
            callers |= fetch_bearers(server, callers)
        callers |= make_bearers(data)
        take_away(data)
        server.settings = QUICK + RULES.format(narrowed="somebody-else")
        with server:
            yield Stage(server, Content(Verbs(server.host, basic("admin"))), callers)
