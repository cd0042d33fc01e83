"""Rules and back ends that cannot be: an error at start, never a registry that is open."""

import sys
from pathlib import Path

import pytest
from support.programs import run
from support.server import CHECKOUT

from registry_wsgi.config import ConfigError, load
from registry_wsgi.server.exposure import refuse_open_network

SIGN_IN = '[auth]\nbackends = ["users"]\n'
RULE = {"repositories": '"team/**"', "users": '["anna"]', "actions": '["pull"]'}


def rule(**changes: str) -> str:
    """A rule with some of its three lines changed."""
    return "[[access]]\n" + "".join(f"{k} = {v}\n" for k, v in {**RULE, **changes}.items())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(rule(repositories='"Team/**"'), "must be one pattern", id="upper case"),
        pytest.param(rule(repositories='"team/"'), "must be one pattern", id="a slash at the end"),
        pytest.param(
            rule(repositories='"/team"'), "must be one pattern", id="a slash at the start"
        ),
        pytest.param(rule(repositories='"a//b"'), "must be one pattern", id="two slashes"),
        pytest.param(rule(repositories='""'), "must be one pattern", id="no repositories"),
        pytest.param(rule(repositories='["a"]'), "must be one pattern", id="a list of patterns"),
        pytest.param(rule(users="[]"), "users is empty", id="no users"),
        pytest.param(rule(actions="[]"), "actions is empty", id="no actions"),
        pytest.param(rule(users='"anna"'), "must be a list", id="users that are no list"),
        pytest.param(rule(users='[""]'), "'' is no user", id="an empty name"),
        pytest.param(rule(users='["@"]'), "'@' is no user", id="an empty group"),
        pytest.param(rule(users='["@@x"]'), "'@@x' is no user", id="two @"),
        pytest.param(rule(users='["anna berta"]'), "'anna berta' is no user", id="two in one"),
        pytest.param(rule(users='["anna,berta"]'), "'anna,berta' is no user", id="a comma"),
        pytest.param(rule(users='["*"]'), "'*' is no user", id="a star"),
        pytest.param(rule(actions='["pusk"]'), "did you mean 'push'?", id="a misspelt action"),
        pytest.param(rule(actions='["Pull"]'), "did you mean 'pull'?", id="another case"),
        pytest.param(rule(deny="true"), "has exactly", id="a member too many"),
        pytest.param('[auth]\nbackends = ["ldap"]', "'ldap' is none of", id="an unknown back end"),
        pytest.param('[auth]\nbackends = ["users", "users"]', "twice", id="a back end twice"),
        pytest.param(
            '[auth]\nproxy_peers = ["nginx"]', "is not an IP address", id="a peer by name"
        ),
        pytest.param('[auth]\nproxy_header = "X User"', "header's name", id="no header"),
        pytest.param('[auth]\nservice = "a b"', "plain word", id="no service"),
        pytest.param("[auth]\ntoken_seconds = 59", "60 or more", id="too short a life"),
    ],
)
def test_what_cannot_be_is_an_error(text: str, expected: str, tmp_path: Path) -> None:
    """The message names the file, the setting and what is wrong with it."""
    path = tmp_path / "registry.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)

    assert str(caught.value).startswith(str(path))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "users",
    ['["anna"]', '["@developers"]', '["anonymous"]', '["authenticated"]', '["a.b+c@d-e_f", "1"]'],
)
def test_users_groups_and_everybody_can_be_named(users: str, tmp_path: Path) -> None:
    """In every form that a name may have."""
    path = tmp_path / "registry.toml"
    path.write_text(rule(users=users))

    assert len(load(path).access) == 1


@pytest.mark.parametrize(
    ("settings", "flags", "expected"),
    [
        pytest.param(rule(), (), "auth.backends is empty", id="rules without back ends"),
        pytest.param("", ("--bind", "0.0.0.0:0"), "auth.backends", id="all addresses"),
        pytest.param("", ("--bind", "[::]:0"), "auth.open_to_network", id="all of IPv6"),
        pytest.param("", ("--bind", "192.0.2.1:0"), "the whole network", id="an address"),
        pytest.param("", ("--bind", "registry.example:0"), "the whole network", id="a name"),
        pytest.param(
            '[auth]\nbackends = ["htpasswd"]', (), "auth.htpasswd_file = ''", id="no htpasswd file"
        ),
        pytest.param(
            '[auth]\nbackends = ["htpasswd"]\nhtpasswd_file = "/nowhere"',
            (),
            "No such file",
            id="a missing htpasswd file",
        ),
    ],
)
def test_a_registry_that_would_not_do_as_told_does_not_start(
    settings: str, flags: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    """The exit status is 2, and one line says what to set."""
    path = tmp_path / "registry.toml"
    path.write_text(settings)
    words: list[str | Path] = [sys.executable, "-m", "registry_wsgi", "serve"]
    words += ["--config", path, *flags]
    own = {"PYTHONPATH": str(CHECKOUT)}
    done = run([*words, "--data", tmp_path / "data"], expect=2, environment=own, seconds=30)

    assert expected in done.stderr
    assert done.stderr.startswith("registry-wsgi: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "localhost:0", "[::1]:0", "unix:/x/y"])
def test_loopback_may_be_open(bind: str) -> None:
    """What only this machine reaches needs no sign-in."""
    refuse_open_network(load(flags={"server.bind": bind}))


@pytest.mark.parametrize(
    "flags",
    [{"auth.backends": "users"}, {"auth.open_to_network": "true"}],
    ids=["back ends", "on purpose"],
)
def test_the_network_may_be_served(flags: dict[str, str]) -> None:
    """With back ends, or where the operator says that it is meant to be open."""
    refuse_open_network(load(flags={"server.bind": "0.0.0.0:0", **flags}))
