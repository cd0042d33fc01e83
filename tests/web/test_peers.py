"""Whose word about the client counts, and which address the client has."""

import pytest

from registry_wsgi.web.peers import Peers, is_loopback

TRUSTED = ("10.0.0.0/8", "127.0.0.1", "2001:db8:1::/48")


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        pytest.param("10.1.2.3", True, id="in a network"),
        pytest.param("127.0.0.1", True, id="an address"),
        pytest.param("127.0.0.2", False, id="its neighbour"),
        pytest.param("192.0.2.1", False, id="another"),
        pytest.param("2001:db8:1::5", True, id="in a network of IPv6"),
        pytest.param("2001:db8:2::5", False, id="another of IPv6"),
        pytest.param("::ffff:10.1.2.3", True, id="IPv4 over an IPv6 socket"),
        pytest.param("::ffff:192.0.2.1", False, id="another over an IPv6 socket"),
        pytest.param("", True, id="a unix socket"),
        pytest.param("localhost", False, id="no address"),
    ],
)
def test_a_peer_is_trusted_by_its_address(address: str, trusted: bool) -> None:
    """In one of the networks of the settings, or on a unix socket."""
    assert Peers(TRUSTED).trusts({"REMOTE_ADDR": address}) is trusted


def test_without_settings_nobody_is_trusted_but_a_unix_socket() -> None:
    """Loopback is not: anybody on the machine can connect."""
    assert [Peers(()).trusts({"REMOTE_ADDR": peer}) for peer in ("127.0.0.1", "::1", "")] == [
        False,
        False,
        True,
    ]


PROXY = "127.0.0.1"
CASES = [
    ("192.0.2.9", None, "192.0.2.9", "no-proxy"),
    ("192.0.2.9", "203.0.113.5", "192.0.2.9", "untrusted-peer"),
    (PROXY, None, PROXY, "a-silent-proxy"),
    (PROXY, "203.0.113.5", "203.0.113.5", "a-proxy"),
    (PROXY, "203.0.113.5, 10.0.0.7", "203.0.113.5", "two-proxies"),
    (PROXY, "203.0.113.5,10.0.0.7,10.0.0.8", "203.0.113.5", "three-proxies"),
    (PROXY, "198.51.100.1, 203.0.113.5", "203.0.113.5", "made-up-before"),
    (PROXY, "10.0.0.9, 203.0.113.5", "203.0.113.5", "made-up-as-a-proxy"),
    (PROXY, "203.0.113.5, 198.51.100.1, 10.0.0.7", "198.51.100.1", "an-unknown-proxy"),
    (PROXY, "10.0.0.9, 10.0.0.7", "10.0.0.9", "a-client-among-the-proxies"),
    (PROXY, "evil, 203.0.113.5", "203.0.113.5", "rubbish-before"),
    (PROXY, "203.0.113.5, evil", PROXY, "rubbish-last"),
    (PROXY, "203.0.113.5, evil, 10.0.0.7", "10.0.0.7", "rubbish-between"),
    (PROXY, "", PROXY, "empty"),
    (PROXY, " , ", PROXY, "commas"),
    (PROXY, "unknown", PROXY, "unknown"),
    (PROXY, "203.0.113.5:4711", "203.0.113.5", "with-a-port"),
    (PROXY, "[2001:db8::1]:4711", "2001:db8::1", "ipv6-with-a-port"),
    (PROXY, "[2001:db8::1]", "2001:db8::1", "ipv6-in-brackets"),
    (PROXY, "2001:db8::1", "2001:db8::1", "ipv6"),
    (PROXY, "2001:DB8:0:0::1", "2001:db8::1", "ipv6-written-otherwise"),
    (PROXY, "::ffff:203.0.113.5", "203.0.113.5", "ipv4-in-ipv6"),
    (PROXY, "203.0.113.5\t", "203.0.113.5", "a-tab"),
    (PROXY, "203.0.113.005", PROXY, "leading-zeros"),
    ("", "203.0.113.5", "203.0.113.5", "a-unix-socket"),
    ("", None, "", "a-silent-unix-socket"),
    ("::ffff:127.0.0.1", "203.0.113.5", "203.0.113.5", "a-proxy-over-an-ipv6-socket"),
]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [case[:3] for case in CASES],
    ids=[case[3] for case in CASES],
)
def test_the_client_is_the_last_that_no_trusted_proxy_is(
    peer: str, forwarded: str | None, client: str
) -> None:
    """What a client writes into the header itself stands before that, and means nothing."""
    environ = {"REMOTE_ADDR": peer}
    if forwarded is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded

    assert Peers(TRUSTED).client(environ) == client


def test_other_headers_say_nothing_of_the_client() -> None:
    """Proxies set one of them and let the client's others through: one alone can be right."""
    environ = {
        "REMOTE_ADDR": PROXY,
        "HTTP_FORWARDED": "for=203.0.113.5",
        "HTTP_X_REAL_IP": "203.0.113.5",
        "HTTP_X_CLIENT_IP": "203.0.113.5",
    }

    assert Peers(TRUSTED).client(environ) == PROXY


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.255.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("128.0.0.1", False),
        ("10.0.0.1", False),
        ("::", False),
        ("", False),
        ("localhost", False),
        ("127.1", False),
    ],
)
def test_loopback_is_told_by_its_address(address: str, loopback: bool) -> None:
    """Of both families, and of IPv4 over an IPv6 socket."""
    assert is_loopback(address) is loopback
