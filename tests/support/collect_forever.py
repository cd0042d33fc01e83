"""Runs gc on a data directory again and again until it is killed: ``DATA GRACE_SECONDS``."""

import sys

from registry_wsgi.cli.main import main


def collect_forever(data: str, grace: str) -> None:
    """One report, as JSON, a line."""
    while main(["gc", "--data", data, "--grace", grace, "--json"]) == 0:
        sys.stdout.flush()


if __name__ == "__main__":
    collect_forever(*sys.argv[1:])
