"""Where a client is sent with its password: only by a word that can be trusted."""

import re
from collections.abc import Iterator

import pytest
from support.unix import OnUnixSocket
from support.variants import Variants
from support.wire import Wire, request

from registry_wsgi.web.location import Locator

BASIC = "Basic"
SIGN_IN = '[auth]\nbackends = ["users"]\n'
SETTINGS = {
    "bare": "",
    "trusting": 'trusted_proxies = ["127.0.0.0/8"]\n',
    "trusting-others": 'trusted_proxies = ["192.0.2.0/24"]\n',
    "external": 'external_url = "https://registry.example:8443"\ntrusted_proxies = ["127.0.0.1"]\n',
    "external-relative": 'external_url = "https://registry.example"\nlocation = "relative"\n',
    "named": '[auth]\nservice = "registry.example"\nbackends = ["users"]\n',
    "unix": "",
}
PROXIED = ["X-Forwarded-Proto: https", "X-Forwarded-Host: registry.example"]


@pytest.fixture(scope="module")
def servers() -> Iterator[Variants]:
    """One server for each way of setting it up, none of which lets anonymous callers in."""
    settings = {
        name: text if "[auth]" in text else text + SIGN_IN for name, text in SETTINGS.items()
    }
    with Variants(settings, kinds={"unix": OnUnixSocket}) as variants:
        yield variants


CASES = [
    ("bare", "localhost:{port}", [], "http://localhost:{port}", "localhost"),
    ("bare", "127.0.0.1:{port}", [], "http://127.0.0.1:{port}", "bound-address"),
    ("bare", "127.8.9.10", [], "http://127.8.9.10", "another-loopback-address"),
    ("bare", "[::1]:80", [], "http://[::1]:80", "loopback-of-ipv6"),
    ("bare", "evil.example", [], BASIC, "any-host"),
    ("bare", "127.0.0.1.evil.example", [], BASIC, "starts-like-loopback"),
    ("bare", "evil.example:127", [], BASIC, "port-like-loopback"),
    ("bare", "localhost.evil.example", [], BASIC, "starts-like-localhost"),
    ("bare", "localhost@evil.example", [], BASIC, "with-a-user"),
    ("bare", "192.0.2.1", [], BASIC, "any-address"),
    ("bare", "127.0.0.1/evil", [], BASIC, "with-a-path"),
    ("bare", '127.0.0.1"', [], BASIC, "with-a-quote"),
    ("bare", "", [], BASIC, "empty"),
    ("bare", "localhost", PROXIED, BASIC, "untrusted-proxy"),
    ("bare", "localhost", ["X-Forwarded-Host: evil.example"], BASIC, "untrusted-host"),
    ("bare", "localhost", ["X-Forwarded-Proto: https"], BASIC, "untrusted-proto"),
    ("bare", "localhost", ["Forwarded: host=evil.example"], BASIC, "untrusted-forwarded"),
    ("bare", "localhost", ["X-Forwarded-For: 192.0.2.9"], BASIC, "somebody-behind-a-proxy"),
    ("bare", "localhost", ["X-Real-Ip: 192.0.2.9"], BASIC, "somebody-behind-nginx"),
    ("bare", "localhost", ["Via: 1.1 proxy"], BASIC, "via"),
    (
        "bare",
        "localhost",
        ["X-Forwarded-Prefix: /evil"],
        "http://localhost",
        "prefix-means-nothing",
    ),
    ("trusting", "x", PROXIED, "https://registry.example", "trusted-proxy"),
    (
        "trusting",
        "registry.example",
        ["X-Forwarded-Proto: https"],
        "https://registry.example",
        "its-host",
    ),
    (
        "trusting",
        "x",
        ["Forwarded: host=registry.example;proto=https"],
        "https://registry.example",
        "trusted-forwarded",
    ),
    ("trusting", "evil.example", [], BASIC, "trusted-but-silent"),
    ("trusting", "evil.example", ["X-Forwarded-For: 192.0.2.9"], BASIC, "trusted-but-silent-of-it"),
    ("trusting", "localhost", [], "http://localhost", "without-the-proxy"),
    ("trusting", "x", ["X-Forwarded-Host: e vil/@x"], BASIC, "trusted-nonsense-host"),
    ("trusting", "x", ["X-Forwarded-Proto: javascript"], BASIC, "trusted-nonsense-proto"),
    ("trusting-others", "localhost", PROXIED, BASIC, "another-peer-is-trusted"),
    ("external", "evil.example", [], "https://registry.example:8443", "external-url"),
    ("external", "localhost", PROXIED, "https://registry.example:8443", "over-the-proxy"),
    ("external-relative", "localhost", [], "https://registry.example", "however-locations-are"),
    ("named", "localhost", [], "http://localhost", "another-name"),
    ("unix", "registry.example", [], BASIC, "unix-socket-silent"),
    ("unix", "localhost", [], BASIC, "unix-socket-loopback"),
    ("unix", "x", PROXIED, "https://registry.example", "unix-socket-proxy"),
]


@pytest.mark.parametrize("path", ["/v2/", "/v2/team/app/tags/list"])
@pytest.mark.parametrize(
    ("server", "host", "headers", "expected"),
    [case[:4] for case in CASES],
    ids=[f"{case[0]}-{case[4]}" for case in CASES],
)
def test_the_realm_is_by_a_trusted_word(
    servers: Variants, server: str, host: str, headers: list[str], expected: str, path: str
) -> None:
    """The challenge sends the client there, or asks for the password right here."""
    running = servers[server]
    sent = request("GET", path, None, *headers).replace(
        b"registry.test", host.format(port=running.port).encode()
    )
    with Wire(running.host) as wire:
        reply = wire.exchange(sent)

    assert reply.status in {400, 401}
    if reply.status == 400:
        # What gunicorn refuses already is answered with no challenge at all.
        assert expected == BASIC
        assert not reply.values("WWW-Authenticate")
    else:
        assert realm_of(reply.value("WWW-Authenticate")) == expected.format(port=running.port)


def realm_of(challenge: str) -> str:
    """The URL that a Bearer challenge names, without the path; ``Basic`` for a Basic one."""
    found = re.fullmatch(
        r'Bearer realm="([^"]+)/token",service="(registry_wsgi|registry\.example)"'
        r'(,scope="repository:team/app:pull")?',
        challenge,
    )
    if found is None:
        assert challenge in {
            'Basic realm="registry_wsgi", charset="UTF-8"',
            'Basic realm="registry.example", charset="UTF-8"',
        }
        return BASIC
    return found[1]


def test_a_service_has_the_name_that_is_set(servers: Variants) -> None:
    """Challenges name the registry as its operator does."""
    with Wire(servers["named"].host) as wire:
        sent = request("GET", "/v2/", None).replace(b"registry.test", b"localhost")
        challenge = wire.exchange(sent).value("WWW-Authenticate")

    assert ',service="registry.example"' in challenge


@pytest.mark.parametrize("peer", ["192.0.2.7", "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.7", "x"])
@pytest.mark.parametrize("host", ["localhost:5000", "127.0.0.1", "192.0.2.1:5000"])
def test_a_remote_client_is_not_sent_by_its_own_word(peer: str, host: str) -> None:
    """On an address of the network, plain HTTP without ``external_url`` has Basic alone."""
    locator = Locator("", "auto", [], "192.0.2.1:5000")
    environ = {"REMOTE_ADDR": peer, "HTTP_HOST": host, "wsgi.url_scheme": "http"}

    assert locator.trusted_base(environ) == ""


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_a_client_of_this_machine_is_sent_to_the_bound_address(peer: str) -> None:
    """As it called the registry: nobody else can hear it."""
    locator = Locator("", "auto", [], "registry.local:5000")
    environ = {"REMOTE_ADDR": peer, "HTTP_HOST": "registry.local:5000", "wsgi.url_scheme": "http"}

    assert locator.trusted_base(environ) == "http://registry.local:5000"


def test_a_registry_without_sign_in_challenges_nobody() -> None:
    """Where there are no back ends there is nothing to sign in with."""
    with Variants({"open": ""}) as variants, Wire(variants["open"].host) as wire:
        reply = wire.exchange(request("GET", "/v2/"))
        token = wire.exchange(request("GET", "/token"))

    assert (reply.status, reply.values("WWW-Authenticate")) == (200, [])
    assert (token.status, token.code) == (404, "UNSUPPORTED")
