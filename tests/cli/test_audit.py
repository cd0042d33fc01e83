"""``audit``: who pushed, moved and deleted what, when, and from where."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.accounts import (
    PASSWORD,
    add_token,
    add_user,
    basic,
    bearer,
    fetch_token,
    opened_data,
)
from support.commands import registry_wsgi
from support.pushes import (
    EMPTY,
    Pushed,
    artifact,
    push_artifact,
    push_blob,
    put_manifest,
)
from support.server import RunningServer, throwaway_directory
from support.variants import QUICK
from support.verbs import Verbs

SETTINGS = """
[auth]
backends = ["users"]
[[access]]
repositories = "open/**"
users = ["anonymous"]
actions = ["pull"]
[[access]]
repositories = "team/**"
users = ["anna", "@developers"]
actions = ["pull", "push"]
[[access]]
repositories = "**"
users = ["admin"]
actions = ["admin"]
"""

FRONT = {"X-Forwarded-For": "203.0.113.5"}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """A server behind a trusted proxy, and people and machines that change things."""
    with throwaway_directory() as folder:
        with opened_data(folder / "data") as storage:
            for name in ("anna", "admin"):
                add_user(storage.index.accounts, name)
        settings = f'{QUICK}trusted_proxies = ["127.0.0.1"]\n{SETTINGS}'
        with RunningServer(folder / "data", settings=settings) as running:
            yield running


def audit(server: RunningServer, *words: str) -> list[dict[str, Any]]:
    """The audit trail, chosen by the words."""
    ended = registry_wsgi("audit", "--json", *words, data=server.data)
    return [json.loads(line) for line in ended.out.splitlines()]


def seen(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Who did what to which tag, in order."""
    return [(event["user"], event["action"], event["tag"]) for event in events]


@pytest.fixture
def name(repository: str) -> str:
    """A repository that only the test changes."""
    return f"team/{repository}"


def test_every_change_is_recorded(server: RunningServer, name: str) -> None:
    """Who pushed, moved and deleted what, when, and from where."""
    started = datetime.now(UTC) - timedelta(seconds=1)
    admin = Verbs(server.host, {**basic("admin"), **FRONT})
    first = push_artifact(admin, name, "v1")
    second = push_artifact(admin, name, "v1", annotations={"a": "b"})
    push_artifact(admin, name, annotations={"un": "tagged"})
    blob = push_blob(admin, name, b"a blob")
    admin.delete(f"/v2/{name}/manifests/v1")
    admin.delete(f"/v2/{name}/manifests/{first.digest}")
    admin.delete(f"/v2/{name}/blobs/{blob}")
    events = audit(server, "--repository", name)

    assert [(e["action"], e["tag"], e["digest"], e["previous"]) for e in events] == [
        ("push", "v1", first.digest, None),
        ("move", "v1", second.digest, first.digest),
        ("push", None, events[2]["digest"], None),
        ("delete", "v1", None, second.digest),
        ("delete", None, first.digest, None),
        ("delete", None, blob, None),
    ]
    assert {(e["user"], e["address"], e["repository"]) for e in events} == {
        ("admin", "203.0.113.5", name)
    }
    moments = [datetime.fromisoformat(event["at"]) for event in events]
    assert started <= moments[0] <= moments[-1] <= datetime.now(UTC)
    assert moments == sorted(moments)


def test_a_bearer_is_recorded_as_who_asked_for_it(server: RunningServer, name: str) -> None:
    """An account or a machine token, by its name."""
    with opened_data(server.data) as storage:
        secret = add_token(storage.index.accounts, "recorded", "**", "push,pull")
    scope = f"repository:{name}:pull,push"
    for number, headers in enumerate((basic("anna"), basic("recorded", secret))):
        http = Verbs(server.host, bearer(fetch_token(server.http, scope, **headers)))
        push_artifact(http, name, f"v{number}", annotations={"n": str(number)})

    assert seen(audit(server, "--repository", name)) == [
        ("anna", "push", "v0"),
        ("recorded", "push", "v1"),
    ]


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (None, "127.0.0.1"),
        ("203.0.113.5", "203.0.113.5"),
        ("198.51.100.66, 203.0.113.5", "203.0.113.5"),
        ("2001:db8::1", "2001:db8::1"),
        ("rubbish", "127.0.0.1"),
    ],
    ids=["no proxy", "a proxy", "made up by the client", "IPv6", "rubbish"],
)
def test_the_address_is_the_clients_as_the_proxy_tells_it(
    server: RunningServer, name: str, forwarded: str | None, address: str
) -> None:
    """What the client writes into the header itself is not believed."""
    front = {"X-Forwarded-For": forwarded} if forwarded else {}
    push_artifact(Verbs(server.host, {**basic("admin"), **front}), name, "v1")
    (event,) = audit(server, "--repository", name)

    assert event["address"] == address


def test_a_refused_change_is_not_recorded(server: RunningServer, name: str) -> None:
    """The record is of what was done."""
    push_artifact(Verbs(server.host, basic("anna")), name, "v1")
    push_blob(Verbs(server.host, basic("anna")), name, EMPTY)
    for path in ("manifests/v1", f"blobs/{'sha256:' + '0' * 64}"):
        Verbs(server.host, basic("anna")).delete(f"/v2/{name}/{path}", 403)
    put_manifest(
        Verbs(server.host, basic("anna")),
        f"/v2/{name}/manifests/v1",
        artifact(annotations={"x": "y"}),
        403,
    )

    assert seen(audit(server, "--repository", name)) == [("anna", "push", "v1")]


def test_a_repeated_push_is_no_move(server: RunningServer, name: str) -> None:
    """The tag stays where it is; that somebody pushed is recorded."""
    for _ in range(2):
        push_artifact(Verbs(server.host, basic("anna")), name, "v1")

    assert seen(audit(server, "--repository", name)) == 2 * [("anna", "push", "v1")]


def test_a_deletion_by_the_operator_is_recorded(server: RunningServer, name: str) -> None:
    """Of a whole repository, with each tag and manifest in it."""
    pushed: Pushed = push_artifact(Verbs(server.host, basic("anna")), name, "v1")
    registry_wsgi("delete", name, data=server.data)
    events = audit(server, "--repository", name, "--action", "delete")

    assert [(e["tag"], e["digest"], e["previous"]) for e in events] == [
        ("v1", None, pushed.digest),
        (None, pushed.digest, None),
    ]
    assert {(e["user"], e["address"]) for e in events} == {("operator", "command line")}


FILTERS = {
    "nothing": ([], 5),
    "a tag": (["--tag", "v1"], 3),
    "a user": (["--user", "anna"], 2),
    "another user": (["--user", "nobody"], 0),
    "an action": (["--action", "move"], 1),
    "two things": (["--user", "admin", "--action", "push"], 1),
    "the newest": (["--limit", "2"], 2),
    "long ago": (["--since", "2001-01-01"], 5),
    "the future": (["--since", "2999-01-01T00:00:00Z"], 0),
    "a moment of another zone": (["--since", "2001-01-01T00:00:00+09:00"], 5),
}


@pytest.mark.parametrize("case", FILTERS)
def test_the_trail_is_filtered(server: RunningServer, name: str, case: str) -> None:
    """By what is asked, all of it; what is left is in order."""
    words, count = FILTERS[case]
    anna, admin = (Verbs(server.host, basic(who)) for who in ("anna", "admin"))
    push_artifact(anna, name, "v1")
    push_artifact(anna, name, "v2", annotations={"2": ""})
    push_artifact(admin, name, "v1", annotations={"3": ""})
    push_artifact(admin, name, "v3", annotations={"4": ""})
    admin.delete(f"/v2/{name}/manifests/v1")
    whole, found = audit(server, "--repository", name), audit(server, "--repository", name, *words)

    assert len(found) == count
    assert found == [event for event in whole if event in found]
    if case == "the newest":
        assert found == whole[-2:]


def test_since_is_a_moment_and_not_a_text(server: RunningServer, name: str) -> None:
    """The zone in which it is written makes no difference."""
    push_artifact(Verbs(server.host, basic("anna")), name, "v1")
    (event,) = audit(server, "--repository", name)
    at = datetime.fromisoformat(event["at"])
    zone = timedelta(hours=5)
    counts = []
    for moved in (-timedelta(milliseconds=1), timedelta(), timedelta(milliseconds=1)):
        here = (at + moved + zone).replace(tzinfo=None).isoformat()
        counts.append(len(audit(server, "--repository", name, "--since", f"{here}+05:00")))

    assert counts == [1, 1, 0]


def test_anonymous_changes_are_told_and_found_as_such(fresh_registry: Any) -> None:
    """Where nobody has to sign in, nobody has a name."""
    server = fresh_registry(settings=QUICK)
    push_artifact(server.http, "a", "v1")

    assert seen(audit(server)) == [("anonymous", "push", "v1")]
    assert audit(server, "--user", "anonymous") == audit(server)


def test_the_trail_is_text_for_people(server: RunningServer, name: str) -> None:
    """Fields with tabs between them, and a hyphen for what is not there."""
    pushed = push_artifact(Verbs(server.host, basic("anna")), name, "v1")
    line = registry_wsgi("audit", "--repository", name, data=server.data).out

    assert line.endswith("\n")
    assert line[:-1].split("\t")[1:] == [
        *("anna", "127.0.0.1", "push", name, "v1", pushed.digest, "-"),
    ]


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "0001-01-01T00:00+05:00"])
def test_a_time_that_is_none_is_refused(server: RunningServer, text: str) -> None:
    """The message says what would do."""
    ended = registry_wsgi("audit", "--since", text, data=server.data, expect=1)

    assert ended.err == f"registry-wsgi: --since takes a date or a time, not {text!r}\n"


def test_no_secret_is_in_the_trail(server: RunningServer, name: str) -> None:
    """It has names and addresses, never what was signed in with."""
    push_artifact(Verbs(server.host, basic("anna")), name, "v1")

    assert PASSWORD not in json.dumps(audit(server))
