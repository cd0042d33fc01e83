"""Every route and method, asked by every kind of caller, over a real server."""

import dataclasses
from collections.abc import Callable, Iterator

import pytest
from support.accounts import PASSWORD, basic, code_of
from support.callers import (
    FRONT,
    MISSING,
    REPOSITORY,
    SERVICE,
    Ask,
    Content,
    Stage,
    serial,
    staged,
)
from support.images import encode, sha256
from support.pushes import EMPTY, artifact, with_digest
from support.verbs import Answer, Verbs

from registry_wsgi.web.routes import ROUTES

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

# --- What is asked --------------------------------------------------------------------------------


def _put_manifest(_: Content) -> Ask:
    body = artifact(annotations={"n": str(next(serial))})
    return Ask(f"/manifests/new{next(serial)}", 201, encode(body), body["mediaType"])


def _status(content: Content) -> Ask:
    return Ask(_rest(content.new_session()).partition("?")[0], 204)


def _rest(location: str) -> str:
    """What follows the repository's name in a location."""
    return location.partition(f"/v2/{REPOSITORY}")[2]


ASKS: dict[tuple[str, str], Callable[[Content], Ask]] = {
    ("HEAD", "blobs/<digest>"): lambda it: Ask(f"/blobs/{it.blob}", 200),
    ("GET", "blobs/<digest>"): lambda it: Ask(f"/blobs/{it.blob}", 200),
    ("HEAD", "manifests/<reference>"): lambda _: Ask("/manifests/v1", 200),
    ("GET", "manifests/<reference>"): lambda _: Ask("/manifests/v1", 200),
    ("POST", "blobs/uploads/"): lambda _: Ask("/blobs/uploads/", 202),
    ("PATCH", "blobs/uploads/<uuid>"): lambda it: Ask(_rest(it.new_session()), 202, b"data"),
    ("PUT", "blobs/uploads/<uuid>"): lambda it: Ask(
        _rest(with_digest(it.new_session(), sha256(EMPTY))), 201, EMPTY
    ),
    ("GET", "blobs/uploads/<uuid>"): _status,
    ("HEAD", "blobs/uploads/<uuid>"): _status,
    ("DELETE", "blobs/uploads/<uuid>"): lambda it: Ask(_rest(it.new_session()), 204),
    ("PUT", "manifests/<reference>"): _put_manifest,
    ("DELETE", "manifests/<reference>"): lambda it: Ask(f"/manifests/{it.new_tag()}", 202),
    ("DELETE", "blobs/<digest>"): lambda it: Ask(f"/blobs/{it.new_blob()}", 202),
    ("GET", "tags/list"): lambda _: Ask("/tags/list", 200),
    ("HEAD", "tags/list"): lambda _: Ask("/tags/list", 200),
    ("GET", "referrers/<digest>"): lambda it: Ask(f"/referrers/{it.manifest}", 200),
    ("HEAD", "referrers/<digest>"): lambda it: Ask(f"/referrers/{it.manifest}", 200),
}
"""A request for each method of each path in a repository."""

NAMED = "/v2/<name:name>/"
OPEN = ("/healthz", "/readyz", "/metrics")
"""Paths that nobody has to sign in for; ``/token`` has tests of its own."""


def methods_of(rule: str) -> set[str]:
    """The methods of a path: where there is a GET there is a HEAD."""
    found = {route.method for route in ROUTES if route.rule == rule}
    return found | {"HEAD"} if "GET" in found else found


def action_of(method: str, rule: str) -> str:
    """What a caller has to be allowed for this method of a path."""
    wanted = {method, "GET"} if method == "HEAD" else {method}
    actions = {route.action for route in ROUTES if route.rule == rule and route.method in wanted}
    (action,) = actions
    return action


PATHS = sorted({route.rule for route in ROUTES})
CELLS = [
    (method, rule)
    for rule in PATHS
    if rule not in {*OPEN, "/token"}
    for method in METHODS
    if method in methods_of(rule)
]


def test_every_route_is_asked() -> None:
    """A new route has to be put into this matrix before it can be served."""
    named = {(method, rule.removeprefix(NAMED)) for method, rule in CELLS if NAMED in rule}

    assert named == set(ASKS)
    assert {rule for _, rule in CELLS if NAMED not in rule} == {"/v2/", "/v2/_catalog"}
    assert {route.rule for route in ROUTES if not route.action} == {*OPEN, "/token"}
    assert {route.action for route in ROUTES} == {"", "base", "catalog", "pull", "push", "delete"}


# --- Who asks -------------------------------------------------------------------------------------

MAY, UNAUTHORIZED, DENIED, SCOPE = "may", "401", "403", "401 insufficient_scope"
ACTIONS = ("base", "catalog", "pull", "push", "delete")


def verdicts(*of_actions: str) -> dict[str, str]:
    """What comes of base, catalog, pull, push and delete."""
    return dict(zip(ACTIONS, of_actions, strict=True))


NOBODY = verdicts(*5 * [UNAUTHORIZED])
CALLERS = {
    # name: base, catalog, pull, push, delete
    "anonymous": NOBODY,
    "wrong password": NOBODY,
    "unknown user": NOBODY,
    "another scheme": NOBODY,
    "two headers": NOBODY,
    "two headers, the other way": NOBODY,
    "pull-only": verdicts(MAY, MAY, MAY, DENIED, DENIED),
    "push": verdicts(MAY, MAY, MAY, MAY, DENIED),
    "delete": verdicts(MAY, MAY, MAY, DENIED, MAY),
    "admin": verdicts(*5 * [MAY]),
    "stranger": verdicts(MAY, MAY, DENIED, DENIED, DENIED),
    "narrowed": verdicts(MAY, MAY, DENIED, DENIED, DENIED),
    "token": verdicts(MAY, MAY, MAY, MAY, DENIED),
    "token of another repository": verdicts(MAY, MAY, DENIED, DENIED, DENIED),
    "revoked token": NOBODY,
    "expired token": NOBODY,
    "token by another name": NOBODY,
    "anonymous bearer": verdicts(MAY, SCOPE, *3 * [UNAUTHORIZED]),
    "push bearer": verdicts(MAY, SCOPE, MAY, MAY, DENIED),
    "pull bearer": verdicts(MAY, SCOPE, MAY, SCOPE, DENIED),
    "admin's pull bearer": verdicts(MAY, SCOPE, MAY, SCOPE, SCOPE),
    "admin's whole bearer": verdicts(*5 * [MAY]),
    "admin's catalog bearer": verdicts(MAY, MAY, SCOPE, SCOPE, SCOPE),
    "bearer of another repository": verdicts(MAY, SCOPE, SCOPE, SCOPE, DENIED),
    "bearer that claims more": verdicts(MAY, SCOPE, MAY, DENIED, DENIED),
    "token's bearer": verdicts(MAY, SCOPE, MAY, MAY, DENIED),
    "revoked token's bearer": NOBODY,
    "expired token's bearer": NOBODY,
    "removed user's bearer": NOBODY,
    "bearer of before a new password": NOBODY,
    "narrowed rule's bearer": verdicts(MAY, SCOPE, DENIED, DENIED, DENIED),
    "expired bearer": NOBODY,
    "forged bearer": NOBODY,
    "no bearer": NOBODY,
}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The server that all of this module asks."""
    with staged() as ready:
        yield ready


SOME = ("anonymous", "wrong password", "stranger", "admin", "pull bearer", "forged bearer")
"""Callers enough for what is answered before anybody asks who they are."""

# --- What comes of it -----------------------------------------------------------------------------


def test_every_caller_has_credentials(stage: Stage) -> None:
    """No line of the table is left out."""
    assert set(stage.callers) == set(CALLERS)


def request_of(stage: Stage, method: str, rule: str) -> Ask:
    """What is asked of a route, in ``REPOSITORY`` if it is in one."""
    if NAMED not in rule:
        return Ask(rule, 200)
    ask = ASKS[method, rule.removeprefix(NAMED)](stage.content)
    return dataclasses.replace(ask, path=f"/v2/{REPOSITORY}{ask.path}")


@pytest.mark.parametrize(("method", "rule"), CELLS, ids=lambda word: word)
@pytest.mark.parametrize("caller", CALLERS)
def test_a_caller_may_what_the_table_says(
    stage: Stage, caller: str, method: str, rule: str
) -> None:
    """Its own status for whoever may; 401 or 403, with code and challenge, for whoever may not.

    A refusal is the same, but for the name, where there is no such repository.
    """
    ask = request_of(stage, method, rule)
    verdict = CALLERS[caller][action_of(method, rule)]
    answer = stage.ask(caller, method, ask.path, ask)

    if verdict == MAY:
        assert answer.status == ask.status, answer.body
    else:
        assert_refused(answer, verdict, method, rule)
        elsewhere = stage.ask(caller, method, ask.path.replace(REPOSITORY, MISSING), ask)
        assert in_no_repository(elsewhere) == in_no_repository(answer)


def assert_refused(answer: Answer, verdict: str, method: str, rule: str) -> None:
    """The test fails unless this is the refusal."""
    status, _, error = verdict.partition(" ")
    assert (answer.status, answer.headers["Docker-Distribution-Api-Version"]) == (
        int(status),
        "registry/2.0",
    )
    if method != "HEAD":
        assert code_of(answer) == {"401": "UNAUTHORIZED", "403": "DENIED"}[status]
    challenge = answer.headers["WWW-Authenticate"]
    if verdict == DENIED:
        assert challenge is None
        return
    asked_for = {
        "base": "",
        "catalog": ',scope="registry:catalog:*"',
        "pull": f',scope="repository:{REPOSITORY}:pull"',
        "push": f',scope="repository:{REPOSITORY}:pull,push"',
        "delete": f',scope="repository:{REPOSITORY}:delete"',
    }[action_of(method, rule)]
    expected = f'Bearer realm="https://{FRONT}/token",service="{SERVICE}"{asked_for}'
    assert challenge.partition(",error=")[0] == expected
    if error:
        assert challenge == f'{expected},error="{error}"'


def in_no_repository(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """An answer without the names in it, by which alone two of them may differ."""

    def unnamed(text: str) -> str:
        return text.replace(MISSING, "NAME").replace(REPOSITORY, "NAME")

    headers = [
        (name, unnamed(text))
        for name, text in answer.headers.items()
        if name not in {"Date", "Content-Length"}
    ]
    return answer.status, headers, unnamed(answer.body.decode()).encode()


@pytest.mark.parametrize("rule", [rule for rule in PATHS if rule not in {*OPEN, "/token"}])
@pytest.mark.parametrize("caller", SOME)
def test_a_method_that_a_path_has_not_is_refused_before_anything_else(
    stage: Stage, caller: str, rule: str
) -> None:
    """405 with the methods there are, whoever asks."""
    known = methods_of(rule)
    ask = request_of(stage, min(known - {"HEAD"}), rule)
    for method in METHODS:
        if method not in known:
            answer = stage.ask(caller, method, ask.path)

            assert answer.status == 405, method
            assert set(answer["Allow"].split(", ")) == known
            assert method == "HEAD" or code_of(answer) == "UNSUPPORTED"


@pytest.mark.parametrize("path", OPEN)
@pytest.mark.parametrize("caller", SOME)
def test_health_is_told_to_everybody(stage: Stage, caller: str, path: str) -> None:
    """Who asks is not even looked at: a wrong password gets the same answer."""
    answer, anonymous = stage.ask(caller, "GET", path), stage.ask("anonymous", "GET", path)

    assert answer.status == anonymous.status
    assert answer.status != 401


@pytest.mark.parametrize("caller", SOME)
def test_a_malformed_name_is_told_to_everybody(stage: Stage, caller: str) -> None:
    """No repository has it, so that nothing is given away."""
    answer = stage.ask(caller, "GET", "/v2/UPPER/tags/list")

    assert (answer.status, code_of(answer)) == (400, "NAME_INVALID")


@pytest.mark.parametrize("path", ["/v2/team%2Fapp/tags/list", "/v2/te%61m/app/tags/list"])
@pytest.mark.parametrize("caller", ["anonymous", "pull-only", "stranger"])
def test_an_escaped_name_is_judged_as_the_name(stage: Stage, caller: str, path: str) -> None:
    """However a client writes it, it is the same repository."""
    plain = stage.ask(caller, "GET", f"/v2/{REPOSITORY}/tags/list")
    escaped = stage.ask(caller, "GET", path)

    assert (escaped.status, escaped.body) == (plain.status, plain.body)


def test_what_was_refused_has_changed_nothing(stage: Stage) -> None:
    """After all of that, what was there at first is there, and the missing repository is not."""
    content = Verbs(stage.server.host, basic("admin"))

    content.get(f"/v2/{REPOSITORY}/manifests/v1")
    content.get(f"/v2/{REPOSITORY}/blobs/{stage.content.blob}")
    content.get(f"/v2/{MISSING}/tags/list", expect=404)


def test_no_secret_is_in_the_log(stage: Stage) -> None:
    """Neither a password, nor a token, nor a header with one in it was written."""
    headers = [text for sent in stage.callers.values() for texts in sent for text in texts]
    sent = {text.partition(" ")[2] for text in headers} - {""}
    log = stage.server.log

    assert log
    assert not [text for text in {PASSWORD, "rwt_", *sent} if text in log]
