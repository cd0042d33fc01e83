"""The command line: what is served without a command, what is refused, and with which exit status."""

import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import registry_wsgi
from support.programs import CHECKOUT, run
from support.pushes import open_upload
from support.server import RunningServer, throwaway_directory

from registry_wsgi.cli.common import opened
from registry_wsgi.cli.main import COMMANDS, main
from registry_wsgi.cli.serve import dev_address
from registry_wsgi.config import load
from registry_wsgi.services.listings import ListingService
from registry_wsgi.version import VERSION
from registry_wsgi.wiring import build_collector, build_housekeeper, open_storage

NAMES = [command.name for command in COMMANDS]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the caller's is a setting, and ``./registry-data`` is the test's."""
    for name in list(os.environ):
        if name.startswith("REGISTRY_WSGI_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def exit_status(*words: str) -> int | str | None:
    """The exit status of a command line that argparse ends."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    return caught.value.code


def make_registry(data: str = "registry-data") -> None:
    """Make a data directory that holds nothing yet."""
    open_storage(load(flags={"storage.data": data})).index.database.close()


# --- Help -----------------------------------------------------------------------------------------


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` prints the name and the version, and does nothing else."""
    assert exit_status("--version") == 0
    assert capsys.readouterr().out == f"registry-wsgi {VERSION}\n"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_the_help_lists_every_command(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command is there with what it is for."""
    status = exit_status(flag)
    words = " ".join(capsys.readouterr().out.split())

    assert status == 0
    for command in COMMANDS:
        assert f"{command.name} {' '.join(command.help.split())}" in words


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what the command is for, and takes the data directory and the settings file."""
    status = exit_status(name, "--help")
    text = capsys.readouterr().out

    assert status == 0
    assert "--data DIR" in text
    assert "--config FILE" in text


def test_commands_differ() -> None:
    """No two have the same name or the same help."""
    assert len(set(NAMES)) == len(COMMANDS)
    assert len({command.help for command in COMMANDS}) == len(COMMANDS)


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("serv",), id="a misspelt command"),
        pytest.param(("--frobnicate",), id="an unknown flag without a command"),
        pytest.param(("--bind",), id="a flag without its value"),
        pytest.param(("delete",), id="a command without its argument"),
        pytest.param(("serve", "more"), id="a word too many"),
        *(pytest.param((name, "--frobnicate"), id=f"an unknown flag of {name}") for name in NAMES),
    ],
)
def test_what_is_not_understood_is_refused(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The exit status is 2, how it should be written is on standard error, nothing was done."""
    status = exit_status(*words)
    printed = capsys.readouterr()

    assert status == 2
    assert "usage: registry-wsgi" in printed.err
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        pytest.param(
            ("stats", "--config", "nowhere.toml"), {}, "nowhere.toml: cannot be read", id="no file"
        ),
        pytest.param(("serve", "--threads", "0"), {}, "server.threads = 0", id="a flag"),
        pytest.param(("--threads", "none"), {}, "command line: server.threads", id="no command"),
        pytest.param(("stats", "--data", ""), {}, "storage.data = ''", id="no data"),
        pytest.param(
            ("stats",), {"REGISTRY_WSGI_GC_GRACE": "-1"}, "REGISTRY_WSGI_GC_GRACE", id="a variable"
        ),
        pytest.param(
            ("stats",), {"REGISTRY_WSGI_GC_GRACES": "1"}, "did you mean", id="an unknown variable"
        ),
        pytest.param(
            ("stats",), {"REGISTRY_WSGI_CONFIG": "nowhere.toml"}, "nowhere.toml", id="named file"
        ),
        pytest.param(
            ("serve", "--bind", "0.0.0.0:8000"), {}, "auth.open_to_network", id="an open network"
        ),
        pytest.param(("serve", "--certfile", "c.pem"), {}, "go together", id="half of TLS"),
        pytest.param(
            ("serve", "--certfile", "/nowhere.crt", "--keyfile", "/nowhere.key"),
            {},
            "server.certfile and server.keyfile: ",
            id="no certificate",
        ),
    ],
)
def test_a_wrong_setting_is_told(
    words: tuple[str, ...],
    environment: dict[str, str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The exit status is 2, one line on standard error says what is wrong, nothing was done."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    status = main(words)
    printed = capsys.readouterr()

    assert status == 2
    assert printed.err.startswith("registry-wsgi: ")
    assert expected in printed.err
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_data_that_cannot_be_made_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A file in the way of the data directory is named, without a traceback."""
    (tmp_path / "file").write_text("")
    status = main(["stats", "--data", "file/data"])
    printed = capsys.readouterr()

    assert status == 2
    assert printed.err.startswith("registry-wsgi: ")
    assert "file" in printed.err
    assert printed.err.count("\n") == 1


def test_what_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A request that the registry would refuse has the exit status 1."""
    make_registry()
    status = main(["delete", "no/where"])

    assert status == 1
    assert capsys.readouterr().err == (
        "registry-wsgi: repository name not known to registry: no/where\n"
    )


def test_a_flag_is_stronger_than_the_variable_that_names_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """``--config`` is used, and ``REGISTRY_WSGI_CONFIG`` beside it is no error."""
    (tmp_path / "used.toml").write_text(f'[storage]\ndata = "{tmp_path / "used"}"\n')
    make_registry("used")
    monkeypatch.setenv("REGISTRY_WSGI_CONFIG", "nowhere.toml")
    status = main(["stats", "--config", "used.toml"])

    assert status == 0
    assert "repositories" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["stats", "fsck", "gc"])
def test_a_command_prints_json_when_asked(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What a person reads is for a program to read, too."""
    make_registry("data")
    status = main([name, "--json", "--data", str(tmp_path / "data")])
    printed = capsys.readouterr().out

    assert status == 0
    assert all(line.startswith("{") for line in printed.splitlines())


def test_a_time_beyond_all_use_is_refused_and_the_longest_is_no_trouble(tmp_path: Path) -> None:
    """``--grace`` is as long as the setting may be, which gc and the server can count with."""
    make_registry("data")
    data = tmp_path / "data"
    refused = registry_wsgi("gc", "--dry-run", "--grace", "9" * 18, data=data, expect=2)
    most = refused.err.split()[-3]
    done = registry_wsgi("gc", "--dry-run", "--grace", most, data=data)
    longest = {name: int(most) for name in ("gc.grace", "gc.every", "storage.upload_expiry")}
    config = load(flags={"storage.data": str(data), "limits.page_size": "1000000", **longest})
    with opened(config) as storage:
        build_housekeeper(config, storage).tick()
        list(build_collector(config, storage).plan())
        page = ListingService(storage.index).repositories("", config.limits.page_size)

    assert refused.err == (
        f"registry-wsgi: command line: gc.grace = {'9' * 18}: must be {most} or less\n"
    )
    assert done.out == "would remove nothing; would free 0 B (0 bytes)\n"
    assert not page.more


@pytest.mark.parametrize(
    "words",
    [
        ["stats"],
        ["fsck"],
        ["gc"],
        ["delete", "a"],
        ["why", f"sha256:{'0' * 64}"],
        ["events", "list"],
    ],
    ids=lambda words: words[0],
)
def test_a_misspelt_data_directory_is_told_and_not_made(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A command that looks at what is there makes no registry where there is none."""
    status = main([*words, "--data", "misspelt"])
    printed = capsys.readouterr()

    assert status == 2
    assert "there is no registry here" in printed.err + printed.out
    assert list(tmp_path.iterdir()) == []


# --- Serving --------------------------------------------------------------------------------------


@dataclasses.dataclass(eq=False)
class ServedBy(RunningServer):
    """A server that is started with other words than the tests' usual ones."""

    words: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", "registry_wsgi", *self.words]


@pytest.fixture
def data() -> Iterator[Path]:
    """``registry-data`` in a directory that goes after the test."""
    with throwaway_directory() as directory:
        yield directory / "registry-data"


def test_no_command_is_serve(data: Path) -> None:
    """Started without a word it serves, and says where, on which data, and what to try."""
    server = ServedBy(data)
    server.environment = {"REGISTRY_WSGI_SERVER_BIND": server.host}
    with server:
        answer = server.http.get("/v2/")
        status = server.stop()

    assert answer.body == b"{}"
    assert status == 0
    assert data.is_dir()
    assert f"listens on {server.host}, its data is in {data}" in server.log
    assert f"docker tag IMAGE {server.host}/IMAGE" in server.log
    assert f"docker push {server.host}/IMAGE" in server.log


def test_flags_without_a_command_are_serves(data: Path) -> None:
    """``--bind`` and ``--data`` may follow the program's name, and are stronger than variables."""
    elsewhere = data.with_name("elsewhere")
    server = ServedBy(data, environment={"REGISTRY_WSGI_SERVER_BIND": "127.0.0.1:1"})
    server.words = ("--bind", server.host, "--data", str(elsewhere), "--workers", "1")
    with server:
        server.http.get("/v2/")

    assert elsewhere.is_dir()
    assert not data.exists()


def test_the_development_server_answers_too(data: Path) -> None:
    """``--dev`` serves the same application, with a reloader, and logs no state of an upload."""
    server = ServedBy(data)
    server.words = ("serve", "--dev", "--bind", server.host)
    with server:
        answer = server.http.get("/v2/")
        server.http.patch(open_upload(server.http, "dev/app"), b"x")
        status = server.stop()

    assert '"PATCH /v2/dev/app/blobs/uploads/' in server.log
    assert "_state" not in server.log
    assert answer["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert status in {0, -signal.SIGTERM}


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("localhost:1", ("localhost", 1)),
        ("[::1]:8000", ("::1", 8000)),
        ("unix:/run/registry.sock", ("unix:///run/registry.sock", 0)),
        ("unix:relative.sock", ("unix://relative.sock", 0)),
    ],
)
def test_the_development_server_listens_where_it_is_told(
    bind: str, expected: tuple[str, int]
) -> None:
    """Every form of the setting has one of Werkzeug's."""
    assert dev_address(bind) == expected


def test_the_program_is_a_module() -> None:
    """``python -m registry_wsgi`` passes its words and its exit status on."""
    command = [sys.executable, "-m", "registry_wsgi"]
    environment = {"PYTHONPATH": str(CHECKOUT)}
    version = run([*command, "--version"], environment=environment)
    wrong = run([*command, "why", "no digest"], environment=environment, expect=1)

    assert version.stdout == f"registry-wsgi {VERSION}\n"
    assert "not a digest" in wrong.stderr


@pytest.mark.parametrize(
    "words",
    [("audit", "--limit"), ("events", "list", "--after"), ("events", "list", "--limit")],
    ids=" ".join,
)
@pytest.mark.parametrize("number", ["-1", "x", "9" * 20])
def test_a_number_that_the_index_cannot_hold_is_refused(
    words: tuple[str, ...], number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """2, with what is wrong in one line."""
    assert exit_status(*words, number) == 2
    assert "invalid number value" in capsys.readouterr().err


def test_a_command_that_is_interrupted_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C is no error: its status is what shells have for it."""
    make_registry()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("registry_wsgi.cli.access.opened", interrupted)

    assert main(["audit"]) == 130
    assert capsys.readouterr() == ("", "")
