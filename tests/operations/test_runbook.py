"""docs/operations.md, run line by line: on a machine whose directories are below one of the test's.

systemd, apt and the user database are left alone: what they would be told is written down, and the
service is started by the test as the unit says. Everything else is done.
"""

import base64
import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.congestion import congestion_controls
from support.programs import CHECKOUT, require, require_root, run, search_path
from support.proxied import CONTRIB, GunicornServer, Nginx, replaced
from support.pushes import push_image
from support.storage import memory_directory
from support.tls import make_certificates
from support.verbs import Verbs
from support.waiting import wait_until

from registry_wsgi.cli.main import parser

PAGE = CHECKOUT / "docs" / "operations.md"
PLACES = (
    *("/etc/nginx/conf.d", "/etc/registry-wsgi", "/etc/ssl/registry", "/etc/systemd/system"),
    *("/etc/sysusers.d", "/opt/registry-wsgi", "/run/registry-wsgi", "/usr/local/sbin"),
    *("/var/lib/registry-wsgi", "/var/log/nginx"),
)
RECORDED = ("apt-get", "journalctl", "nginx", "systemctl", "systemd-sysusers")
PASSWORD = "correct horse"

RECORD = """\
#!/bin/sh
echo "$(basename "$0") $*" >> {log}
"""
RUNUSER = """\
#!/bin/sh
test "$1 $2 $3" = "-u registry-wsgi --" || exit 1
shift 3
exec "$@"
"""
MAKE_VENV = """\
#!/bin/sh
test "$1 $2" = "-m venv" || exec {python} "$@"
mkdir -p "$3/bin"
printf '#!/bin/sh\\necho "pip $*" >> {log}\\n' > "$3/bin/pip"
printf '#!/bin/sh\\nPYTHONPATH={path} exec {python} -m registry_wsgi "$@"\\n' > "$3/bin/registry-wsgi"
chmod +x "$3/bin/pip" "$3/bin/registry-wsgi"
"""
"""An environment with this checkout in it: that one can be installed is another test's."""


def blocks(heading: str) -> list[str]:
    """The shell blocks below a heading of the page."""
    found = re.search(rf"(?ms)^## {re.escape(heading)}$(.*?)(?=^## |\Z)", PAGE.read_text())
    assert found, heading
    return re.findall(r"(?ms)^```sh\n(.*?)^```", found[1])


@dataclasses.dataclass
class Machine:
    """What the runbook is carried out on."""

    root: Path
    nginx: Nginx
    service: subprocess.Popen[bytes] | None = None

    @property
    def told(self) -> list[str]:
        """What programs of the machine were told, in order."""
        log = self.root / "told"
        return log.read_text().splitlines() if log.exists() else []

    def here(self, text: str) -> str:
        """The text, with the machine's directories where they are."""
        found = re.compile(rf"(?<!{re.escape(str(self.root))})({'|'.join(map(re.escape, PLACES))})")
        return found.sub(rf"{self.root}\1", text)

    def run(self, block: str) -> str:
        """Run a block of the page, as a shell of root would; what it prints."""
        text = block.replace(r"registry\.example/registry.example", r"registry\.example/elsewhere")
        text = re.sub(
            r"(user add anna|--user anna)$", r"\1 --password-stdin", text, flags=re.MULTILINE
        )
        text = text.replace(
            "--url https://registry.example",
            f"--url https://{self.nginx.registry.host} --cafile {self.nginx.certificates.authority}",
        )
        path = f"{self.root}/stubs:{self.root}/usr/local/sbin:{search_path()}"
        ran = run(
            ["bash", "-euo", "pipefail", "-c", self.here(block_with_password(text))],
            environment={"PATH": path, "HOME": str(self.root)},
            cwd=self.root / "checkout",
        )
        return ran.stdout

    def start_service(self) -> None:
        """Start what the installed unit says, and let nginx in front of it."""
        unit = (self.root / "etc/systemd/system/registry-wsgi.service").read_text()
        (line,) = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
        self.service = subprocess.Popen(
            shlex.split(line),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "REGISTRY_WSGI_SERVER_WORKERS": "1"},
            start_new_session=True,
        )
        wait_until((self.root / "run/registry-wsgi/registry.sock").exists, "the service listens")

    def stop_service(self) -> None:
        """End it."""
        if self.service is not None:
            os.killpg(self.service.pid, signal.SIGTERM)
            self.service.wait()


def block_with_password(text: str) -> str:
    """The block, whose commands that ask for a password get it from a pipe."""
    return re.sub(r"^(.*--password-stdin.*)$", rf"echo '{PASSWORD}' | \1", text, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine with a checkout, a certificate, and nothing of the registry."""
    with memory_directory() as root:
        root.chmod(0o711)
        for place in PLACES:
            if place not in {"/opt/registry-wsgi", "/var/lib/registry-wsgi"}:
                (root / place.removeprefix("/")).mkdir(parents=True)
        (root / "var/lib").mkdir()
        (root / "stubs").mkdir()
        known = {"python": sys.executable, "path": CHECKOUT, "log": root / "told"}
        stubs = {**dict.fromkeys(RECORDED, RECORD), "runuser": RUNUSER, "python3": MAKE_VENV}
        for name, text in stubs.items():
            stub = root / "stubs" / name
            stub.write_text(text.format(**known) if "{" in text else text)
            stub.chmod(0o755)
        certificates = make_certificates(root)
        checkout = root / "checkout"
        checkout.mkdir()
        (checkout / "contrib").mkdir()
        (checkout / "fullchain.pem").symlink_to(certificates.certificate)
        (checkout / "privkey.pem").symlink_to(certificates.key)
        (root / "nginx").mkdir()
        registry = GunicornServer(root / "var/lib/registry-wsgi")
        nginx = Nginx(root / "nginx", registry, certificates, port=registry.port)
        made = Machine(root, nginx)
        for path in CONTRIB.iterdir():
            (checkout / "contrib" / path.name).write_text(made.here(path.read_text()))
        try:
            yield made
        finally:
            if nginx.process is not None:
                nginx.kill()
            made.stop_service()


def test_a_registry_is_installed_and_found_sound(machine: Machine) -> None:
    """After Install, TLS and The first user the doctor, signed in through nginx, finds nothing."""
    for block in blocks("Install"):
        printed = machine.run(block)
        if "config check" in block:
            assert printed == "these settings will do\n"
    settings = machine.root / "etc/registry-wsgi/registry-wsgi.toml"
    settings.write_text(settings.read_text().replace("elsewhere", machine.nginx.registry.host))
    machine.start_service()
    for block in blocks("TLS"):
        machine.run(block)
    installed = (machine.root / "etc/nginx/conf.d/registry.conf").read_text()
    machine.nginx.change = lambda _: replaced(
        installed,
        {
            "listen 80;": f"listen 127.0.0.1:{machine.nginx.plain_port};",
            "    listen [::]:80;\n": "",
            "listen 443 ssl;": f"listen 127.0.0.1:{machine.nginx.port} ssl;",
            "    listen [::]:443 ssl;\n": "",
        },
    )
    machine.nginx.start()
    (block,) = blocks("The first user")
    printed = machine.run(block)

    assert "server_name elsewhere;" in installed
    assert printed.splitlines()[-1] == "sound"
    assert machine.told == [
        "apt-get install -y nginx-light python3-venv",
        "pip install .[htpasswd,metrics]",
        "systemd-sysusers ",
        "systemctl daemon-reload",
        "systemctl enable --now registry-wsgi.socket registry-wsgi.service registry-wsgi-gc.timer",
        "nginx -t",
        "systemctl restart nginx",
    ]


REST = [
    "Changing settings",
    "Upgrade",
    "Collecting",
    "Watching",
    "A full disk",
    "A failing disk",
]


@pytest.mark.parametrize("heading", REST)
def test_a_section_can_be_carried_out(machine: Machine, heading: str) -> None:
    """Every command of a section succeeds on the machine that was installed."""
    credentials = base64.b64encode(f"anna:{PASSWORD}".encode()).decode()
    signed = {"Authorization": f"Basic {credentials}"}
    http = Verbs(machine.nginx.registry.host, signed, machine.nginx.certificates.context)
    push_image(http, "team/old-app", "a")
    for block in blocks(heading):
        machine.run(block)


CONGESTION_CONTROL = """\
import socket
for host in ("127.0.0.1", "192.0.2.1"):
    with socket.create_server((host, 0)) as listener:
        with socket.create_connection(listener.getsockname()) as near, listener.accept()[0] as far:
            for end in (near, far):
                name = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
                print(name.rstrip(b"\\0").decode())
"""


@pytest.mark.skipif(congestion_controls() == ["reno"], reason="there is nothing but reno")
def test_connections_within_the_machine_can_be_given_reno() -> None:
    """In a network like a machine's, after the page's commands, carried out once or twice."""
    require_root("a network")
    require("ip", "iproute2")
    (block,) = blocks("Clients on the same machine")
    other = next(name for name in congestion_controls() if name != "reno")
    asked = shlex.join([sys.executable, "-c", CONGESTION_CONTROL])
    script = f"""
        ip link set lo up
        ip address add 192.0.2.1/32 dev lo
        echo {other} > /proc/sys/net/ipv4/tcp_congestion_control
        {asked}
        {block}
        {asked}
        {block}
        {asked}
    """
    ran = run(["unshare", "--net", "bash", "-euc", script], environment={"PATH": search_path()})

    assert ran.stdout.split() == [*[other] * 4, *["reno"] * 8]


# --- What holds for every page --------------------------------------------------------------------


def test_every_file_for_operators_is_named_in_the_runbook() -> None:
    """Nothing is in contrib/ that the page does not say what to do with."""
    text = PAGE.read_text()
    missing = [path.name for path in CONTRIB.iterdir() if f"contrib/{path.name}" not in text]

    assert missing == []


def commands_in(page: Path) -> Iterator[Sequence[str]]:
    """Every command line of the registry in a page's shell blocks."""
    for block in re.findall(r"(?ms)^```(?:sh|console)\n(.*?)^```", page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:^|[ /])registry-wsgi ((?!-u )[a-z].*)$", line)
            if found and "docker" not in line.split()[:1]:
                yield shlex.split(re.split(r" [|<>&;]", found[1])[0], comments=True)


@pytest.mark.parametrize("page", sorted((CHECKOUT / "docs").glob("*.md")), ids=lambda p: p.name)
def test_every_command_in_a_page_is_one(page: Path) -> None:
    """What a page tells to type is understood by the command line."""
    for words in commands_in(page):
        parser().parse_args(words)
