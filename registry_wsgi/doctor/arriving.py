"""Getting in: is there a registry, does its clock go right, does its challenge lead to a token."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote, urlsplit

from registry_wsgi.doctor.client import Answer, Client, answer_of, basic, target_of
from registry_wsgi.doctor.findings import NOTE, OK, PROBLEM, CannotCheckError, Finding, judged
from registry_wsgi.doctor.visit import Visit

SKEW: Final = 60
"""Seconds that clocks may differ: what tokens allow for."""

LONG_HEADER: Final = 6_000
"""Bytes of a header that has to get through: a token is up to 4 KiB."""

_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')


def base(visit: Visit) -> Iterator[Finding]:
    """Whether there is a registry at all; raises CannotCheckError if not."""
    answer = visit.client.request("GET", "/v2/")
    if answer.status in {301, 302, 307, 308}:
        where = answer.header("Location")
        raise CannotCheckError(
            "base", f"/v2/ leads to {where}", f"give that address here and to clients: {where}"
        )
    if answer.status in {502, 503, 504}:
        raise CannotCheckError(
            "base",
            f"the proxy does not reach the registry ({answer.status})",
            "systemctl status registry-wsgi; nginx: server unix:/run/registry-wsgi/registry.sock "
            "must be the socket, and nginx's user in its group (adduser www-data registry-wsgi; "
            "systemctl restart nginx)",
        )
    if answer.status not in {200, 401}:
        raise CannotCheckError(
            "base",
            f"/v2/ is no registry: it answers {answer.status}",
            "nginx: location / { proxy_pass http://$registry_upstream; } in the server of this "
            "name, with no path behind the upstream's name",
        )
    visit.open_to_all = answer.status == 200  # noqa: PLR2004 - OK
    faults = []
    if not answer.header("Docker-Distribution-Api-Version"):
        advice = "nginx: no proxy_hide_header Docker-Distribution-Api-Version"
        faults.append(("Docker-Distribution-Api-Version does not arrive", advice))
    yield from judged("base", "there is a registry", faults)
    yield _clock(answer)


def _clock(answer: Answer) -> Finding:
    try:
        there = parsedate_to_datetime(answer.header("Date"))
    except ValueError:
        return Finding("clock", NOTE, "the answer has no Date to compare clocks by")
    skew = round((there - datetime.now(UTC)).total_seconds())
    if abs(skew) > SKEW:
        return Finding(
            "clock",
            PROBLEM,
            f"the clock there is {skew:+} s off the clock here",
            "timedatectl set-ntp true, on whichever machine is wrong",
        )
    return Finding("clock", OK, "the clocks agree")


def keep_alive(visit: Visit) -> Iterator[Finding]:
    """Whether a connection serves a second request: clients push many layers over one."""
    connection = visit.client.connect()
    kept = True
    try:
        for _ in range(2):
            connection.request("GET", "/v2/")
            answer_of(connection)
            kept = kept and connection.sock is not None
    except CannotCheckError:
        kept = False
    finally:
        connection.close()
    faults = []
    if not kept:
        advice = "nginx: keepalive_timeout 75s; (and HTTP/1.1 in whatever is in front of it)"
        faults.append(("connections are closed after each request", advice))
    yield from judged("keep-alive", "connections are kept", faults)


def long_header(visit: Visit) -> Iterator[Finding]:
    """Whether a long token gets through."""
    answer = visit.client.request("GET", "/v2/", None, {"X-Filler": "x" * LONG_HEADER})
    faults = []
    if answer.status not in {200, 401}:
        advice = "nginx: large_client_header_buffers 1 512k;"
        faults.append((f"a header of {LONG_HEADER} bytes is answered {answer.status}", advice))
    yield from judged("headers", "long headers get through", faults)


def errors(visit: Visit) -> Iterator[Finding]:
    """Whether the registry's own errors arrive: clients decide by their codes."""
    answer = visit.client.request("GET", "/v2/A-malformed-name/tags/list")
    faults = []
    if not answer.code:
        advice = "nginx: proxy_intercept_errors off;"
        faults.append((f"an error ({answer.status}) arrives without the registry's JSON", advice))
    yield from judged("errors", "errors arrive as the registry sends them", faults)


def sign_in(visit: Visit) -> Iterator[Finding]:
    """Follow the challenge; raises CannotCheckError when it does not lead to a token."""
    if visit.open_to_all:
        yield Finding("sign-in", NOTE, "nobody has to sign in")
        return
    challenge = visit.client.request("GET", "/v2/").header("WWW-Authenticate")
    scheme, _, rest = challenge.partition(" ")
    if scheme.lower() == "basic":
        yield from _by_basic(visit)
    elif scheme.lower() == "bearer":
        parameters = dict(_PARAMETER.findall(rest))
        yield from _realm(visit, parameters.get("realm", ""))
        visit.authorization = _token(visit, parameters)
        yield Finding("sign-in", OK, "the challenge leads to a token")
    else:
        raise CannotCheckError(
            "sign-in",
            "401 arrives without WWW-Authenticate: clients do not know how to sign in",
            "nginx: no proxy_hide_header WWW-Authenticate",
        )


def _by_basic(visit: Visit) -> Iterator[Finding]:
    yield Finding(
        "sign-in",
        NOTE,
        "the challenge is Basic: clients send the password with every request",
        f'registry-wsgi.toml: [server] external_url = "{visit.client.url}"',
    )
    if not visit.user:
        raise CannotCheckError("sign-in", "one has to sign in", "give --user and --password-stdin")
    visit.authorization = basic(visit.user, visit.password)
    if visit.request("GET", "/v2/").status != 200:  # noqa: PLR2004 - OK
        raise CannotCheckError("sign-in", f"{visit.user} and this password are refused")


def _realm(visit: Visit, realm: str) -> Iterator[Finding]:
    """Where a client would send its password."""
    wanted = f"{visit.client.url}/token"
    faults = []
    if realm != wanted:
        advice = f'registry-wsgi.toml: [server] external_url = "{visit.client.url}"'
        fault = f"the challenge sends clients to {realm or 'nowhere'} for a token, not to {wanted}"
        if urlsplit(realm).scheme == "http" and visit.client.scheme != "http":
            fault += ": passwords would travel in the clear"
        faults.append((fault, advice))
    yield from judged("challenge", "the challenge names the token endpoint", faults)


def _token(visit: Visit, parameters: dict[str, str]) -> str:
    """A token for the scratch repository, from this host: a wrong realm was told already."""
    scopes = [f"repository:{visit.repository}:pull,push", f"repository:{visit.repository}:delete"]
    query = "&".join(f"scope={quote(scope)}" for scope in scopes)
    service = quote(parameters.get("service", ""))
    target = f"{target_of(parameters.get('realm', '')) or '/token'}?service={service}&{query}"
    headers = {"Authorization": basic(visit.user, visit.password)} if visit.user else {}
    answer = visit.client.request("GET", target, None, headers)
    if answer.status == 401:  # noqa: PLR2004 - Unauthorized
        raise CannotCheckError("sign-in", f"{visit.user} and this password are refused")
    token = answer.document().get("token")
    if not isinstance(token, str):
        raise CannotCheckError(
            "sign-in",
            f"there is no token at {target.partition('?')[0]}: {answer.status} {answer.code}",
            "nginx: location = /token has to lead to the registry, with a limit_req that a pull of "
            "many layers stays within",
        )
    return f"Bearer {token}"


def anonymous(client: Client, headers: dict[str, str]) -> int:
    """The status of ``/v2/`` for nobody, with these headers."""
    return client.request("GET", "/v2/", None, headers).status
