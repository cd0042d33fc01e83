"""Clients that push, mount, move tags, delete and note each answer, until the registry is gone."""

import http.client
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from support.images import MANIFEST, encode, noise, sha256
from support.ledger import Ledger
from support.pushes import image
from support.verbs import request_target

SECONDS = 20
TRIES = 50
MOST_IMAGES = 12
POOL = [noise(3000 * (n + 1), f"shared layer {n}") for n in range(6)]
"""Layers that all clients push, each to its own repository."""


class GoneError(Exception):
    """The registry does not answer any more."""


@dataclass
class Client:
    """One client with a repository of its own; it goes on where it was when it is run again."""

    number: int
    others: int
    ledger: Ledger
    chance: random.Random
    images: list[tuple[str, str]] = field(default_factory=list)
    serial: int = 0
    _connection: http.client.HTTPConnection | None = None

    @property
    def repository(self) -> str:
        """Where it pushes to."""
        return f"load/{self.number}"

    def run(self, host: str) -> None:
        """Work until the registry is gone."""
        self._connection = http.client.HTTPConnection(host, timeout=SECONDS)
        try:
            while True:
                self._act()()
        except GoneError:
            return
        finally:
            self._connection.close()

    def _act(self) -> Callable[[], None]:
        if len(self.images) > MOST_IMAGES:
            return self.delete_image
        acts = (self.push_image, self.push_image, self.push_image, self.move_tag, self.delete_tag)
        return self.chance.choice(acts)

    def push_image(self) -> None:
        """An image of a layer of its own and one that others have too."""
        self.serial += 1
        name = f"{self.number} {self.serial} {self.chance.random()}"
        own = noise(self.chance.choice((1, 500, 5000, 70_000)), name)
        shared = self.chance.choice(POOL)
        config = encode({"name": name})
        for content in (config, own, shared):
            if not self._bring(content):
                return
        self._put(encode(image(config, own, shared)), f"t{self.serial}")

    def move_tag(self) -> None:
        """Put the one tag that moves on another image."""
        if self.images:
            digest, _ = self.chance.choice(self.images)
            status, body = self._ask("GET", f"/v2/{self.repository}/manifests/{digest}")
            if status == 200:
                self._put(body, "latest", new=False)
            else:
                self.ledger.surprise(f"GET of the manifest {digest}: {status}")

    def delete_tag(self) -> None:
        """Take the tag that moves away."""
        key = ("manifest", self.repository, "latest")
        self.ledger.begin(key, None)
        status, _ = self._ask("DELETE", f"/v2/{self.repository}/manifests/latest")
        self._settle(status, (202, 404), [key], None)

    def delete_image(self) -> None:
        """Take an image away, with its tags."""
        digest, tag = self.images.pop(self.chance.randrange(len(self.images)))
        keys = [("manifest", self.repository, name) for name in (digest, tag, "latest")]
        for key in keys:
            self.ledger.begin(key, None)
        status, _ = self._ask("DELETE", f"/v2/{self.repository}/manifests/{digest}")
        self._settle(status, (202,), keys[:2], None)

    def _put(self, manifest: bytes, tag: str, *, new: bool = True) -> None:
        digest = sha256(manifest)
        keys = [("manifest", self.repository, name) for name in (digest, tag)]
        for key in keys:
            self.ledger.begin(key, manifest)
        path = f"/v2/{self.repository}/manifests/{tag}"
        status, body = self._ask("PUT", path, manifest, {"Content-Type": MANIFEST})
        self._settle(status, (201,), keys, manifest, body)
        if status == 201 and new:
            self.images.append((digest, tag))

    def _bring(self, content: bytes) -> bool:
        """Have a blob in the repository in one of the ways there are."""
        digest = sha256(content)
        key = ("blob", self.repository, digest)
        status, _ = self._ask("HEAD", f"/v2/{self.repository}/blobs/{digest}")
        if status == 200 and self.chance.random() < 0.8:
            return True  # what a client does: leave it out
        self.ledger.begin(key, content)
        ways = (self._push_whole, self._push_in_pieces, self._mount_or_push)
        status = self.chance.choice(ways)(digest, content)
        return self._settle(status, (201,), [key], content)

    def _push_whole(self, digest: str, content: bytes) -> int:
        return self._ask("POST", f"/v2/{self.repository}/blobs/uploads/?digest={digest}", content)[
            0
        ]

    def _push_in_pieces(self, digest: str, content: bytes) -> int:
        return self._fill("", digest, content)

    def _mount_or_push(self, digest: str, content: bytes) -> int:
        source = self.chance.randrange(self.others)
        return self._fill(f"?mount={digest}&from=load/{source}", digest, content)

    def _fill(self, query: str, digest: str, content: bytes) -> int:
        status, location = self._open(f"/v2/{self.repository}/blobs/uploads/{query}")
        if status != 202:
            return status
        cut = self.chance.randrange(len(content) + 1)
        status, location = self._open(location, "PATCH", content[:cut])
        if status != 202:
            return status
        return self._ask("PUT", f"{location}&digest={digest}", content[cut:])[0]

    def _open(self, path: str, method: str = "POST", body: bytes = b"") -> tuple[int, str]:
        response, _ = self._exchange(method, path, body, {})
        return response.status, response.getheader("Location", "")

    def _ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        response, content = self._exchange(method, path, body, headers or {})
        return response.status, content

    def _exchange(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """One request, asked again for as long as the registry says that it is busy."""
        assert self._connection is not None
        pause = threading.Event()
        try:
            for _ in range(TRIES):
                self._connection.request(method, request_target(path), body, headers)
                response = self._connection.getresponse()
                content = response.read()
                if response.status != 503:
                    break
                pause.wait(0.02)
        except (OSError, http.client.HTTPException) as error:
            raise GoneError from error
        return response, content

    def _settle(
        self,
        status: int,
        expected: tuple[int, ...],
        keys: list[tuple[str, str, str]],
        content: bytes | None,
        body: bytes = b"",
    ) -> bool:
        """Note an answer that was read; what else it may be than expected is nothing good."""
        if status not in expected:
            self.ledger.surprise(f"{keys[0]}: answered {status} {body[:300]!r}")
            return False
        for key in keys:
            self.ledger.acknowledge(key, content)
        return True


def run_together(clients: list[Client], host: str) -> list[threading.Thread]:
    """Start all clients on a registry."""
    threads = [threading.Thread(target=client.run, args=(host,)) for client in clients]
    for thread in threads:
        thread.start()
    return threads


def collected(log: str) -> int:
    """How much gc says it has removed, in all the reports that it has finished."""
    reports: list[Any] = []
    for line in log.splitlines():
        try:
            reports.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # it was killed while it wrote
    return sum(sum(report["counts"].values()) for report in reports)
