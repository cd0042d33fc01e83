"""What is done beside requests goes on, whatever happens to it once."""

import logging
import threading

import pytest

from registry_wsgi.errors import StorageFault
from registry_wsgi.server.background import Background


@pytest.mark.parametrize(
    ("error", "level", "traced"),
    [
        pytest.param(StorageFault("no room", "/data"), "WARNING", False, id="foreseen"),
        pytest.param(OverflowError("too large"), "ERROR", True, id="unforeseen"),
    ],
)
def test_a_failure_is_logged_and_the_next_turn_comes(
    error: Exception, level: str, traced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure takes one turn, and says which thread's; one that nobody foresaw with its trace."""
    failures = [error]
    done = threading.Event()

    def tick() -> None:
        if failures:
            raise failures.pop()
        done.set()

    with caplog.at_level(logging.WARNING):
        Background("housekeeping", tick, 0.01).start()
        went_on = done.wait(20)
    (record,) = caplog.records

    assert went_on
    assert (record.levelname, record.exc_info is not None) == (level, traced)
    assert "housekeeping" in record.getMessage()
