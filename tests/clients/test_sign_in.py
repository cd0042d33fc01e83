"""Real clients sign in, with each back end: what they may they do, and the rest is refused."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.accounts import (
    PASSWORD,
    add_token,
    add_user,
    basic,
    htpasswd_line,
    opened_data,
)
from support.clients import CLIENTS, TAG, Client, Containerd
from support.images import make_image, tar_of, write_layout
from support.programs import Tool
from support.pushes import push_artifact
from support.server import RunningServer, throwaway_directory
from support.variants import QUICK
from support.verbs import Verbs

RULES = """
[auth]
backends = [{backends}]
htpasswd_file = "{folder}/htpasswd"
[[access]]
repositories = "team/**"
users = ["anna"]
actions = ["pull", "push", "overwrite"]
[[access]]
repositories = "look/**"
users = ["authenticated"]
actions = ["pull"]
[[access]]
repositories = "open/**"
users = ["anonymous"]
actions = ["pull"]
[[access]]
repositories = "**"
users = ["admin"]
actions = ["admin"]
"""
BACKENDS = {"users": '"users"', "htpasswd": '"htpasswd"', "token": '"users"'}
UNAUTHORIZED = re.compile("unauthorized|authentication required|no basic auth|401", re.IGNORECASE)
DENIED = re.compile("denied|403", re.IGNORECASE)


@dataclass(frozen=True)
class Door:
    """A server, and a name and a password that one of its back ends knows."""

    server: RunningServer
    name: str
    password: str

    @property
    def admin(self) -> Verbs:
        """Somebody who may everything."""
        return Verbs(self.server.host, basic("admin"))


def prepare(folder: Path, back_end: str) -> tuple[str, str]:
    """Make who signs in and the administrator; the former's name and password."""
    (folder / "htpasswd").write_text(
        "".join(htpasswd_line(name, cost=10) for name in ("anna", "admin"))
    )
    with opened_data(folder / "data") as storage:
        accounts = storage.index.accounts
        add_user(accounts, "admin")
        if back_end == "token":
            return "ci", add_token(accounts, "ci", "team/**", "pull,push,overwrite")
        if back_end == "users":
            add_user(accounts, "anna")
    return "anna", PASSWORD


@pytest.fixture(scope="module", params=BACKENDS)
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    """Each back end in turn, with something that only the administrator may pull."""
    with throwaway_directory() as folder:
        name, password = prepare(folder, request.param)
        settings = QUICK + RULES.format(backends=BACKENDS[request.param], folder=folder)
        with RunningServer(folder / "data", settings=settings) as server:
            ready = Door(server, name, password)
            push_artifact(ready.admin, "secret/app", TAG)
            yield ready


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """Each client in turn, signed in nowhere."""
    tool: Tool = request.getfixturevalue(request.param)
    with throwaway_directory() as folder:
        yield CLIENTS[request.param](tool, folder)


def test_a_client_signs_in_and_out(door: Door, client: Client, repository: str) -> None:
    """It pushes and pulls where it may, is refused elsewhere, and everywhere before and after."""
    host = door.server.host
    own, look, secret = (
        f"{host}/{name}" for name in (f"team/{repository}", "look/app", "secret/app")
    )
    before = client.push(own, fails=True)
    if client.checks_login:
        client.login(host, door.name, "wrong", fails=True)
    client.login(host, door.name, door.password)
    client.push(own)
    client.pull(own)
    denied = [client.push(look, fails=True), client.pull(secret, fails=True)]
    client.logout(host)
    after = client.pull(own, fails=True)

    assert UNAUTHORIZED.search(before), before
    assert UNAUTHORIZED.search(after), after
    assert [said for said in denied if not DENIED.search(said)] == []
    assert door.admin.get(f"/v2/team/{repository}/tags/list").json()["tags"] == [TAG]
    door.admin.get("/v2/look/app/tags/list", 404)


@pytest.mark.parametrize("door", ["users"], indirect=True)
def test_a_client_pulls_what_is_open_without_an_account(
    door: Door, client: Client, repository: str
) -> None:
    """It gets a token as nobody, and with it what everybody may."""
    host = door.server.host
    client.login(host, "admin", PASSWORD)
    client.push(f"{host}/open/{repository}")
    client.logout(host)
    client.pull(f"{host}/open/{repository}")

    said = client.push(f"{host}/open/{repository}/new", fails=True)

    assert UNAUTHORIZED.search(said), said


@pytest.mark.parametrize("door", ["users", "token"], indirect=True)
def test_containerd_signs_in_by_form(
    ctr: Containerd, door: Door, repository: str, tmp_path: Path
) -> None:
    """Containerd asks for its token with a POST, pushes and pulls; a wrong password gets nothing."""
    reference = f"{door.server.host}/team/{repository}:{TAG}"
    layout = write_layout(tmp_path / "layout", {TAG: make_image(repository)})
    tar = layout.with_suffix(".tar")
    files = {str(f.relative_to(layout)): f.read_bytes() for f in layout.rglob("*") if f.is_file()}
    tar.write_bytes(tar_of(files))
    base = f"--base-name={reference.rpartition(':')[0]}"
    ctr("images", "import", "--snapshotter=native", base, tar)
    user, wrong = f"--user={door.name}:{door.password}", f"--user={door.name}:wrong"
    pull = ("images", "pull", "--plain-http", "--snapshotter=native")
    ctr.push(user, reference)
    ctr("images", "remove", "--sync", reference)
    refused = ctr.said(*pull, wrong, reference, expect=1)
    ctr(*pull, user, reference)

    assert UNAUTHORIZED.search(refused), refused
    assert door.password not in door.server.log
    assert '"POST /token" 200' in door.server.log
