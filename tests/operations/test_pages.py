"""docs/backup.md and docs/moving-in.md hold: every command that they show is run, in that order."""

import getpass
import grp
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.foreign import Tree
from support.opened import opened
from support.programs import CHECKOUT, require, run, search_path
from support.storage import memory_directory
from support.transfers import assert_sound, put_image, tags_in

from registry_wsgi.names import Name
from registry_wsgi.services import foreign

DOCS = CHECKOUT / "docs"
PLACES = ("/backup", "/srv/registry", "/tmp/", "/var/lib/registry-wsgi")
COMMAND = """\
#!/bin/sh
PYTHONPATH={checkout} REGISTRY_WSGI_STORAGE_DATA={data} exec {python} -m registry_wsgi "$@"
"""
RECORD = """\
#!/bin/sh
echo "$*" >> {root}/told
"""


def shell_blocks(page: str) -> list[str]:
    """The commands that a page shows, in order."""
    return re.findall(r"(?ms)^```sh\n(.*?)^```", (DOCS / page).read_text("utf-8"))


class Machine:
    """Where they are run: directories below one of the test's, as the user of the test."""

    def __init__(self, root: Path, home: dict[str, str]) -> None:
        self.root = root
        self.data = root / "var/lib/registry-wsgi"
        self._environment = {**home, "PATH": f"{root}/bin:{search_path()}"}
        for folder in ("bin", "srv", "tmp", "var/lib"):
            (root / folder).mkdir(parents=True)
        known = {"checkout": CHECKOUT, "data": self.data, "python": sys.executable, "root": root}
        for name, text in (("registry-wsgi", COMMAND), ("systemctl", RECORD)):
            (root / "bin" / name).write_text(text.format(**known))
            (root / "bin" / name).chmod(0o755)

    def run(self, block: str) -> str:
        """Run a block as a shell would; what it prints."""
        places = re.compile("|".join(map(re.escape, PLACES)))
        text = places.sub(lambda found: f"{self.root}{found[0]}", block)
        text = text.replace("-o registry-wsgi", f"-o {getpass.getuser()}")
        text = text.replace("-g registry-wsgi", f"-g {grp.getgrgid(os.getgid()).gr_name}")
        shell = ["bash", "-euo", "pipefail", "-c", text]
        return run(shell, environment=self._environment).stdout

    def follow(self, page: str) -> list[str]:
        """Run all that a page shows; what each block printed."""
        return [self.run(block) for block in shell_blocks(page)]


@pytest.fixture
def machine(environment: dict[str, str]) -> Iterator[Machine]:
    """A machine without a registry."""
    with memory_directory() as root:
        yield Machine(root, environment)


def test_a_registry_is_backed_up_checked_and_restored(machine: Machine) -> None:
    """Whoever types what docs/backup.md shows has the registry back in the end."""
    with opened(machine.data) as here:
        put_image(here, Name("team/app"), b"content", "v1")
    made, checked, restored = machine.follow("backup.md")

    assert "2 linked" in made
    assert checked.endswith("sound: 0 problems, 0 notes\n")
    assert restored.endswith("sound: 0 problems, 0 notes\n")
    assert (machine.root / "told").read_text().splitlines() == [
        f"{verb} registry-wsgi.socket registry-wsgi.service" for verb in ("stop", "start")
    ]
    assert set(tags_in(machine.data, Name("team/app"))) == {"v1"}
    assert_sound(machine.data)


def test_a_registry_moves_in_and_out(machine: Machine) -> None:
    """Whoever types what docs/moving-in.md shows has moved in, and out to another site."""
    require("skopeo", "skopeo")
    tree = Tree(machine.root / "srv" / "registry")
    digest = tree.put_image("team/app", b"content", "v1")
    planned, moved, switched, *_ = machine.follow("moving-in.md")

    assert planned.startswith("would take ")
    assert moved.endswith("all that is there is here\n")
    assert "verified 2 blobs same, 1 manifests same, 1 tags same" in switched
    assert tags_in(machine.data, Name("team/app")) == {"v1": digest}
    assert set(tags_in(machine.data, Name("team/copy"))) == {"v1"}
    assert_sound(machine.data)


@pytest.mark.parametrize("kind", sorted(foreign.KINDS))
def test_every_kind_of_finding_is_explained(kind: str) -> None:
    """docs/moving-in.md has a line for each kind of finding."""
    assert f"| `{kind}` |" in (DOCS / "moving-in.md").read_text("utf-8")
