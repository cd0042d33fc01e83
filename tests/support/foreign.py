"""Docker distribution: run as its users run it, or its files written by hand."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.daemons import daemon
from support.images import encode, sha256
from support.programs import require
from support.pushes import Pushed, image, open_upload, push_manifest, with_digest
from support.server import free_port
from support.verbs import Verbs

REGISTRY = "github.com/distribution/distribution/v3/cmd/registry"
PROGRAMS = {"v2": ("docker-registry", "docker-registry"), "v3": ("registry", REGISTRY)}

SETTINGS = """\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {folder}/tree}}
  delete: {{enabled: true}}
http: {{addr: {host}}}
"""


@dataclass(frozen=True)
class OldRegistry:
    """A running docker distribution; ``root`` is its rootdirectory."""

    host: str
    root: Path

    @property
    def http(self) -> Verbs:
        """A client for requests that no tool would make."""
        return Verbs(self.host)

    @property
    def tree(self) -> "Tree":
        """Its files."""
        return Tree(self.root)

    def push_blob(self, repository: str, content: bytes, digest: str = "") -> str:
        """Push a blob, under another digest than its sha256 if one is given; its digest."""
        digest = digest or sha256(content)
        location = open_upload(self.http, repository)
        self.http.put(with_digest(location, digest), content)
        return digest

    def push_image(self, repository: str, *tags: str, content: bytes, **members: Any) -> Pushed:
        """Push an image of one layer, whose bytes are ``content``, under tags or its digest."""
        config = b'{"of":"%b"}' % sha256(content).encode()
        for blob in (config, content):
            self.push_blob(repository, blob)
        document = image(config, content, **members)
        for tag in tags or (None,):
            pushed = push_manifest(self.http, repository, document, tag)
        return pushed


@contextlib.contextmanager
def old_registry(version: str) -> Iterator[OldRegistry]:
    """A docker distribution of this version (v2, v3) with files of its own."""
    program, host = require(*PROGRAMS[version]), f"127.0.0.1:{free_port()}"

    def command(folder: Path) -> list[str]:
        (folder / "config.yml").write_text(SETTINGS.format(folder=folder, host=host))
        return [program, "serve", str(folder / "config.yml")]

    def ready(folder: Path) -> bool:
        del folder
        try:
            return Verbs(host).get("/v2/", None).status == 200
        except OSError:
            return False

    with daemon(command, ready) as folder:
        yield OldRegistry(host, folder / "tree")


@dataclass(frozen=True)
class Tree:
    """Files of docker distribution that nobody serves. ``root`` is what is imported."""

    root: Path

    @property
    def top(self) -> Path:
        """Where blobs and repositories are."""
        return self.root / "docker" / "registry" / "v2"

    def data(self, digest: str) -> Path:
        """The file of a blob or manifest."""
        algorithm, _, name = digest.partition(":")
        return self.top / "blobs" / algorithm / name[:2] / name / "data"

    def link(self, repository: str, place: str, digest: str = "") -> Path:
        """A link file: ``_layers`` or ``_manifests/revisions`` with a digest, or a whole place."""
        path = self.top / "repositories" / repository / place
        return path / digest.replace(":", "/") / "link"

    def revision(self, repository: str, digest: str) -> Path:
        """The link that says that a repository has a manifest."""
        return self.link(repository, "_manifests/revisions", digest)

    def current(self, repository: str, tag: str) -> Path:
        """The link that says where a tag points."""
        return self.link(repository, f"_manifests/tags/{tag}/current")

    def put_blob(self, repository: str, content: bytes) -> str:
        """Store a blob and let the repository serve it; its digest."""
        digest = sha256(content)
        write(self.data(digest), content)
        write(self.link(repository, "_layers", digest), digest.encode())
        return digest

    def put_manifest(self, repository: str, body: bytes, *tags: str) -> str:
        """Store a manifest, and put tags on it; its digest."""
        digest = sha256(body)
        write(self.data(digest), body)
        write(self.revision(repository, digest), digest.encode())
        for tag in tags:
            place = f"_manifests/tags/{tag}"
            write(self.link(repository, f"{place}/index", digest), digest.encode())
            write(self.link(repository, f"{place}/current"), digest.encode())
        return digest

    def put_image(self, repository: str, content: bytes, *tags: str, **members: Any) -> str:
        """Store an image of one layer, whose bytes are ``content``; its manifest's digest."""
        config = b'{"of":"%b"}' % sha256(content).encode()
        for blob in (config, content):
            self.put_blob(repository, blob)
        return self.put_manifest(repository, encode(image(config, content, **members)), *tags)


def write(path: Path, content: bytes) -> None:
    """Write a file and the directories it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def standing(root: Path) -> dict[str, tuple[int, int, int, int, bytes]]:
    """Mode, owner, group, time and content of every file below ``root``."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            status = path.stat()
            own = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)
            found[str(path.relative_to(root))] = (*own, path.read_bytes())
    return found
