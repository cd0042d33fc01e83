"""Blobs that nginx sends by itself (X-Accel-Redirect): contrib/nginx.conf is the other half."""

from collections.abc import Callable
from dataclasses import dataclass

from registry_wsgi.names import Digest
from registry_wsgi.web.request import Environ


@dataclass(frozen=True, slots=True)
class Accelerator:
    """Names blobs to nginx below ``prefix``, its internal location.

    ``trusts`` says whether a request came from nginx: to anybody else the header would do
    nothing but tell where blobs are. ``path`` is where a blob lies below the blobs' directory.
    """

    prefix: str
    trusts: Callable[[Environ], bool]
    path: Callable[[Digest], str]

    def place(self, environ: Environ, digest: Digest) -> str | None:
        """The blob's name in nginx, ``None`` for a peer that is none."""
        return self.prefix + self.path(digest) if self.trusts(environ) else None
