"""The order in which a registry is looked at."""

from collections.abc import Callable, Iterator
from typing import Final

from registry_wsgi.doctor import arriving, pulling, pushing
from registry_wsgi.doctor.findings import CannotCheckError, Finding
from registry_wsgi.doctor.visit import Visit

Check = Callable[[Visit], Iterator[Finding]]

CHECKS: Final[tuple[Check, ...]] = (
    arriving.base,
    arriving.keep_alive,
    arriving.long_header,
    arriving.errors,
    arriving.sign_in,
    pushing.location,
    pushing.small,
    pushing.large,
    pulling.whole,
    pulling.ranges,
    pulling.exposed,
    pulling.metrics,
)


def examine(visit: Visit) -> Iterator[Finding]:
    """Everything, one after the other; raises CannotCheckError where it cannot go on.

    What was pushed is deleted in the end, however it ends.
    """
    try:
        for check in CHECKS:
            yield from check(visit)
    except CannotCheckError:
        for _ in pushing.clean_up(visit):
            pass
        raise
    yield from pushing.clean_up(visit)
