"""The user that a proxy names in a header: believed of configured peers, and of nobody else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.accounts import add_token, add_user, basic, opened_data
from support.unix import OnUnixSocket
from support.variants import Variants
from support.wire import Reply, Wire, request

RULES = """
[[access]]
repositories = "team/**"
users = ["anna", "@developers"]
actions = ["pull"]
"""
PEERS = 'proxy_peers = ["127.0.0.0/8"]\n'
SETTINGS = {
    "believing": f'[auth]\nbackends = ["proxy"]\n{PEERS}',
    "nobody": '[auth]\nbackends = ["proxy"]\n',
    "others": '[auth]\nbackends = ["proxy"]\nproxy_peers = ["192.0.2.0/24"]\n',
    "trusted for URLs": 'trusted_proxies = ["127.0.0.1"]\n[auth]\nbackends = ["proxy"]\n',
    "no proxy": f'[auth]\nbackends = ["users"]\n{PEERS}',
    "proxy first": f'[auth]\nbackends = ["proxy", "users"]\n{PEERS}',
    "users first": f'[auth]\nbackends = ["users", "proxy"]\n{PEERS}',
    "another header": f'[auth]\nbackends = ["proxy"]\nproxy_header = "X-Auth-User"\n{PEERS}',
    "unix": '[auth]\nbackends = ["proxy"]\n',
}
SECRETS: dict[Path, str] = {}


def prepare(data: Path) -> None:
    """Make a user, a token and a group; the token's secret is kept by the data directory."""
    with opened_data(data) as storage:
        accounts = storage.index.accounts
        add_user(accounts, "berta")
        SECRETS[data] = add_token(accounts, "ci", "team/*")
        accounts.join("developers", "dora")


@pytest.fixture(scope="module")
def servers() -> Iterator[Variants]:
    """One server for each way of setting it up."""
    settings = {name: text + RULES for name, text in SETTINGS.items()}
    with Variants(settings, prepare, {"unix": OnUnixSocket}) as variants:
        yield variants


def ask(
    servers: Variants, server: str, *headers: str, path: str = "/v2/team/app/tags/list"
) -> Reply:
    """GET something of a repository that is not there: 404 is for whoever may pull from it."""
    with Wire(servers[server].host) as wire:
        return wire.exchange(request("GET", path, None, *headers))


ANNA, BERTA = "X-Remote-User: anna", f"Authorization: {basic('berta')['Authorization']}"
WRONG = f"Authorization: {basic('berta', 'wrong')['Authorization']}"
ANNA_SIGNS_IN, DENIED, ANONYMOUS, REFUSED = 404, 403, 401, 400
CASES = [
    ("believing", [ANNA], ANNA_SIGNS_IN, "a configured peer"),
    ("unix", [ANNA], ANNA_SIGNS_IN, "a unix socket"),
    ("nobody", [ANNA], ANONYMOUS, "no peer is configured"),
    ("others", [ANNA], ANONYMOUS, "another peer is configured"),
    ("trusted for URLs", [ANNA], ANONYMOUS, "a peer that is trusted for other headers"),
    ("no proxy", [ANNA], ANONYMOUS, "the back end is not set"),
    ("believing", ["X-Remote-User: dora"], ANNA_SIGNS_IN, "a member of a group"),
    ("believing", ["X-Remote-User: carla"], DENIED, "somebody without a rule"),
    ("believing", [], ANONYMOUS, "no header"),
    ("believing", ["X-Remote-User:"], ANONYMOUS, "an empty header"),
    ("believing", ["X-Remote-User: anna,root"], ANONYMOUS, "two names"),
    ("believing", [ANNA, ANNA], ANONYMOUS, "two headers"),
    ("believing", ["X-Remote-User: carla", ANNA], ANONYMOUS, "the client's and the proxy's"),
    ("believing", ["X-Remote-User: an na"], ANONYMOUS, "a blank"),
    ("believing", ["X-Remote-User: anna:x"], ANONYMOUS, "a colon"),
    ("believing", ["X-Remote-User: @developers"], ANONYMOUS, "a group"),
    ("believing", ["X-Remote-User: \xe4nna"], ANONYMOUS, "other letters"),
    ("believing", [f"X-Remote-User: {'a' * 129}"], ANONYMOUS, "a long name"),
    ("believing", ["X-Remote-User: ANNA"], DENIED, "another case"),
    ("believing", ["X_Remote_User: anna"], REFUSED, "an underscore"),
    ("another header", [ANNA], ANONYMOUS, "the usual header where another is set"),
    ("another header", ["X-Auth-User: anna"], ANNA_SIGNS_IN, "the header that is set"),
    ("proxy first", [ANNA], ANNA_SIGNS_IN, "first, alone"),
    ("proxy first", [ANNA, BERTA], ANNA_SIGNS_IN, "first, with a password"),
    ("proxy first", [ANNA, WRONG], ANNA_SIGNS_IN, "first, with a password for the proxy"),
    ("proxy first", ["X-Remote-User:", BERTA], DENIED, "first, silent, with a password"),
    ("proxy first", [BERTA], DENIED, "first, absent, with a password"),
    ("users first", [ANNA], ANNA_SIGNS_IN, "last, alone"),
    ("users first", [ANNA, BERTA], DENIED, "last, with a password"),
    ("users first", [ANNA, WRONG], ANONYMOUS, "last, with a wrong password"),
]


@pytest.mark.parametrize(
    ("server", "headers", "status"),
    [case[:3] for case in CASES],
    ids=[f"{case[0]}: {case[3]}" for case in CASES],
)
def test_a_header_is_believed_of_configured_peers(
    servers: Variants, server: str, headers: list[str], status: int
) -> None:
    """Of them it is the caller, in its place among the back ends; of others it is nothing."""
    assert ask(servers, server, *headers).status == status


@pytest.mark.parametrize("server", ["proxy first", "users first"])
def test_a_machine_token_signs_in_beside_the_proxy(servers: Variants, server: str) -> None:
    """Where the proxy vouches for nobody, a token is judged by its own grants."""
    secret = SECRETS[servers[server].data]
    header = f"Authorization: {basic('ci', secret)['Authorization']}"

    assert ask(servers, server, "X-Remote-User:", header).status == 404
    assert ask(servers, server, header, path="/v2/other/app/tags/list").status == 403


def fetched(servers: Variants, *headers: str) -> str:
    """A bearer token of a user whom the proxy vouches for, as a header."""
    scope = "repository:team/app:pull"
    reply = ask(servers, "proxy first", *headers, path=f"/token?scope={scope}")
    assert reply.status == 200
    return f"Authorization: Bearer {reply.json()['token']}"


def test_a_vouched_users_token_is_good_without_the_proxy(servers: Variants) -> None:
    """So that the proxy need ask its directory once a login only; the rules judge as ever."""
    anna, carla = fetched(servers, ANNA), fetched(servers, "X-Remote-User: carla")

    assert ask(servers, "proxy first", anna).status == 404
    assert ask(servers, "proxy first", carla).status == 403
    assert ask(servers, "proxy first", anna, path="/v2/other/app/tags/list").status == 403


def test_a_vouched_users_token_ends_with_the_group(servers: Variants) -> None:
    """Groups are the registry's own: who is taken out of one is out at once."""
    token = fetched(servers, "X-Remote-User: dora")
    before = ask(servers, "proxy first", token).status
    with opened_data(servers["proxy first"].data) as storage:
        storage.index.accounts.leave("developers", "dora")

    assert before == 404
    assert ask(servers, "proxy first", token).status == 403


def test_a_vouched_users_token_is_none_where_no_proxy_is(servers: Variants) -> None:
    """Taking the back end away ends its tokens, under the same key."""
    token = fetched(servers, ANNA)
    key = servers["proxy first"].data / "secret"
    (servers["no proxy"].data / "secret").write_bytes(key.read_bytes())

    assert ask(servers, "no proxy", token).status == 401
