"""Signing in through nginx: accounts of the registry, and names that a proxy vouches for."""

import base64
import re
from collections.abc import Iterator

import pytest
from support.programs import run
from support.proxied import Proxied, proxied, registry_command, replaced
from support.pushes import push_blob
from support.signin import SignInService
from support.verbs import Verbs
from support.wire import request

PASSWORDS = {"anna": "correct horse", "bert": "battery staple"}
RULES = """
[auth]
backends = [{backends}]
[[access]]
repositories = "open/**"
users = ["anonymous"]
actions = ["pull", "push"]
[[access]]
repositories = "**"
users = ["anna"]
actions = ["pull", "push"]
"""


def basic(name: str, password: str) -> dict[str, str]:
    """Credentials as a header."""
    text = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


def with_rules(*backends: str) -> str:
    """The settings of back ends, and who may do what."""
    return RULES.format(backends=", ".join(f'"{backend}"' for backend in backends))


@pytest.fixture(scope="module")
def accounts() -> Iterator[Proxied]:
    """The sample settings as they are: accounts of the registry's own, and one of them."""
    with proxied(settings=str) as running:
        command = registry_command(running.registry.settings_file)
        password = PASSWORDS["anna"].encode()
        run([*command("user", "add", "anna", "--password-stdin")], stdin=password)
        yield running


@pytest.fixture(scope="module")
def service() -> Iterator[SignInService]:
    """What knows users and their passwords."""
    with SignInService(PASSWORDS) as running:
        yield running


@pytest.fixture(scope="module")
def vouched(service: SignInService) -> Iterator[Proxied]:
    """Behind an nginx with the commented lines, asking the service."""

    def uncommented(text: str) -> str:
        text = re.sub(r"^( *)#(?=\S|    )", r"\1", text, flags=re.MULTILINE)
        return replaced(text, {"127.0.0.1:4180": service.host})

    def settings(text: str) -> str:
        return text.partition("[auth]")[0] + with_rules("proxy", "users")

    with proxied(settings=settings, nginx=uncommented) as running:
        yield running


@pytest.fixture(scope="module")
def believing() -> Iterator[Proxied]:
    """A registry that believes its proxy, behind an nginx that vouches for nobody."""

    def settings(text: str) -> str:
        return text.partition("[auth]")[0] + with_rules("proxy")

    with proxied(settings=settings) as running:
        yield running


def realm_of(http: Verbs) -> str:
    """Where ``/v2/`` sends a client for a token."""
    challenge = http.get("/v2/", expect=401)["WWW-Authenticate"]
    found = re.fullmatch(r'Bearer realm="([^"]+)",service="[^"]+"', challenge)
    assert found, challenge
    return found[1]


def signed_in(running: Proxied, name: str, *scopes: str) -> Verbs:
    """A client that did what Docker's do: from the challenge to a token."""
    query = "&".join(f"scope={scope}" for scope in scopes)
    http = running.http
    answer = http.request(
        "GET", f"{realm_of(http)}?{query}", None, 200, basic(name, PASSWORDS[name])
    )
    bearer = {"Authorization": f"Bearer {answer.json()['token']}"}
    return Verbs(running.host, bearer, running.certificates.context)


def test_the_challenge_names_the_token_endpoint_behind_nginx(accounts: Proxied) -> None:
    """The realm is the external URL, so that a client finds it."""
    assert realm_of(accounts.http) == f"https://{accounts.host}/token"


def test_an_account_of_the_registry_pushes_and_pulls(accounts: Proxied, repository: str) -> None:
    """A user of the sample settings pushes and pulls, a blob straight from nginx included."""
    http = signed_in(accounts, "anna", f"repository:{repository}:pull,push")
    digest = push_blob(http, repository, b"a blob")

    assert http.get(f"/v2/{repository}/blobs/{digest}").body == b"a blob"
    accounts.http.get(f"/v2/{repository}/blobs/{digest}", expect=401)


def test_a_wrong_password_is_refused(accounts: Proxied) -> None:
    """The token endpoint answers 401 with a Basic challenge, through nginx too."""
    answer = accounts.http.request("GET", "/token", None, 401, basic("anna", "wrong"))

    assert answer["WWW-Authenticate"].startswith("Basic ")


def test_a_user_that_the_service_knows_pushes_and_pulls(
    vouched: Proxied, service: SignInService, repository: str
) -> None:
    """The service is asked for a token, and for nothing that is done with it."""
    http = signed_in(vouched, "anna", f"repository:{repository}:pull,push")
    before = service.asked
    digest = push_blob(http, repository, b"a blob")
    pulled = http.get(f"/v2/{repository}/blobs/{digest}").body

    assert pulled == b"a blob"
    assert service.asked == before
    assert " anna " in next(
        line for line in vouched.registry.log.splitlines() if repository in line
    )


def test_the_rules_judge_whom_the_service_knows(vouched: Proxied, repository: str) -> None:
    """A user of the service without a rule is refused."""
    http = signed_in(vouched, "bert", f"repository:{repository}:pull,push")
    http.post(f"/v2/{repository}/blobs/uploads/", expect=403)


def test_whom_the_service_does_not_know_gets_no_token(vouched: Proxied) -> None:
    """The service's 401 and its challenge are the client's answer."""
    answer = vouched.http.request("GET", "/token", None, 401, basic("anna", "wrong"))

    assert answer["WWW-Authenticate"] == 'Basic realm="tests"'


def test_nobody_is_asked_who_wants_what_is_open(vouched: Proxied) -> None:
    """Without credentials the service vouches for nobody, and what is open to all is open."""
    token = vouched.http.get("/token?scope=repository:open/a:pull,push").json()["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    http = Verbs(vouched.host, bearer, vouched.certificates.context)

    assert push_blob(http, "open/a", b"anybody's")


FORGED = ["X-Remote-User: anna", "X_Remote_User: anna", "x-remote-user:anna\r\nX-Remote-User: anna"]


@pytest.mark.parametrize(
    "path", ["/token?scope=repository:closed/a:push", "/v2/closed/a/tags/list"]
)
@pytest.mark.parametrize("header", FORGED)
def test_a_client_cannot_vouch_for_itself(believing: Proxied, header: str, path: str) -> None:
    """X-Remote-User of a client is taken away, although the registry believes nginx's."""
    with believing.wire() as wire:
        reply = wire.exchange(request("GET", path, None, header))

    assert reply.status == 401 or reply.json()["scope"] == ""


def test_the_registry_believes_the_header_from_its_socket(believing: Proxied) -> None:
    """The same header counts when it comes through the socket: what nginx takes away matters."""
    connection = believing.registry.connect()
    connection.request("GET", "/v2/closed/a/tags/list", headers={"X-Remote-User": "anna"})
    answer = connection.getresponse()
    connection.close()

    assert answer.status == 404


@pytest.mark.parametrize("header", FORGED)
def test_a_client_cannot_vouch_for_itself_where_a_service_does(
    vouched: Proxied, header: str
) -> None:
    """The service's word replaces the client's, also where the service has none."""
    with vouched.wire() as wire:
        path = "/token?scope=repository:closed/a:push"
        reply = wire.exchange(request("GET", path, None, header))

    assert reply.json()["scope"] == ""
