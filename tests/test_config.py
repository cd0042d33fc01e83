"""Settings come from four places, and a wrong one is told with its name, its origin and what would do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry_wsgi.config import ROWS, AccessRule, Config, ConfigError, load
from registry_wsgi.settings import ACTIONS, Row

RULE = """
[[access]]
repositories = "team/**"
users = ["ci", "@developers"]
actions = ["pull", "push"]
"""


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    """Where a test writes its settings."""
    return tmp_path / "registry.toml"


def from_file(path: Path, text: str) -> Config:
    """The settings of a file with this text."""
    path.write_text(text)
    return load(path)


def value_of(loaded: Config, row: Row) -> Any:
    """What a setting is."""
    return getattr(getattr(loaded, row.section), row.key)


# --- Where a setting comes from -------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_setting_that_nobody_sets_has_its_default(row: Row) -> None:
    """Without a file, environment or flags, every setting is as its row says."""
    assert value_of(load(), row) == row.default


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_default_could_have_been_set(row: Row) -> None:
    """No row has a default that its own check refuses."""
    assert row.check is None or row.check(row.default) is None


SAMPLES: dict[type, tuple[Any, ...]] = {
    int: (7, 77),
    tuple: (("10.0.0.0/8", "::1"), ("users", "htpasswd"), ("https://hooks.example/registry",)),
    str: (
        *("text-x", "[::1]:5000", "https://registry.example:8443"),
        *("relative", "relaxed", "json", "cloudevents", "off", "/internal/"),
    ),
}
"""Values of each type, of which every setting may have one."""

TOGETHER = {"server.certfile": "server.keyfile", "server.keyfile": "server.certfile"}
"""Settings that are nothing without another."""


def sample(row: Row) -> Any:
    """A value that a setting may have and by default has not."""
    if row.type is bool:
        return not row.default
    check = row.check or (lambda _: None)
    fitting = [value for value in SAMPLES[row.type] if value != row.default and not check(value)]
    assert fitting, f"SAMPLES has no value that {row.name} may have"
    return fitting[0]


def as_toml(value: Any) -> str:
    """A value as a file has it."""
    return json.dumps(value)


def as_text(value: Any) -> str:
    """A value as the environment and flags have it."""
    return f" {', '.join(value)} ," if isinstance(value, tuple) else str(value)


def with_company(row: Row) -> list[Row]:
    """The setting, and what has to be set together with it."""
    return [row, *(ROWS[name] for name in [TOGETHER.get(row.name)] if name)]


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_setting_is_read_from_the_file(row: Row, settings_file: Path) -> None:
    """Every setting can be written as ``key`` in the table ``[section]``."""
    rows = with_company(row)
    lines = [f"{one.key} = {as_toml(sample(one))}" for one in rows]
    loaded = from_file(settings_file, "\n".join([f"[{row.section}]", *lines]))

    assert value_of(loaded, row) == sample(row)
    assert loaded.origins == {one.name: str(settings_file) for one in rows}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_setting_is_read_from_the_environment(row: Row) -> None:
    """Every setting has a variable, ``REGISTRY_WSGI_<SECTION>_<KEY>``."""
    rows = with_company(row)
    loaded = load(environment={one.variable: as_text(sample(one)) for one in rows})

    assert row.variable == f"REGISTRY_WSGI_{row.section}_{row.key}".upper()
    assert value_of(loaded, row) == sample(row)
    assert loaded.origins == {one.name: one.variable for one in rows}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_setting_is_read_from_a_flag(row: Row) -> None:
    """Every setting can be given as text on the command line."""
    rows = with_company(row)
    loaded = load(flags={one.name: as_text(sample(one)) for one in rows})

    assert value_of(loaded, row) == sample(row)
    assert loaded.origins == {one.name: "command line" for one in rows}


def test_a_flag_may_be_a_value() -> None:
    """A command that knows the type of a setting need not write it as text."""
    loaded = load(flags={"server.read_only": True, "server.threads": 3})

    assert (loaded.server.read_only, loaded.server.threads) == (True, 3)


FILE, VARIABLE, FLAG = "1.1.1.1:1", "2.2.2.2:2", "3.3.3.3:3"


@pytest.mark.parametrize(
    ("variable", "flag", "expected"),
    [
        pytest.param(None, None, FILE, id="the file alone"),
        pytest.param(VARIABLE, None, VARIABLE, id="environment over file"),
        pytest.param(None, FLAG, FLAG, id="flag over file"),
        pytest.param(VARIABLE, FLAG, FLAG, id="flag over environment and file"),
    ],
)
def test_the_later_origin_wins(
    variable: str | None, flag: str | None, expected: str, settings_file: Path
) -> None:
    """A flag is stronger than the environment, which is stronger than the file."""
    settings_file.write_text(f'[server]\nbind = "{FILE}"\nthreads = 3\n')
    row = ROWS["server.bind"]
    loaded = load(
        settings_file,
        {row.variable: variable} if variable else {},
        {row.name: flag} if flag else {},
    )
    origins = {FILE: str(settings_file), VARIABLE: row.variable, FLAG: "command line"}

    assert loaded.server.bind == expected
    assert loaded.origins[row.name] == origins[expected]
    assert loaded.server.threads == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [(text, True) for text in ("true", "yes", "on", "1", "TRUE", "Yes")]
    + [(text, False) for text in ("false", "no", "off", "0", "OFF")],
)
def test_a_switch_has_a_word_for_each_state(text: str, expected: bool) -> None:
    """In the environment a boolean is true, yes, on or 1, or their opposites, in any case."""
    loaded = load(environment={"REGISTRY_WSGI_SERVER_READ_ONLY": text})

    assert loaded.server.read_only is expected


def test_other_variables_are_not_settings() -> None:
    """What the environment has without the prefix is no business of the registry."""
    assert load(environment={"PATH": "/bin", "REGISTRY_STORAGE": "x"}) == Config()


def test_a_list_may_be_empty_in_the_environment() -> None:
    """An empty variable is a list without entries."""
    assert load(environment={"REGISTRY_WSGI_SERVER_TRUSTED_PROXIES": ""}).server == Config().server


@pytest.mark.parametrize(
    "bind", ["127.0.0.1:8000", "0.0.0.0:80", "[::1]:65535", "localhost:0", "unix:/run/r.sock"]
)
def test_a_place_to_listen_is_an_address_or_a_socket(bind: str) -> None:
    """HOST:PORT with any host, and unix:PATH, are places to listen."""
    assert load(flags={"server.bind": bind}).server.bind == bind


@pytest.mark.parametrize(
    "url",
    [
        "https://ci.example",
        "http://ci.example.:65535/hook?token=a%20b",
        "http://[::1]:80/",
        "http://ci_runner:8080/a@b",
        f"http://{'a' * 63}.example/",
    ],
)
def test_an_endpoint_is_a_url_that_can_be_posted_to(url: str) -> None:
    """A name, an address or a service of compose, with or without port, path and query."""
    assert load(flags={"notifications.endpoints": (url,)}).notifications.endpoints == (url,)


# --- What cannot be -------------------------------------------------------------------------------

FILE_ERRORS = {
    "a misspelt section": ("[sever]\n", "no section 'sever'; did you mean 'server'?"),
    "a section like no other": ("[zzz]\n", "no section 'zzz'"),
    "a value where a section is": ("server = 3\n", "server is a section: [server]"),
    "a setting outside a section": ('bind = "x:1"\n', "no section 'bind'"),
    "a misspelt setting": (
        "[server]\nthread = 4\n",
        "no setting 'server.thread'; did you mean 'server.threads'?",
    ),
    "a setting of another section": (
        "[storage]\nblob_size = 4\n",
        "no setting 'storage.blob_size'; did you mean 'limits.blob_size'?",
    ),
    "text for a number": ('[server]\nworkers = "4"\n', "server.workers must be a whole number"),
    "a fraction": ("[server]\nworkers = 1.5\n", "server.workers must be a whole number"),
    "a switch for a number": (
        "[server]\nworkers = true\n",
        "server.workers must be a whole number",
    ),
    "a number for a switch": ("[delete]\nenabled = 1\n", "delete.enabled must be true or false"),
    "a number for text": ("[storage]\ndata = 5\n", "storage.data must be a string"),
    "text for a list": (
        '[server]\ntrusted_proxies = "::1"\n',
        "server.trusted_proxies must be a list of strings",
    ),
    "a list of numbers": (
        "[server]\ntrusted_proxies = [1]\n",
        "server.trusted_proxies must be a list of strings",
    ),
    "too small": ("[server]\nthreads = 0\n", "server.threads = 0: must be 1 or more"),
    "negative": ("[gc]\ngrace = -1\n", "gc.grace = -1: must be 0 or more"),
    "too large": (
        "[limits]\npage_size = 100000000000000000000\n",
        "limits.page_size = 100000000000000000000: must be 1000000 or less",
    ),
    "too large to be written down": (
        f"[gc]\ngrace = {'9' * 5000}\n",
        "not TOML: Exceeds the limit",
    ),
    "an unknown word": (
        '[server]\nlocation = "absolut"\n',
        "server.location = 'absolut': must be one of auto, relative, absolute",
    ),
    "an unknown durability": (
        '[storage]\ndurability = "none"\n',
        "storage.durability = 'none': must be one of full, relaxed",
    ),
    "no network": (
        '[server]\ntrusted_proxies = ["10.0.0.0/8", "proxy.example"]\n',
        "'proxy.example' is not an IP address or network",
    ),
    "no port": ('[server]\nbind = "localhost"\n', "must be HOST:PORT, [ADDRESS]:PORT or unix:PATH"),
    "an address without brackets": (
        '[server]\nbind = "::1:8000"\n',
        "must be HOST:PORT, [ADDRESS]:PORT or unix:PATH",
    ),
    "no host": ('[server]\nbind = ":80"\n', "must be HOST:PORT, [ADDRESS]:PORT or unix:PATH"),
    "a port that is none": (
        '[server]\nbind = "h:65536"\n',
        "must be HOST:PORT, [ADDRESS]:PORT or unix:PATH",
    ),
    "a socket without path": (
        '[server]\nbind = "unix:"\n',
        "must be HOST:PORT, [ADDRESS]:PORT or unix:PATH",
    ),
    "a URL with a path": (
        '[server]\nexternal_url = "https://r.example/x"\n',
        "server.external_url = 'https://r.example/x': must be http://HOST or https://HOST",
    ),
    "a URL with two slashes at its end": (
        '[server]\nexternal_url = "https://r.example//"\n',
        "must be http://HOST",
    ),
    "a URL without scheme": ('[server]\nexternal_url = "r.example"\n', "must be http://HOST"),
    "an unknown back end": (
        '[auth]\nbackends = ["ldap"]\n',
        "auth.backends = ('ldap',): 'ldap' is none of users, htpasswd, proxy",
    ),
    "a back end twice": (
        '[auth]\nbackends = ["users", "users"]\n',
        "auth.backends = ('users', 'users'): names a back end twice",
    ),
    "no header": ('[auth]\nproxy_header = "A B"\n', "auth.proxy_header = 'A B': must be"),
    "no service": ('[auth]\nservice = ""\n', "auth.service = '': must be a plain word"),
    "no endpoint": (
        '[notifications]\nendpoints = ["hooks.example"]\n',
        "'hooks.example' is not http://HOST/PATH or https://HOST/PATH",
    ),
    **{
        f"an endpoint with {what}": (
            f'[notifications]\nendpoints = ["http://ok.example/", "{url}"]\n',
            f"{url!r} is not http://HOST/PATH or https://HOST/PATH",
        )
        for what, url in {
            "an empty label": "http://ci..example/hook",
            "a label that is too long": f"http://{'a' * 64}.example/hook",
            "a port alone": "http://:80/hook",
            "a port beyond the last": "http://ci.example:65536/hook",
            "port 0": "http://ci.example:0/hook",
            "a port that is a word": "http://ci.example:http/hook",
            "half a bracket": "http://[::1/hook",
            "a letter that no header may have": "http://\u03c9.example/hook",
            "a path that no request may have": "http://ci.example/\u03c9",
        }.items()
    },
    "an endpoint with a password": (
        '[notifications]\nendpoints = ["https://a:b@hooks.example/"]\n',
        "without credentials",
    ),
    "an endpoint twice": (
        '[notifications]\nendpoints = ["http://a/", "http://a/"]\n',
        "names an endpoint twice",
    ),
    "data nowhere": ('[storage]\ndata = ""\n', "storage.data = '': must not be empty"),
    "a certificate without key": (
        '[server]\ncertfile = "c.pem"\n',
        "server.certfile and server.keyfile go together",
    ),
    "a key without certificate": (
        '[server]\nkeyfile = "k.pem"\n',
        "server.certfile and server.keyfile go together",
    ),
    "not TOML": ("[server\n", "not TOML: "),
    "nested too deep": (f"a = {'[' * 6000}", "not TOML: "),
    "a number that Python cannot write": (
        f"[gc]\ngrace = 0x{'f' * 6000}\n",
        "gc.grace = a number too long to show: ",
    ),
    "access as one table": ("[access]\n", "access rules are tables: [[access]]"),
    "access as a value": ("access = [1]\n", "an [[access]] rule has exactly"),
    "a rule without users": (
        '[[access]]\nrepositories = "a"\nactions = ["pull"]\n',
        "an [[access]] rule has exactly actions, repositories, users",
    ),
    "a rule with more": (RULE + "deny = true\n", "an [[access]] rule has exactly"),
    "a rule for a list of repositories": (
        RULE.replace('"team/**"', '["a", "b"]'),
        "[[access]] repositories must be one pattern, a string",
    ),
    "a rule for what is no repository": (
        RULE.replace("team/**", "Team/**"),
        "[[access]] repositories must be one pattern, a string",
    ),
    "a rule for no repository": (
        RULE.replace("team/**", ""),
        "[[access]] repositories must be one pattern, a string",
    ),
    "users as text": (
        RULE.replace('["ci", "@developers"]', '"ci"'),
        "[[access]] users must be a list of strings",
    ),
    "users that are numbers": (
        RULE.replace('["ci", "@developers"]', "[1]"),
        "[[access]] users must be a list of strings",
    ),
    "actions as text": (
        RULE.replace('["pull", "push"]', '"pull"'),
        "[[access]] actions must be a list of strings",
    ),
    "a misspelt action": (
        RULE.replace('"push"', '"pusk"'),
        "[[access]]: there is no action 'pusk'; did you mean 'push'?",
    ),
}


@pytest.mark.parametrize(("text", "expected"), FILE_ERRORS.values(), ids=FILE_ERRORS)
def test_a_wrong_file_is_refused(text: str, expected: str, settings_file: Path) -> None:
    """What a file must not say is refused: which file, which setting, and what would do."""
    with pytest.raises(ConfigError) as caught:
        from_file(settings_file, text)

    assert str(caught.value).startswith(f"{settings_file}: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(str, "No such file", id="missing"),
        pytest.param(Path.mkdir, "Is a directory", id="a directory"),
        pytest.param(lambda path: path.write_bytes(b"a = '\xff'"), "not TOML", id="not UTF-8"),
    ],
)
def test_an_unreadable_file_is_refused(
    make: Callable[[Path], object], expected: str, settings_file: Path
) -> None:
    """A file that cannot be read is named with the reason."""
    make(settings_file)
    with pytest.raises(ConfigError) as caught:
        load(settings_file)

    assert str(caught.value).startswith(f"{settings_file}: ")
    assert expected in str(caught.value)


TEXT_ERRORS = {
    "a switch": ("server.read_only", "maybe", "must be true or false, not 'maybe'"),
    "no number": ("server.threads", "many", "must be a whole number, not 'many'"),
    "a negative number": ("server.threads", "-1", "must be a whole number, not '-1'"),
    "a number with a line end": ("server.threads", "4\n", "must be a whole number"),
    "a huge number": ("server.threads", "9" * 5000, "must be a whole number"),
    "a number too small": ("server.threads", "0", "must be 1 or more"),
    "no network": ("server.trusted_proxies", "a,b", "'a' is not an IP address or network"),
    "nothing": ("storage.data", "", "must not be empty"),
}


@pytest.mark.parametrize(("name", "text", "expected"), TEXT_ERRORS.values(), ids=TEXT_ERRORS)
def test_wrong_text_is_refused_wherever_it_comes_from(name: str, text: str, expected: str) -> None:
    """A variable is named when its text cannot be, a flag as the command line."""
    variable = ROWS[name].variable
    for origin, loading in {
        variable: {"environment": {variable: text}},
        "command line": {"flags": {name: text}},
    }.items():
        with pytest.raises(ConfigError) as caught:
            load(None, **loading)

        assert str(caught.value).startswith(f"{origin}: {name}")
        assert expected in str(caught.value)


NUMBERS = {name: row for name, row in ROWS.items() if row.type is int}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_may_not_be_endless(name: str) -> None:
    """Every number has a most, which the error names and which may be set."""
    with pytest.raises(ConfigError, match=r": must be \d+ or less$") as caught:
        load(flags={name: "9" * 18} if name != "limits.blob_size" else {name: 1 << 63})
    most = str(caught.value).split()[-3]

    assert value_of(load(flags={name: int(most)}), ROWS[name]) == int(most)


def test_a_misspelt_variable_is_refused() -> None:
    """A variable with the prefix that is no setting is an error, which names the nearest one."""
    with pytest.raises(ConfigError) as caught:
        load(environment={"REGISTRY_WSGI_SERVER_BINDS": "x:1"})

    assert str(caught.value) == (
        "environment: there is no setting 'REGISTRY_WSGI_SERVER_BINDS'; "
        "did you mean 'REGISTRY_WSGI_SERVER_BIND'?"
    )


def test_a_value_that_wins_does_not_excuse_one_that_loses(settings_file: Path) -> None:
    """An error in the file is told even where a flag overrides the setting."""
    settings_file.write_text("[server]\nthreads = 0\n")

    with pytest.raises(ConfigError, match="threads"):
        load(settings_file, flags={"server.threads": "4"})


# --- Access rules ---------------------------------------------------------------------------------


def test_access_rules_are_read_in_order(settings_file: Path) -> None:
    """Each ``[[access]]`` is one rule: a pattern, its users and their actions."""
    loaded = from_file(settings_file, RULE + RULE.replace("team/**", "public/*"))

    assert loaded.access == (
        AccessRule("team/**", ("ci", "@developers"), ("pull", "push")),
        AccessRule("public/*", ("ci", "@developers"), ("pull", "push")),
    )


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_may_be_allowed(action: str, settings_file: Path) -> None:
    """A rule may name each of pull, push, overwrite, delete and admin."""
    loaded = from_file(settings_file, RULE.replace('["pull", "push"]', f'["{action}"]'))

    assert loaded.access[0].actions == (action,)


def test_there_is_no_rule_by_default() -> None:
    """Without a file nobody is given anything."""
    assert load().access == ()
