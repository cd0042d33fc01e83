"""Where ``Location`` points, by the settings and by whose word: on servers set up each way."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from support.unix import OnUnixSocket
from support.variants import Variants
from support.wire import Reply, Wire, request

RELATIVE = ""
HOST = "registry.test"
PROXIED = "X-Forwarded-Proto: https"

SETTINGS = {
    "auto": "",
    "trusting": 'trusted_proxies = ["127.0.0.0/8"]',
    "trusting-others": 'trusted_proxies = ["192.0.2.0/24", "::1"]',
    "external": 'external_url = "https://registry.example:8443"\ntrusted_proxies = ["127.0.0.1"]',
    "relative": 'location = "relative"\nexternal_url = "https://registry.example"',
    "absolute": 'location = "absolute"',
    "unix": "",
}


@pytest.fixture(scope="module")
def servers() -> Iterator[Variants]:
    """One server for each way of setting it up."""
    with Variants(SETTINGS, kinds={"unix": OnUnixSocket}) as variants:
        yield variants


def base_of(location: str) -> str:
    """What a location has before its path: scheme and host, or nothing."""
    parts = urlsplit(location)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else RELATIVE


CASES = [
    ("auto", [], "http://registry.test", "absolute-from-host-as-recorded"),
    ("auto", [PROXIED], RELATIVE, "untrusted-proto"),
    ("auto", ["X-Forwarded-Host: evil"], RELATIVE, "untrusted-host"),
    ("auto", ["Forwarded: host=evil;proto=https"], RELATIVE, "untrusted-forwarded"),
    ("auto", ["X-Forwarded-For: 192.0.2.1"], "http://registry.test", "no-word-about-the-url"),
    ("auto", ["X-Forwarded-Protocol: ssl"], "http://registry.test", "other-spelling"),
    ("auto", ["X-Forwarded-Ssl: on"], "http://registry.test", "other-header"),
    ("auto", ["X-Forwarded-Prefix: /evil"], "http://registry.test", "prefix"),
    ("trusting", [], "http://registry.test", "trusted-but-silent"),
    ("trusting", [PROXIED], "https://registry.test", "trusted-proto"),
    ("trusting", ["X-Forwarded-Host: cdn.test:444"], "http://cdn.test:444", "trusted-host"),
    ("trusting", [PROXIED, "X-Forwarded-Host: cdn.test"], "https://cdn.test", "trusted-both"),
    (
        "trusting",
        ["X-Forwarded-Host: cdn.test, inner.test", "X-Forwarded-Proto: https, http"],
        "https://cdn.test",
        "first-of-a-list",
    ),
    ("trusting", ["Forwarded: for=192.0.2.1;host=cdn.test;proto=https"], "https://cdn.test", "fwd"),
    (
        "trusting",
        ['Forwarded: Host="cdn.test:444";PROTO=https, x'],
        "https://cdn.test:444",
        "quoted",
    ),
    ("trusting", ["Forwarded: proto=https"], "https://registry.test", "forwarded-proto-alone"),
    (
        "trusting",
        ["Forwarded: host=a.test", "X-Forwarded-Host: b.test"],
        "http://a.test",
        "both-ways",
    ),
    ("trusting", ["X-Forwarded-Host: e vil/@x"], RELATIVE, "trusted-nonsense-host"),
    ("trusting", ["X-Forwarded-Proto: javascript"], RELATIVE, "trusted-nonsense-proto"),
    ("trusting", ["X-Forwarded-Prefix: /evil"], "http://registry.test", "trusted-prefix"),
    ("trusting-others", [PROXIED], RELATIVE, "another-peer-is-trusted"),
    ("external", [], "https://registry.example:8443", "external"),
    (
        "external",
        [PROXIED, "X-Forwarded-Host: cdn.test"],
        "https://registry.example:8443",
        "over-proxy",
    ),
    ("relative", [], RELATIVE, "always-relative"),
    ("relative", [PROXIED], RELATIVE, "relative-behind-a-proxy"),
    ("absolute", [], "http://registry.test", "always-absolute"),
    ("absolute", [PROXIED, "X-Forwarded-Host: evil"], "http://registry.test", "but-not-by-anyone"),
    ("unix", [], "http://registry.test", "unix-socket"),
    ("unix", [PROXIED, "X-Forwarded-Host: cdn.test"], "https://cdn.test", "unix-peer-is-trusted"),
    ("unix", ["Forwarded: proto=https"], "https://registry.test", "unix-peer-forwards"),
]


@pytest.mark.parametrize(
    ("server", "headers", "expected"),
    [case[:3] for case in CASES],
    ids=[f"{case[0]}-{case[3]}" for case in CASES],
)
def test_a_location_is_by_the_settings_and_trusted_headers(
    servers: Variants, server: str, headers: list[str], expected: str
) -> None:
    """``Location`` starts as the settings say, or as a trusted peer says, or with a slash."""
    with Wire(servers[server].host) as wire:
        reply = wire.exchange(request("POST", "/v2/team/app/blobs/uploads/", None, *headers))
    location = reply.value("Location")

    assert reply.status == 202
    assert base_of(location) == expected
    assert urlsplit(location).path.startswith("/v2/team/app/blobs/uploads/")


@pytest.mark.parametrize(
    ("server", "target", "expected"),
    [
        ("auto", "http://cdn.test:81", "http://cdn.test:81"),
        ("auto", "HTTP://cdn.test", "http://cdn.test"),
        ("auto", "http://user@evil", RELATIVE),
        ("external", "http://cdn.test", "https://registry.example:8443"),
    ],
)
def test_the_host_of_an_absolute_target_goes_before_the_header(
    servers: Variants, server: str, target: str, expected: str
) -> None:
    """A client that names the whole URL, as for a proxy, is told to go on there."""
    with Wire(servers[server].host) as wire:
        reply = wire.exchange(request("POST", f"{target}/v2/team/app/blobs/uploads/", None))

    assert (reply.status, base_of(reply.value("Location"))) == (202, expected)


@pytest.mark.parametrize("server", ["auto", "trusting", "external", "relative", "unix"])
def test_a_whole_push_follows_its_locations(servers: Variants, server: str) -> None:
    """Each step's ``Location`` has the same form, and its path leads on."""
    digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    replies: list[Reply] = []
    with Wire(servers[server].host) as wire:
        replies.append(wire.exchange(request("POST", "/v2/team/walk/blobs/uploads/", b"", PROXIED)))
        replies.append(wire.exchange(request("PATCH", target_of(replies[-1]), b"", PROXIED)))
        target = f"{target_of(replies[-1])}&digest={digest}"
        replies.append(wire.exchange(request("PUT", target, b"", PROXIED)))
        replies.append(wire.exchange(request("GET", target_of(replies[-1]), None, PROXIED)))

    assert [reply.status for reply in replies] == [202, 202, 201, 200]
    assert len({base_of(reply.value("Location")) for reply in replies[:3]}) == 1


def target_of(reply: Reply) -> str:
    """The path and query of a reply's location."""
    parts = urlsplit(reply.value("Location"))
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_absolute_request_target_has_no_say(servers: Variants, method: str) -> None:
    """The host of an absolute-form target, which a client may make up, is in no answer."""
    with Wire(servers["auto"].host) as wire:
        reply = wire.exchange(request(method, "http://evil.test/v2"))

    assert reply.value("Location") == "/v2/"
    assert b"evil" not in reply.body


def test_a_request_without_a_host_gets_relative_locations(
    servers: Variants,
) -> None:
    """A client of HTTP/1.0, which need not name a host, is told paths."""
    with Wire(servers["auto"].host) as wire:
        reply = wire.exchange(b"POST /v2/team/old/blobs/uploads/ HTTP/1.0\r\n\r\n")

    assert reply.status == 202
    assert reply.value("Location").startswith("/v2/team/old/blobs/uploads/")
