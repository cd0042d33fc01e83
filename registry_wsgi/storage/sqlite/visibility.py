"""What a caller may see, as a clause: filtered in SQL, pages stay full and name nothing hidden."""

from registry_wsgi.storage.base import Visible


def visible_clause(visible: Visible, column: str = "r.name") -> tuple[str, list[str]]:
    """A condition on ``column`` and its parameters."""
    if visible.patterns is None:
        return "1", []
    if not visible.patterns:
        return "0", []
    matches = " OR ".join(f"visible({column}, ?)" for _ in visible.patterns)
    return f"({matches})", list(visible.patterns)
