"""contrib/'s Containerfile, built and run, and its compose file.

There is no registry to pull a base image from: an empty one takes its place, with this machine's
``/usr`` mounted in it. Everything that the Containerfile itself does is done.
"""

import dataclasses
import http.client
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.programs import require, require_root, run, search_path
from support.server import CHECKOUT, free_port, throwaway_directory
from support.waiting import wait_until

from registry_wsgi.config import from_environment

CONTAINERFILE = CHECKOUT / "contrib" / "Containerfile"
COMPOSE = CHECKOUT / "contrib" / "compose.yaml"
FOLDERS = ("etc", "opt", "proc", "root", "src", "sys", "tmp", "usr", "var/lib")
LINKS = ("bin", "lib", "lib64", "sbin")
MOUNTED = ("/usr", "/etc/alternatives", "/etc/ssl", "/etc/pip.conf")


@dataclasses.dataclass(frozen=True)
class Image:
    """The image, and the container that commands are run in."""

    command: Sequence[str]
    mounts: Sequence[str]
    container: str
    config: dict[str, Any]

    def line(self, *words: str, **environment: str) -> list[str]:
        """A command line that runs ``words`` in the container as its user."""
        run_in = ["run", "--isolation=chroot", "--network=host", *self.mounts]
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        return [*self.command, *run_in, *variables, self.container, "--", *words]

    @property
    def entry(self) -> list[str]:
        """What the image runs by itself."""
        return [*self.config["Entrypoint"], *self.config["Cmd"]]


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The Containerfile's image, built on the empty base."""
    buildah = require("buildah", "buildah")
    require_root("buildah")
    with throwaway_directory() as folder:
        storage = [f"--root={folder}/root", f"--runroot={folder}/run", "--storage-driver=vfs"]
        command = [buildah, *storage]
        base = folder / "base"
        for name in FOLDERS:
            (base / name).mkdir(parents=True)
        for name in LINKS:
            (base / name).symlink_to(f"usr/{name}")
        (folder / "Base").write_text("FROM scratch\nCOPY base /\n")
        run([*command, "bud", "-f", folder / "Base", "-t", "localhost/base", folder])
        mounts = [f"--volume={path}:{path}:ro" for path in MOUNTED if Path(path).exists()]
        build = ["bud", "--isolation=chroot", "--network=host", "--format=docker", *mounts]
        build += ["--build-arg=BASE=localhost/base", "-f", str(CONTAINERFILE), "-t", "built"]
        run([*command, *build, CHECKOUT], seconds=300)
        described = json.loads(run([*command, "inspect", "--type=image", "built"]).stdout)
        container = run([*command, "from", "built"]).stdout.strip()
        yield Image(command, mounts, container, described["Docker"]["config"])


def test_the_image_has_the_program(image: Image) -> None:
    """``registry-wsgi`` is what the image runs, with the extras of sign-in and metrics."""
    version = run(image.line(*image.config["Entrypoint"], "--version")).stdout
    extras = run(image.line("python3", "-c", "import bcrypt, prometheus_client"))

    assert version.startswith("registry-wsgi ")
    assert extras.returncode == 0


WHO = """
import os, pathlib
data = pathlib.Path("/var/lib/registry-wsgi")
print(os.getuid(), data.stat().st_uid, oct(data.stat().st_mode & 0o777))
print([str(path) for path in pathlib.Path("/opt/registry-wsgi").rglob("*") if os.access(path, os.W_OK)])
"""


def test_the_image_is_run_by_nobody_in_particular(image: Image) -> None:
    """Its user is not root, owns the data directory, and can change nothing of the program."""
    told = run(image.line("python3", "-c", WHO)).stdout.splitlines()

    assert image.config["User"] == "10001:10001"
    assert told == ["10001 10001 0o700", "[]"]


def test_the_image_does_not_open_itself_to_a_network(image: Image) -> None:
    """Without a word about sign-in it does not start, and says what to set."""
    refused = run(image.line(*image.entry), expect=None)

    assert refused.returncode != 0
    assert "auth.backends" in refused.stderr


@pytest.fixture
def serving(image: Image) -> Iterator[int]:
    """The port of a registry in the container."""
    port = free_port()
    settings = {
        "REGISTRY_WSGI_SERVER_BIND": f"127.0.0.1:{port}",
        "REGISTRY_WSGI_AUTH_BACKENDS": "users",
    }
    process = subprocess.Popen(
        image.line(*image.entry, **settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PATH": search_path()},
        start_new_session=True,
    )
    try:
        wait_until(lambda: answers(port), "the registry in the container answers")
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int) -> bool:
    """Whether a registry asks for a sign-in there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == http.HTTPStatus.UNAUTHORIZED
    except OSError:
        return False
    finally:
        connection.close()


def healthcheck(image: Image, port: int) -> int:
    """The exit status of the image's health check, asking another port."""
    kind, *words = image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    assert any(":8000/" in word for word in words)
    line = image.line(*(word.replace(":8000/", f":{port}/") for word in words))
    return run(line, expect=None).returncode


def test_the_health_check_tells_a_registry_from_none(image: Image, serving: int) -> None:
    """It succeeds beside a registry that serves, and fails where nobody does."""
    assert healthcheck(image, serving) == 0
    assert healthcheck(image, free_port()) != 0


def test_the_compose_file_is_one() -> None:
    """``docker-compose config`` accepts it: one service, of this Containerfile and this machine."""
    compose = require("docker-compose", "docker-compose")
    shown = run([compose, "-f", COMPOSE, "config"]).stdout
    services = run([compose, "-f", COMPOSE, "config", "--services"]).stdout

    assert services == "registry\n"
    assert "dockerfile: contrib/Containerfile" in shown
    assert f"context: {CHECKOUT}\n" in shown
    assert "127.0.0.1:8000:8000" in shown


def test_the_compose_file_sets_what_there_is_to_set() -> None:
    """Every variable in it is a setting, and its volume is the image's data directory."""
    lines = [line.strip() for line in COMPOSE.read_text().splitlines()]
    pairs = [line.partition(": ") for line in lines if line.startswith("REGISTRY_WSGI_")]
    config = from_environment({name: value.strip('"') for name, _, value in pairs})
    stopping = next(line for line in lines if line.startswith("stop_grace_period"))

    assert config.auth.backends == ("users",)
    assert "- data:/var/lib/registry-wsgi" in lines
    assert int(stopping.partition(": ")[2].removesuffix("s")) > config.server.graceful_timeout
