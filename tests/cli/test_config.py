"""``config``: what is set, by what, and whether it would do."""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from support.commands import Ended, registry_wsgi
from support.programs import CHECKOUT, run

from registry_wsgi.config import ROWS, Config, load

CONTRIB = CHECKOUT / "contrib"
FILE = """\
[server]
bind = "unix:/run/registry.sock"
trusted_proxies = ["192.0.2.0/24", "::1"]
[auth]
backends = ["users"]
[notifications]
endpoints = ["https://hooks.example/push"]
[[access]]
repositories = "team/**"
users = ["ci", "@developers"]
actions = ["pull", "push"]
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A settings file."""
    file = tmp_path / "registry.toml"
    file.write_text(FILE)
    return file


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """One setting of the environment."""
    monkeypatch.setenv("REGISTRY_WSGI_SERVER_THREADS", "6")


def show(settings: Path, *words: str) -> Ended:
    """What ``config show`` prints; the data directory is a flag's."""
    data = settings.with_name("data")
    return registry_wsgi("config", "show", "--config", settings, *words, data=data)


def test_all_settings_are_shown_with_where_they_came_from(settings: Path) -> None:
    """A line for each setting names the file, the variable, the command line or the default."""
    lines = show(settings).out.splitlines()
    origins = dict(re.findall(r"^(\w+) = .*  # (.+)$", "\n".join(lines), re.MULTILINE))

    assert len([line for line in lines if "  # " in line]) == len(ROWS)
    assert origins["bind"] == str(settings)
    assert origins["threads"] == "REGISTRY_WSGI_SERVER_THREADS"
    assert origins["data"] == "command line"
    assert origins["grace"] == "default"


def test_what_is_shown_is_a_settings_file(settings: Path, tmp_path: Path) -> None:
    """What ``config show`` prints, as a file, makes the same settings and rules."""
    again = tmp_path / "again.toml"
    again.write_text(show(settings).out)
    flags = {"server.threads": "6", "storage.data": str(tmp_path / "data")}

    assert load(again) == load(settings, flags=flags)


def test_settings_are_shown_to_programs(settings: Path) -> None:
    """``--json`` is one object with every setting's value, origin and default, and the rules."""
    shown = show(settings, "--json").json()
    found = {row["name"]: row for row in shown["settings"]}

    assert list(found) == list(ROWS)
    assert found["server.trusted_proxies"]["value"] == ["192.0.2.0/24", "::1"]
    assert found["server.threads"] == {
        "name": "server.threads",
        "value": 6,
        "origin": "REGISTRY_WSGI_SERVER_THREADS",
        "default": 8,
    }
    assert shown["access"] == [
        {
            "repositories": "team/**",
            "users": ["ci", "@developers"],
            "actions": ["pull", "push"],
        }
    ]


def test_the_defaults_are_a_settings_file(tmp_path: Path) -> None:
    """As it is printed it sets nothing; without its ``#`` it sets every default."""
    out = registry_wsgi("config", "defaults", data=tmp_path).out
    file = tmp_path / "defaults.toml"
    file.write_text(out)
    untouched = load(file)
    text = re.sub(r"^#(?=[a-z_]+ = )", "", out.partition("#[[access]]")[0], flags=re.MULTILINE)
    file.write_text(text)
    document = tomllib.loads(text)

    assert untouched == Config()
    assert load(file) == Config()
    assert sum(len(table) for table in document.values()) == len(ROWS)


def test_the_defaults_explain_every_setting(tmp_path: Path) -> None:
    """Above each setting stands what it is."""
    out = registry_wsgi("config", "defaults", data=tmp_path).out

    for row in ROWS.values():
        default = json.dumps(list(row.default) if isinstance(row.default, tuple) else row.default)
        assert f"# {row.help}\n#{row.key} = {default}\n" in out


def test_the_rule_in_the_defaults_is_one(tmp_path: Path) -> None:
    """The example of an access rule can be used as it is."""
    out = registry_wsgi("config", "defaults", data=tmp_path).out
    file = tmp_path / "rule.toml"
    file.write_text(re.sub(r"^#", "", out[out.index("#[[access]]") :], flags=re.MULTILINE))

    assert [rule.repositories for rule in load(file).access] == ["team/**"]


def test_the_sample_settings_will_do(tmp_path: Path) -> None:
    """``config check`` of contrib/registry-wsgi.toml succeeds, and touches no data directory."""
    sample = CONTRIB / "registry-wsgi.toml"
    data = tmp_path / "data"
    command = [sys.executable, "-m", "registry_wsgi", "config", "check"]
    done = run([*command, "--config", sample, "--data", data], cwd=CHECKOUT)

    assert done.stdout == "these settings will do\n"
    assert not data.exists()


WRONG = {
    "an unknown setting": (
        '[server]\nexternal_uri = ""',
        "there is no setting 'server.external_uri'; did you mean 'server.external_url'?",
    ),
    "an unknown section": ("[sever]\nthreads = 2", "did you mean 'server'?"),
    "a value of another type": ('[server]\nthreads = "2"', "server.threads must be a whole number"),
    "a network that is none": (
        '[server]\ntrusted_proxies = ["nginx"]',
        "server.trusted_proxies = ('nginx',): 'nginx' is not an IP address or network",
    ),
    "a location below the registry": (
        '[server]\nx_accel_prefix = "/v2/_blobs/"',
        "must be a path with a slash at both ends, not below /v2/",
    ),
    "open to a network": (
        '[server]\nbind = "0.0.0.0:8000"',
        "lets the whole network push and delete",
    ),
    "rules for nobody": (
        '[[access]]\nrepositories = "**"\nusers = ["ci"]\nactions = ["pull"]',
        "auth.backends is empty",
    ),
    "a file that is not there": (
        '[auth]\nbackends = ["htpasswd"]\nhtpasswd_file = "/nowhere/htpasswd"',
        "auth.htpasswd_file = '/nowhere/htpasswd'",
    ),
    "a certificate that is not there": (
        '[server]\ncertfile = "/nowhere.crt"\nkeyfile = "/nowhere.key"',
        "server.certfile and server.keyfile: ",
    ),
    "a key that is not there": (
        '[notifications]\nendpoints = ["http://127.0.0.1/"]\nsecret_file = "/nowhere"',
        "notifications.secret_file: ",
    ),
    "a key that is empty": (
        '[notifications]\nendpoints = ["http://127.0.0.1/"]\nsecret_file = "/dev/null"',
        "notifications.secret_file: /dev/null is empty",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_what_would_keep_it_from_serving_is_told(tmp_path: Path, text: str, message: str) -> None:
    """``config check`` exits with 2 and says what is wrong, for all that ``serve`` would refuse."""
    file, data = tmp_path / "registry.toml", tmp_path / "data"
    file.write_text(f'{text}\n[metrics]\nenabled = "off"\n')
    ended = registry_wsgi("config", "check", "--config", file, data=data, expect=2)

    assert message in ended.err
    assert not data.exists()
