"""The clients as fixtures, each with a home of its own: nobody's settings or sign-ins are used."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clients import Containerd
from support.daemons import daemon, docker_daemon
from support.programs import Tool, require, require_root, run
from support.server import throwaway_directory

CRANE = "github.com/google/go-containerregistry/cmd/crane"
HELM = "helm.sh/helm/v3/cmd/helm"
ORAS = "oras.land/oras/cmd/oras"
REGCTL = "github.com/regclient/regclient/cmd/regctl"

CONTAINERD_SETTINGS = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{folder}/containerd.sock"
"""


@pytest.fixture(scope="session")
def environment() -> Iterator[dict[str, str]]:
    """A home directory that says only that images need no signature."""
    with throwaway_directory() as home:
        policy = home / ".config" / "containers" / "policy.json"
        policy.parent.mkdir(parents=True)
        policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        (home / ".docker").mkdir()
        (home / ".docker" / "config.json").write_text("{}")
        registries = policy.with_name("registries.conf")
        registries.write_text('unqualified-search-registries = []\nshort-name-mode = "disabled"\n')
        yield {
            "HOME": str(home),
            "DOCKER_CONFIG": str(home / ".docker"),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "XDG_DATA_HOME": str(home / ".local" / "share"),
            "XDG_RUNTIME_DIR": str(home),
            "CONTAINERS_REGISTRIES_CONF": str(registries),
        }


@pytest.fixture(scope="session")
def docker(environment: dict[str, str]) -> Iterator[Tool]:
    """``docker``, talking to a daemon that was started for the tests."""
    with docker_daemon(environment) as tool:
        yield tool


@pytest.fixture(scope="session")
def ctr(environment: dict[str, str]) -> Iterator[Containerd]:
    """``ctr``, talking to a containerd that was started for the tests."""
    containerd, client = require("containerd", "containerd"), require("ctr", "containerd")
    require_root("containerd")

    def command(folder: Path) -> list[str]:
        settings = folder / "config.toml"
        settings.write_text(CONTAINERD_SETTINGS.format(folder=folder))
        return [containerd, "--config", str(settings)]

    def ready(folder: Path) -> bool:
        ping = [client, f"--address={folder}/containerd.sock", "version"]
        return run(ping, environment=environment, expect=None).returncode == 0

    with daemon(command, ready) as folder:
        address = f"--address={folder}/containerd.sock"
        yield Containerd(client, address, "--namespace=tests", environment=environment)


def storage_tool(program: str, folder: Path, environment: dict[str, str], *flags: str) -> Tool:
    """A program of the containers/storage family, with its storage in ``folder``."""
    path = require(program, program)
    require_root(program)
    storage = ["--root", str(folder / "root"), "--runroot", str(folder / "run")]
    return Tool(path, *storage, "--storage-driver=vfs", *flags, environment=environment)


@pytest.fixture(scope="session")
def podman(environment: dict[str, str]) -> Iterator[Tool]:
    """``podman``, with storage of its own."""
    with throwaway_directory() as folder:
        flags = ["--cgroup-manager=cgroupfs", "--events-backend=none", f"--tmpdir={folder}/tmp"]
        yield storage_tool("podman", folder, environment, *flags)


@pytest.fixture(scope="session")
def buildah(environment: dict[str, str]) -> Iterator[Tool]:
    """``buildah``, with storage of its own."""
    with throwaway_directory() as folder:
        yield storage_tool("buildah", folder, environment)


@pytest.fixture(scope="session")
def skopeo(environment: dict[str, str]) -> Tool:
    """``skopeo``, which needs no storage."""
    return Tool(require("skopeo", "skopeo"), environment=environment)


@pytest.fixture(scope="session")
def crane(environment: dict[str, str]) -> Tool:
    """``crane``, which speaks plain HTTP to addresses of this machine."""
    return Tool(require("crane", CRANE), environment=environment)


@pytest.fixture(scope="session")
def oras(environment: dict[str, str]) -> Tool:
    """``oras``."""
    return Tool(require("oras", ORAS), environment=environment)


@pytest.fixture(scope="session")
def regctl(environment: dict[str, str]) -> Tool:
    """``regctl``."""
    return Tool(require("regctl", REGCTL), environment=environment)


@pytest.fixture(scope="session")
def helm(environment: dict[str, str]) -> Tool:
    """``helm``."""
    return Tool(require("helm", HELM), environment=environment)
