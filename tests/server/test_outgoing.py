"""The thread that sends files to slow clients, and what becomes of those that cannot be sent."""

import errno
import io
import os
import socket
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry_wsgi.server import outgoing
from registry_wsgi.server.outgoing import Deferral, Piece, Rest, Sender, send_eagerly

CONTENT = os.urandom(1 << 20) * 16
"""More than the kernel holds for a client that takes nothing."""

LITTLE = 200_000
"""Less than what makes the kernel tell of room."""

SECONDS = 20


class Outcome:
    """What a sender says of one client, when it has come to that."""

    def __init__(self) -> None:
        self._said = threading.Event()
        self._complete = False

    def __call__(self, complete: bool) -> None:
        """Hear it."""
        self._complete = complete
        self._said.set()

    def is_there(self, seconds: float) -> bool:
        """Whether it has come to that within this time."""
        return self._said.wait(seconds)

    def get(self) -> bool:
        """Whether all was sent."""
        assert self._said.wait(SECONDS), "the sender says nothing"
        return self._complete


def connections(count: int) -> list[tuple[socket.socket, socket.socket]]:
    """Both ends of so many connections: the server's, and the client's."""
    made = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(count):
            client = socket.create_connection(listener.getsockname(), SECONDS)
            made.append((listener.accept()[0], client))
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file to be sent."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection: the server's, and the client's."""
    ((connection, client),) = connections(1)
    with client, connection:
        yield connection, client


def whole() -> deque[Piece]:
    """All of the file."""
    return deque([Piece(b"", 0, len(CONTENT))])


def rest_of(path: Path, offset: int = 0, end: int = len(CONTENT)) -> Rest:
    """A part of a file, to be sent by somebody."""
    with path.open("rb") as content:
        return Rest.of(content, deque([Piece(b"", offset, end)]))


def is_open(descriptor: int) -> bool:
    """Whether it is."""
    return Path(f"/proc/self/fd/{descriptor}").exists()


def take(client: socket.socket, length: int) -> bytes:
    """So many bytes, as they come."""
    with client.makefile("rb") as stream:
        return stream.read(length)


@pytest.mark.parametrize(("offset", "end"), [(0, len(CONTENT)), (7, len(CONTENT) - 9), (5, 6)])
def test_what_is_left_of_a_file_is_sent(
    file: Path, pair: tuple[socket.socket, socket.socket], offset: int, end: int
) -> None:
    """From where it was left to where it was to end, and the file is closed."""
    connection, client = pair
    outcome, rest = Outcome(), rest_of(file, offset, end)
    Sender().send(connection, rest, outcome)

    assert take(client, end - offset) == CONTENT[offset:end]
    assert outcome.get() is True
    assert not is_open(rest.descriptor)


PIECES = [(b"head", 0, 9_000_000), (b"", 5, 6), (b"x" * 100_000, 7, 7), (b"end", 9, 9)]


@pytest.mark.parametrize("how", ["eagerly", "later", "both"])
def test_pieces_of_a_file_are_sent_in_turn(
    file: Path, pair: tuple[socket.socket, socket.socket], how: str
) -> None:
    """Each begins with its head, however slow the client is, and none is sent twice."""
    connection, client = pair
    pieces, outcome = deque(Piece(*one) for one in PIECES), Outcome()
    expected = b"".join(head + CONTENT[begin:end] for head, begin, end in PIECES)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(take(client, len(expected))))
    with file.open("rb") as content:
        if how == "eagerly":
            reader.start()
        if how != "later":
            send_eagerly(connection, content.fileno(), pieces)
        rest = Rest.of(content, pieces)
    if how == "eagerly":
        rest.close()
        outcome(not pieces)
    else:
        Sender().send(connection, rest, outcome)
        reader.start()
    reader.join(SECONDS)

    assert got == [expected]
    assert outcome.get() is True
    assert not is_open(rest.descriptor)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are given up soon."""
    monkeypatch.setattr(outgoing, "SILENT", 0.3)
    monkeypatch.setattr(outgoing, "LOOK_SECONDS", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_connection_that_ends_when_it_is_given_up_ends_no_other(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be closed by whoever is told, before the sender is done with it."""
    whole, said = os.sendfile, threading.Event()
    (broken, broken_client), (connection, client) = connections(2)

    def sendfile(out: int, source: int, offset: int, count: int) -> int:
        if out == numbers[0] and given_up.is_set():
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        if out == numbers[0]:
            raise BlockingIOError
        return whole(out, source, offset, count)

    def closed(complete: bool) -> None:  # noqa: ARG001 - what a sender says
        broken.close()
        said.set()

    numbers, given_up = [broken.fileno()], threading.Event()
    monkeypatch.setattr(os, "sendfile", sendfile)
    with broken_client, connection, client:
        sender, outcome = Sender(), Outcome()
        monkeypatch.setattr(outgoing.Sender, "_judge", judging(outgoing.Sender._judge, given_up))
        sender.send(broken, rest_of(file), closed)
        assert said.wait(SECONDS)
        sender.send(connection, rest_of(file), outcome)

        assert take(client, len(CONTENT)) == CONTENT
        assert outcome.get() is True


def judging(judge: Any, given_up: threading.Event) -> Any:
    """The sender's look at a client that took nothing, told of before."""

    def told(self: Sender, selector: Any, client: Any) -> None:
        given_up.set()
        judge(self, selector, client)

    return told


@pytest.mark.usefixtures("impatient")
def test_a_client_that_takes_nothing_is_given_up(file: Path) -> None:
    """After a time without a byte; one that takes little by little is not."""
    sender, outcomes, rests = Sender(), [Outcome(), Outcome()], [rest_of(file), rest_of(file)]
    (silent, silent_client), (steady, steady_client) = connections(2)
    with silent, silent_client, steady, steady_client:
        sender.send(silent, rests[0], outcomes[0])
        sender.send(steady, rests[1], outcomes[1])
        taken = 0
        while not outcomes[0].is_there(0.05) or taken < LITTLE * 12:
            taken += len(steady_client.recv(LITTLE, socket.MSG_WAITALL))
        taken += len(take(steady_client, len(CONTENT) - taken))

        assert outcomes[0].get() is False
        assert outcomes[1].get() is True
    assert taken == len(CONTENT)
    assert not any(is_open(rest.descriptor) for rest in rests)


def test_a_client_that_is_gone_is_given_up(
    file: Path, pair: tuple[socket.socket, socket.socket]
) -> None:
    """At once."""
    connection, client = pair
    outcome, rest = Outcome(), rest_of(file)
    client.close()
    Sender().send(connection, rest, outcome)

    assert outcome.get() is False
    assert not is_open(rest.descriptor)


def test_a_file_that_lost_its_end_is_not_sent_to_the_end(
    file: Path, pair: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    """What there is comes; the log says what to do."""
    connection, client = pair
    outcome = Outcome()
    Sender().send(connection, rest_of(file, 0, len(CONTENT) + 1), outcome)

    assert take(client, len(CONTENT)) == CONTENT
    assert outcome.get() is False
    assert f"{file} lost its end while it was sent: run fsck" in caplog.text


def test_a_quick_client_gets_all_of_it_at_once(
    file: Path, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left for later, however often it has to be waited for a moment."""
    monkeypatch.setattr(outgoing, "PATIENCE", SECONDS)
    connection, client = pair
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(take(client, len(CONTENT))))
    reader.start()
    with file.open("rb") as content:
        send_eagerly(connection, content.fileno(), pieces := whole())
    reader.join(SECONDS)

    assert not pieces
    assert got == [CONTENT]


def test_a_slow_client_is_left_after_a_while(
    file: Path, pair: tuple[socket.socket, socket.socket]
) -> None:
    """As much was sent as the kernel holds."""
    connection, client = pair
    with file.open("rb") as content:
        send_eagerly(connection, content.fileno(), pieces := whole())
    reached = pieces[0].offset

    assert 0 < reached < len(CONTENT)
    assert take(client, reached) == CONTENT[:reached]


@pytest.mark.parametrize("sent_before", [0, 1000])
def test_what_the_kernel_cannot_send_is_left_to_be_sent_another_way(
    file: Path,
    pair: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    sent_before: int,
) -> None:
    """Whenever a file system says so: what was sent is not among what is left."""
    results = iter([sent_before] if sent_before else [])

    def sendfile(*_: object) -> int:
        for sent in results:
            return sent
        raise OSError(errno.EINVAL, "not by sendfile")

    monkeypatch.setattr(os, "sendfile", sendfile)
    with file.open("rb") as content, pytest.raises(io.UnsupportedOperation, match="sendfile"):
        send_eagerly(pair[0], content.fileno(), pieces := whole())

    assert pieces == deque([Piece(b"", sent_before, len(CONTENT))])


def test_what_nobody_takes_is_closed(file: Path) -> None:
    """An answer that fails after it left something leaves no file open."""
    deferral = Deferral()
    rest = rest_of(file)
    with deferral.allowed():
        deferral.leave(rest)

    assert not is_open(rest.descriptor)
    assert not deferral.is_allowed
    assert deferral.take() is None
