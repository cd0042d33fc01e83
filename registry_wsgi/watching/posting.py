"""Posting to a webhook."""

import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Final

from registry_wsgi.version import VERSION

AGENT: Final = f"registry_wsgi/{VERSION}"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is no acknowledgement, and a signed body goes only where it was meant to."""

    def redirect_request(self, *arguments: object) -> None:
        """Follow nothing."""


_OPENER: Final = urllib.request.build_opener(_NoRedirects)


def post(url: str, body: bytes, headers: dict[str, str], *, timeout: float) -> str | None:
    """Send ``body``; ``None`` once it was acknowledged with a 2xx, else what went wrong.

    ``timeout`` is seconds of silence.
    """
    try:
        request = urllib.request.Request(  # noqa: S310 - the settings accept http and https only
            url, data=body, headers={"User-Agent": AGENT, **headers}, method="POST"
        )
        with _OPENER.open(request, timeout=timeout):
            return None
    except urllib.error.HTTPError as error:
        with error:
            return f"answered {error.code}"
    # The last two are for a URL or a timeout that cannot be: it is this endpoint alone that fails.
    except (OSError, HTTPException, ValueError, OverflowError) as error:
        return str(error) or type(error).__name__
