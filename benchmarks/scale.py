"""Does it stay fast when it is large? Fills an index and times single requests inside the process.

``python benchmarks/scale.py --repositories 100000 --manifests 5000000`` writes straight into the
index, then calls the WSGI application without a server in between. The data directory is a
temporary one unless ``--data`` names a place to keep it.
"""

import argparse
import hashlib
import io
import itertools
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from registry_wsgi.config import Config, load
from registry_wsgi.storage.sqlite.collect import (
    LINKS_END,
    WINDOW,
    unneeded_links,
    unneeded_manifests,
)
from registry_wsgi.web.bodies import StreamBody
from registry_wsgi.wiring import build_app, build_collector, open_storage

BATCH = 20_000
GC_WINDOWS = 200
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def digest(kind: str, number: int) -> bytes:
    """A digest that nothing else has."""
    return hashlib.sha256(f"{kind} {number}".encode()).digest()


def manifest_body(number: int, blobs: list[bytes]) -> bytes:
    """About as many bytes as the manifest of an image of two layers has."""
    layers = [{"mediaType": "x/y", "size": 1, "digest": f"sha256:{blob.hex()}"} for blob in blobs]
    return json.dumps({"schemaVersion": 2, "number": number, "layers": layers}).encode()


def fill(connection: sqlite3.Connection, repositories: int, manifests: int) -> None:
    """Repositories of equal size; a third of all blobs is in every manifest of a repository."""
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -1000000")
    each = manifests // repositories
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO repositories (id, name) VALUES (?, ?)",
        ((number + 1, name_of(number)) for number in range(repositories)),
    )
    connection.executemany(
        "INSERT INTO blobs (id, digest, size) VALUES (?, ?, 1)",
        ((number + 1, digest("blob", number)) for number in range(repositories * 3)),
    )
    connection.executemany(
        "INSERT INTO repository_blobs VALUES (?, ?, 0)",
        ((number // 3 + 1, number + 1) for number in range(repositories * 3)),
    )
    for start in range(0, repositories, max(1, BATCH // each)):
        stop = min(repositories, start + max(1, BATCH // each))
        insert(connection, range(start, stop), each)
        print(f"\r{stop} of {repositories} repositories", end="", file=sys.stderr)
    connection.execute("COMMIT")
    print(file=sys.stderr)


def insert(connection: sqlite3.Connection, repositories: range, each: int) -> None:
    """The manifests of some repositories, each with a tag; every tenth has a subject."""
    rows: list[tuple[Any, ...]] = []
    references: list[tuple[Any, ...]] = []
    tags: list[tuple[Any, ...]] = []
    for repository in repositories:
        blobs = [digest("blob", repository * 3 + index) for index in range(3)]
        for index in range(each):
            number = repository * each + index + 1
            subject = digest("manifest", repository * each + 1) if index % 10 == 9 else None  # noqa: PLR2004 - every tenth
            body = manifest_body(number, blobs[:2])
            raw = digest("manifest", number)
            rows.append(
                (number, repository + 1, raw, MANIFEST_TYPE, "x/y", "{}", subject, "", body)
            )
            references += [(repository + 1, blob, 0, number) for blob in blobs[:2]]
            if subject is not None:
                references.append((repository + 1, subject, 2, number))
            tags.append((repository + 1, f"v{index}", number, ""))
    connection.executemany("INSERT INTO manifests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.executemany("INSERT INTO manifest_references VALUES (?, ?, ?, ?)", references)
    connection.executemany("INSERT INTO tags VALUES (?, ?, ?, ?)", tags)


def name_of(number: int) -> str:
    """A repository's name."""
    return f"team{number % 1000:03}/app{number:06}"


class Caller:
    """Calls the application as a server would."""

    def __init__(self, config: Config) -> None:
        self.storage = open_storage(config)
        self._app = build_app(config, self.storage, StreamBody)

    def __call__(self, method: str, path: str, query: str = "") -> None:
        """One request; an answer other than 200 is an error."""
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "wsgi.input": io.BytesIO(),
            "wsgi.url_scheme": "http",
            "HTTP_HOST": "127.0.0.1:8000",
            "REMOTE_ADDR": "127.0.0.1",
        }
        answer: list[str] = []
        for _ in self._app(environ, lambda status, _headers: answer.append(status)):
            pass
        if answer != ["200 OK"]:
            raise SystemExit(f"{method} {path}: {answer}")


def requests(call: Caller, repositories: int, each: int) -> dict[str, Callable[[], None]]:
    """What is timed, each with another repository every time."""
    choose = random.Random(1)  # noqa: S311 - which repository is asked for is no secret

    def anywhere() -> tuple[int, str]:
        number = choose.randrange(repositories)
        return number, name_of(number)

    def manifest() -> None:
        call("GET", f"/v2/{anywhere()[1]}/manifests/v{choose.randrange(each)}")

    def tags() -> None:
        call("GET", f"/v2/{anywhere()[1]}/tags/list", "n=100")

    def catalog() -> None:
        call("GET", "/v2/_catalog", f"n=100&last={anywhere()[1]}")

    def referrers() -> None:
        number, name = anywhere()
        call("GET", f"/v2/{name}/referrers/sha256:{digest('manifest', number * each + 1).hex()}")

    def blob() -> None:
        number, name = anywhere()
        call("HEAD", f"/v2/{name}/blobs/sha256:{digest('blob', number * 3).hex()}")

    return {
        "manifest GET by tag": manifest,
        "tags page, n=100": tags,
        "catalog page, n=100": catalog,
        "referrers": referrers,
        "blob HEAD": blob,
    }


def gc_steps(call: Caller, config: Config) -> Iterator[float]:
    """Seconds of each of gc's windows over links and over manifests, without what is removed."""
    rule = replace(build_collector(config, call.storage).rule(), untagged=True)
    database = call.storage.index.database
    position: tuple[int, int] | None = (0, 0)
    for after in itertools.count(0, WINDOW):
        if position is None or after >= GC_WINDOWS * WINDOW:
            return
        began = time.perf_counter()
        with database.reading() as connection:
            unneeded_links(connection, rule, position)
            position = connection.execute(LINKS_END, (*position, WINDOW - 1)).fetchone()
        yield time.perf_counter() - began
        began = time.perf_counter()
        with database.reading() as connection:
            unneeded_manifests(connection, rule, after)
        yield time.perf_counter() - began


def main() -> None:
    """Fill, time, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repositories", type=int, default=1_000)
    parser.add_argument("--manifests", type=int, default=50_000)
    parser.add_argument("--repetitions", type=int, default=2_000)
    parser.add_argument("--data", help="keep the data here, and use what is there already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        config = load(flags={"storage.data": options.data or temporary, "log.requests": False})
        if not (Path(config.storage.data) / "registry.sqlite3").exists():
            path = open_storage(config).index.database.path
            connection = sqlite3.connect(path, isolation_level=None)
            fill(connection, options.repositories, options.manifests)
            connection.close()
        began = time.perf_counter()
        call = Caller(config)
        print(f"start-up: {time.perf_counter() - began:.3f} s")
        each = options.manifests // options.repositories
        for name, request in requests(call, options.repositories, each).items():
            times = [timed(request) for _ in range(options.repetitions)]
            show(name, times)
        show("gc, one window", list(gc_steps(call, config)))


def timed(request: Callable[[], None]) -> float:
    """Seconds that a request takes."""
    began = time.perf_counter()
    request()
    return time.perf_counter() - began


def show(name: str, times: list[float]) -> None:
    """A row of the table."""
    quantiles = statistics.quantiles(times, n=100) if len(times) > 1 else [times[0]] * 99
    print(f"{name:24} p50 {quantiles[49] * 1e3:8.3f} ms   p99 {quantiles[98] * 1e3:8.3f} ms")


if __name__ == "__main__":
    main()
