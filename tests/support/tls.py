"""A certificate authority of the tests' own, and what it vouches for: this machine's loopback."""

import dataclasses
import ssl
from pathlib import Path

from support.programs import require, run
from support.wire import Wire


@dataclasses.dataclass(frozen=True)
class Certificates:
    """Files in PEM: the authority's certificate, and a server's certificate and key."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def context(self) -> ssl.SSLContext:
        """What a client uses that trusts this authority and no other."""
        return ssl.create_default_context(cafile=str(self.authority))


def make_certificates(folder: Path) -> Certificates:
    """Make an authority, and a certificate for 127.0.0.1, localhost and registry.example."""
    openssl = require("openssl", "openssl")
    made = Certificates(folder / "ca.crt", folder / "server.crt", folder / "server.key")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    request: list[str | Path] = [openssl, "req", "-x509", *key]
    authority = folder / "ca.key"
    run([*request, "-subj", "/CN=tests", "-keyout", authority, "-out", made.authority])
    request += ["-CA", made.authority, "-CAkey", authority, "-addext"]
    request += ["subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.example", "-addext"]
    request += ["basicConstraints=critical,CA:FALSE", "-subj", "/CN=registry"]
    run([*request, "-keyout", made.key, "-out", made.certificate])
    return made


class TlsWire(Wire):
    """A connection as bytes, within TLS."""

    def __init__(self, host: str, context: ssl.SSLContext) -> None:
        super().__init__(host)
        self._reader.close()
        name = host.rpartition(":")[0]
        self.socket = context.wrap_socket(self.socket, server_hostname=name)
        self._reader = self.socket.makefile("rb")
