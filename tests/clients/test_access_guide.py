"""``docs/access.md``: its settings are taken, and all its commands are run, in order.

A command whose comment is ``# denied`` has to fail; ``serve`` goes on until the end. What the page
leaves to its reader is made beforehand: files with passwords, and a local image named ``app``.
"""

import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
from support.images import noise, tar_of
from support.programs import Tool, require, run
from support.server import CHECKOUT, free_port, throwaway_directory

from registry_wsgi.config import load

GUIDE = CHECKOUT / "docs" / "access.md"
HOST = "127.0.0.1:8000"
PEOPLE = ("anna", "ben", "carla")


def blocks(kind: str) -> list[str]:
    """The page's blocks of this kind."""
    return re.findall(
        rf"^```{kind}\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )


def script(host: str) -> str:
    """All commands of the page as one script, which tells each before it is run."""
    lines = [
        "set -euo pipefail",
        "trap 'kill $SERVER && wait $SERVER' EXIT",
    ]
    for line in "\n".join(blocks("sh")).replace(HOST, host).splitlines():
        command, _, comment = line.partition("  #")
        lines.append(f"echo {quoted(command)}")
        if comment.strip() == "denied":
            lines.append(f"if {command}; then echo 'was not denied' >&2; exit 99; fi")
        elif command == "registry-wsgi serve":
            lines.append(f"{command} --bind {host} > serve.log 2>&1 & SERVER=$!")
            lines.append(f"until curl --silent --fail http://{host}/healthz; do sleep 0.1; done")
        else:
            lines.append(command)
    return "\n".join([*lines, "echo the end"])


def quoted(text: str) -> str:
    """A word of the shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def wrapper(path: Path, *command: str | Path) -> None:
    """A program that is this command."""
    words = " ".join(quoted(str(word)) for word in command)
    path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    path.chmod(0o755)


@pytest.mark.parametrize("text", blocks("toml"), ids=lambda text: text.splitlines()[0])
def test_settings_of_the_guide_are_taken(text: str, tmp_path: Path) -> None:
    """Each block is a settings file that could be used."""
    path = tmp_path / "registry.toml"
    path.write_text(text)

    assert load(path)


def test_ten_lines_are_enough() -> None:
    """What the page begins with is ten lines, blank ones aside: a back end and two rules."""
    first = blocks("toml")[0]
    settings = tomllib.loads(first)

    assert len([line for line in first.splitlines() if line]) == 10
    assert set(settings) == {"auth", "access"}
    assert len(settings["access"]) == 2


def test_every_command_of_the_guide_works(docker: Tool, environment: dict[str, str]) -> None:
    """From nothing to a team that pulls, pushes and deletes, as the page has it."""
    require("skopeo", "skopeo")
    require("htpasswd", "apache2-utils")
    require("curl", "curl")
    host = f"127.0.0.1:{free_port()}"
    with throwaway_directory() as folder:
        (folder / "registry.toml").write_text(blocks("toml")[0])
        for name in PEOPLE:
            (folder / f"{name}.password").write_text(f"the password of {name}\n")
        (folder / "app.tar").write_bytes(tar_of({"app": noise(1 << 16, "guide")}))
        docker("import", folder / "app.tar", "app")
        programs = folder / "bin"
        programs.mkdir()
        wrapper(programs / "registry-wsgi", sys.executable, "-m", "registry_wsgi")
        wrapper(programs / "docker", *docker.command)
        own = {
            **environment,
            "DOCKER_CONFIG": str(folder / "docker"),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(CHECKOUT),
        }
        done = run(["bash", "-c", script(host)], environment=own, cwd=folder, seconds=120)
        log = (folder / "serve.log").read_text()

    assert done.stdout.endswith("the end\n")
    assert "allowed by its own grant, team/**: token ci: overwrite, pull, push" in done.stdout
    assert done.stdout.count("denied: no rule allows ci") == 2
    assert re.search(r"\tci\t127\.0\.0\.1\tpush\tteam/app\t1\t", done.stdout)
    assert re.search(r'"user": "anna".*"action": "delete"', done.stdout)
    assert not re.search(r"the password of|rwt_", log)
