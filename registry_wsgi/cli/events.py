"""``events``: how far endpoints were notified, and telling them again."""

import argparse
import dataclasses
import json

from registry_wsgi.cli.common import Command, CommandError, number, opened
from registry_wsgi.config import Config
from registry_wsgi.storage.outbox import Delivery, Outbox


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=("status", "list", "replay"))
    parser.add_argument("--endpoint", metavar="URL", help="only this one")
    parser.add_argument(
        "--after", metavar="N", type=number, default=0, help="what came after event N"
    )
    parser.add_argument(
        "--limit", metavar="N", type=number, default=100, help="list at most N (100)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def _run(options: argparse.Namespace, config: Config) -> int:
    with opened(config, writing=options.verb == "replay") as storage:
        _tell(options, storage.index.outbox)
    return 0


def _tell(options: argparse.Namespace, outbox: Outbox) -> None:
    if options.verb == "list":
        for numbered in outbox.events_after(options.after, options.limit, pulls=True):
            row = {"number": numbered.number, **dataclasses.asdict(numbered.event)}
            print(json.dumps(row) if options.json else "\t".join(str(v) for v in row.values()))
        return
    chosen = [
        delivery
        for delivery in outbox.deliveries()
        if options.endpoint in {None, delivery.endpoint}
    ]
    if options.endpoint and not chosen:
        raise CommandError(f"nothing was ever sent to {options.endpoint!r}")
    newest = outbox.last_event()
    for delivery in chosen:
        if options.verb == "replay":
            outbox.put_delivery(Delivery(delivery.endpoint, min(options.after, newest)))
            print(f"{delivery.endpoint}: events after {options.after} are sent again")
        else:
            print(_status(delivery, newest, as_json=options.json))


def _status(delivery: Delivery, newest: int, *, as_json: bool) -> str:
    if as_json:
        return json.dumps({**dataclasses.asdict(delivery), "newest": newest})
    told = f"{delivery.endpoint}: told up to event {delivery.last_event} of {newest}"
    if not delivery.failures:
        return told
    return f"{told}; {delivery.failures} failures in a row, the last: {delivery.problem}"


COMMAND = Command("events", "notifications: what waits, and sending again", _arguments, _run)
