"""Errors are rows: each has its code, status and message, and 4xx codes are the specification's."""

import ast
import errno
import sqlite3
from pathlib import Path

import pytest

from registry_wsgi import errors
from registry_wsgi.errors import ROWS, ErrorRow, RegistryError, StorageFault

PACKAGE = Path(errors.__file__).parent

# > The `code` field MUST be one of the following:
SPECIFIED = {
    "BLOB_UNKNOWN": "code-1",
    "BLOB_UPLOAD_INVALID": "code-2",
    "BLOB_UPLOAD_UNKNOWN": "code-3",
    "DIGEST_INVALID": "code-4",
    "MANIFEST_BLOB_UNKNOWN": "code-5",
    "MANIFEST_INVALID": "code-6",
    "MANIFEST_UNKNOWN": "code-7",
    "NAME_INVALID": "code-8",
    "NAME_UNKNOWN": "code-9",
    "SIZE_INVALID": "code-10",
    "UNAUTHORIZED": "code-11",
    "DENIED": "code-12",
    "UNSUPPORTED": "code-13",
    "TOOMANYREQUESTS": "code-14",
}

CLIENT_ROWS = {name: row for name, row in ROWS.items() if row.status < 500}
STATUSES = {
    "UNAUTHORIZED": {401},
    "DENIED": {403},
    "TOOMANYREQUESTS": {429},
    "BLOB_UNKNOWN": {404},
    "BLOB_UPLOAD_UNKNOWN": {404},
    "MANIFEST_UNKNOWN": {404},
    "NAME_UNKNOWN": {404},
    "NAME_INVALID": {400},
}
"""What clients rely on for codes that have one meaning."""


@pytest.mark.parametrize("row", CLIENT_ROWS.values(), ids=CLIENT_ROWS)
def test_a_code_of_a_4xx_is_in_the_specification(row: ErrorRow) -> None:
    """A client may switch on the code of any answer that is its own fault."""
    assert row.code in SPECIFIED
    assert row.status in STATUSES.get(row.code, range(400, 500))


@pytest.mark.parametrize("row", CLIENT_ROWS.values(), ids=CLIENT_ROWS)
def test_a_row_names_the_clause_it_comes_from(row: ErrorRow) -> None:
    """The source is the code's id in the specification, or the RFC that asks for the status."""
    sources = row.source.replace(":", ",").split(",")

    assert SPECIFIED[row.code] in sources or row.source.startswith("RFC ")


@pytest.mark.parametrize("code", SPECIFIED)
def test_every_code_of_the_specification_has_a_row(code: str) -> None:
    """Nothing that the specification names is left without an answer."""
    assert any(row.code == code for row in ROWS.values())


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_row_is_one_line_that_a_person_can_read(row: ErrorRow) -> None:
    """A message is a phrase without an end, a code is a word in capitals."""
    assert row.message == row.message.strip().rstrip(".")
    assert row.message
    assert row.message.isprintable()
    assert row.code.isupper()
    assert 400 <= row.status < 600


def test_rows_differ() -> None:
    """No two rows have the same message, and none is there twice under two names."""
    assert len({row.message for row in ROWS.values()}) == len(ROWS)
    assert len(set(ROWS.values())) == len(ROWS)


def test_every_row_is_raised_somewhere() -> None:
    """A row that no module names is a promise nobody keeps; those of signing in are to come."""
    named: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name != "errors.py":
            tree = ast.parse(path.read_text("utf-8"))
            named |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}

    assert set(ROWS) - named <= {"TOO_MANY_REQUESTS", "UNAUTHORIZED"}


# --- What is raised -------------------------------------------------------------------------------


def test_an_error_carries_data_and_no_prose() -> None:
    """A raised error has its row, its detail, its headers and whatever comes with it."""
    error = RegistryError(
        errors.BLOB_UNKNOWN,
        {"digest": "x"},
        headers=(("Retry-After", "1"),),
        more=((errors.NAME_UNKNOWN, None),),
    )

    assert error.row is errors.BLOB_UNKNOWN
    assert error.detail == {"digest": "x"}
    assert error.headers == (("Retry-After", "1"),)
    assert error.more == ((errors.NAME_UNKNOWN, None),)
    assert error.args == ("BLOB_UNKNOWN", {"digest": "x"})


def sqlite_error(code: int) -> sqlite3.OperationalError:
    """What SQLite raises with this result code."""
    error = sqlite3.OperationalError("no")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("cause", "full"),
    [
        pytest.param(OSError(errno.ENOSPC, "full"), True, id="no space"),
        pytest.param(OSError(errno.EDQUOT, "quota"), True, id="no quota"),
        pytest.param(OSError(errno.EIO, "broken"), False, id="a broken disk"),
        pytest.param(OSError(errno.EROFS, "read-only"), False, id="a read-only disk"),
        pytest.param(sqlite_error(sqlite3.SQLITE_FULL), True, id="SQLite's disk is full"),
        pytest.param(sqlite_error(sqlite3.SQLITE_IOERR), False, id="SQLite's disk is broken"),
        pytest.param(ValueError(), False, id="something else"),
        pytest.param(None, False, id="nothing"),
    ],
)
def test_a_fault_knows_a_full_disk(cause: BaseException | None, full: bool) -> None:
    """No space and no quota are told from faults that more space would not mend."""
    assert StorageFault("it failed", "/data", cause).full is full


def test_a_fault_of_a_file_is_told_to_the_log_alone() -> None:
    """The cause of a fault, which names paths, is not in its representation."""
    fault = StorageFault("it failed", "/data/x", OSError("secret"))

    assert "secret" not in repr(fault)
