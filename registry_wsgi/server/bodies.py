"""What reading a request's body may raise under gunicorn."""

from typing import Final

from gunicorn.http.errors import ParseException

BODY_ERRORS: Final[tuple[type[Exception], ...]] = (OSError, ParseException)
"""A connection that broke, and framing that is none."""
