"""Clients that push all the time, and what of it was acknowledged when."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.images import noise
from support.opened import opened
from support.pushes import push_blob, push_image
from support.server import RunningServer

from registry_wsgi.names import Name, Tag

SECONDS = 60


@dataclass
class Pushers:
    """Clients that push images, each with blobs and a tag of its own, until they are stopped."""

    server: RunningServer
    acknowledged: dict[str, str] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def pushing(self, threads: int) -> Iterator[None]:
        """Push from so many threads until the block ends."""
        started = [threading.Thread(target=self.push, args=(number,)) for number in range(threads)]
        for thread in started:
            thread.start()
        try:
            yield
        finally:
            self.enough.set()
            for thread in started:
                thread.join()

    def push(self, number: int) -> None:
        """Push one image after another, and note each once it is acknowledged."""
        serial = 0
        while not self.enough.is_set():
            tag = f"t{number}-{serial}"
            content = noise(20_000, tag)
            try:
                pushed = push_image(self.server.http, f"load/{number}", tag, content=content)
                push_blob(self.server.http, f"load/{number}", content[:100])
            except (AssertionError, OSError) as error:
                if ": 503 instead of" in str(error):  # busy: a client tries again
                    continue
                self.failures.append(error)
                return
            self.acknowledged[f"load/{number}:{tag}"] = pushed.digest
            serial += 1

    def wait_for(self, more: int) -> None:
        """Return once so many more were acknowledged; the test fails if they are not."""
        wanted = len(self.acknowledged) + more
        for _ in range(SECONDS * 100):
            if len(self.acknowledged) >= wanted or self.failures:
                break
            self.enough.wait(0.01)
        assert (self.failures, len(self.acknowledged) >= wanted) == ([], True)


def found_in(data: Path, wanted: dict[str, str]) -> dict[str, str]:
    """Where those of these tags that a data directory has point, their blobs read and hashed."""
    found = {}
    with opened(data) as here:
        for target in wanted:
            name, _, tag = target.partition(":")
            stored = here.storage.index.manifests.find(Name(name), Tag(tag))
            if stored is not None:
                found[target] = str(stored.digest)
        assert here.fsck() == []
    return found
