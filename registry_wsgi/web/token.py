"""The token endpoint that Docker's clients speak (distribution's token and OAuth2 specs)."""

from urllib.parse import parse_qs

from registry_wsgi.auth.base import IssuedToken, TokenRequest
from registry_wsgi.errors import PARAMETER_INVALID, RegistryError
from registry_wsgi.web.bodies import read_all
from registry_wsgi.web.context import Context
from registry_wsgi.web.request import Request
from registry_wsgi.web.responses import Response, json_answer

FORM_LIMIT = 64 * 1024
"""Longest form of a POST, in bytes."""


def get(context: Context, request: Request) -> Response:
    """A token for the caller, anonymous ones too, of what they may."""
    asked = TokenRequest(tuple(request.many("scope")), request.one("service") or "")
    return _answer(context.access.issue(request.environ, asked))


def post(context: Context, request: Request) -> Response:
    """The same for a form with a password in it; ``refresh_token`` is none of our grants."""
    body = read_all(request.body, FORM_LIMIT)
    if body is None:
        raise RegistryError(PARAMETER_INVALID, f"the form is longer than {FORM_LIMIT} bytes")
    form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    if form.get("grant_type") != ["password"]:
        raise RegistryError(PARAMETER_INVALID, "grant_type must be password")
    names, passwords = form.get("username", []), form.get("password", [])
    if len(names) != 1 or len(passwords) != 1:
        raise RegistryError(PARAMETER_INVALID, "username and password must be given once")
    scopes = tuple(form.get("scope", []))
    asked = TokenRequest(scopes, form.get("service", [""])[0], names[0], passwords[0])
    return _answer(context.access.issue(request.environ, asked))


def _answer(issued: IssuedToken) -> Response:
    document = {
        "token": issued.token,
        "access_token": issued.token,
        "expires_in": issued.expires_in,
        "issued_at": issued.issued_at,
        "scope": issued.scope,
    }
    return json_answer(200, document, ("Cache-Control", "no-store"))
