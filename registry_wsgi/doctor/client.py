"""HTTP as a registry's clients speak it, and what went wrong told apart."""

import base64
import http.client
import ipaddress
import json
import socket
import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from registry_wsgi.doctor.findings import CannotCheckError

TIMEOUT: Final = 60.0
"""Seconds that an answer may take."""

HTTPS: Final = "https"
CHAIN: Final = (
    "nginx: ssl_certificate must be the certificate with its whole chain (fullchain.pem); an "
    "authority of your own is named with --cafile here, and to Docker in "
    "/etc/docker/certs.d/HOST/ca.crt"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response; ``version`` is 11 for HTTP/1.1."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    version: int

    def header(self, name: str) -> str:
        """A header's value, empty if it is not there."""
        value: str = self.headers.get(name, "")
        return value

    @property
    def code(self) -> str:
        """The code of a registry's error, empty for any other answer."""
        try:
            found = json.loads(self.body)["errors"][0]["code"]
        except (ValueError, LookupError, TypeError):
            return ""
        return found if isinstance(found, str) else ""

    def document(self) -> dict[str, Any]:
        """The JSON object in the body; empty if there is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Client:
    """Where the registry is, as its clients are told, and what they trust."""

    url: str
    context: ssl.SSLContext

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return urlsplit(self.url).scheme

    @property
    def host(self) -> str:
        """``HOST`` or ``HOST:PORT``."""
        return urlsplit(self.url).netloc

    def connect(self) -> http.client.HTTPConnection:
        """A new connection; raises CannotCheckError with what keeps clients away."""
        connection: http.client.HTTPConnection
        if self.scheme == HTTPS:
            connection = http.client.HTTPSConnection(
                self.host, timeout=TIMEOUT, context=self.context
            )
        else:
            connection = http.client.HTTPConnection(self.host, timeout=TIMEOUT)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise CannotCheckError(
                "reach", f"the certificate is not trusted: {error.verify_message}", CHAIN
            ) from error
        except ssl.SSLError as error:
            raise CannotCheckError(
                "reach", f"no TLS at {self.host}: {error}", "nginx: listen 443 ssl;"
            ) from error
        except OSError as error:
            raise CannotCheckError(
                "reach",
                f"{self.host} cannot be reached: {error}",
                "the name in the DNS, the firewall, and whether nginx runs and listens there",
            ) from error
        return connection

    def request(
        self,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own; an iterable body is sent in chunks.

        An answer that comes before the body was sent counts. Raises CannotCheckError.
        """
        connection = self.connect()
        try:
            with suppress(OSError):  # there may be an answer all the same
                connection.request(
                    method, target, body, dict(headers or {}), encode_chunked=_is_chunked(body)
                )
            return answer_of(connection)
        finally:
            connection.close()


def answer_of(connection: http.client.HTTPConnection) -> Answer:
    """The next answer of a connection; raises CannotCheckError if there comes none."""
    try:
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read(), response.version)
    except (http.client.HTTPException, OSError) as error:
        raise CannotCheckError(
            "reach",
            f"the connection ended without an answer: {error or type(error).__name__}",
            "the error log of nginx, and of whatever else is in between",
        ) from error


def _is_chunked(body: bytes | Iterable[bytes] | None) -> bool:
    return body is not None and not isinstance(body, bytes)


def target_of(location: str) -> str:
    """What to ask the host for that ``location``, absolute or relative, is at."""
    parts = urlsplit(location)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def with_parameter(target: str, name: str, value: str) -> str:
    """``target`` with one more query parameter."""
    return f"{target}{'&' if '?' in target else '?'}{name}={value}"


def basic(user: str, password: str) -> str:
    """Credentials as a header has them."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def is_loopback(host: str) -> bool:
    """Whether ``HOST:PORT`` is this machine, so that the registry sees a client of its own."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        found = socket.getaddrinfo(name, None)
    except OSError:
        return False
    return any(ipaddress.ip_address(address[4][0]).is_loopback for address in found)
