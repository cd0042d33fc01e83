"""The README holds: its commands run, its settings load, its tables have every row, its links lead.

A fenced block marked ``sh`` is run line by line, in order, in a copy of the checkout, as root or
not; what cannot be is in ``NOT_RUN``, with the reason. A block marked ``toml`` is a settings file.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.daemons import docker_daemon
from support.images import noise, tar_of
from support.programs import CHECKOUT, Tool, missing, require, run, search_path
from support.server import free_port, throwaway_directory

from registry_wsgi.cli.main import COMMANDS
from registry_wsgi.config import load
from registry_wsgi.web.routes import ROUTES, Route

README = (CHECKOUT / "README.md").read_text("utf-8")
ARCHITECTURE = (CHECKOUT / "docs" / "architecture.md").read_text("utf-8")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/README.md", "docs/architecture.md")
PORT = "127.0.0.1:8000"
SECONDS = 300
START_SECONDS = 180
SMALLEST_SUITE = "--collect-only --quiet tests/test_names.py"
PASSWORD = b"a long enough password\n" * 2

NOT_RUN = {
    "apt-get ": "changes the machine; .ci/run does it",
    "docker pull alpine": "needs Docker Hub; the daemon of the test has an image of that name",
}
NEEDS = {"": "nothing", "base": "a sign-in", "catalog": "shows"}
"""How the table of the API begins to say what a caller needs, where it is not the action."""

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".tools", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info", "build",
    "dist", "registry-data",
)  # fmt: skip


def blocks(text: str, language: str) -> list[str]:
    """What stands in the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The commands that the README shows, in order, but for those that cannot be run."""
    lines = [line for block in blocks(README, "sh") for line in block.splitlines() if line]
    return [line for line in lines if not line.startswith(tuple(NOT_RUN))]


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the table whose header starts with ``heading``, cell by cell."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            break
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


# --- Commands -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """Somebody who follows the README in a copy of the checkout, with an empty home."""

    folder: Path
    docker: Tool
    host: str

    @property
    def environment(self) -> dict[str, str]:
        """Of each command: the copy's programs first, the test's daemon, nobody's settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_WSGI_")}
        return {
            **kept,
            "HOME": str(self.folder / "home"),
            "DOCKER_HOST": str(self.docker.command[1]).removeprefix("--host="),
            "PIP_ROOT_USER_ACTION": "ignore",
            "PATH": f"{self.folder}/checkout/.venv/bin:{search_path()}",
        }

    def command(self, line: str) -> list[str]:
        """What a shell without a terminal is given: the test's port, and the smallest suite."""
        if line == "make test":
            line = f"make test ARGS='{SMALLEST_SUITE}'"
        if line == "make serve":
            line = f"exec make serve ARGS='--bind {self.host}'"
        return ["setsid", "--wait", "bash", "-euc", line.replace(PORT, self.host)]

    def follow(self, line: str) -> None:
        """Run a command; the test fails if that does."""
        done = subprocess.run(
            self.command(line),
            input=PASSWORD,
            capture_output=True,
            check=False,
            cwd=self.folder / "checkout",
            env=self.environment,
            timeout=SECONDS,
        )
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == 0, f"{line}\n{said}"

    @contextlib.contextmanager
    def serving(self, line: str) -> Iterator[None]:
        """Have the server run that the command starts."""
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                self.command(line)[2:],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder / "checkout",
                env=self.environment,
                start_new_session=True,
            )
            try:
                self._wait(process)
                yield
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                process.wait()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://{self.host}/healthz", timeout=5).close()
                return
            time.sleep(0.1)
        said = (self.folder / "log").read_text(errors="replace")
        pytest.fail(f"{process.args!r} does not serve\n{said}")


def require_packages() -> None:
    """Skip the test, or fail it when ``CI=true``, where pip has no index to install from."""
    asked = ["python3", "-m", "pip", "download", "--quiet", "--no-deps", "itsdangerous", "-d"]
    with throwaway_directory() as folder:
        if run([*asked, folder], expect=None).returncode != 0:
            missing("pip finds no packages to install")


@pytest.fixture
def reader() -> Iterator[Reader]:
    """A copy of the checkout, and a Docker daemon that has an image named alpine."""
    for program, package in (("curl", "curl"), ("make", "make"), ("git", "git")):
        require(program, package)
    require_packages()
    with throwaway_directory() as folder, docker_daemon({"HOME": str(folder)}) as docker:
        (folder / "home").mkdir()
        shutil.copytree(CHECKOUT, folder / "checkout", ignore=LEFT_OUT)
        layer = folder / "layer.tar"
        layer.write_bytes(tar_of({"etc/hello": noise(1000, "alpine")}))
        docker("import", layer, "alpine")
        yield Reader(folder, docker, f"127.0.0.1:{free_port()}")


def test_every_command_of_the_readme_works(reader: Reader) -> None:
    """What the README shows can be typed in that order, on a machine with nothing but Debian."""
    lines = commands()
    start = lines.index("make serve")
    for line in lines[:start]:
        reader.follow(line)
    with reader.serving(lines[start]):
        for line in lines[start + 1 :]:
            reader.follow(line)

    assert reader.docker("image", "inspect", f"{reader.host}/alpine")


def test_what_is_not_run_is_in_the_readme() -> None:
    """No reason is kept for a command that the README no longer shows."""
    shown = "".join(blocks(README, "sh"))

    assert [start for start in NOT_RUN if start not in shown] == []


@pytest.mark.parametrize("text", blocks(README, "toml"), ids=lambda text: text.splitlines()[0])
def test_the_settings_shown_are_right(text: str, tmp_path: Path) -> None:
    """A settings file of the README is read without an error, and sets something."""
    path = tmp_path / "settings.toml"
    path.write_text(text)

    assert load(path).origins


# --- Tables ---------------------------------------------------------------------------------------


def shown_routes() -> dict[tuple[str, str], tuple[str, str]]:
    """The table of the API: method and path, and the ends of the specification and the need."""
    return {
        (method, path.strip("`")): (ends, needs)
        for methods, path, ends, needs in table(README, "method")
        for method in methods.split(", ")
    }


def place(route: Route) -> tuple[str, str]:
    """A route as the table has it."""
    return route.method, route.rule.replace("<name:name>", "<name>")


def test_every_route_is_in_the_table() -> None:
    """The table of the API has the method and path of each route, and no others."""
    assert sorted(shown_routes()) == sorted(map(place, ROUTES))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.rule}")
def test_a_route_is_shown_as_it_is(route: Route) -> None:
    """Its row names the ends of the specification that it is, and what the caller needs."""
    ends, needs = shown_routes()[place(route)]
    letters = re.compile(r"(?<=[0-9])[a-d]$")
    wanted = dict.fromkeys(letters.sub("", end) for end in route.source.split(", "))

    assert ends == ", ".join(wanted)
    assert needs.startswith(NEEDS.get(route.action, route.action))


def test_every_command_is_in_the_table() -> None:
    """The table of commands has each command, and no others."""
    shown = [name.strip("`") for name, _ in table(README, "command")]

    assert sorted(shown) == sorted(command.name for command in COMMANDS)


def test_every_room_is_in_the_architecture() -> None:
    """The table of rooms has each folder and top-level module of the package."""
    cells = " ".join(room for room, *_ in table(ARCHITECTURE, "room"))
    package = CHECKOUT / "registry_wsgi"
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    rooms |= {path.stem for path in package.glob("*.py")} - {"__init__"}

    assert sorted(re.findall(r"`([a-z_]+)`", cells)) == sorted(rooms)


# --- Links ----------------------------------------------------------------------------------------


def links(page: str) -> Sequence[str]:
    """The links of a page that lead into the checkout, without fragments."""
    text = (CHECKOUT / page).read_text("utf-8")
    found = re.findall(r"\]\(([^)#\s]+)", text)
    return [link for link in found if "://" not in link]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    """A link into the checkout names a file that is there."""
    folder = (CHECKOUT / page).parent

    assert [link for link in links(page) if not (folder / link).exists()] == []
