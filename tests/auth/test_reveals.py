"""What callers learn: repositories that they may not pull from might as well not be there."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from support.accounts import add_user, basic, bearer, code_of, fetch_token, opened_data
from support.images import noise
from support.pushes import UNKNOWN_DIGEST, push_artifact, push_blob
from support.server import RunningServer, throwaway_directory
from support.variants import QUICK
from support.verbs import Answer, Verbs

RULES = """
[auth]
backends = ["users"]
[[access]]
repositories = "open/**"
users = ["anonymous"]
actions = ["pull"]
[[access]]
repositories = "shelf/*/public"
users = ["reader"]
actions = ["pull"]
[[access]]
repositories = "mine/**"
users = ["reader"]
actions = ["pull", "push"]
[[access]]
repositories = "drop/**"
users = ["reader"]
actions = ["push"]
[[access]]
repositories = "**"
users = ["admin"]
actions = ["admin"]
"""
SHELVES = [f"shelf/{n:02}/{kind}" for n in range(12) for kind in ("private", "public")]
PUBLIC = [name for name in SHELVES if name.endswith("public")]
NOTHING = "nobody/knows"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A server with repositories of both kinds between each other."""
    with throwaway_directory() as folder:
        with opened_data(folder / "data") as storage:
            for name in ("reader", "admin", "stranger"):
                add_user(storage.index.accounts, name)
        with RunningServer(folder / "data", settings=QUICK + RULES) as running:
            admin = Verbs(running.host, basic("admin"))
            for name in (*SHELVES, "open/app"):
                push_artifact(admin, name, "v1")
            yield running


@pytest.fixture
def reader(server: RunningServer) -> Verbs:
    """Somebody who may pull from some repositories."""
    return Verbs(server.host, basic("reader"))


@pytest.fixture
def admin(server: RunningServer) -> Verbs:
    """Somebody who may everything."""
    return Verbs(server.host, basic("admin"))


# --- The catalog ----------------------------------------------------------------------------------


def pages(http: Verbs, size: int) -> list[list[str]]:
    """All pages of the catalog, by their links."""
    found, path = [], f"/v2/_catalog?n={size}"
    while path:
        answer = http.get(path)
        found.append(answer.json()["repositories"])
        link = answer.headers["Link"]
        path = link.partition("<")[2].partition(">")[0] if link else ""
        if path:
            assert parse_qs(urlsplit(path).query)["last"] == [found[-1][-1]]
    return found


@pytest.mark.parametrize("size", [1, 5, 12, 13, 100])
def test_the_pages_of_the_catalog_are_full(reader: Verbs, size: int) -> None:
    """Each but the last has as many as were asked for, of what may be pulled, and names no other."""
    found = pages(reader, size)

    assert [name for page in found for name in page] == ["open/app", *PUBLIC]
    assert [len(page) for page in found[:-1]] == (len(found) - 1) * [size]


@pytest.mark.parametrize("last", ["shelf/03/private", "shelf/03/pr", "shelf/02/public"])
def test_the_catalog_goes_on_after_any_name(reader: Verbs, last: str) -> None:
    """Whether the name where it goes on is hidden, not there, or seen, is no difference."""
    found = reader.get(f"/v2/_catalog?n=2&last={last}").json()["repositories"]

    assert found == ["shelf/03/public", "shelf/04/public"]


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        (None, ["open/app"]),
        ("stranger", ["open/app"]),
        ("reader", ["open/app", *PUBLIC]),
        ("admin", ["open/app", *SHELVES]),
    ],
)
def test_each_caller_has_a_catalog(
    server: RunningServer, caller: str | None, expected: list[str]
) -> None:
    """It lists where the caller may pull; an anonymous one needs a token for it."""
    headers = basic(caller) if caller else {}
    token = fetch_token(server.http, "registry:catalog:*", **headers)
    for sent in (headers, bearer(token)) if caller else (bearer(token),):
        found = Verbs(server.host, sent).get("/v2/_catalog").json()["repositories"]

        assert found == expected


def test_who_would_be_shown_a_part_of_the_catalog_is_asked_to_sign_in(
    server: RunningServer,
) -> None:
    """Clients send what they have when they are asked: with 200 they would never see the rest."""
    answer = server.http.get("/v2/_catalog", 401)

    assert answer["WWW-Authenticate"].endswith(',scope="registry:catalog:*"')


# --- Forbidden, or not there ----------------------------------------------------------------------

READS = ["manifests/v1", f"blobs/{UNKNOWN_DIGEST}", "tags/list", f"referrers/{UNKNOWN_DIGEST}"]


def told(answer: Answer, name: str) -> tuple[int, list[tuple[str, str]], str]:
    """An answer, without the name that was asked about."""
    headers = [
        (header, text.replace(name, "NAME"))
        for header, text in answer.headers.items()
        if header not in {"Date", "Content-Length"}
    ]
    return answer.status, headers, answer.body.decode().replace(name, "NAME")


@pytest.mark.parametrize("what", READS)
@pytest.mark.parametrize("caller", [None, "reader", "stranger"])
def test_what_is_forbidden_looks_like_what_is_not_there(
    server: RunningServer, caller: str | None, what: str
) -> None:
    """The same refusal, to the byte, for a hidden repository and for none."""
    http = Verbs(server.host, basic(caller) if caller else {})
    answers = {
        name: told(http.get(f"/v2/{name}/{what}", None), name)
        for name in ("shelf/03/private", NOTHING)
    }

    assert answers["shelf/03/private"] == answers[NOTHING]
    assert answers[NOTHING][0] == (403 if caller else 401)


def test_who_may_push_alone_does_not_see(reader: Verbs) -> None:
    """A repository to drop things into lets nobody look, not even at what they dropped."""
    digest = push_blob(reader, "drop/box", b"dropped")

    assert code_of(reader.get(f"/v2/drop/box/blobs/{digest}", 403)) == "DENIED"
    assert reader.head(f"/v2/drop/box/blobs/{digest}", 403).body == b""
    assert "drop/box" not in reader.get("/v2/_catalog").json()["repositories"]


# --- Mounts ---------------------------------------------------------------------------------------


@pytest.fixture
def hidden(admin: Verbs, repository: str) -> str:
    """The digest of a blob that only a hidden repository has."""
    return push_blob(admin, "shelf/00/private", noise(200, f"hidden {repository}"))


@pytest.fixture
def seen(admin: Verbs, repository: str) -> str:
    """The digest of a blob that the reader may pull, and nobody needs to send again."""
    return push_blob(admin, "shelf/00/public", noise(200, f"seen {repository}"))


def mount(http: Verbs, digest: str, source: str | None, target: str = "mine/app") -> Answer:
    """Ask for a mount, from a repository or from any."""
    query = f"mount={digest}" + (f"&from={source}" if source else "")
    return http.post(f"/v2/{target}/blobs/uploads/?{query}", expect=None)


def form(answer: Answer) -> tuple[int, list[str]]:
    """What of an answer does not change from one upload session to the next."""
    return answer.status, sorted(answer.headers.keys())


@pytest.mark.parametrize("source", ["shelf/00/public", None], ids=["named", "any"])
def test_what_may_be_pulled_may_be_mounted(reader: Verbs, seen: str, source: str | None) -> None:
    """From the repository that is named, or from wherever the caller may pull it."""
    answer = mount(reader, seen, source)

    assert answer.status == 201
    reader.head(f"/v2/mine/app/blobs/{seen}")


@pytest.mark.parametrize("source", ["shelf/00/private", None], ids=["named", "any"])
def test_what_may_not_be_pulled_is_not_mounted(
    reader: Verbs, hidden: str, source: str | None
) -> None:
    """The answer is an upload session, as for a blob that does not exist, and nothing is mounted."""
    answer = mount(reader, hidden, source)
    absent = mount(reader, UNKNOWN_DIGEST, source and NOTHING)

    assert form(answer) == form(absent)
    assert answer.status == 202
    reader.head(f"/v2/mine/app/blobs/{hidden}", 404)


def test_a_mount_into_another_repository_is_a_push(reader: Verbs, seen: str) -> None:
    """Who may pull a blob may not therefore put it anywhere."""
    assert mount(reader, seen, "shelf/00/public", "shelf/01/public").status == 403


@pytest.mark.parametrize("source", ["shelf/00/public", None], ids=["named", "any"])
def test_a_bearer_mounts_from_where_its_owner_may_pull(
    server: RunningServer, seen: str, source: str | None
) -> None:
    """Its scope is of where it pushes: a client that mounts from anywhere can name no other."""
    token = fetch_token(server.http, "repository:mine/app:pull,push", **basic("reader"))

    assert mount(Verbs(server.host, bearer(token)), seen, source).status == 201


def test_a_bearer_that_claims_a_source_gets_what_the_rules_give(
    server: RunningServer, hidden: str
) -> None:
    """A scope that was not granted is in no token."""
    scopes = ["repository:mine/app:pull,push", "repository:shelf/00/private:pull"]
    http = Verbs(server.host, bearer(fetch_token(server.http, *scopes, **basic("reader"))))

    assert mount(http, hidden, "shelf/00/private").status == 202
    assert mount(http, hidden, None).status == 202
