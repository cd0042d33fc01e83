"""``doctor``: each thing that can be wrong in front of a registry is told, with what to change."""

import http.server
import itertools
import json
import ssl
import sys
import threading
from collections.abc import Iterator

import pytest
from support.programs import CHECKOUT, run
from support.proxied import Change, Nginx, Proxied, proxied, registry_command, replaced

from registry_wsgi.cli.main import main
from registry_wsgi.doctor import arriving, pushing
from registry_wsgi.doctor.client import Client
from registry_wsgi.doctor.examination import examine
from registry_wsgi.doctor.findings import NOTE, OK, PROBLEM, CannotCheckError, Finding
from registry_wsgi.doctor.visit import Visit

SIZE = 4 << 20
PASSWORD = "correct horse"
_serial = itertools.count(1)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not arrive here in half a second is kept back."""
    monkeypatch.setattr(pushing, "ARRIVAL_SECONDS", 0.5)


@pytest.fixture(scope="module")
def open_registry() -> Iterator[Proxied]:
    """A registry where nobody signs in, and that has only nginx's word for its address."""
    with proxied(environment={"REGISTRY_WSGI_SERVER_EXTERNAL_URL": ""}) as running:
        yield running


@pytest.fixture(scope="module")
def closed_registry() -> Iterator[Proxied]:
    """The sample settings with the proxy's word believed, and a user."""
    settings = {'backends = ["users"]': 'backends = ["proxy", "users"]'}
    with proxied(settings=lambda text: replaced(text, settings)) as running:
        command = registry_command(running.registry.settings_file)
        run(command("user", "add", "anna", "--password-stdin"), stdin=PASSWORD.encode())
        yield running


def visit(running: Proxied, port: int, user: str = "", password: str = PASSWORD) -> Visit:
    """A visit to an nginx on this port."""
    client = Client(f"https://127.0.0.1:{port}", running.certificates.context)
    return Visit(client, "doctor/scratch", user, password, SIZE)


def found(visiting: Visit) -> list[Finding]:
    """Everything that the doctor says, also why it cannot go on."""
    findings: list[Finding] = []
    try:
        findings += examine(visiting)
    except CannotCheckError as error:
        findings.append(error.finding)
    return findings


def found_behind(running: Proxied, change: Change, user: str = "") -> list[Finding]:
    """What the doctor says of the registry behind another nginx, whose file is changed so."""
    folder = running.folder / f"nginx-{next(_serial)}"
    folder.mkdir()
    other = Nginx(folder, running.registry, running.certificates, change).start()
    try:
        return found(visit(running, other.port, user))
    finally:
        other.kill()


def problems(findings: list[Finding]) -> dict[str, str]:
    """What is wrong: the advice, by the check."""
    return {finding.check: finding.advice for finding in findings if finding.level == PROBLEM}


UPLOADS = "        client_max_body_size 0;\n"
SERVER = "    server_tokens off;\n"
ANYTHING = "    location / {\n"

BROKEN: dict[str, tuple[dict[str, str], str, str]] = {
    "a limit of bodies": (
        {UPLOADS: "        client_max_body_size 1m;\n"},
        "chunked",
        "client_max_body_size 0;",
    ),
    "buffered uploads": (
        {"proxy_request_buffering off;": "proxy_request_buffering on;"},
        "buffering",
        "proxy_request_buffering off;",
    ),
    "HTTP/1.0": (
        {"proxy_http_version 1.1;": "proxy_http_version 1.0;"},
        "buffering",
        "proxy_http_version 1.1;",
    ),
    "no scheme": (
        {"    proxy_set_header X-Forwarded-Proto $scheme;\n": ""},
        "location",
        "proxy_set_header X-Forwarded-Proto $scheme;",
    ),
    "another scheme": (
        {"X-Forwarded-Proto $scheme;": "X-Forwarded-Proto http;"},
        "location",
        "proxy_set_header X-Forwarded-Proto $scheme;",
    ),
    "another host": (
        {"X-Forwarded-Host $http_host;": "X-Forwarded-Host registry_wsgi;"},
        "location",
        "proxy_set_header X-Forwarded-Host $http_host;",
    ),
    "the client's host": (
        {"X-Forwarded-Host $http_host;": "X-Forwarded-Host $http_x_forwarded_host;"},
        "forwarded",
        "proxy_set_header X-Forwarded-Host $http_host;",
    ),
    "the client's Forwarded": (
        {'    proxy_set_header Forwarded "";\n': ""},
        "forwarded",
        'proxy_set_header Forwarded "";',
    ),
    "no ranges": ({"max_ranges 1;": "max_ranges 0;"}, "range", "max_ranges 1;"),
    "no digest": (
        {"        add_header Docker-Content-Digest $upstream_http_docker_content_digest;\n": ""},
        "pull",
        "add_header Docker-Content-Digest $upstream_http_docker_content_digest;",
    ),
    "no Etag": (
        {"        add_header Etag $upstream_http_etag;\n": ""},
        "range",
        "add_header Etag $upstream_http_etag;",
    ),
    "hidden headers": (
        {SERVER: f"{SERVER}proxy_hide_header Docker-Distribution-Api-Version;\n"},
        "base",
        "no proxy_hide_header",
    ),
    "hidden headers of uploads": (
        {SERVER: f"{SERVER}proxy_hide_header Docker-Upload-Uuid;\n"},
        "location",
        "no proxy_hide_header",
    ),
    "blobs open to all": ({"        internal;\n": ""}, "exposed", "internal;"),
    "blobs elsewhere": ({"/_blobs/": "/_other/"}, "pull", "location /_blobs/ {"),
    "blobs that nginx cannot read": (
        {"        alias ": "        alias /nowhere"},
        "pull",
        "adduser www-data registry-wsgi",
    ),
    "connections that are closed": (
        {"    keepalive_timeout 75s;": "    keepalive_timeout 0;"},
        "keep-alive",
        "keepalive_timeout 75s;",
    ),
    "compressed blobs": (
        {"gzip off;": "gzip on; gzip_types application/octet-stream; gzip_proxied any;"},
        "pull",
        "gzip off;",
    ),
    "short headers only": (
        {
            "client_header_buffer_size 8k;": "client_header_buffer_size 1k;",
            "large_client_header_buffers 1 512k;": "large_client_header_buffers 2 4k;",
        },
        "headers",
        "large_client_header_buffers 1 512k;",
    ),
    "errors of its own": (
        {SERVER: f"{SERVER}proxy_intercept_errors on; error_page 400 404 /error.html;\n"},
        "errors",
        "proxy_intercept_errors off;",
    ),
    "no DELETE": (
        {ANYTHING: f"{ANYTHING}limit_except GET {{ deny all; }}\n"},
        "delete",
        "no limit_except",
    ),
    "no PUT": (
        {UPLOADS: f"{UPLOADS}limit_except POST PATCH GET {{ deny all; }}\n"},
        "push",
        "client_max_body_size 0;",
    ),
    "no upstream": (
        {"registry.sock fail_timeout": "elsewhere.sock fail_timeout"},
        "base",
        "server unix:/run/registry-wsgi/registry.sock",
    ),
    "no registry": (
        {ANYTHING: f"{ANYTHING}return 404;\n"},
        "base",
        "proxy_pass http://$registry_upstream;",
    ),
    "no uploads": (
        {UPLOADS: f"{UPLOADS}return 404;\n"},
        "push",
        "location ~ ^/v2/.+/blobs/uploads(/|$)",
    ),
}


def test_nothing_is_wrong_with_the_sample(open_registry: Proxied) -> None:
    """Behind contrib/nginx.conf as it is every check is passed, and nothing is left behind."""
    findings = found(visit(open_registry, open_registry.nginx.port))

    assert problems(findings) == {}
    assert [finding.check for finding in findings if finding.level == NOTE] == ["sign-in"]
    assert {finding.check for finding in findings} == {
        *("base", "clock", "keep-alive", "headers", "errors", "sign-in", "location", "forwarded"),
        *("push", "chunked", "buffering", "pull", "range", "exposed", "metrics", "delete"),
    }
    assert open_registry.http.get("/v2/_catalog").json() == {"repositories": []}


@pytest.mark.parametrize(("changes", "check", "advice"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_told(
    open_registry: Proxied, changes: dict[str, str], check: str, advice: str
) -> None:
    """A defect of nginx.conf is found by the check that is about it, with the line to change."""
    told = problems(found_behind(open_registry, lambda text: replaced(text, changes)))

    assert advice in told[check]
    assert len(told) <= 2


def test_a_user_signs_in(closed_registry: Proxied) -> None:
    """With a name and a password the challenge leads to a token, and everything is checked."""
    findings = found(visit(closed_registry, closed_registry.nginx.port, "anna"))

    assert problems(findings) == {}
    assert [f.level for f in findings if f.check in {"sign-in", "challenge"}] == [OK, OK]
    assert [f.message for f in findings if f.check == "delete"] == [
        "blobs may not be deleted (DENIED): gc will collect what was pushed"
    ]


def test_a_challenge_that_leads_astray_is_told(closed_registry: Proxied) -> None:
    """Behind another port than external_url says, the realm is found to be another's."""
    told = problems(found_behind(closed_registry, str, "anna"))

    assert 'external_url = "https://127.0.0.1:' in told["challenge"]


def test_a_challenge_that_does_not_arrive_is_told(closed_registry: Proxied) -> None:
    """401 without WWW-Authenticate ends the visit."""
    changes = {SERVER: f"{SERVER}proxy_hide_header WWW-Authenticate;\n"}
    findings = found_behind(closed_registry, lambda text: replaced(text, changes))

    assert findings[-1].check == "sign-in"
    assert "no proxy_hide_header WWW-Authenticate" in findings[-1].advice


def test_a_client_that_vouches_for_itself_is_told(closed_registry: Proxied) -> None:
    """X-Remote-User of a client that gets through to a registry that believes it is found."""
    changes = {"    proxy_set_header X-Remote-User $registry_user;\n": ""}
    told = problems(found_behind(closed_registry, lambda t: replaced(t, changes), "anna"))

    assert told["exposed"] == 'nginx: proxy_set_header X-Remote-User "";'


@pytest.mark.parametrize(
    ("user", "password", "message"),
    [
        ("anna", "wrong", "anna and this password are refused"),
        ("nobody", PASSWORD, "nobody and this password are refused"),
        ("", "", "nobody may push here without signing in"),
    ],
    ids=["a wrong password", "an unknown user", "no user"],
)
def test_who_cannot_sign_in_is_told(
    closed_registry: Proxied, user: str, password: str, message: str
) -> None:
    """The visit ends where a client's would."""
    findings = found(visit(closed_registry, closed_registry.nginx.port, user, password))

    assert message in findings[-1].message


def test_a_clock_that_is_off_is_told() -> None:
    """A Date two hours away is a problem of clocks."""

    class Late(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Date", self.date_time_string(0))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Late) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        client = Client(url, ssl.create_default_context())
        told = problems(list(arriving.base(Visit(client, "doctor/scratch"))))
        thread.join()

    assert "timedatectl set-ntp true" in told["clock"]


# --- The command ----------------------------------------------------------------------------------


def doctor(*words: str, expect: int, stdin: bytes = b"") -> str:
    """What the command prints."""
    command = [sys.executable, "-m", "registry_wsgi", "doctor", *words]
    return run(command, expect=expect, cwd=CHECKOUT, stdin=stdin).stdout


def test_the_command_says_that_all_is_well(closed_registry: Proxied) -> None:
    """Exit status 0, a line for each check, and the verdict; the password comes from a pipe."""
    of_authority = ["--cafile", str(closed_registry.certificates.authority)]
    as_user = ["--user", "anna", "--password-stdin", "--size", "4"]
    url = f"https://{closed_registry.host}"
    out = doctor("--url", url, *of_authority, *as_user, expect=0, stdin=PASSWORD.encode())

    assert out.splitlines()[0] == "ok      base: there is a registry"
    assert out.splitlines()[-1] == "sound"
    assert PASSWORD not in out


def test_the_command_says_what_is_wrong(open_registry: Proxied) -> None:
    """Exit status 1 with problems; as JSON each finding is an object."""
    folder = open_registry.folder / "of-the-command"
    folder.mkdir()
    changes = {"max_ranges 1;": "max_ranges 0;"}
    other = Nginx(
        folder,
        open_registry.registry,
        open_registry.certificates,
        lambda text: replaced(text, changes),
    ).start()
    of_authority = ["--cafile", str(open_registry.certificates.authority)]
    words = ["--url", f"https://127.0.0.1:{other.port}", *of_authority, "--size", "4", "--json"]
    out = doctor(*words, expect=1)
    other.kill()
    told = [json.loads(line) for line in out.splitlines()]

    assert {row["check"] for row in told if row["level"] == PROBLEM} == {"range"}


def test_the_command_says_why_it_cannot_check(open_registry: Proxied) -> None:
    """Exit status 2 where nothing can be looked at: no trust, nobody there, no TLS, a redirect."""
    port, plain = open_registry.nginx.port, open_registry.nginx.plain_port
    urls = {
        "the certificate is not trusted": f"https://127.0.0.1:{port}",
        "cannot be reached": "http://127.0.0.1:1",
        "no TLS at": f"https://127.0.0.1:{plain}",
        "/v2/ leads to https://127.0.0.1/v2/": f"http://127.0.0.1:{plain}",
    }
    told = {wanted: doctor("--url", url, expect=2) for wanted, url in urls.items()}

    assert all(wanted in out for wanted, out in told.items())
    assert all(out.count("        -> ") == 1 for out in told.values())


WRONG = {
    "a path": (["--url", "https://registry.example/v2/"], 1, "without a path"),
    "no scheme": (["--url", "registry.example"], 1, "must be http://HOST or https://HOST"),
    "a small size": (["--url", "http://127.0.0.1:1", "--size", "1"], 1, "--size"),
    "no authority": (["--url", "http://127.0.0.1:1", "--cafile", "/nowhere"], 2, "/nowhere"),
    "no repository": (
        ["--url", "http://127.0.0.1:1", "--repository", "A"],
        1,
        "invalid repository",
    ),
}


@pytest.mark.parametrize(("words", "status", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_asked_is_refused(
    capsys: pytest.CaptureFixture[str], words: list[str], status: int, message: str
) -> None:
    """An argument that cannot be is told in one line, and nothing is asked of anybody."""
    assert main(["doctor", *words]) == status
    assert message in capsys.readouterr().err
