"""Whatever a path says, no file outside of the data directory is looked at."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.images import MANIFEST
from support.programs import require
from support.pushes import open_upload, push_image
from support.server import RunningServer
from support.variants import Variants
from support.verbs import request_target
from support.wire import Wire, request

NAME = "wire/traced"
UPWARD = ["../" * depth + "etc/passwd" for depth in (1, 4, 9)]
ESCAPES: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: text.replace("..", "%2e%2e"),
    lambda text: text.replace("/", "%2f"),
    lambda text: text.replace("..", "%2E%2E").replace("/", "%2F"),
    lambda text: text.replace("/", "%5c"),
    lambda text: f"/{text}",
    lambda text: f"{text}%00",
    lambda text: text.replace("..", "%252e%252e"),
]
PLACES = [
    ("GET", "/{}"),
    ("GET", "/v2/{}"),
    ("GET", "/v2/{}/tags/list"),
    ("GET", "/v2/{}/blobs/sha256:" + "a" * 64),
    ("GET", f"/v2/{NAME}/blobs/{{}}"),
    ("HEAD", f"/v2/{NAME}/blobs/sha256:{{}}"),
    ("DELETE", f"/v2/{NAME}/blobs/sha512:{{}}"),
    ("GET", f"/v2/{NAME}/manifests/{{}}"),
    ("PUT", f"/v2/{NAME}/manifests/{{}}"),
    ("GET", f"/v2/{NAME}/referrers/{{}}"),
    ("POST", f"/v2/{NAME}/blobs/uploads/?digest={{}}"),
    ("POST", f"/v2/{NAME}/blobs/uploads/?mount=sha256:{'a' * 64}&from={{}}"),
    ("POST", f"/v2/{NAME}/blobs/uploads/?digest-algorithm={{}}"),
    ("GET", f"/v2/{NAME}/blobs/uploads/{{}}"),
    ("PATCH", f"/v2/{NAME}/blobs/uploads/{{}}?_state=x"),
    ("PUT", f"/v2/{NAME}/blobs/uploads/{{}}?_state=x&digest=sha256:{'a' * 64}"),
    ("DELETE", f"/v2/{NAME}/blobs/uploads/{{}}?_state={{}}"),
    ("GET", "/v2/_catalog?last={}"),
]


class Traced(RunningServer):
    """A server whose every use of a file's name is written down beside its data."""

    @property
    def trace(self) -> Path:
        """The file with strace's lines."""
        return self.data.with_name("trace")

    def command(self) -> list[str]:
        """The command line."""
        strace = [require("strace", "strace"), "-f", "-qq", "-s", "4096", "-e", "trace=%file"]
        return [*strace, "-o", str(self.trace), *super().command()]

    def names_used(self) -> list[str]:
        """Every file name that a system call had so far, in order; descriptors have none."""
        lines = self.trace.read_text(errors="replace").splitlines()
        return [name for line in lines for name in re.findall(r'"((?:[^"\\]|\\.)+)"', line)]


@pytest.fixture(scope="module")
def server() -> Iterator[Traced]:
    """A traced server that has answered every kind of request once."""
    with Variants({"traced": ""}, kinds={"traced": Traced}) as servers:
        started = servers["traced"]
        assert isinstance(started, Traced)
        push_image(started.http, NAME, "v1")
        for method, place in PLACES:
            started.http.request(method, place.replace("{}", "x"), b"x", None, {})
        yield started


def test_no_path_leads_out_of_the_data_directory(server: Traced) -> None:
    """3 and 30: dots in every place and spelling open nothing, and get an error or an empty page."""
    before = len(server.names_used())
    with Wire(server.host) as wire:
        for method, place in PLACES:
            for path in (escape(text) for text in UPWARD for escape in ESCAPES):
                header = f"Content-Type: {MANIFEST}"
                target = place.replace("{}", path)
                reply = wire.exchange(request(method, target, b"{}", header))
                assert reply.status in {200, 202, 400, 404}, f"{method} {target}: {reply}"
                assert b"root:" not in reply.body
    used = server.names_used()[before:]
    foreign = [name for name in used if not Path(name).is_relative_to(server.data)]

    assert not [name for name in used if ".." in name or "passwd" in name]
    assert [name for name in foreign if not name.startswith("/dev/shm/")] == []


def test_the_trace_sees_what_is_opened(server: Traced) -> None:
    """A request that does write leaves a name in the trace."""
    before = len(server.names_used())
    location = open_upload(server.http, NAME)
    identifier = request_target(location).partition("?")[0].rpartition("/")[2]

    assert str(server.data / "uploads" / identifier) in server.names_used()[before:]
