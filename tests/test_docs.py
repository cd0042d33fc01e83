"""The reference pages have a line for every setting, route, command and error, and for no other.

Each page is written by hand, but for the beginnings of its tables' lines, which say what the code
says. A test that fails prints the line that is missing; whoever adds it completes it.
"""

import argparse
import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from registry_wsgi.cli.common import Command
from registry_wsgi.cli.main import COMMANDS, parser
from registry_wsgi.errors import ROWS as ERRORS
from registry_wsgi.errors import ErrorRow
from registry_wsgi.settings import ENVIRONMENT_PREFIX, ROWS, Row
from registry_wsgi.web.routes import ROUTES, Route

DOCS = Path(__file__).resolve().parents[1] / "docs"
SHARED = ("--data DIR", "--config FILE", "-h, --help")
"""What every command takes; said once, at the top of the page."""

RIGHTS = {"": "nothing", "base": "a sign-in, where there is one", "catalog": "nothing"}
"""What a caller needs for a route, where that is not the route's action itself."""


def page(name: str) -> str:
    """A page of the documentation."""
    return (DOCS / name).read_text("utf-8")


def table_lines(text: str) -> list[str]:
    """The lines of a page's tables, without their heads."""
    lines = text.splitlines()
    heads = {line for line, after in itertools.pairwise(lines) if re.fullmatch(r"(\|-+)+\|", after)}
    return [
        line
        for line in lines
        if line.startswith("|") and line not in heads and not re.fullmatch(r"(\|-+)+\|", line)
    ]


def section(text: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    found = re.search(rf"(?ms)^## `{re.escape(heading)}`$(.*?)(?=^## |\Z)", text)
    assert found, f"there is no heading: ## `{heading}`"
    return found[1]


# --- What a line begins with ----------------------------------------------------------------------


def setting_line(row: Row) -> str:
    """A setting with its default, as a file has it, and its help."""
    default = json.dumps(list(row.default) if isinstance(row.default, tuple) else row.default)
    return f"| `{row.name}` | `{default}` | {row.help} |"


def path_of(route: Route) -> str:
    """The path of a route, as the specification writes it."""
    return re.sub(r"<\w+:(\w+)>", r"<\1>", route.rule)


def route_line(route: Route) -> str:
    """A route with what the caller needs and its end of the specification."""
    right = RIGHTS.get(route.action, route.action)
    return f"| {route.method} | `{path_of(route)}` | {right} | {route.source} |"


def error_line(row: ErrorRow) -> str:
    """An error with its status, code and message."""
    return f"| {row.status} | `{row.code}` | {row.message} |"


def command_parser(command: Command) -> argparse.ArgumentParser:
    """The parser of one command."""
    subparsers = [a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    found: argparse.ArgumentParser = subparsers[0].choices[command.name]
    return found


def argument_line(action: argparse.Action) -> str:
    """An argument of a command as it is typed, and its help."""
    choices = "|".join(map(str, action.choices or ()))
    metavar = action.metavar if isinstance(action.metavar, str) else None
    if not action.option_strings:
        typed = choices or metavar or action.dest.upper()
    elif action.nargs == 0:
        typed = ", ".join(action.option_strings)
    else:
        typed = f"{', '.join(action.option_strings)} {choices or metavar or action.dest.upper()}"
    told = f"| {action.help}" if action.help else "|"
    return f"| `{typed.replace('|', chr(92) + '|')}` {told}"


def argument_lines(command: Command) -> list[str]:
    """The lines of a command's arguments, but for those that all commands share."""
    lines = map(argument_line, command_parser(command)._actions)
    return [line for line in lines if not line.startswith(tuple(f"| `{one}`" for one in SHARED))]


# --- Every line is there --------------------------------------------------------------------------


def assert_begins_a_line(text: str, beginning: str) -> None:
    """The test fails, with what is missing, unless exactly one table line begins so."""
    found = [line for line in table_lines(text) if line.startswith(beginning)]
    assert len(found) == 1, f"{len(found)} lines of the page begin with:\n{beginning}"


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_every_setting_is_documented(row: Row) -> None:
    """docs/settings.md has the setting, its default and its help, under its section."""
    assert_begins_a_line(section(page("settings.md"), f"[{row.section}]"), setting_line(row))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.rule}")
def test_every_route_is_documented(route: Route) -> None:
    """docs/api.md has the method, the path, what the caller needs and the specification's id."""
    assert_begins_a_line(page("api.md"), route_line(route))


@pytest.mark.parametrize("row", ERRORS.values(), ids=ERRORS)
def test_every_error_is_documented(row: ErrorRow) -> None:
    """docs/errors.md has the status, the code and the message, and then says what to do."""
    beginning = error_line(row)
    (line,) = [line for line in table_lines(page("errors.md")) if line.startswith(beginning)] or [
        f"missing: {beginning}"
    ]

    assert re.fullmatch(r" [A-Z].*[.)] \|", line.removeprefix(beginning)), line


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_is_documented(command: Command) -> None:
    """docs/commands.md has the command, what it is for, and each of its arguments."""
    text = section(page("commands.md"), command.name)
    first = text.strip().partition(".")[0]

    assert " ".join(first.split()).casefold() == command.help.casefold()
    for line in argument_lines(command):
        assert_begins_a_line(text, line)


# --- And no other ---------------------------------------------------------------------------------


def beginnings(lines: Iterable[str], columns: int) -> list[str]:
    """The first columns of table lines."""
    return ["|".join(re.split(r"(?<!\\)\|", line)[: columns + 1]) + "|" for line in lines]


def test_nothing_is_documented_that_is_not_there() -> None:
    """Each line of these tables is of a setting, route, error or argument that exists."""
    settings = beginnings(table_lines(page("settings.md")), 3)
    routes = beginnings(table_lines(page("api.md")), 4)
    errors = beginnings(table_lines(page("errors.md")), 3)
    arguments = beginnings(table_lines(page("commands.md")), 1)
    known = [line for command in COMMANDS for line in argument_lines(command)]

    assert sorted(settings) == sorted(map(setting_line, ROWS.values()))
    assert sorted(routes) == sorted(map(route_line, ROUTES))
    assert sorted(errors) == sorted(map(error_line, ERRORS.values()))
    assert sorted(arguments) == sorted(
        beginnings([*known, *(f"| `{one}` |" for one in SHARED[:2])], 1)
    )


def test_the_pages_name_the_environment() -> None:
    """docs/settings.md says how a setting is named in the environment, by an example that holds."""
    text = page("settings.md")
    variables = re.findall(rf"`({ENVIRONMENT_PREFIX}[A-Z_]+)`", text)
    known = {row.variable for row in ROWS.values()} | {f"{ENVIRONMENT_PREFIX}CONFIG"}

    assert variables
    assert set(variables) <= known


def test_every_page_is_listed() -> None:
    """docs/README.md leads to each page beside it."""
    listed = set(re.findall(r"\(([\w.-]+\.md)\)", page("README.md")))

    assert {path.name for path in DOCS.glob("*.md")} - {"README.md"} <= listed


# --- The test itself ------------------------------------------------------------------------------


def test_a_missing_line_is_found() -> None:
    """A table without a line, or with the line twice, is refused with what is missing."""
    table = "| a | b |\n|---|---|\n| `x` | 1 |\n| `y` | 2 |\n"

    assert table_lines(table) == ["| `x` | 1 |", "| `y` | 2 |"]
    assert_begins_a_line(table, "| `x` |")
    with pytest.raises(AssertionError, match=r"0 lines .*\n.*\| `z`"):
        assert_begins_a_line(table, "| `z` |")
    with pytest.raises(AssertionError, match="2 lines"):
        assert_begins_a_line(table + "| `x` | 3 |\n", "| `x` |")
