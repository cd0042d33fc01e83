"""What came of it: a table to read, and JSON to compare."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from measures import Row
from servers import OURS, Contender

Values = dict[str, list[float]]


@dataclass
class Result:
    """One row's numbers: for each server the repetitions, in order."""

    row: Row
    values: Values = field(default_factory=dict)

    def medians(self) -> dict[str, float]:
        """One number for each server."""
        return {name: median(values) for name, values in self.values.items()}

    def peer(self) -> str:
        """Which other server this one is compared with; empty for none."""
        others = {name: value for name, value in self.medians().items() if name != OURS}
        if self.row.against != "best":
            return self.row.against if self.row.against in others else ""
        choose = max if self.row.better == "more" else min
        return choose(others, key=lambda name: others[name]) if others else ""

    def figure(self) -> float | None:
        """The ratio to the peer, or the value itself where the limit is absolute."""
        own = self.medians().get(OURS)
        if own is None or not self.row.against:
            return own
        peer = self.peer()
        return own / self.medians()[peer] if peer else None

    def verdict(self) -> str:
        """Whether the aim, the floor or neither is reached."""
        figure = self.figure()
        if figure is None:
            return "no peer"
        sign = 1 if self.row.better == "more" else -1
        if sign * figure >= sign * self.row.aim:
            return "aim"
        return "floor" if sign * figure >= sign * self.row.floor else "BELOW"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"  # noqa: PLR2004 - for the eye


def table(results: Sequence[Result]) -> str:
    """A Markdown table: each server's median, the ratio, floor, aim, and what is reached."""
    names = list(dict.fromkeys(name for result in results for name in result.values))
    head = ["what", "unit", *names, "against", "ratio or value", "floor / aim", "reached"]
    lines = [head, ["---"] * len(head)]
    for result in results:
        medians, figure, row = result.medians(), result.figure(), result.row
        cells = [_number(medians[name]) if name in medians else "" for name in names]
        shown = "" if figure is None else f"{figure:.2f}"
        limits = f"{row.floor:g} / {row.aim:g}"
        peer = result.peer() or "absolute" if not row.against else result.peer()
        lines.append([row.title, row.unit, *cells, peer, shown, limits, result.verdict()])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(
    folder: Path,
    results: Sequence[Result],
    machine: Mapping[str, str],
    servers: Sequence[Contender],
    effort: Mapping[str, Any],
) -> Path:
    """Write the table and the numbers; where the table is."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    document = {
        "at": stamp,
        "machine": dict(machine),
        "servers": {one.name: one.version for one in servers},
        "effort": dict(effort),
        "rows": [
            {
                "title": result.row.title,
                "unit": result.row.unit,
                "values": result.values,
                "against": result.peer(),
                "figure": result.figure(),
                "floor": result.row.floor,
                "aim": result.row.aim,
                "reached": result.verdict(),
            }
            for result in results
        ],
    }
    (folder / f"{stamp}.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    about = "\n".join(f"- {name}: {value}" for name, value in machine.items() if value)
    versions = "\n".join(f"- {one.name}: {one.version}" for one in servers)
    text = f"{table(results)}\n\n{about}\n{versions}\n"
    path = folder / f"{stamp}.md"
    path.write_text(text, "utf-8")
    return path
