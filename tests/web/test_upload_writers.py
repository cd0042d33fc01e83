"""Several writers at once, of one session or of one blob."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.images import noise, sha256
from support.pushes import (
    code_of,
    offset_of,
    with_digest,
)
from support.server import RunningServer
from support.verbs import Answer, Verbs

CONTENT = noise(70_000, "an upload")
DIGEST = sha256(CONTENT)


def test_only_one_of_many_writers_gets_an_offset(http: Verbs, session: str) -> None:
    """Of PATCHes at one offset at once, one is kept and the others are told to look again."""
    start = threading.Barrier(6)

    def write(mark: int) -> Answer:
        start.wait()
        return http.patch(session, bytes([mark]) * 50_000, None)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(write, range(6)))
    (winner,) = [mark for mark, answer in enumerate(answers) if answer.status == 202]

    assert {answer.status for answer in answers} <= {202, 409, 416}
    http.put(with_digest(answers[winner].location, sha256(bytes([winner]) * 50_000)))


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
def test_a_busy_session_says_so(http: Verbs, session: str, method: str) -> None:
    """While one PATCH is under way any other writer gets 409, and disturbs nothing."""
    content = noise(3 << 20, "slow")
    target, seen = with_digest(session, sha256(content)), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield content[: 2 << 20]
        assert seen.wait(20)
        yield content[2 << 20 :]

    with ThreadPoolExecutor(1) as pool:
        patched = pool.submit(http.patch, session, slowly())
        while offset_of(http, session) == "0-0" and not patched.done():
            pass
        answer = http.request(method, target, None, 409, {})
        seen.set()
        location = patched.result().location

    assert code_of(answer) == "BLOB_UPLOAD_INVALID"
    http.put(with_digest(location, sha256(content)))


def test_twenty_clients_push_one_blob_to_twenty_repositories(
    http: Verbs, registry: RunningServer, repository: str
) -> None:
    """Each gets 201, each can pull it, and there is one file."""
    content = noise(200_000, "shared by twenty")
    digest = sha256(content)
    start = threading.Barrier(20)

    def push(number: int) -> bytes:
        start.wait()
        name = f"{repository}/{number}"
        http.post(f"/v2/{name}/blobs/uploads/?digest={digest}", content, expect=201)
        return http.get(f"/v2/{name}/blobs/{digest}").body

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(push, range(20))) == {content}
    assert len(list(registry.data.glob(f"**/{digest[7:]}"))) == 1
