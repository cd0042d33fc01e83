"""How each client signs in, pushes, pulls and signs out, as its users type it."""

import itertools
import json
from abc import ABC, abstractmethod
from pathlib import Path

from support.images import make_image, noise, tar_of, write_docker_archive, write_layout
from support.programs import Tool, run

TAG = "1.0.0"
"""The tag of everything that is pushed; a version, as Helm wants it."""


class Client(ABC):
    """A tool with credentials of its own, kept in ``folder`` and gone with it.

    ``push`` and ``pull`` take an image of the client's own at ``HOST/NAME``. What a command said
    is returned; it has to succeed or, with ``fails``, to fail.
    """

    checks_login = True
    """Whether the tool asks the registry before it keeps a password."""

    def __init__(self, tool: Tool, folder: Path, **environment: str) -> None:
        self.folder = folder
        for name in ("auth.json", "config.json"):
            (folder / name).write_text("{}")
        self._serial = itertools.count()
        own = {
            "DOCKER_CONFIG": str(folder),
            "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
            "HELM_REGISTRY_CONFIG": str(folder / "helm.json"),
        }
        self._command = tool.command
        self._environment = {**(tool.environment or {}), **own, **environment}

    def said(self, *words: str | Path, fails: bool = False, stdin: bytes = b"") -> str:
        """Run the tool with these arguments."""
        command = [*self._command, *words]
        expect = None if fails else 0
        done = run(command, environment=self._environment, expect=expect, stdin=stdin)
        assert not fails or done.returncode, f"succeeded: {command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def new(self, name: str) -> Path:
        """A path where nothing is."""
        return self.folder / f"{name}-{next(self._serial)}"

    def login(self, host: str, name: str, password: str, *, fails: bool = False) -> str:
        """Sign in."""
        words = ["login", *self.flags("login"), "-u", name, "--password-stdin", host]
        return self.said(*words, stdin=password.encode(), fails=fails)

    def logout(self, host: str) -> None:
        """Sign out."""
        self.said("logout", host)

    def flags(self, command: str) -> list[str]:
        """What makes a command speak plain HTTP."""
        return [] if command == "logout" else ["--tls-verify=false"]

    @abstractmethod
    def push(self, name: str, *, fails: bool = False) -> str:
        """Push an image."""

    @abstractmethod
    def pull(self, name: str, *, fails: bool = False) -> str:
        """Pull it to where it is not."""


class Docker(Client):
    """``docker``, whose daemon speaks plain HTTP to loopback addresses by itself."""

    def flags(self, command: str) -> list[str]:
        """None."""
        assert command
        return []

    def push(self, name: str, *, fails: bool = False) -> str:
        """An imported tar file."""
        archive = self.folder / "root.tar"
        archive.write_bytes(tar_of({"data/first": noise(1 << 16, name)}))
        self.said("import", archive, f"{name}:{TAG}")
        return self.said("push", f"{name}:{TAG}", fails=fails)

    def pull(self, name: str, *, fails: bool = False) -> str:
        """Once it is removed."""
        if self.said("images", "--quiet", f"{name}:{TAG}").strip():
            self.said("rmi", "--force", f"{name}:{TAG}")
        return self.said("pull", f"{name}:{TAG}", fails=fails)


class Podman(Client):
    """``podman``."""

    def push(self, name: str, *, fails: bool = False) -> str:
        """A loaded archive."""
        archive = self.folder / "image.tar"
        write_docker_archive(archive, f"{name}:{TAG}", make_image(name))
        self.said("load", "--input", archive)
        return self.said("push", *self.flags("push"), f"{name}:{TAG}", fails=fails)

    def pull(self, name: str, *, fails: bool = False) -> str:
        """Once it is removed."""
        self.said("rmi", "--force", "--ignore", f"{name}:{TAG}")
        return self.said("pull", *self.flags("pull"), f"{name}:{TAG}", fails=fails)


class Buildah(Client):
    """``buildah``."""

    def push(self, name: str, *, fails: bool = False) -> str:
        """An image built from nothing."""
        content = self.folder / "content"
        content.write_bytes(noise(1 << 16, name))
        container = self.said("from", "scratch").strip()
        self.said("add", container, content, "/content")
        self.said("commit", "--rm", container, f"{name}:{TAG}")
        return self.said("push", *self.flags("push"), f"{name}:{TAG}", fails=fails)

    def pull(self, name: str, *, fails: bool = False) -> str:
        """Whether or not it is here."""
        words = ["pull", "--policy=always", *self.flags("pull"), f"{name}:{TAG}"]
        return self.said(*words, fails=fails)


class Skopeo(Client):
    """``skopeo``."""

    def push(self, name: str, *, fails: bool = False) -> str:
        """An OCI layout."""
        layout = write_layout(self.new("in"), {TAG: make_image(name)})
        words = ["copy", "--dest-tls-verify=false", f"oci:{layout}:{TAG}", f"docker://{name}:{TAG}"]
        return self.said(*words, fails=fails)

    def pull(self, name: str, *, fails: bool = False) -> str:
        """To a directory."""
        out = self.new("out")
        words = ["copy", "--src-tls-verify=false", f"docker://{name}:{TAG}", f"dir:{out}"]
        return self.said(*words, fails=fails)


class Crane(Client):
    """``crane``, which keeps a password without asking whether it is right."""

    checks_login = False

    def login(self, host: str, name: str, password: str, *, fails: bool = False) -> str:
        """Sign in."""
        words = ["auth", "login", host, "-u", name, "--password-stdin"]
        return self.said(*words, stdin=password.encode(), fails=fails)

    def logout(self, host: str) -> None:
        """Sign out."""
        self.said("auth", "logout", host)

    def push(self, name: str, *, fails: bool = False) -> str:
        """An OCI layout."""
        layout = write_layout(self.new("in"), {TAG: make_image(name)})
        return self.said("push", layout, f"{name}:{TAG}", fails=fails)

    def pull(self, name: str, *, fails: bool = False) -> str:
        """To a tar file."""
        return self.said("pull", f"{name}:{TAG}", self.new("out"), fails=fails)


class Helm(Client):
    """``helm``, whose images are charts."""

    def login(self, host: str, name: str, password: str, *, fails: bool = False) -> str:
        """Sign in."""
        words = ["registry", "login", "--plain-http", "-u", name, "--password-stdin", host]
        return self.said(*words, stdin=password.encode(), fails=fails)

    def logout(self, host: str) -> None:
        """Sign out."""
        self.said("registry", "logout", host)

    def push(self, name: str, *, fails: bool = False) -> str:
        """A chart of the repository's last name."""
        parent, _, last = name.rpartition("/")
        chart = self.folder / last
        chart.mkdir(exist_ok=True)
        fields = {"apiVersion": "v2", "name": last, "description": name, "version": TAG}
        (chart / "Chart.yaml").write_text(json.dumps(fields))
        self.said("package", "--destination", self.folder, chart)
        archive = self.folder / f"{last}-{TAG}.tgz"
        return self.said("push", "--plain-http", archive, f"oci://{parent}", fails=fails)

    def pull(self, name: str, *, fails: bool = False) -> str:
        """To a directory."""
        out = self.new("out")
        out.mkdir()
        where = ("--destination", out, f"oci://{name}")
        return self.said("pull", "--plain-http", f"--version={TAG}", *where, fails=fails)


CLIENTS: dict[str, type[Client]] = {
    "docker": Docker,
    "podman": Podman,
    "buildah": Buildah,
    "skopeo": Skopeo,
    "crane": Crane,
    "helm": Helm,
}


class Containerd(Tool):
    """``ctr``, whose push is tried again where containerd itself has lost the stream to it.

    Of 700 pushes by containerd 1.6.20, each of three small blobs, 5 ended so, to docker distribution
    as often as to this registry; both saw the client leave.
    """

    LOST = "ctr: failed to copy: rpc error: code = Internal desc = unexpected EOF"

    def push(self, *arguments: str) -> None:
        """Push an image over plain HTTP."""
        words = ("images", "push", "--plain-http", *arguments)
        for _ in range(3):
            done = run([*self.command, *words], environment=self.environment, expect=None)
            if self.LOST not in done.stderr:
                break
        assert done.returncode == 0, done.stdout + done.stderr
