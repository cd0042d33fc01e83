"""Rules: who may do what where, as tables."""

import itertools

import pytest

from registry_wsgi.auth.base import ANONYMOUS, Grant, Principal
from registry_wsgi.auth.rules import Rules, rules_of
from registry_wsgi.names import Name, Pattern
from registry_wsgi.settings import ACTIONS
from registry_wsgi.storage.base import EVERYTHING

APP = Name("team/app")
ANNA = Principal("anna", kind="user")
DEVELOPER = Principal("berta", frozenset({"developers", "office"}), kind="user")
PROXIED = Principal("carla", kind="proxy")
TOKEN = Principal("ci", kind="token", grant=Grant(("ci/*",), ("pull", "push")))
CALLERS = {
    "anonymous": ANONYMOUS,
    "anna": ANNA,
    "berta": DEVELOPER,
    "carla": PROXIED,
    "ci": TOKEN,
}


def allowed(rules: Rules, principal: Principal, repository: Name = APP) -> set[str]:
    """Everything that the caller may do there."""
    return {action for action in ACTIONS if rules.deciding(principal, action, repository)}


# --- Whom a rule is about -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("users", "callers"),
    [
        pytest.param(["anna"], {"anna"}, id="a name"),
        pytest.param(["anna", "carla"], {"anna", "carla"}, id="two names"),
        pytest.param(["@developers"], {"berta"}, id="a group"),
        pytest.param(["@office", "anna"], {"anna", "berta"}, id="a group and a name"),
        pytest.param(["developers"], set(), id="a group's name without its @"),
        pytest.param(["@anna"], set(), id="a name with an @"),
        pytest.param(["anonymous"], set(CALLERS), id="everybody"),
        pytest.param(["authenticated"], set(CALLERS) - {"anonymous"}, id="whoever signed in"),
        pytest.param(["ci"], set(), id="a user of a token's name"),
        pytest.param(["@ci"], set(), id="a group of a token's name"),
        pytest.param(["nobody"], set(), id="nobody of them"),
        pytest.param(["Anna", "ann", "anna "], set(), id="other spellings"),
    ],
)
def test_a_rule_is_about_its_users(users: list[str], callers: set[str]) -> None:
    """Names, groups, everybody and whoever signed in are told apart; tokens are no users."""
    rules = rules_of([("team/**", users, ["pull"])])

    assert {name for name, caller in CALLERS.items() if allowed(rules, caller)} == callers


def test_an_anonymous_caller_has_no_name() -> None:
    """A rule for an empty name, which the settings refuse, would be about nobody either."""
    assert allowed(rules_of([("**", [""], ["admin"])]), ANONYMOUS) == set()


# --- What it allows -------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS[:-1])
def test_an_action_allows_itself_alone(action: str) -> None:
    """To push is not to pull, nor to move a tag, and so on."""
    assert allowed(rules_of([("**", ["anna"], [action])]), ANNA) == {action}


def test_admin_is_everything() -> None:
    """Who administers may do all the rest."""
    assert allowed(rules_of([("**", ["anna"], ["admin"])]), ANNA) == set(ACTIONS)


def test_rules_add_up() -> None:
    """A caller may do what any matching rule allows, whatever the others say, in any order."""
    rows = [
        ("**", ["anonymous"], ["pull"]),
        ("team/*", ["@developers"], ["push"]),
        ("team/app", ["berta"], ["delete"]),
        ("team/**", ["anna"], ["overwrite"]),
    ]
    for order in itertools.permutations(rows):
        rules = rules_of(order)

        assert allowed(rules, DEVELOPER) == {"pull", "push", "delete"}
        assert allowed(rules, ANNA) == {"pull", "overwrite"}
        assert allowed(rules, ANONYMOUS) == {"pull"}
        assert allowed(rules, DEVELOPER, Name("team/other")) == {"pull", "push"}


def test_the_first_rule_that_allows_it_is_told() -> None:
    """With where it stands: a rule of the file, or a token's own grant."""
    rules = rules_of([("team/**", ["anna"], ["push"]), ("**", ["authenticated"], ["pull", "push"])])

    assert str(rules.deciding(ANNA, "push", APP)) == "[[access]] team/**: anna: push"
    assert str(rules.deciding(ANNA, "pull", APP)) == "[[access]] **: authenticated: pull, push"
    assert str(rules.deciding(TOKEN, "push", Name("ci/a"))) == (
        "its own grant, ci/*: token ci: pull, push"
    )
    assert rules.deciding(ANNA, "delete", APP) is None


# --- Without rules --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        ("anonymous", set()),
        ("anna", {"pull", "push", "overwrite"}),
        ("berta", {"pull", "push", "overwrite"}),
        ("carla", {"pull", "push", "overwrite"}),
        ("ci", set()),
    ],
)
def test_without_rules_whoever_signs_in_pulls_and_pushes(caller: str, expected: set[str]) -> None:
    """And moves tags, as every push of ``latest`` does; a token may what it was made for, alone."""
    assert allowed(rules_of([]), CALLERS[caller]) == expected
    assert allowed(rules_of([]), TOKEN, Name("ci/a")) == {"pull", "push"}


def test_the_default_is_told_as_such() -> None:
    """Whoever asks why is told that there is no rule."""
    told = str(rules_of([]).deciding(ANNA, "pull", APP))

    assert told.startswith("the default, as there is no [[access]]")


def test_one_rule_replaces_the_default() -> None:
    """Where any rule is set, only rules allow."""
    assert allowed(rules_of([("x", ["anna"], ["pull"])]), ANNA) == set()


# --- A token's own grants -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repositories", "repository", "expected"),
    [
        (("team/*",), "team/app", True),
        (("team/*",), "team/app/deep", False),
        (("team/*",), "other/app", False),
        (("other/*", "team/**"), "team/app/deep", True),
        (("**",), "anything", True),
        (("team/app",), "team/app", True),
        (("team/app",), "team/app2", False),
    ],
)
def test_a_token_may_what_it_was_made_for(
    repositories: tuple[str, ...], repository: str, expected: bool
) -> None:
    """No rule has to name it, and none gives it more but those for everybody."""
    token = Principal("ci", kind="token", grant=Grant(repositories, ("push",)))
    rules = rules_of([("**", ["ci", "@ci"], ["admin"])])

    assert allowed(rules, token, Name(repository)) == ({"push"} if expected else set())


def test_rules_for_everybody_are_for_tokens_too() -> None:
    """What is open is open to a token; ``authenticated`` is any account or token."""
    rules = rules_of([("a", ["anonymous"], ["pull"]), ("b", ["authenticated"], ["pull"])])

    assert allowed(rules, TOKEN, Name("a")) == allowed(rules, TOKEN, Name("b")) == {"pull"}


# --- Patterns -------------------------------------------------------------------------------------

MATCHES = {
    "team/app": {"team/app"},
    "team/*": {"team/app", "team/app.2", "team/a-b"},
    "team/**": {"team/app", "team/app.2", "team/a-b", "team/app/deep", "team/a/b/c"},
    "*": {"team", "app"},
    "**": {
        *("team", "app", "team/app", "team/app.2", "team/a-b", "team/app/deep", "team/a/b/c"),
        *("steam/app", "my/team/app"),
    },
    "*/app": {"team/app", "steam/app"},
    "**/app": {"team/app", "steam/app", "my/team/app"},
    "team/app.*": {"team/app.2"},
    "team/a*": {"team/app", "team/app.2", "team/a-b"},
    "*team/app": {"team/app", "steam/app"},
    "team*": {"team"},
    "team**": {"team", "team/app", "team/app.2", "team/a-b", "team/app/deep", "team/a/b/c"},
}


@pytest.mark.parametrize("pattern", MATCHES)
def test_a_pattern_means_repositories(pattern: str) -> None:
    """``*`` stays within one component, ``**`` crosses them, and nothing else is special."""
    assert {name for name in MATCHES["**"] if Pattern(pattern).matches(name)} == MATCHES[pattern]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Team/*",
        "team app",
        "team/\n",
        "team/?",
        "[a]",
        "te\u00e4m",
        "a" * 256,
        "a:b",
        "@a",
        "team/",
        "/team",
        "team//app",
    ],
)
def test_what_no_repository_could_match_is_no_pattern(text: str) -> None:
    """It is refused in the settings and on the command line."""
    assert Pattern.maybe(text) is None


@pytest.mark.parametrize("text", ["team/app\n", "xteam/app", "team/appx", "team\napp"])
def test_a_pattern_means_whole_names(text: str) -> None:
    """Neither a part of a name nor one with a line end is meant."""
    assert not Pattern("team/app").matches(text)


# --- What may be seen -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        ("anonymous", ("open/*",)),
        ("anna", ("open/*", "team/**")),
        ("berta", ("open/*",)),
        ("ci", ("ci/*", "open/*")),
    ],
)
def test_a_caller_sees_where_it_may_pull(caller: str, expected: tuple[str, ...]) -> None:
    """Only rules that allow to pull make a repository visible."""
    rules = rules_of(
        [
            ("open/*", ["anonymous"], ["pull"]),
            ("team/**", ["anna"], ["pull", "push"]),
            ("hidden", ["anna", "@developers"], ["push", "delete"]),
        ]
    )

    assert rules.visible(CALLERS[caller]).patterns == expected


def test_who_may_pull_everywhere_sees_everything() -> None:
    """So does who administers; then nothing has to be matched."""
    for action in ("pull", "admin"):
        rules = rules_of([("team/*", ["anna"], ["pull"]), ("**", ["anna"], [action])])

        assert rules.visible(ANNA) is EVERYTHING
