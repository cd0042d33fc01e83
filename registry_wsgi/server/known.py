"""The gunicorn whose insides the fast paths were written for.

gunicorn promises its settings and hooks, not its classes. So everything that reaches into them
asks here first and steps back to plain WSGI, or to gunicorn's own worker, in any other release.
"""

from typing import Final

from gunicorn import version_info

KNOWN_RELEASE: Final = 27
"""gunicorn's major version; within it the structures are checked again where they are used."""


def is_known() -> bool:
    """Whether this is the gunicorn whose insides are known."""
    return bool(version_info[0] == KNOWN_RELEASE)
