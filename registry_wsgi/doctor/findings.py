"""What the doctor says."""

from dataclasses import dataclass
from typing import Final

OK: Final = "ok"
NOTE: Final = "note"
PROBLEM: Final = "PROBLEM"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ``level`` is OK, NOTE or PROBLEM.

    ``advice`` is the line to change, and where it stands.
    """

    check: str
    level: str
    message: str
    advice: str = ""


class CannotCheckError(Exception):
    """Nothing further can be looked at; ``finding`` says why."""

    def __init__(self, check: str, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.finding = Finding(check, PROBLEM, message, advice)


def judged(check: str, message: str, faults: list[tuple[str, str]]) -> list[Finding]:
    """The faults, as messages and advice, or without any that ``message`` is so."""
    if not faults:
        return [Finding(check, OK, message)]
    return [Finding(check, PROBLEM, fault, advice) for fault, advice in faults]
