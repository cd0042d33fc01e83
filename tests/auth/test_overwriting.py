"""To push a new tag is one thing, to move one another: decided where the tag is written."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.accounts import add_user, basic, bearer, code_of, fetch_token, opened_data
from support.images import encode, sha256
from support.pushes import EMPTY, Pushed, artifact, push_artifact, push_blob, put_manifest
from support.server import RunningServer, throwaway_directory
from support.variants import QUICK
from support.verbs import Answer, Verbs

RULES = """
[auth]
backends = ["users"]
[[access]]
repositories = "**"
users = ["pusher", "mover"]
actions = ["pull", "push"]
[[access]]
repositories = "**"
users = ["mover", "overwriter"]
actions = ["overwrite"]
[[access]]
repositories = "scratch/**"
users = ["anonymous"]
actions = ["pull", "push"]
"""
OTHER = artifact(annotations={"other": "yes"})
OTHER_DIGEST = sha256(encode(OTHER))
WRITERS = 8


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A server with somebody who may push, and somebody who may move tags, too."""
    with throwaway_directory() as folder:
        with opened_data(folder / "data") as storage:
            for name in ("pusher", "mover", "overwriter"):
                add_user(storage.index.accounts, name)
        with RunningServer(folder / "data", settings=QUICK + RULES) as running:
            yield running


@pytest.fixture
def pusher(server: RunningServer) -> Verbs:
    """Somebody who may push new tags."""
    return Verbs(server.host, basic("pusher"))


@pytest.fixture
def mover(server: RunningServer) -> Verbs:
    """Somebody who may move tags as well."""
    return Verbs(server.host, basic("mover"))


@pytest.fixture
def pushed(pusher: Verbs, repository: str) -> Pushed:
    """An artifact in the test's repository, tagged ``v1``."""
    return push_artifact(pusher, repository, "v1")


def put_other(http: Verbs, repository: str, reference: str, expect: int | None) -> Answer:
    """PUT another artifact than ``pushed``."""
    return put_manifest(http, f"/v2/{repository}/manifests/{reference}", OTHER, expect)


def events(server: RunningServer, repository: str) -> list[tuple[str, str | None]]:
    """What the audit trail has of a repository: action and tag."""
    with opened_data(server.data) as storage, storage.index.database.reading() as connection:
        rows = connection.execute(
            "SELECT action, tag FROM events WHERE repository = ? ORDER BY id", (repository,)
        )
        return [(action, tag) for action, tag in rows]


def test_a_new_tag_needs_no_right_to_move_it(
    pusher: Verbs, repository: str, pushed: Pushed
) -> None:
    """Whoever pushes makes new tags, on what is there or is new."""
    put_other(pusher, repository, "v2", 201)
    put_manifest(
        pusher, f"/v2/{repository}/manifests/v3", pushed.body, Content_Type=pushed.media_type
    )


def test_the_same_tag_again_moves_nothing(pusher: Verbs, repository: str, pushed: Pushed) -> None:
    """A push that is repeated, after a broken connection say, succeeds."""
    path = f"/v2/{repository}/manifests/v1"

    put_manifest(pusher, path, pushed.body, Content_Type=pushed.media_type)


@pytest.mark.parametrize(
    "reference",
    [
        pytest.param("v1", id="tag"),
        pytest.param(f"{OTHER_DIGEST}?tag=v1", id="a parameter"),
        pytest.param(f"{OTHER_DIGEST}?tag=v2&tag=v1", id="a parameter among others"),
        pytest.param("v2?tag=v1", id="a parameter beside a tag"),
    ],
)
def test_a_tag_is_not_moved_without_the_right(
    server: RunningServer, pusher: Verbs, repository: str, pushed: Pushed, reference: str
) -> None:
    """403 DENIED with the tag and the action; nothing of the request is kept, in the record neither."""
    before = events(server, repository)
    answer = put_other(pusher, repository, reference, 403)

    assert code_of(answer) == "DENIED"
    assert answer.json()["errors"][0]["detail"] == {"tag": "v1", "action": "overwrite"}
    assert pusher.get(f"/v2/{repository}/manifests/v1").body == pushed.body
    assert pusher.get(f"/v2/{repository}/tags/list").json()["tags"] == ["v1"]
    pusher.get(f"/v2/{repository}/manifests/{OTHER_DIGEST}", 404)
    assert events(server, repository) == before


def test_who_moves_a_tag_without_signing_in_is_asked_to(
    server: RunningServer, mover: Verbs, repository: str
) -> None:
    """401 with what to ask for: a client that may move it sends its credentials only then."""
    name = f"scratch/{repository}"
    push_artifact(server.http, name, "v1")
    path = f"/v2/{name}/manifests/v1"
    answer = put_manifest(server.http, path, OTHER, 401)

    assert code_of(answer) == "UNAUTHORIZED"
    assert answer["WWW-Authenticate"].endswith(f',scope="repository:{name}:pull,push"')
    put_manifest(mover, path, OTHER, 201)


def test_a_tag_is_moved_with_the_right(
    server: RunningServer, mover: Verbs, repository: str, pushed: Pushed
) -> None:
    """The tag is on the other manifest, the first one stays, the record has a move."""
    put_other(mover, repository, "v1", 201)

    assert mover.get(f"/v2/{repository}/manifests/v1")["Docker-Content-Digest"] == OTHER_DIGEST
    mover.get(f"/v2/{repository}/manifests/{pushed.digest}")
    assert events(server, repository)[-1] == ("move", "v1")


def test_to_move_is_not_to_push(server: RunningServer, repository: str, pushed: Pushed) -> None:
    """The right to move tags alone lets nobody send anything."""
    assert pushed
    put_other(Verbs(server.host, basic("overwriter")), repository, "v1", 403)


@pytest.mark.parametrize(("name", "status"), [("pusher", 403), ("mover", 201)])
def test_a_bearers_push_covers_moves_as_far_as_the_rules_do(
    server: RunningServer, repository: str, pushed: Pushed, name: str, status: int
) -> None:
    """Docker asks for ``push`` alone; the rules say what that is."""
    assert pushed
    token = fetch_token(server.http, f"repository:{repository}:pull,push", **basic(name))

    put_other(Verbs(server.host, bearer(token)), repository, "v1", status)


def test_one_of_many_makes_a_tag_and_none_moves_it(pusher: Verbs, repository: str) -> None:
    """Of pushes at the same time one makes the tag; the others would have moved it."""
    push_blob(pusher, repository, EMPTY)
    barrier = threading.Barrier(WRITERS)

    def put(number: int) -> tuple[int, str]:
        document = artifact(annotations={"writer": str(number)})
        barrier.wait(30)
        path = f"/v2/{repository}/manifests/latest"
        return put_manifest(pusher, path, document, None).status, sha256(encode(document))

    with ThreadPoolExecutor(WRITERS) as pool:
        results = list(pool.map(put, range(WRITERS)))
    (winner,) = [digest for status, digest in results if status == 201]

    assert sorted(status for status, _ in results) == [201, *(WRITERS - 1) * [403]]
    head = pusher.head(f"/v2/{repository}/manifests/latest")
    assert head["Docker-Content-Digest"] == winner
