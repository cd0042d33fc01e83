"""Answers put together by the worker itself."""

import pytest

from registry_wsgi.server.answers import Answer, InvalidHeaderError

HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "2")]


def render(status: str, headers: list[tuple[str, str]], method: str, body: bytes) -> list[bytes]:
    """The lines of an answer but for its date, and its body."""
    answer = Answer()
    answer.start_response(status, headers)
    head, _, sent = answer.render(method, body).partition(b"\r\n\r\n")
    return [line for line in head.split(b"\r\n") if not line.startswith(b"Date: ")] + [sent]


def test_an_answer_has_gunicorns_headers_before_the_applications() -> None:
    """Status, date and connection, then what the application said, then the body."""
    assert render("200 OK", HEADERS, "GET", b"ok") == [
        b"HTTP/1.1 200 OK",
        b"Connection: keep-alive",
        b"Content-Type: text/plain",
        b"Content-Length: 2",
        b"ok",
    ]


@pytest.mark.parametrize(
    ("status", "method"), [("200 OK", "HEAD"), ("304 Not Modified", "GET"), ("204 No", "GET")]
)
def test_a_body_that_must_not_be_is_not_sent(status: str, method: str) -> None:
    """An answer to HEAD, 204 and 304 end with their head."""
    assert render(status, [], method, b"ok")[-1] == b""


def test_a_length_is_never_missing() -> None:
    """A body whose length the application left out has one: the connection goes on after it."""
    assert b"Content-Length: 2" in render("200 OK", [("X-Content-Length", "9")], "GET", b"ok")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "1\r\nX-B: 2"),
        ("X-A", "1\n"),
        ("X-A", "\0"),
        ("X A", "1"),
        ("X-A\r\nX-B", "1"),
        ("", "1"),
        ("X-A", "\u20ac"),
    ],
)
def test_a_header_that_breaks_the_answer_apart_is_not_sent(name: str, value: str) -> None:
    """A name or a value with a line end in it, or a character that HTTP has not, is an error."""
    with pytest.raises(InvalidHeaderError):
        render("200 OK", [(name, value)], "GET", b"")


def test_an_answer_is_started_once() -> None:
    """A second start_response without an error to tell is the application's mistake."""
    answer = Answer()
    answer.start_response("200 OK", [])

    with pytest.raises(AssertionError):
        answer.start_response("200 OK", [])
