"""The token endpoint, as Docker's clients speak to it."""

import base64
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import quote, urlencode

import pytest
from support.accounts import (
    PASSWORD,
    add_token,
    add_user,
    basic,
    bearer,
    code_of,
    fetch_token,
    opened_data,
)
from support.pushes import push_blob
from support.server import RunningServer, throwaway_directory
from support.variants import QUICK
from support.verbs import Answer, Verbs
from support.wire import Wire, request

RULES = """\
trusted_proxies = ["127.0.0.1"]
[auth]
backends = ["users"]
token_seconds = 123
[[access]]
repositories = "open/**"
users = ["anonymous"]
actions = ["pull"]
[[access]]
repositories = "team/**"
users = ["anna"]
actions = ["pull", "push"]
"""
FORM = "application/x-www-form-urlencoded"
TEAM, OPEN = "repository:team/app:pull,push", "repository:open/app:pull,push"
GRANT = {"grant_type": "password", "username": "anna", "password": PASSWORD}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A server with a user and a machine token."""
    with throwaway_directory() as folder:
        with opened_data(folder / "data") as storage:
            add_user(storage.index.accounts, "anna")
            add_token(storage.index.accounts, "ci", "ci/*", "pull,push")
        with RunningServer(folder / "data", settings=QUICK + RULES) as running:
            yield running


@pytest.fixture
def http(server: RunningServer) -> Verbs:
    """An anonymous client."""
    return server.http


def post(http: Verbs, form: str | bytes, expect: int | None = 200, kind: str = FORM) -> Answer:
    """POST a form."""
    body = form if isinstance(form, bytes) else form.encode()
    return http.post("/token", body, expect, Content_Type=kind)


# --- What is given --------------------------------------------------------------------------------


def test_a_token_comes_with_its_life(http: Verbs) -> None:
    """Its seconds, when it was made, under both of the names that clients know, and in no cache."""
    answer = http.request("GET", f"/token?scope={TEAM}", None, 200, basic("anna"))
    document = answer.json()

    assert set(document) == {"token", "access_token", "expires_in", "issued_at", "scope"}
    assert document["token"] == document["access_token"]
    assert document["expires_in"] == 123
    assert document["issued_at"].endswith("Z")
    assert datetime.fromisoformat(document["issued_at"]).tzinfo
    assert answer["Cache-Control"] == "no-store"
    assert answer["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("name", "scopes", "granted"),
    [
        pytest.param(None, [], "", id="anonymous, nothing"),
        pytest.param(None, [OPEN], "repository:open/app:pull", id="anonymous, what is open"),
        pytest.param(None, [TEAM], "", id="anonymous, what is not"),
        pytest.param(None, [TEAM, OPEN], "repository:open/app:pull", id="anonymous, both"),
        pytest.param("anna", [], "", id="a user, nothing"),
        pytest.param("anna", [TEAM], TEAM, id="a user, all of it"),
        pytest.param("anna", [OPEN], "repository:open/app:pull", id="a user, less"),
        pytest.param("anna", [f"{TEAM} {OPEN}"], f"{TEAM} repository:open/app:pull", id="in one"),
        pytest.param("anna", ["repository:team/app:*"], TEAM, id="a user, everything"),
        pytest.param("anna", ["repository:other:pull,push,delete"], "", id="a user, nothing of it"),
        pytest.param("anna", ["registry:catalog:*"], "registry:catalog:catalog", id="the catalog"),
        pytest.param("anna", ["nonsense", ":::", "repository:UPPER:pull"], "", id="nonsense"),
    ],
)
def test_what_may_be_given_is_given(
    http: Verbs, name: str | None, scopes: list[str], granted: str
) -> None:
    """Less than was asked for, or nothing, is no error, for anonymous callers neither."""
    query = "&".join(f"scope={quote(scope)}" for scope in scopes)
    answer = http.request("GET", f"/token?{query}", None, 200, basic(name) if name else {})

    assert answer.json()["scope"] == granted
    Verbs(http.host, bearer(answer.json()["token"])).get("/v2/")


def test_dockers_request_is_understood(server: RunningServer, repository: str) -> None:
    """``docker login`` and ``docker push`` ask with parameters that mean nothing here."""
    query = "account=anna&client_id=docker&offline_token=true&service=registry_wsgi"
    answer = server.http.request("GET", f"/token?{query}", None, 200, basic("anna"))
    scope = quote(f"repository:team/{repository}:pull,push", safe="")
    pushing = server.http.request("GET", f"/token?{query}&scope={scope}", None, 200, basic("anna"))

    assert "refresh_token" not in answer.json()
    Verbs(server.host, bearer(answer.json()["token"])).get("/v2/")
    push_blob(Verbs(server.host, bearer(pushing.json()["token"])), f"team/{repository}", b"blob")


def test_a_password_is_checked_once_a_login(server: RunningServer) -> None:
    """A push with a bearer checks no password: it goes on after the password was changed in vain."""
    token = fetch_token(server.http, TEAM, **basic("anna"))
    http = Verbs(server.host, bearer(token))
    for number in range(5):
        push_blob(http, "team/app", b"%d" % number)
    wrong = server.http.request("GET", "/token", None, 401, basic("anna", "wrong"))

    assert wrong["WWW-Authenticate"].startswith("Basic ")
    push_blob(http, "team/app", b"once more")


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(basic("anna", "wrong"), id="a wrong password"),
        pytest.param(basic("berta"), id="an unknown user"),
        pytest.param(basic("anonymous"), id="a reserved name"),
        pytest.param({"Authorization": "Basic"}, id="no credentials"),
        pytest.param({"Authorization": ""}, id="an empty header"),
        pytest.param({"Authorization": "Digest username=anna"}, id="another scheme"),
        pytest.param(bearer("rubbish"), id="a bearer token that is none"),
    ],
)
def test_wrong_credentials_get_no_token(http: Verbs, headers: dict[str, str]) -> None:
    """Nor an anonymous one: 401, with a challenge for a name and a password."""
    answer = http.request("GET", f"/token?scope={OPEN}", None, 401, headers)

    assert code_of(answer) == "UNAUTHORIZED"
    assert answer["WWW-Authenticate"] == 'Basic realm="registry_wsgi", charset="UTF-8"'
    assert "token" not in answer.json()


def test_a_token_is_no_credential_for_another(server: RunningServer) -> None:
    """Otherwise a token that got about would live for ever."""
    token = fetch_token(server.http, TEAM, **basic("anna"))

    server.http.request("GET", f"/token?scope={TEAM}", None, 401, bearer(token))


# --- Forms ----------------------------------------------------------------------------------------


def test_a_form_gets_a_token(server: RunningServer) -> None:
    """With name and password in it, as OAuth2 has it and containerd sends it."""
    form = {
        **GRANT,
        "service": "registry_wsgi",
        "client_id": "containerd",
        "scope": f"{TEAM} {OPEN}",
    }
    document = post(server.http, urlencode(form)).json()

    assert document["scope"] == f"{TEAM} repository:open/app:pull"
    push_blob(Verbs(server.host, bearer(document["access_token"])), "team/app", b"by form")


def test_a_form_may_say_it_in_any_type(http: Verbs) -> None:
    """The path takes nothing but forms: what a client calls it does not matter."""
    post(http, urlencode(GRANT), kind="text/plain")


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({**GRANT, "password": "wrong"}, id="a wrong password"),
        pytest.param({**GRANT, "username": "berta"}, id="an unknown user"),
        pytest.param({**GRANT, "username": ""}, id="no name"),
        pytest.param({**GRANT, "password": PASSWORD + "\0"}, id="a NUL behind it"),
        pytest.param({**GRANT, "password": "x" * 5000}, id="a long password"),
        pytest.param({**GRANT, "username": "\ufffd"}, id="no text"),
    ],
)
def test_a_form_with_wrong_credentials_is_refused(http: Verbs, form: dict[str, str]) -> None:
    """401 with a Basic challenge."""
    answer = post(http, urlencode(form), 401)

    assert code_of(answer) == "UNAUTHORIZED"
    assert answer["WWW-Authenticate"].startswith("Basic ")


WITHOUT = {key: urlencode({k: v for k, v in GRANT.items() if k != key}) for key in GRANT}


@pytest.mark.parametrize(
    "form",
    [
        pytest.param("", id="empty"),
        pytest.param(WITHOUT["grant_type"], id="no grant type"),
        pytest.param(WITHOUT["username"], id="no name"),
        pytest.param(WITHOUT["password"], id="no password"),
        pytest.param(urlencode({**GRANT, "grant_type": "refresh_token"}), id="a refresh token"),
        pytest.param(urlencode(GRANT) + "&grant_type=password", id="the type twice"),
        pytest.param(urlencode(GRANT) + "&username=root", id="two names"),
        pytest.param(urlencode(GRANT) + "&password=x", id="two passwords"),
        pytest.param(b"\xff\xfe=\x80", id="no text"),
        pytest.param('{"grant_type":"password"}', id="JSON"),
        pytest.param(urlencode(GRANT) + "&x=" + "y" * (64 << 10), id="longer than 64 KiB"),
    ],
)
def test_what_is_no_form_is_refused(http: Verbs, form: str | bytes) -> None:
    """400, and no token."""
    assert code_of(post(http, form, 400)) == "UNSUPPORTED"


def test_a_form_is_what_counts_and_not_the_header(http: Verbs) -> None:
    """A POST is by its form, whatever else it sends; the query is not looked at."""
    answer = http.post(
        f"/token?username=anna&password={quote(PASSWORD)}&grant_type=password",
        urlencode({**GRANT, "password": "wrong"}).encode(),
        401,
        **basic("anna"),
    )

    assert code_of(answer) == "UNAUTHORIZED"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_refused(http: Verbs, method: str) -> None:
    """405 with what there is."""
    answer = http.request(method, "/token", None, 405, {})

    assert answer["Allow"] == "GET, HEAD, POST"


# --- Credentials as bytes -------------------------------------------------------------------------


def basic_of(raw: bytes) -> str:
    """A header of Basic credentials that may be none."""
    return f"Authorization: Basic {base64.b64encode(raw).decode()}"


RIGHT = basic_of(f"anna:{PASSWORD}".encode())
WRONG = {
    "no base64": "Authorization: Basic %%%",
    "base64 with a blank in it": RIGHT[:-8] + " " + RIGHT[-8:],
    "base64 without its padding": basic_of(b"anna:x").rstrip("="),
    "base64 for URLs": "Authorization: Basic " + base64.urlsafe_b64encode(b"\xfb\xff:x").decode(),
    "no colon": basic_of(b"anna"),
    "no name": basic_of(b":" + PASSWORD.encode()),
    "no password": basic_of(b"anna:"),
    "nothing": "Authorization: Basic",
    "a NUL behind the password": basic_of(f"anna:{PASSWORD}\0".encode()),
    "a NUL in the name": basic_of(f"anna\0:{PASSWORD}".encode()),
    "a line end behind the password": basic_of(f"anna:{PASSWORD}\n".encode()),
    "73 bytes of password": basic_of(b"anna:" + b"x" * 73),
    "5 KiB of password": basic_of(b"anna:" + b"x" * 5120),
    "no UTF-8": basic_of(b"anna:\xff\xfe"),
    "UTF-16": basic_of(f"anna:{PASSWORD}".encode("utf-16")),
    "a lone surrogate": basic_of(b"anna:\xed\xa0\x80"),
    "another case of the name": basic_of(f"Anna:{PASSWORD}".encode()),
    "two headers": f"{RIGHT}\r\n{RIGHT}",
    "two headers, wrong first": f"{basic_of(b'anna:x')}\r\n{RIGHT}",
    "two headers, a bearer second": f"{RIGHT}\r\nAuthorization: Bearer x",
    "two in one": f"{RIGHT}, {RIGHT[15:]}",
    "a bearer of 8 KB": f"Authorization: Bearer {'A' * 8100}",
    "a bearer of other letters": "Authorization: Bearer \xe9\xe8",
    "no scheme": f"Authorization: {RIGHT.rpartition(' ')[2]}",
}


@pytest.mark.parametrize("path", ["/v2/", "/v2/open/app/tags/list", "/token"])
@pytest.mark.parametrize("case", WRONG)
def test_what_are_no_credentials_is_refused(server: RunningServer, case: str, path: str) -> None:
    """401 with a challenge, also where anonymous callers may; the next request is answered."""
    # As from many addresses: one alone would be slowed.
    number = list(WRONG).index(case) * 3 + len(path) % 3
    origin = f"X-Forwarded-For: 192.0.2.{number}"
    with Wire(server.host) as wire:
        reply = wire.exchange(request("GET", path, None, WRONG[case], origin))
        again = wire.exchange(request("GET", "/v2/", None, RIGHT))

    assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
    assert reply.values("WWW-Authenticate")
    assert again.status == 200


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_a_scheme_is_written_in_any_case(server: RunningServer, scheme: str) -> None:
    """As RFC 9110 has it, with more than one blank behind it, too."""
    with Wire(server.host) as wire:
        header = RIGHT.replace("Basic ", f"{scheme}   ")

        assert wire.exchange(request("GET", "/v2/", None, header)).status == 200


@pytest.mark.parametrize("size", [9_000, 100 << 10, 1 << 20], ids=["9 KB", "100 KiB", "1 MiB"])
@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_a_header_that_is_too_long_is_not_read(
    server: RunningServer, scheme: str, size: int
) -> None:
    """431 or 400 and the end of the connection; the server goes on."""
    with Wire(server.host) as wire:
        header = f"Authorization: {scheme} {'A' * size}"
        reply = wire.send(request("GET", "/v2/", None, header)).reply()

    assert reply is None or reply.status in {400, 431}
    server.http.get("/healthz")
