"""Numbers that a test found out, printed at the end of the run: a pass that counted nothing shows.

A test asks for the fixture ``counts`` and calls it with a name and numbers; the line
``name: 980 passed, 0 failed`` then stands in the summary, whether the test passed or not. The
numbers travel with the test's report, so this works under xdist too.
"""

from collections.abc import Callable

import pytest

PROPERTY = "counts"
Counts = Callable[..., None]


class CountsSummary:
    """Collects the lines from the reports as they come in, and prints them last."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the lines from the report of the test itself, not from its set-up or teardown."""
        if report.when == "call":
            self.lines += [str(value) for name, value in report.user_properties if name == PROPERTY]

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print what was counted."""
        if self.lines:
            terminalreporter.section("counts")
            for line in self.lines:
                terminalreporter.write_line(line)


def recorder(node: pytest.Item) -> Counts:
    """A function that notes numbers for the summary under a name, in the order they are given."""

    def note(name: str, **numbers: int) -> None:
        counted = ", ".join(f"{number} {of_what}" for of_what, number in numbers.items())
        node.user_properties.append((PROPERTY, f"{name}: {counted}"))

    return note
