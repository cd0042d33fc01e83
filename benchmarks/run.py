"""Measures this registry side by side with the others that are on the machine.

    python benchmarks/run.py [--repetitions 3] [--only WORDS] [--results DIR]

Every measure starts each registry anew on the same file system, one after the other, as often as
asked; medians are compared. Loopback only; everything is ended and removed afterwards.
"""

import argparse
import json
import os
import platform
import sqlite3
import statistics
import sys
from pathlib import Path
from typing import Any

from measures import MEASURES, Measure, folder
from peers import Peer, present, running


def measured(measure: Measure, peers: list[Peer], repetitions: int) -> dict[str, list[float]]:
    """Every repetition of every registry, interleaved."""
    numbers: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for _ in range(repetitions):
        for peer in peers:
            with folder(disk=measure.disk) as place, running(peer, place) as server:
                numbers[peer.name].append(measure.run(server))
    return numbers


def verdict(measure: Measure, numbers: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, the ratio that the floor is about, and whether it is reached."""
    medians = {name: statistics.median(values) for name, values in numbers.items()}
    ours = medians["registry_wsgi"]
    others = {name: value for name, value in medians.items() if name != "registry_wsgi"}
    if measure.against in others:
        others = {measure.against: others[measure.against]}
    if measure.absolute or not others:
        ratio = ours
    else:
        best = min(others.values()) if measure.less else max(others.values())
        ratio = ours / best
    reached = ratio <= measure.floor if measure.less else ratio >= measure.floor
    return {
        "name": measure.name,
        "unit": measure.unit,
        "repetitions": numbers,
        "medians": medians,
        "ratio": ratio,
        "floor": measure.floor,
        "reached": reached,
    }


def machine() -> dict[str, Any]:
    """What the numbers are of."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": model[0] if model else platform.processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
    }


def table(rows: list[dict[str, Any]], names: list[str]) -> str:
    """The results as Markdown."""
    head = ["what", *names, "ratio", "floor", ""]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        values = [f"{row['medians'].get(name, float('nan')):.4g} {row['unit']}" for name in names]
        mark = "" if row["reached"] else "not reached"
        cells = [row["name"], *values, f"{row['ratio']:.2f}", f"{row['floor']:g}", mark]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print the table, keep the results; 1 when a floor is not reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", default="", help="measures whose name has these words")
    parser.add_argument("--results", default="benchmarks/results")
    options = parser.parse_args()
    peers = present()
    rows = []
    for measure in MEASURES:
        if options.only in measure.name:
            chosen = [
                peer for peer in peers if peer.name == "registry_wsgi" or not measure.absolute
            ]
            rows.append(verdict(measure, measured(measure, chosen, options.repetitions)))
            print(table(rows[-1:], [peer.name for peer in peers]).splitlines()[-1], flush=True)
    results = Path(options.results)
    results.mkdir(parents=True, exist_ok=True)
    text = table(rows, [peer.name for peer in peers])
    (results / "results.md").write_text(text)
    document = {"machine": machine(), "rows": rows}
    (results / "results.json").write_text(json.dumps(document, indent=2))
    print(text)
    return 0 if all(row["reached"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
