"""The two ways of serving: around gunicorn's own reading and writing, and through it alone."""

WAYS = {"fast": "true", "plain": "false"}
"""What the setting ``server.fast`` is."""


def way_of(name: str) -> dict[str, str]:
    """The environment that makes a server take this way."""
    return {"REGISTRY_WSGI_SERVER_FAST": WAYS[name]}
