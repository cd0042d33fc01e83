"""Registry clients that cost little: prebuilt bytes out of one buffer, answers thrown away.

A client is a process of its own, so that its work and the server's are counted apart. What is
timed leaves out what no server is to be measured by: opening the session, hashing the content.
"""

import hashlib
import itertools
import multiprocessing
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any, Final
from urllib.parse import urlsplit

MIB: Final = 1 << 20
CHUNK: Final = 32 << 10
"""Bytes of a chunk: docker's clients send chunks of this size."""

SECONDS: Final = 120
_MSG_TRUNC: Final = socket.MSG_TRUNC


@dataclass(frozen=True)
class Address:
    """Where a server listens, and what its requests carry."""

    host: str
    port: int
    authorization: str = ""

    @property
    def headers(self) -> str:
        """The headers of every request, as lines."""
        extra = f"Authorization: {self.authorization}\r\n" if self.authorization else ""
        return f"Host: {self.host}:{self.port}\r\n{extra}"


class Client:
    """One kept-alive connection."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.socket = socket.create_connection((address.host, address.port), SECONDS)
        self.socket.settimeout(None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def send_head(self, method: str, target: str, *headers: str) -> None:
        """Send a request's head."""
        lines = "".join(f"{header}\r\n" for header in headers)
        head = f"{method} {target} HTTP/1.1\r\n{self.address.headers}{lines}\r\n"
        self.socket.sendall(head.encode())

    def answer(self, method: str = "GET") -> tuple[int, dict[str, str], int]:
        """The next answer's status, headers (names in lower case) and how long its body was.

        The body is thrown away in the kernel (MSG_TRUNC), so that reading costs the client little.
        """
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            piece = self.socket.recv(65536)
            if not piece:
                raise ConnectionError("closed without an answer")
            data += piece
        status, *lines = data[:end].decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        code, length = int(status.split()[1]), int(headers.get("content-length", "0"))
        left = 0 if method == "HEAD" else length - (len(data) - end - 4)
        while left > 0:
            count = self.socket.recv_into(_SINK, min(left, len(_SINK)), _MSG_TRUNC)
            if not count:
                raise ConnectionError("closed within an answer")
            left -= count
        return code, headers, length

    def request(self, method: str, target: str, body: bytes = b"", *headers: str) -> dict[str, str]:
        """One small request; the answer's headers. Raises RuntimeError for a 4xx or 5xx."""
        length = () if method in {"GET", "HEAD"} else (f"Content-Length: {len(body)}",)
        self.send_head(method, target, *length, *headers)
        if body:
            self.socket.sendall(body)
        code, found, _ = self.answer()
        if code >= 400:  # noqa: PLR2004 - an error
            raise RuntimeError(f"{method} {target}: {code}")
        return found


_SINK: Final = bytearray(4 * MIB)


class Content:
    """A blob as one buffer of chunk frames, and its digest; different for every ``serial``."""

    def __init__(self, size: int, serial: str) -> None:
        block = hashlib.shake_256(serial.encode()).digest(MIB)
        self.size = size
        hashed = hashlib.sha256()
        frames: list[bytes] = []
        for offset in range(0, MIB, CHUNK):
            part = block[offset : offset + CHUNK]
            frames.append(b"%x\r\n%b\r\n" % (len(part), part))
        self.framed_block = b"".join(frames)
        self.block = block
        self.blocks = size // MIB
        for _ in range(self.blocks):
            hashed.update(block)
        self.digest = f"sha256:{hashed.hexdigest()}"

    def framed(self) -> Iterator[bytes]:
        """All of it in chunks, with their end."""
        yield from itertools.repeat(self.framed_block, self.blocks)
        yield b"0\r\n\r\n"

    def plain(self) -> Iterator[bytes]:
        """All of it."""
        yield from itertools.repeat(self.block, self.blocks)


def target_of(location: str) -> str:
    """A ``Location`` as a request's target."""
    parts = urlsplit(location)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def push(client: Client, repository: str, content: Content, *, chunked: bool) -> float:
    """Push a blob the way docker does, PATCH then an empty PUT; the seconds of these two."""
    found = client.request("POST", f"/v2/{repository}/blobs/uploads/")
    location = target_of(found["location"])
    started = time.perf_counter()
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {content.size}"
    client.send_head("PATCH", location, length, "Content-Type: application/octet-stream")
    for block in content.framed() if chunked else content.plain():
        client.socket.sendall(block)
    code, found, _ = client.answer()
    if code != 202:  # noqa: PLR2004 - Accepted
        raise RuntimeError(f"PATCH: {code}")
    location = target_of(found["location"])
    separator = "&" if "?" in location else "?"
    client.request("PUT", f"{location}{separator}digest={content.digest}")
    return time.perf_counter() - started


def pull(client: Client, target: str, *headers: str) -> int:
    """Fetch something and throw it away; its length."""
    client.send_head("GET", target, *headers)
    code, _, length = client.answer()
    if code not in {200, 206}:
        raise RuntimeError(f"GET {target}: {code}")
    return length


def together(count: int, work: Callable[..., Any], *arguments: Any) -> float:
    """Run ``work(number, barrier, *arguments)`` in ``count`` processes; the seconds of the slowest.

    Each prepares, waits at the barrier, works and returns; what is timed starts there. A process
    that fails makes this raise RuntimeError.
    """
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(count + 1)
    processes = [
        context.Process(target=work, args=(number, barrier, *arguments)) for number in range(count)
    ]
    for process in processes:
        process.start()
    barrier.wait(SECONDS)
    started = time.perf_counter()
    for process in processes:
        process.join()
    seconds = time.perf_counter() - started
    if any(process.exitcode for process in processes):
        raise RuntimeError("a client failed")
    return seconds


def push_once(number: int, barrier: Barrier, address: Address, size: int, chunked: bool) -> None:
    """For ``together``: push one fresh blob."""
    client = Client(address)
    content = Content(size, f"{number} {uuid.uuid4()} {os.getpid()}")
    client.request("GET", "/v2/")
    barrier.wait()
    push(client, f"bench/push{number}", content, chunked=chunked)
    client.close()


def pull_for(
    number: int, barrier: Barrier, address: Address, target: str, size: int, part: int, count: int
) -> None:
    """For ``together``: fetch ``count`` ranges of ``part`` bytes, or the whole where it is 0."""
    client = Client(address)
    client.request("GET", "/v2/")
    barrier.wait()
    for turn in range(count):
        if part:
            first = (number + turn * 7) * part % (size - part + 1)
            got = pull(client, target, f"Range: bytes={first}-{first + part - 1}")
        else:
            got = pull(client, target)
        if got != (part or size):
            raise RuntimeError(f"{got} bytes came")
    client.close()
