"""TLS without a proxy, certified by an authority that only those trust who are told of it.

Docker checks no certificate of 127.0.0.0/8. So the one that is asked here knows the registry by a
name, which is ``::1`` to nobody else: it runs with an ``/etc/hosts`` and an ``/etc/docker`` of its
own, in a mount namespace.
"""

import http.client
import os
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from support.accounts import PASSWORD, add_user, opened_data
from support.clients import TAG, Docker
from support.daemons import daemon
from support.images import make_image, sha256, write_layout
from support.programs import Tool, require, require_root, run
from support.server import RunningServer, throwaway_directory
from support.tls import Certificates, make_certificates
from support.variants import QUICK
from support.verbs import Verbs
from support.waiting import wait_until
from support.wire import Wire

NAME = "registry.example"
SIGN_IN = '[auth]\nbackends = ["users"]\n'


class TlsServer(RunningServer):
    """``serve --certfile --keyfile``."""

    ADDRESS: ClassVar[str] = "127.0.0.1"

    @property
    def host(self) -> str:
        """Where it listens."""
        return f"{self.ADDRESS}:{self.port}"

    def _answers(self) -> bool:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(self.host, timeout=30, context=context)
        try:
            connection.request("GET", self.READY)
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()


class TlsServer6(TlsServer):
    """The same on the loopback address of IPv6, known by a name."""

    ADDRESS = "[::1]"

    def command(self) -> list[str]:
        """The command line, with the name that clients have for it."""
        self.settings = f'{QUICK}external_url = "https://{NAME}:{self.port}"\n{SIGN_IN}'
        return super().command()


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    """An authority, and what it certified."""
    with throwaway_directory() as folder:
        yield make_certificates(folder)


def serving(kind: type[TlsServer], certificates: Certificates) -> Iterator[TlsServer]:
    """A server with a user."""
    files = ["--certfile", str(certificates.certificate), "--keyfile", str(certificates.key)]
    with throwaway_directory() as folder:
        with opened_data(folder / "data") as storage:
            add_user(storage.index.accounts, "anna")
        with kind(folder / "data", files, settings=QUICK + SIGN_IN) as server:
            yield server


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[TlsServer]:
    """A server that clients reach by its address."""
    yield from serving(TlsServer, certificates)


@pytest.fixture
def named_server(certificates: Certificates) -> Iterator[TlsServer]:
    """A server that clients reach by its name."""
    yield from serving(TlsServer6, certificates)


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """What is ``/etc/docker`` to the daemon."""
    folder = tmp_path / "etc"
    folder.mkdir()
    return folder


@pytest.fixture
def docker_by_name(environment: dict[str, str], etc: Path) -> Iterator[Tool]:
    """``docker``, talking to a daemon that knows the registry by its name and trusts nobody yet."""
    dockerd, client = require("dockerd", "docker.io"), require("docker", "docker.io")
    require_root("dockerd")

    def command(folder: Path) -> list[str]:
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n::1 {NAME}\n")
        flags = "--iptables=false --bridge=none --storage-driver=vfs"
        places = f"--data-root={folder}/data --exec-root={folder}/exec --pidfile={folder}/pid"
        script = (
            f"mkdir -p /etc/docker && mount --bind {etc} /etc/docker && "
            f"mount --bind {folder}/hosts /etc/hosts && "
            f"exec {dockerd} {flags} {places} --host=unix://{folder}/docker.sock"
        )
        return [require("unshare", "util-linux"), "--mount", "sh", "-c", script]

    def ready(folder: Path) -> bool:
        ping = [client, f"--host=unix://{folder}/docker.sock", "version"]
        return run(ping, environment=environment, expect=None).returncode == 0

    with daemon(command, ready) as folder:
        yield Tool(client, f"--host=unix://{folder}/docker.sock", environment=environment)


def test_docker_trusts_the_authority_that_it_is_told_of(
    docker_by_name: Tool,
    named_server: TlsServer,
    certificates: Certificates,
    etc: Path,
    repository: str,
    tmp_path: Path,
) -> None:
    """Without it there is no sign-in; with it ``docker login``, push and pull work as ever."""
    (tmp_path / "home").mkdir()
    docker = Docker(docker_by_name, tmp_path / "home")
    host = f"{NAME}:{named_server.port}"
    refused = docker.login(host, "anna", PASSWORD, fails=True)
    trusted = etc / "certs.d" / host
    trusted.mkdir(parents=True)
    (trusted / "ca.crt").write_bytes(certificates.authority.read_bytes())
    docker.login(host, "anna", PASSWORD)
    docker.push(f"{host}/{repository}")
    docker.pull(f"{host}/{repository}")
    docker.logout(host)
    after = docker.pull(f"{host}/{repository}", fails=True)

    assert "certificate signed by unknown authority" in refused
    assert "no basic auth credentials" in after or "unauthorized" in after


def test_skopeo_trusts_the_authority_that_it_is_told_of(
    skopeo: Tool,
    server: TlsServer,
    certificates: Certificates,
    repository: str,
    tmp_path: Path,
) -> None:
    """With ``--cert-dir`` it signs in and copies in and out; without it, it refuses."""
    image = make_image(repository)
    layout = write_layout(tmp_path / "in", {TAG: image})
    trust = tmp_path / "certs"
    trust.mkdir()
    (trust / "ca.crt").write_bytes(certificates.authority.read_bytes())
    reference = f"docker://{server.host}/{repository}:{TAG}"
    auth = f"--authfile={tmp_path}/auth.json"
    user = ["-u", "anna", "--password-stdin", server.host]
    refused = skopeo.said("copy", f"oci:{layout}:{TAG}", reference, expect=1)
    skopeo("login", auth, f"--cert-dir={trust}", *user, stdin=PASSWORD.encode())
    skopeo("copy", auth, f"--dest-cert-dir={trust}", f"oci:{layout}:{TAG}", reference)
    skopeo("copy", auth, f"--src-cert-dir={trust}", reference, f"dir:{tmp_path}/out")

    assert "certificate signed by unknown authority" in refused
    assert sha256((tmp_path / "out" / "manifest.json").read_bytes()) == image.digest


def test_the_challenge_sends_clients_to_https(
    server: TlsServer, certificates: Certificates
) -> None:
    """The realm has the scheme that the client used."""
    http = Verbs(server.host, context=certificates.context)
    challenge = http.get("/v2/", 401)["WWW-Authenticate"]

    assert challenge.startswith(f'Bearer realm="https://{server.host}/token"')
    assert http.get("/token").json()["token"]


def test_plain_http_is_not_answered(server: TlsServer) -> None:
    """A password that a client would send without TLS gets nowhere: there is no answer to it."""
    with Wire(server.host) as wire:
        reply = wire.send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").reply()

    assert reply is None or reply.status == 400


def test_a_certificate_that_cannot_be_is_not_reloaded(
    certificates: Certificates, tmp_path: Path
) -> None:
    """A reload beside a half-written certificate says what is wrong with it."""
    chain = tmp_path / "chain.pem"
    chain.write_bytes(certificates.certificate.read_bytes())
    files = ["--certfile", str(chain), "--keyfile", str(certificates.key)]
    with throwaway_directory() as folder, TlsServer(folder / "data", files) as server:
        assert server.process is not None
        chain.write_bytes(certificates.certificate.read_bytes()[:100])
        os.kill(server.process.pid, signal.SIGHUP)
        wait_until(lambda: "not reloaded" in server.log, "it is in the log")

        assert "not reloaded: server.certfile and server.keyfile: " in server.log
