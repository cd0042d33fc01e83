"""How much of a request's head is here, and when it is no use waiting for more."""

import pytest

from registry_wsgi.server.heads import MOST, State, state_of

HEAD = b"PATCH /v2/a/blobs/uploads/1?_state=x HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"


def test_a_head_is_waited_for_until_its_last_byte() -> None:
    """However it is cut."""
    states = [state_of(HEAD[:length]) for length in range(len(HEAD) + 1)]

    assert states == [State.BEGUN] * len(HEAD) + [State.DECIDABLE]


def test_a_body_behind_it_does_not_count() -> None:
    """Nor does a request that follows."""
    assert state_of(HEAD + b"GET / HT") is State.DECIDABLE


def test_empty_lines_before_it_are_no_end_of_a_head() -> None:
    """Gunicorn leaves them out, and would wait for the head behind them."""
    assert state_of(b"\r\n\r\n") is State.BEGUN
    assert state_of(b"\r\n\r\nGET /") is State.BEGUN
    assert state_of(b"\r\n\r\n" + HEAD) is State.DECIDABLE


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM",
        b"GET /\r\nHost",
        b"GET  /\r\n",
    ],
)
def test_a_line_that_begins_no_request_is_not_waited_behind(data: bytes) -> None:
    """Gunicorn refuses it at once."""
    assert state_of(data) is State.DECIDABLE


@pytest.mark.parametrize(
    "data",
    [
        b" GET",
        b"GET  /",
        b"GET / FTP",
        b"GET / HTTP/1.1 ",
        b"GET /" + b"a" * 5000,
        b"A" * 40,
        b"({[;",
    ],
)
def test_what_becomes_no_line_is_left_to_nobody(data: bytes) -> None:
    """Gunicorn would have a thread wait for its end."""
    assert state_of(data) is State.NONSENSE


def test_a_client_of_tls_is_known_by_its_first_byte() -> None:
    """No method begins with it."""
    assert state_of(b"\x16") is state_of(b"\x16\x03\x01\r\n\r\n") is State.NONSENSE


def test_a_head_without_an_end_is_not_waited_for() -> None:
    """Only so much of it is."""
    data = HEAD[:-2] + b"X-A: b\r\n" * (MOST // 8)

    assert state_of(data) is State.ENDLESS
    assert state_of(data[: MOST - 1]) is State.BEGUN
