"""contrib/gunicorn.conf.py: the same registry as ``serve``, and nothing by chance."""

import re
import sys
from pathlib import Path

import pytest
from support.programs import CHECKOUT, run
from support.storage import memory_directory

from registry_wsgi.config import Config, from_environment
from registry_wsgi.server.serve import gunicorn_settings

CONF = CHECKOUT / "contrib" / "gunicorn.conf.py"
APP = "registry_wsgi:create_app()"


def environment(data: Path, **settings: str) -> dict[str, str]:
    """Settings as variables, such as ``server_threads``."""
    variables = {f"REGISTRY_WSGI_{name.upper()}": value for name, value in settings.items()}
    return {"PYTHONPATH": str(CHECKOUT), "REGISTRY_WSGI_STORAGE_DATA": str(data), **variables}


def printed_settings(variables: dict[str, str], *flags: str) -> dict[str, str]:
    """What gunicorn says it was told."""
    command = [sys.executable, "-m", "gunicorn", "-c", str(CONF), *flags, "--print-config", APP]
    done = run(command, environment=variables)
    return dict(re.findall(r"^(\w+) += (.*)$", done.stdout, re.MULTILINE))


def as_printed(name: str, value: object) -> str:
    """A value as gunicorn prints it."""
    if isinstance(value, type):
        return f"<class '{value.__module__}.{value.__qualname__}'>"
    lists = {"bind": [value], "http_protocols": [value], "forwarder_headers": []}
    lists["forwarded_allow_ips"] = []
    return str(lists.get(name, value))


def test_gunicorn_is_told_what_serve_tells_it() -> None:
    """Every value of ``serve`` is in the conf file's, by the settings of the environment."""
    with memory_directory() as folder:
        variables = environment(
            folder / "data",
            server_bind="127.0.0.1:8123",
            server_threads="3",
            server_workers="2",
            server_graceful_timeout="77",
        )
        printed = printed_settings(variables)
    told = gunicorn_settings(from_environment(variables))

    assert {name: printed[name] for name in told} == {
        name: as_printed(name, value) for name, value in told.items()
    }
    assert (printed["threads"], printed["workers"], printed["graceful_timeout"]) == ("3", "2", "77")


def test_a_flag_of_gunicorns_wins() -> None:
    """What is given on gunicorn's command line is not overridden by the conf file."""
    with memory_directory() as folder:
        printed = printed_settings(environment(folder / "data"), "--threads", "5")

    assert printed["threads"] == "5"


KEPT: dict[str, object] = {
    "max_requests": 0,
    "preload_app": True,
    "forwarded_allow_ips": "",
    "forwarder_headers": "",
    "secure_scheme_headers": {},
    "header_map": "refuse",
    "http_protocols": "h1",
    "control_socket_disable": True,
    "umask": 0o117,
}


@pytest.mark.parametrize("name", KEPT)
def test_what_safety_rests_on_is_said(name: str) -> None:
    """What gunicorn must not do by itself is said, whatever its defaults become."""
    assert gunicorn_settings(Config())[name] == KEPT[name]


WRONG = {
    "a network that is open": ({"server_bind": "0.0.0.0:8123"}, "lets the whole network push"),
    "an unknown setting": ({"server_thread": "3"}, "did you mean 'REGISTRY_WSGI_SERVER_THREADS'?"),
}


@pytest.mark.parametrize(("settings", "message"), WRONG.values(), ids=WRONG)
def test_gunicorn_does_not_start_with_wrong_settings(
    settings: dict[str, str], message: str
) -> None:
    """A mistake ends the start with a message, as with ``serve``."""
    with memory_directory() as folder:
        command = [sys.executable, "-m", "gunicorn", "-c", str(CONF), APP]
        done = run(command, environment=environment(folder / "data", **settings), expect=1)

    assert message in done.stderr
